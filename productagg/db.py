"""Engines: one way to reach the database for the web, the sync, the command line, the migrations and the tests.

Two per process. The *writer* carries transactions. The *reader* is created with AUTOCOMMIT and without a reset on
return, so that a public read costs no round trip but its own statements.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from productagg.models import SCHEMA_REVISION

# Connections that only read, one for each of waitress's threads: to open one costs more than a hundred answers.
READERS = 8
# How long a statement waits for a lock, and the most a connection attempt may take.
_LOCK_TIMEOUT_SECONDS = 10
_CONNECT_TIMEOUT_SECONDS = 5
_OPTIONS = {
    "timezone": "UTC",
    "lock_timeout": f"{_LOCK_TIMEOUT_SECONDS}s",
    "statement_timeout": "60s",
    # What is prepared (see prepared.py) is planned once, and not each time because a plan for just these values looks
    # better: over partitions it always does.
    "plan_cache_mode": "force_generic_plan",
}


class SchemaError(Exception):
    """The database does not have the tables that this version of productagg works with."""


def writer_engine(url: URL) -> Engine:
    """The engine for transactions. On SQLite each begins with BEGIN IMMEDIATE: two writers wait for each other at the
    start instead of failing with 'database is locked' at the upgrade."""
    engine = _engine(url, pool_size=5, pool_pre_ping=url.get_backend_name() != "sqlite")
    if engine.dialect.name == "sqlite":
        event.listen(engine, "begin", _begin_immediate)
        event.listen(engine, "checkin", _leave_no_transaction)
    return engine


def reader_engine(url: URL) -> Engine:
    """The engine for reads: no transaction, nothing to roll back."""
    return _engine(url, pool_size=READERS, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, pool_use_lifo=True)


def _engine(url: URL, **options: Any) -> Engine:
    # Errors are logged, and what a statement is about may be a password's hash.
    options["hide_parameters"] = True
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        with suppress(OSError):  # connecting says it better
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": _LOCK_TIMEOUT_SECONDS}, **options)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    engine = create_engine(
        url,
        connect_args={
            "application_name": "productagg",
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            # A host that vanishes is noticed within a minute: the server's own time-outs cannot help there.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
            "options": " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items()),
        },
        # In all enough for each of waitress's threads and the background's; small database plans allow 20 connections.
        max_overflow=15 - options["pool_size"],
        pool_timeout=_LOCK_TIMEOUT_SECONDS,
        **options,
    )
    event.listen(engine, "handle_error", _leave_values_out)
    return engine


def translated(connection: Connection, error: Exception, statement: str) -> DBAPIError:
    """A driver's error that came past SQLAlchemy, as that would have raised it.

    A connection that broke is given up, and with it the pool's others: they are most likely broken, too.
    """
    dialect, driver = connection.dialect, connection.connection.dbapi_connection
    lost = dialect.is_disconnect(error, driver, None)  # type: ignore[arg-type]  # it asks no cursor
    _without_values(error, None)
    if lost:
        # SQLAlchemy is to see it for itself: then it gives up all of them, also those that are in use.
        with suppress(DBAPIError):
            connection.exec_driver_sql("SELECT 1")
        connection.invalidate(error)
    found = DBAPIError.instance(
        statement, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, connection_invalidated=lost
    )
    assert isinstance(found, DBAPIError)
    return found


def _leave_values_out(context: ExceptionContext) -> None:
    _without_values(context.original_exception, context.sqlalchemy_exception)


def _without_values(original: BaseException, ours: BaseException | None) -> None:
    """PostgreSQL's error messages go on with the row that failed (DETAIL, CONTEXT): keep their first part."""
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    if primary is not None:
        if ours is not None:
            ours.args = (str(ours.args[0]).replace(str(original), primary), *ours.args[1:])
        original.args = (primary,)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver's own BEGIN comes too late (before the first write) and would make savepoints leak.
    connection.isolation_level = None
    for pragma in ("foreign_keys = ON", "journal_mode = WAL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _leave_no_transaction(connection: sqlite3.Connection | None, _record: Any) -> None:
    # After a COMMIT that failed, SQLAlchemy takes the transaction for ended, and SQLite does not.
    if connection is not None and connection.in_transaction:
        connection.rollback()


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """All that is read within, on a connection that only reads, is of one moment. No writer waits for that."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
        try:
            yield
        finally:
            connection.exec_driver_sql("ROLLBACK")
        return
    connection.execution_options(isolation_level="REPEATABLE READ")
    with connection.begin():
        yield


def dialect_name(connection: Connection | Session) -> str:
    """`postgresql` or `sqlite`."""
    return (connection.get_bind() if isinstance(connection, Session) else connection).dialect.name


def is_out_of_reach(error: BaseException) -> bool:
    """Whether an error says that the database cannot be used right now, rather than that we used it wrongly."""
    # psycopg2 has a plain DatabaseError for a connection that broke.
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def check_schema(connection: Connection) -> None:
    """Raise SchemaError unless the database is at the revision that this code was written for."""
    found = None
    if inspect(connection).has_table("alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found != SCHEMA_REVISION:
        raise SchemaError(
            f"the database is at revision {found or 'none'}, this version of productagg needs {SCHEMA_REVISION}: "
            "run 'alembic -c CONFIG_URI upgrade head' (with the ini file that you start the service with)"
        )
