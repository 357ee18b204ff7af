"""Prepared statements: PostgreSQL plans a statement once per connection and not at each execution.

For statements that are executed often, with different parameters, and touch few rows. See
docs/decisions/0013-prepared-statements.md.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import psycopg2
import sqlalchemy
from sqlalchemy import Connection, Executable
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection

from productagg.db.engines import MAY_PREPARE, qualify_tables
from productagg.db.errors import wrap_driver_error

# The most statements that a connection keeps prepared, and that a process keeps compiled.
MAX_STATEMENTS = 128
# A key in a connection's `info`: the names of its prepared statements, the least recently used first.
_PREPARED_NAMES = "prepared statements"
_PREFIX = "productagg_"
_LIST_PREPARED = f"SELECT name FROM pg_prepared_statements WHERE starts_with(name, '{_PREFIX}')"  # noqa: S608
_DIALECT = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
qualify_tables(_DIALECT)


class PreparedStatement(NamedTuple):
    """The texts that prepare and execute a statement. `constants` are the parameters whose values it fixes itself.

    `name` is a digest of the text: any process that prepares a statement of this name prepares this statement.
    """

    name: str
    prepare: str
    execute: str
    constants: Mapping[str, Any]


def rows(connection: Connection | Session, statement: Executable, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """Execute a statement and return its rows, or an empty list if it returns none.

    The caller makes the statement once and keeps it. On PostgreSQL the columns have the driver's types, not
    SQLAlchemy's: numbers, texts, booleans and times. The statement must cast every other type to text. With
    DATABASE_PREPARED=false, and on SQLite, SQLAlchemy executes the statement and nothing is prepared.
    """
    if isinstance(connection, Session):
        connection.flush()
        connection = connection.connection()
    pooled = connection.connection
    if MAY_PREPARE not in pooled.info:
        result = connection.execute(statement, values)
        return result.all() if result.returns_rows else []
    prepared = prepared_statement(statement)
    try:
        return _execute(pooled, prepared, values)
    except psycopg2.Error as error:
        raise wrap_driver_error(connection, error, prepared.prepare) from error


def row(connection: Connection | Session, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any] | None:
    """Execute a statement that returns at most one row, and return it, or None if there is none."""
    result = rows(connection, statement, values)
    return result[0] if result else None


@lru_cache(maxsize=MAX_STATEMENTS)
def prepared_statement(statement: Executable) -> PreparedStatement:
    """Compile a statement."""
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    text = str(compiled)
    digest = hashlib.blake2b(f"{sqlalchemy.__version__} {text}".encode(), digest_size=16).hexdigest()
    name = f"{_PREFIX}{digest}"
    parameters = ", ".join(f"%({parameter})s" for parameter in compiled.positiontup)
    constants = {parameter: value for parameter, value in compiled.params.items() if value is not None}
    execute = f"EXECUTE {name} ({parameters})" if parameters else f"EXECUTE {name}"
    return PreparedStatement(name, f"PREPARE {name} AS {text}", execute, constants)


def _execute(
    pooled: PoolProxiedConnection, prepared: PreparedStatement, values: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    assert pooled.dbapi_connection is not None
    cursor = pooled.dbapi_connection.cursor()
    _ensure_prepared(cursor, pooled.info, prepared)
    parameters = {name: str(value) if isinstance(value, UUID) else value for name, value in values.items()}
    cursor.execute(prepared.execute, {**prepared.constants, **parameters})
    return cursor.fetchall() if cursor.description else []


def _ensure_prepared(cursor: DBAPICursor, info: dict[Any, Any], prepared: PreparedStatement) -> None:
    """Prepare the statement unless the connection has it, and drop the least recently used one if it has too many."""
    names: OrderedDict[str, None] | None = info.get(_PREPARED_NAMES)
    if names is None:
        # A pooler may have handed over a connection on which another process prepared statements.
        cursor.execute(_LIST_PREPARED)
        names = info[_PREPARED_NAMES] = OrderedDict.fromkeys(name for (name,) in cursor.fetchall())
    if prepared.name in names:
        names.move_to_end(prepared.name)
        return
    cursor.execute(prepared.prepare)
    names[prepared.name] = None
    if len(names) > MAX_STATEMENTS:
        oldest, _ = names.popitem(last=False)
        cursor.execute(f"DEALLOCATE {oldest}")
