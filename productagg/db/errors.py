"""What the database's errors mean: whether the database is unavailable, and whether a connection is lost.

The errors that SQLAlchemy raises are completed by `complete_error`. Errors of the driver that bypassed SQLAlchemy are
wrapped by `wrap_driver_error`. In both, the message has no values of rows.
"""

import sqlite3

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError

# SQLSTATEs, or their beginnings, after which SQLAlchemy gives up the connection and all others in its pool: the
# connection broke (08), the server is shutting down or starting (57P), it ended an idle transaction (25P03, 25P04), it
# is read-only after a fail-over (25006), or it has prepared statements other than ours (26000, 42P05), which means that
# a pooler shares the connection.
_CONNECTION_LOST = ("08", "57P", "25P03", "25P04", "25006", "26000", "42P05")
# SQLSTATEs of a sound connection to a database that cannot be used now: no such login (28) or database (3D000), a
# deadlock or a conflicting transaction (40), missing rights (42501), no disk space or connections left (53), a time-out
# for a lock (55P03) or a statement (57014), a failure of the system (58, F0, XX001, XX002).
_UNAVAILABLE = (*_CONNECTION_LOST, "28", "3D000", "40", "42501", "53", "55P03", "57014", "58", "F0", "XX001", "XX002")
_SQLITE_UNAVAILABLE = {
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
# An extended result code of SQLite has its primary code in the lowest byte.
_SQLITE_PRIMARY_CODE = 0xFF


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means that the database cannot be used now, and not that our code used it wrongly."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if sqlstate := getattr(error.orig, "pgcode", None):
        return bool(sqlstate.startswith(_UNAVAILABLE))
    if code := getattr(error.orig, "sqlite_errorcode", None):
        return code & _SQLITE_PRIMARY_CODE in _SQLITE_UNAVAILABLE
    # An error without a code: the server could not be reached, or the file could not be opened.
    return isinstance(error, OperationalError)


def driver_message(error: DBAPIError) -> str:
    """Return the driver's message in one line."""
    return " ".join(str(error.orig).split())


def wrap_driver_error(connection: Connection, error: psycopg2.Error, statement: str) -> DBAPIError:
    """Return the error that SQLAlchemy would have raised for a driver's error that bypassed it.

    If the connection is lost, the pool's other connections most likely are, too: all of them are given up.
    """
    dialect, driver_connection = connection.dialect, connection.connection.dbapi_connection
    is_lost = dialect.is_disconnect(error, driver_connection, None) or _is_connection_lost(error)  # type: ignore[arg-type]  # it takes no cursor
    _remove_values(error)
    if is_lost:
        connection.invalidate(error)
        connection.engine.dispose()  # connections in use are closed when they are returned
    wrapped = DBAPIError.instance(
        statement, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, connection_invalidated=is_lost
    )
    assert isinstance(wrapped, DBAPIError)
    return wrapped


def complete_error(context: ExceptionContext) -> None:
    """Recognize lost connections that SQLAlchemy does not, and remove values. For the event `handle_error`."""
    original, raised = context.original_exception, context.sqlalchemy_exception
    if _is_connection_lost(original):
        context.is_disconnect = True
    if raised is None:
        _remove_values(original)
        return
    with_values = str(original)
    _remove_values(original)
    raised.args = (str(raised.args[0]).replace(with_values, str(original)), *raised.args[1:])


def _is_connection_lost(error: BaseException) -> bool:
    return (getattr(error, "pgcode", None) or "").startswith(_CONNECTION_LOST)


def _remove_values(error: BaseException) -> None:
    """Keep the first part of a PostgreSQL message: the parts after it (DETAIL, CONTEXT) show the row that failed."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    if primary is not None:
        error.args = (primary,)
