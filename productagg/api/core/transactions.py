"""The transaction of a request that may write: its session joins it, and pyramid_tm commits it after the view."""

from typing import Any, Protocol

import zope.sqlalchemy.datamanager
from pyramid.config import Configurator
from sqlalchemy.orm import Session


def join_transaction(session: Session, transaction_manager: Any) -> Session:
    """Let the transaction manager commit or roll back the session."""
    # 'changed' from the start: the transaction manager must commit Core statements too, which it does not see. So no
    # listeners are needed, which `zope.sqlalchemy.register` adds: they take a sixth of the time of adding a product.
    zope.sqlalchemy.datamanager.join_transaction(session, "changed", transaction_manager)
    return session


class _RequestWithMethod(Protocol):
    @property
    def method(self) -> str: ...


def needs_transaction(request: _RequestWithMethod) -> bool:
    """pyramid_tm's activation hook: requests that only read have no transaction (see db.engines.reader_engine)."""
    return request.method not in ("GET", "HEAD", "OPTIONS")


def includeme(config: Configurator) -> None:
    """Give every request that may write a transaction, which pyramid_tm commits after the view."""
    config.add_settings(
        {
            "tm.manager_hook": "pyramid_tm.explicit_manager",
            "tm.activate_hook": "productagg.api.core.transactions.needs_transaction",
            # A returned 4xx or 5xx rolls back, like a raised one.
            "tm.commit_veto": "pyramid_tm.default_commit_veto",
            # Otherwise every transaction would ask the security policy for the user.
            "tm.annotate_user": "false",
        }
    )
    config.include("pyramid_tm")
