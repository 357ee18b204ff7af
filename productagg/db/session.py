"""The database of a request: `request.dbsession` in the request's transaction, `request.reader` for reads without one.

Only the composition root comes here, with `config.include`. The sync has sessions of its own.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import zope.sqlalchemy.datamanager
from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, sessionmaker

from productagg.db.engines import READER_POOL_SIZE, reader_engine, writer_engine
from productagg.db.startup_checks import check_database


class Readers:
    """Connections of the reader, open from one request to another: the pool's own way takes a tenth of an answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: list[Connection] = []
        self._closed = 0
        # One has broken, and with it the others most likely.
        event.listen(engine, "invalidate", self._close_all)
        event.listen(engine, "engine_disposed", self._close_all)

    def take(self) -> tuple[Connection, Callable[[], None]]:
        """A connection, and what gives it back."""
        closed = self._closed
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._engine.connect()
        return connection, lambda: self._give_back(connection, closed)

    def _give_back(self, connection: Connection, closed: int) -> None:
        # With more than that, somebody may wait, and waits for the pool.
        are_many = self._engine.pool.checkedout() > READER_POOL_SIZE  # type: ignore[attr-defined]  # it is a QueuePool
        is_stale = closed != self._closed
        if is_stale and not connection.invalidated:
            connection.detach()  # or the pool that was disposed of would keep it open
        if is_stale or are_many or connection.invalidated or connection.get_execution_options():
            connection.close()
            return
        if connection.in_transaction():  # SQLAlchemy's; the database has none
            connection.rollback()
        self._idle.append(connection)

    def _close_all(self, *_: object) -> None:
        self._closed += 1
        with suppress(IndexError):  # other threads take and give back meanwhile
            while True:
                connection = self._idle.pop()
                connection.detach()  # as in _give_back
                connection.close()


def needs_transaction(request: Any) -> bool:
    """pyramid_tm's activation hook: reads go without a transaction (see db.reader_engine)."""
    return request.method not in ("GET", "HEAD", "OPTIONS")


def includeme(config: Any) -> None:
    """Give every request `dbsession` (joined to its transaction) and `reader` (autocommit, for reads)."""
    settings = config.registry["settings"]
    writer, reader = (
        make(settings.database_url, prepared=settings.database_prepared) for make in (writer_engine, reader_engine)
    )
    check_database(reader)
    # What is wrong with the writer's connections, a server that only reads after a fail-over, is so with the reader's.
    event.listen(writer, "invalidate", lambda *_: reader.dispose())
    event.listen(writer, "engine_disposed", lambda _: reader.dispose())
    sessions = sessionmaker(writer)

    def dbsession(request: Any) -> Session:
        session = sessions()
        # 'changed' from the start: the transaction manager must commit Core statements too, which it cannot see. So
        # there is nothing to listen for, as `register` would: that takes a sixth of what it takes to add a product.
        zope.sqlalchemy.datamanager.join_transaction(session, "changed", request.tm)
        return session

    readers = Readers(reader)

    def reading(request: Any) -> Connection:
        connection, give_back = readers.take()
        request.add_finished_callback(lambda _request: give_back())
        return connection

    config.registry["sessions"] = sessions
    config.registry["engines"] = (writer, reader)
    # A request that writes found the database unusable, and /health/ready has not written since.
    config.registry["writes_fail"] = False
    config.add_settings(
        {
            "tm.manager_hook": "pyramid_tm.explicit_manager",
            "tm.activate_hook": "productagg.db.session.needs_transaction",
            # A returned 4xx or 5xx rolls back, like a raised one.
            "tm.commit_veto": "pyramid_tm.default_commit_veto",
            # Or every transaction would ask the security policy who the user is.
            "tm.annotate_user": "false",
        }
    )
    config.include("pyramid_tm")
    config.add_request_method(dbsession, reify=True)
    config.add_request_method(reading, "reader", reify=True)
