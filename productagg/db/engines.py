"""Engines: one way to reach the database for the web, the sync, the command line, the migrations and the tests.

Two per process. The *writer* carries transactions. The *reader* is created with AUTOCOMMIT and without a reset on
return, so that a public read costs no round trip but its own statements.

No answer depends on a setting of the database, the role or the session (docs/decisions/0018-sessions.md). What the
database's errors mean is decided here, and nowhere else: see `is_out_of_reach`.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, Sequence, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import TableClause

from productagg.settings import names_in_options

# The schema of all tables on PostgreSQL. Every statement names it.
SCHEMA = "public"
# Connections that only read, one for each of waitress's threads: to open one costs more than a hundred answers.
READERS = 8
# The most that a statement waits for a lock or runs, and that a connection attempt takes.
LOCK_TIMEOUT_SECONDS = 10
_STATEMENT_TIMEOUT_SECONDS = 60
_CONNECT_TIMEOUT_SECONDS = 5
_OPTIONS = {
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "statement_timeout": f"{_STATEMENT_TIMEOUT_SECONDS}s",
    "default_transaction_isolation": r"read\ committed",
    # What is prepared (see prepared_statements.py) is planned once, and not each time because a plan for just these values looks
    # better: over partitions it always does.
    "plan_cache_mode": "force_generic_plan",
}
_LIBPQ_VARIABLES = {"application_name": "PGAPPNAME", "connect_timeout": "PGCONNECT_TIMEOUT"}
# Behind a pooler that shares connections, the same belongs to a transaction.
_BEGIN_SHARED = {
    "default_transaction_isolation": "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "lock_timeout": f"SET LOCAL lock_timeout = '{_OPTIONS['lock_timeout']}'",
    "statement_timeout": f"SET LOCAL statement_timeout = '{_OPTIONS['statement_timeout']}'",
}

# SQLSTATEs, or their beginnings, after which a connection is given up, and with it all others: it broke, the server is
# going down or lets nobody in, ended an idle transaction, only reads (after a fail-over), or has other prepared
# statements than ours (a pooler shares it after all).
_GONE = ("08", "57P", "25P03", "25P04", "25006", "26000", "42P05")
# Those that say that the database cannot be used right now, though the connection is sound: no such login or database,
# a deadlock or another transaction in the way, no right to do that, no room or connections left, a lock or the whole
# statement took too long, the system beneath fails.
_UNUSABLE = (*_GONE, "28", "3D000", "40", "42501", "53", "55P03", "57014", "58", "F0", "XX001", "XX002")
_SQLITE_UNUSABLE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}

# In a connection's `info`: statements may be prepared on it.
MAY_PREPARE = "may prepare"


def writer_engine(url: URL, *, prepared: bool = True) -> Engine:
    """The engine for transactions. On SQLite each begins with BEGIN IMMEDIATE: two writers wait for each other at the
    start instead of failing with 'database is locked' at the upgrade."""
    if url.get_backend_name() == "sqlite":
        engine = _engine(url, prepared, pool_size=5)
        event.listen(engine, "begin", _begin_immediate)
        event.listen(engine, "checkin", _leave_no_transaction)
        return engine
    engine = _engine(url, prepared, pool_size=5, pool_pre_ping=True)
    if not prepared:
        event.listen(engine, "begin", _begin_shared(url))
    return engine


def reader_engine(url: URL, *, prepared: bool = True) -> Engine:
    """The engine for reads: no transaction, nothing to roll back."""
    options = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None, "pool_use_lifo": True}
    return _engine(url, prepared, pool_size=READERS, **options)


def _engine(url: URL, prepared: bool, **options: Any) -> Engine:
    """`prepared`: each connection is ours alone as long as it lasts, and keeps settings and prepared statements."""
    # Errors are logged, and what a statement is about may be a password's hash.
    options["hide_parameters"] = True
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        if not url.database.startswith("file:"):  # a URI: not a path
            with suppress(OSError):  # connecting says it better
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT_SECONDS}, **options)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    engine = create_engine(
        url.difference_update_query(["options"]),
        connect_args=_connect_args(url, prepared),
        # In all enough for each of waitress's threads and the background's; small database plans allow 20 connections.
        max_overflow=15 - options["pool_size"],
        pool_timeout=LOCK_TIMEOUT_SECONDS,
        **options,
    )
    name_schema(engine.dialect)
    event.listen(engine, "handle_error", _judge)
    if prepared:
        event.listen(engine, "connect", _may_prepare)
    return engine


def _connect_args(url: URL, prepared: bool) -> dict[str, Any]:
    """What a connection is opened with. The parameters of the URL, else of libpq's environment, win over ours."""
    ours = {
        "application_name": "productagg",
        "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        # A host that vanishes is noticed within a minute: the server's own time-outs cannot help there.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        # Else the database's settings decide how text comes to us.
        "client_encoding": "utf8",
    }
    given = {*url.query, *(name for name, variable in _LIBPQ_VARIABLES.items() if os.environ.get(variable))}
    arguments = {name: value for name, value in ours.items() if name not in given}
    options = [f"-c {name}={value}" for name, value in _OPTIONS.items()] if prepared else []
    options.append(_given_options(url))  # what comes last wins
    return {**arguments, "options": " ".join(options)} if any(options) else arguments


