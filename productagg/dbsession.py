"""The database of a request: `request.dbsession` in the request's transaction, `request.reader` for reads without one.

Only the composition root comes here, with `config.include`. The sync has sessions of its own.
"""

from typing import Any

import zope.sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.orm import Session, sessionmaker

from productagg.db import check_schema, reader_engine, writer_engine


def needs_transaction(request: Any) -> bool:
    """pyramid_tm's activation hook: reads go without a transaction (see db.reader_engine)."""
    return request.method not in ("GET", "HEAD", "OPTIONS")


def includeme(config: Any) -> None:
    """Give every request `dbsession` (joined to its transaction) and `reader` (autocommit, for reads)."""
    url = config.registry["settings"].database_url
    writer, reader = writer_engine(url), reader_engine(url)
    with reader.connect() as connection:
        check_schema(connection)
    sessions = sessionmaker(writer)

    def dbsession(request: Any) -> Session:
        session = sessions()
        # 'changed' from the start: the transaction manager must commit Core statements too, which it cannot see.
        zope.sqlalchemy.register(session, initial_state="changed", transaction_manager=request.tm)
        return session

    def reading(request: Any) -> Connection:
        connection = reader.connect()
        request.add_finished_callback(lambda _request: connection.close())
        return connection

    config.registry["sessions"] = sessions
    config.registry["engines"] = (writer, reader)
    config.add_settings(
        {
            "tm.manager_hook": "pyramid_tm.explicit_manager",
            "tm.activate_hook": "productagg.dbsession.needs_transaction",
            # A returned 4xx or 5xx rolls back, like a raised one.
            "tm.commit_veto": "pyramid_tm.default_commit_veto",
            # Or every transaction would ask the security policy who the user is.
            "tm.annotate_user": "false",
        }
    )
    config.include("pyramid_tm")
    config.add_request_method(dbsession, reify=True)
    config.add_request_method(reading, "reader", reify=True)
