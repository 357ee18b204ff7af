"""Statements that are the same but for their parameters: PostgreSQL plans each once per connection, not each time.

For what is done again and again with few rows. See docs/decisions/0013-prepared-statements.md.
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
from sqlalchemy.orm import Session

from productagg.db.engines import MAY_PREPARE, name_schema, translated

# So many are kept by each connection, and by each process as text.
_MOST = 128
_PREFIX = "productagg_"
_FIND = f"SELECT name FROM pg_prepared_statements WHERE starts_with(name, '{_PREFIX}')"  # noqa: S608
_DIALECT = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
name_schema(_DIALECT)


class _Sent(NamedTuple):
    """A statement as it is sent: once, and each time. `constants` are those parameters that are always the same.

    `name` is a digest of the text: a statement of that name is this one, whichever process prepared it.
    """

    name: str
    prepare: str
    execute: str
    constants: Mapping[str, Any]


def rows(connection: Connection | Session, statement: Executable, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """The rows of a statement that the caller has made once and keeps; none if it returns nothing.

    On PostgreSQL its columns are what the driver gives, past SQLAlchemy's types: numbers, texts, booleans and times.
    Let the database write anything else as text. With DATABASE_PREPARED=false, as on SQLite, nothing is prepared, and
    SQLAlchemy executes the statement.
    """
    if isinstance(connection, Session):
        connection.flush()
        connection = connection.connection()
    pooled = connection.connection
    if MAY_PREPARE not in pooled.info:
        result = connection.execute(statement, values)
        return result.all() if result.returns_rows else []
    sent = _sent(statement)
    driver = pooled.dbapi_connection
    assert driver is not None
    try:
        cursor = driver.cursor()
        known: OrderedDict[str, None] | None = pooled.info.get("prepared")
        if known is None:
            # A pooler may have handed on a connection on which another process has prepared some.
            cursor.execute(_FIND)
            known = pooled.info["prepared"] = OrderedDict.fromkeys(name for (name,) in cursor.fetchall())
        if sent.name in known:
            known.move_to_end(sent.name)
        else:
            cursor.execute(sent.prepare)
            known[sent.name] = None
            if len(known) > _MOST:
                cursor.execute(f"DEALLOCATE {known.popitem(last=False)[0]}")
        given = {name: str(value) if isinstance(value, UUID) else value for name, value in values.items()}
        cursor.execute(sent.execute, {**sent.constants, **given})
        return cursor.fetchall() if cursor.description else []
    except psycopg2.Error as error:
        raise translated(connection, error, sent.prepare) from error


def row(connection: Connection | Session, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any] | None:
    """The row of a statement that has at most one; None: it has none."""
    found = rows(connection, statement, values)
    return found[0] if found else None


@lru_cache(maxsize=_MOST)
def _sent(statement: Executable) -> _Sent:
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    text = str(compiled)
    digest = hashlib.blake2b(f"{sqlalchemy.__version__} {text}".encode(), digest_size=16).hexdigest()
    name = f"{_PREFIX}{digest}"
    parameters = ", ".join(f"%({each})s" for each in compiled.positiontup)
    constants = {key: value for key, value in compiled.params.items() if value is not None}
    execute = f"EXECUTE {name} ({parameters})" if parameters else f"EXECUTE {name}"
    return _Sent(name, f"PREPARE {name} AS {text}", execute, constants)