def _given_options(url: URL) -> str:
    return " ".join(url.normalized_query.get("options", (os.environ.get("PGOPTIONS", ""),)))


def _schema_of(named: Any) -> str | None:
    return named.schema or (SCHEMA if isinstance(named, TableClause | Sequence) else None)


def name_schema(dialect: Dialect) -> None:
    """Write every table and sequence with its schema: `search_path` does not decide which one is meant."""
    dialect.identifier_preparer.schema_for_object = _schema_of  # type: ignore[assignment]  # None is right


def _may_prepare(_connection: Any, record: Any) -> None:
    record.info[MAY_PREPARE] = True


def _begin_shared(url: URL) -> Callable[[Connection], None]:
    """Begins a transaction with our settings, but for those that the options of the URL or the environment name."""
    given = names_in_options(_given_options(url))
    statements = [statement for name, statement in _BEGIN_SHARED.items() if name not in given]

    def begin(connection: Connection) -> None:
        if statements:
            connection.exec_driver_sql("; ".join(statements))

    return begin


def translated(connection: Connection, error: Exception, statement: str) -> DBAPIError:
    """A driver's error that came past SQLAlchemy, as that would have raised it.

    A connection that broke is given up, and with it the pool's others: they are most likely broken, too.
    """
    dialect, driver = connection.dialect, connection.connection.dbapi_connection
    lost = dialect.is_disconnect(error, driver, None) or _is_gone(error)  # type: ignore[arg-type]  # it asks no cursor
    _without_values(error, None)
    if lost:
        connection.invalidate(error)
        connection.engine.dispose()  # those in use are closed when they are given back
    found = DBAPIError.instance(
        statement, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, connection_invalidated=lost
    )
    assert isinstance(found, DBAPIError)
    return found


def _judge(context: ExceptionContext) -> None:
    """Tell SQLAlchemy what it does not know for a lost connection, and leave values out of what it raises."""
    if _is_gone(context.original_exception):
        context.is_disconnect = True
    _without_values(context.original_exception, context.sqlalchemy_exception)


def _is_gone(original: BaseException) -> bool:
    return (getattr(original, "pgcode", None) or "").startswith(_GONE)


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
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if sqlstate := getattr(error.orig, "pgcode", None):
        return bool(sqlstate.startswith(_UNUSABLE))
    if code := getattr(error.orig, "sqlite_errorcode", None):
        return code & 0xFF in _SQLITE_UNUSABLE
    return isinstance(error, OperationalError)  # the server, or the file, could not even be asked


def reason(error: DBAPIError) -> str:
    """What the database said, in one line."""
    return " ".join(str(error.orig).split())
