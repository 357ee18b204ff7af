"""Engines: how the web service, the sync, the command line, the migrations and the tests connect to the database.

A process has two. The *writer* runs transactions. The *reader* uses AUTOCOMMIT and does not reset connections on
return, so that a public read costs no round trip except for its own statements.

No result depends on a setting of the database, the role or the session (docs/decisions/0018-sessions.md).
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, Sequence, create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.expression import TableClause

from productagg.db.errors import complete_error
from productagg.settings import names_in_options

# The schema of all tables on PostgreSQL. Every statement names it.
SCHEMA = "public"
# One connection for each of waitress's threads: opening one costs more than a hundred responses.
READER_POOL_SIZE = 8
_WRITER_POOL_SIZE = 5
# In total enough for each of waitress's threads and the background's. Small database plans allow 20 connections.
_MAX_CONNECTIONS = 15
# How long a statement may wait for a lock, how long it may run, and how long a connection attempt may take.
LOCK_TIMEOUT_SECONDS = 10
_STATEMENT_TIMEOUT_SECONDS = 60
_CONNECT_TIMEOUT_SECONDS = 5
_SESSION_SETTINGS = {
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "statement_timeout": f"{_STATEMENT_TIMEOUT_SECONDS}s",
    "default_transaction_isolation": r"read\ committed",
    # A prepared statement (see prepared_statements.py) is planned once. Otherwise PostgreSQL plans it at each execution
    # if a plan for the given values looks better, which is always so with partitions.
    "plan_cache_mode": "force_generic_plan",
}
_LIBPQ_VARIABLES = {"application_name": "PGAPPNAME", "connect_timeout": "PGCONNECT_TIMEOUT"}
# Behind a pooler that shares connections, settings last for a transaction only.
_TRANSACTION_SETTINGS = {
    "default_transaction_isolation": "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "lock_timeout": f"SET LOCAL lock_timeout = '{_SESSION_SETTINGS['lock_timeout']}'",
    "statement_timeout": f"SET LOCAL statement_timeout = '{_SESSION_SETTINGS['statement_timeout']}'",
}

# A key in a connection's `info`: statements may be prepared on the connection.
MAY_PREPARE = "may prepare"


def writer_engine(url: URL, *, prepared: bool = True) -> Engine:
    """Return the engine for transactions.

    On SQLite a transaction begins with BEGIN IMMEDIATE: two writers wait for each other at the start. With a plain
    BEGIN, one of them would fail with 'database is locked' when it first writes.
    """
    if url.get_backend_name() == "sqlite":
        engine = _sqlite_engine(url, pool_size=_WRITER_POOL_SIZE)
        event.listen(engine, "begin", _begin_immediate)
        event.listen(engine, "checkin", _end_transaction)
        return engine
    engine = _postgresql_engine(url, prepared, pool_size=_WRITER_POOL_SIZE, pool_pre_ping=True)
    if not prepared:
        event.listen(engine, "begin", _set_transaction_settings(url))
    return engine


def reader_engine(url: URL, *, prepared: bool = True) -> Engine:
    """Return the engine for reads without a transaction."""
    options: dict[str, Any] = {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": READER_POOL_SIZE,
        "pool_reset_on_return": None,
        "pool_use_lifo": True,
    }
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, **options)
    return _postgresql_engine(url, prepared, **options)


def _sqlite_engine(url: URL, **options: Any) -> Engine:
    assert url.database is not None
    if not url.database.startswith("file:"):  # a URI is not a path
        with suppress(OSError):  # connecting gives a better message
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    connect_args = {"timeout": LOCK_TIMEOUT_SECONDS}
    engine = create_engine(url, connect_args=connect_args, hide_parameters=True, **options)
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _postgresql_engine(url: URL, prepared: bool, *, pool_size: int, **options: Any) -> Engine:
    """With `prepared`, a connection is ours alone and keeps session settings and prepared statements."""
    engine = create_engine(
        url.difference_update_query(["options"]),
        connect_args=_connect_args(url, prepared),
        pool_size=pool_size,
        max_overflow=_MAX_CONNECTIONS - pool_size,
        pool_timeout=LOCK_TIMEOUT_SECONDS,
        # Errors are logged, and a parameter may be the hash of a password.
        hide_parameters=True,
        **options,
    )
    qualify_tables(engine.dialect)
    event.listen(engine, "handle_error", complete_error)
    if prepared:
        event.listen(engine, "connect", _allow_prepared_statements)
    return engine


def _connect_args(url: URL, prepared: bool) -> dict[str, str | int]:
    """Return libpq's connection parameters. Those of the URL or, failing that, of libpq's environment win over ours."""
    defaults: dict[str, str | int] = {
        "application_name": "productagg",
        "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        # Notice within a minute that a host vanished: the server's own time-outs cannot help then.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        # Otherwise a setting of the database decides how text is encoded.
        "client_encoding": "utf8",
    }
    overridden = {*url.query, *(name for name, variable in _LIBPQ_VARIABLES.items() if os.environ.get(variable))}
    arguments = {name: value for name, value in defaults.items() if name not in overridden}
    options = [f"-c {name}={value}" for name, value in _SESSION_SETTINGS.items()] if prepared else []
    options.append(_configured_options(url))  # the last one wins
    return {**arguments, "options": " ".join(options)} if any(options) else arguments


def _configured_options(url: URL) -> str:
    return " ".join(url.normalized_query.get("options", (os.environ.get("PGOPTIONS", ""),)))


def qualify_tables(dialect: Dialect) -> None:
    """Write every table and sequence with its schema, so that `search_path` does not decide which one is meant."""
    dialect.identifier_preparer.schema_for_object = _schema  # type: ignore[assignment]  # None is allowed


def _schema(item: Any) -> str | None:
    return item.schema or (SCHEMA if isinstance(item, TableClause | Sequence) else None)


def _allow_prepared_statements(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[MAY_PREPARE] = True


def _set_transaction_settings(url: URL) -> Callable[[Connection], None]:
    """Return a listener that gives a new transaction our settings, except those that the options configure."""
    configured = names_in_options(_configured_options(url))
    statements = [statement for name, statement in _TRANSACTION_SETTINGS.items() if name not in configured]

    def begin(connection: Connection) -> None:
        if statements:
            connection.exec_driver_sql("; ".join(statements))

    return begin


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Switch off the driver's own BEGIN: it comes too late, before the first write, and makes savepoints leak.
    connection.isolation_level = None
    for pragma in ("foreign_keys = ON", "journal_mode = WAL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _end_transaction(connection: sqlite3.Connection | None, _record: object) -> None:
    # After a failed COMMIT the transaction has ended for SQLAlchemy, but not for SQLite.
    if connection is not None and connection.in_transaction:
        connection.rollback()


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Read one consistent snapshot within the context, on a connection of the reader. No writer waits for it."""
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
    """Return `postgresql` or `sqlite`."""
    bind = connection.get_bind() if isinstance(connection, Session) else connection
    return bind.dialect.name
