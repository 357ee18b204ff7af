"""Statements that are the same but for their parameters: PostgreSQL plans each once per connection, not each time.

For what is done again and again with few rows. See docs/decisions/0013-prepared-statements.md.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import psycopg2
from sqlalchemy import Connection, Executable
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.orm import Session

from productagg.db import translated

# So many are kept by each connection, and by each process as text.
_MOST = 128
_numbers = count(1)


class _Sent(NamedTuple):
    """A statement as it is sent: once, and each time. `constants` are those parameters that are always the same."""

    name: str
    prepare: str
    execute: str
    constants: Mapping[str, Any]


def rows(connection: Connection | Session, statement: Executable, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """The rows of a statement that the caller has made once and keeps; none if it returns nothing.

    On PostgreSQL its columns are what the driver gives, past SQLAlchemy's types: numbers, texts, booleans and times.
    Let the database write anything else as text.
    """
    if isinstance(connection, Session):
        connection.flush()
        connection = connection.connection()
    if connection.dialect.name != "postgresql":
        result = connection.execute(statement, values)
        return result.all() if result.returns_rows else []
    sent = _sent(statement)
    pooled = connection.connection
    driver = pooled.dbapi_connection
    assert driver is not None
    known: OrderedDict[str, None] = pooled.info.setdefault("prepared", OrderedDict())
    try:
        cursor = driver.cursor()
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
    compiled = statement.compile(dialect=PGDialect(paramstyle="numeric_dollar"))  # type: ignore[attr-defined,no-untyped-call]
    name = f"productagg_{next(_numbers)}"
    parameters = ", ".join(f"%({each})s" for each in compiled.positiontup)
    constants = {key: value for key, value in compiled.params.items() if value is not None}
    execute = f"EXECUTE {name} ({parameters})" if parameters else f"EXECUTE {name}"
    return _Sent(name, f"PREPARE {name} AS {compiled}", execute, constants)
