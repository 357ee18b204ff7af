"""The database of the web service: its engines, and connections to read with. The sync has its own sessions."""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import Connection, Engine, event

from productagg.db.engines import READER_POOL_SIZE


class Engines(NamedTuple):
    """The engine of transactions, and the engine of reads without one (see db.engines)."""

    writer: Engine
    reader: Engine

    def dispose(self) -> None:
        for engine in self:
            engine.dispose()


def dispose_reader_with_writer(engines: Engines) -> None:
    """Close the reader's connections when the writer's break: after a fail-over, both lead to the old server."""
    event.listen(engines.writer, "invalidate", lambda *_: engines.reader.dispose())
    event.listen(engines.writer, "engine_disposed", lambda _: engines.reader.dispose())


class Readers:
    """Connections of the reader that stay checked out between requests: the pool would take a tenth of an answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: list[Connection] = []
        # How often all connections were closed.
        self._generation = 0
        # When one connection has broken, most likely all have.
        event.listen(engine, "invalidate", self._close_all)
        event.listen(engine, "engine_disposed", self._close_all)

    def take(self) -> tuple[Connection, Callable[[], None]]:
        """A connection, and the function that gives it back."""
        generation = self._generation
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._engine.connect()
        return connection, lambda: self._give_back(connection, generation)

    def _give_back(self, connection: Connection, generation: int) -> None:
        is_stale = generation != self._generation
        if is_stale and not connection.invalidated:
            connection.detach()  # the pool that was disposed of would keep it open
        if is_stale or not self._is_reusable(connection):
            connection.close()
            return
        if connection.in_transaction():  # SQLAlchemy's; the database has none
            connection.rollback()
        self._idle.append(connection)

    def _is_reusable(self, connection: Connection) -> bool:
        # Above this number, a thread may be waiting for the pool, which knows nothing of idle connections here.
        is_pool_exceeded = self._engine.pool.checkedout() > READER_POOL_SIZE  # type: ignore[attr-defined]  # it is a QueuePool
        return not (is_pool_exceeded or connection.invalidated or connection.get_execution_options())

    def _close_all(self, *_: object) -> None:
        self._generation += 1
        with suppress(IndexError):  # other threads take and give back meanwhile
            while True:
                connection = self._idle.pop()
                connection.detach()  # as in _give_back
                connection.close()
