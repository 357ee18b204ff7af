"""Inserts many rows of a table at once. For compaction and import."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Executable, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.db.json_rows import Rows
from productagg.db.models import Base

_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


def insert_rows(session: Session, model: type[Base], rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows, with their values by column; others are ignored. Rows whose keys exist already are left out."""
    if rows:
        dialect = session.get_bind().dialect.name
        session.execute(_insert(dialect, model), Rows.parameter(dialect, rows))


@cache
def _insert(dialect: str, model: type[Base]) -> Executable:
    table = model.__table__
    assert isinstance(table, Table)
    data = Rows(**{column.name: column.type for column in table.columns}).table(dialect)
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for a join's ON.
    rows = select(*data.c).where(data.c.product_id.is_not(None))
    insert: Executable = _INSERTS[dialect](table).from_select(table.c.keys(), rows).on_conflict_do_nothing()
    return insert
