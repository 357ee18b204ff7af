"""Many rows in one statement: they travel to and from the database as one JSON text.

For the rooms that write or read whole batches. The number of statements stays the same however many rows there are, and
neither SQLAlchemy nor the driver handles each value of each row by itself.
"""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    ColumnElement,
    FromClause,
    ScalarSelect,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeEngine

from productagg.db.models import UtcDateTime

_UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))


class Rows:
    """Rows that come to the database as the parameter `rows`, to select from: `insert(…).from_select(…)` and the like.

    PostgreSQL reads JSON by the columns' types, SQLite by paths.
    """

    def __init__(self, **columns: type[TypeEngine[Any]] | TypeEngine[Any]) -> None:
        rows = bindparam("rows", type_=Text)
        typed = [column(name, type_) for name, type_ in columns.items()]
        each = func.json_each(rows).table_valued("value")
        self._tables: dict[str, FromClause] = {
            "postgresql": func.json_to_recordset(cast(rows, JSON))
            .table_valued(*typed)
            .render_derived(name="data", with_types=True),
            "sqlite": select(*(_extract(each.c.value, each_column) for each_column in typed)).subquery("data"),
        }

    def table(self, dialect: str) -> FromClause:
        """What to select from."""
        return self._tables[dialect]

    @staticmethod
    def parameter(dialect: str, rows: Sequence[Mapping[str, object]]) -> dict[str, str]:
        """The rows, as the parameter of a statement with such a table. Times are aware."""
        option = orjson.OPT_PASSTHROUGH_DATETIME if dialect == "sqlite" else 0
        return {"rows": orjson.dumps(rows, _sqlite_time, option).decode()}


def aggregate(dialect: str, *columns: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[str]:
    """The columns of all rows of a group as one JSON text, a list of lists."""
    if dialect == "sqlite":
        return func.json_group_array(func.json_array(*columns))
    # As text, or the driver would read it itself, more slowly.
    return cast(func.json_agg(func.json_build_array(*columns)), Text)


def columns(dialect: str, *wanted: ColumnElement[Any] | InstrumentedAttribute[Any]) -> list[ColumnElement[str]]:
    """Each column of all rows as a JSON list. For many rows that is twice as fast as a list for each row.

    All lists have one order, whichever that is. `rows_of` makes rows of them again.
    """
    if dialect == "sqlite":
        return [func.json_group_array(each) for each in wanted]
    return [cast(func.json_agg(each), Text) for each in wanted]


def objects(dialect: str, says: Sequence[ColumnElement[Any]], order: Iterable[ColumnElement[Any]]) -> ScalarSelect[str]:
    """The columns of all rows, in order, as one JSON text: a list of objects, just as orjson writes it."""
    one = _literal("{") + members(dialect, {str(each.key): each for each in says}) + _literal("}")
    if dialect == "sqlite":
        # It puts together what comes in the order in which it comes.
        in_order = select(one.label("one")).order_by(*order).subquery()
        found = func.group_concat(in_order.c.one, ",", type_=Text)
    else:
        found = func.string_agg(one, postgresql.aggregate_order_by(_literal(","), *order), type_=Text)
    return select(_literal("[") + func.coalesce(found, _literal("")) + _literal("]")).scalar_subquery()


def members(dialect: str, says: Mapping[str, ColumnElement[Any] | InstrumentedAttribute[Any]]) -> ColumnElement[str]:
    """The named columns as the inside of a JSON object, just as orjson writes it.

    They are texts, whole numbers, UUIDs and times.
    """
    parts: list[ColumnElement[str]] = []
    for name, each in says.items():
        parts.append(_literal(f'{"," if parts else ""}"{name}":'))
        parts.append(func.coalesce(_as_json(dialect, each), _literal("null"), type_=Text))
    return reduce(operator.add, parts)


def _as_json(dialect: str, wanted: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[str]:
    if isinstance(wanted.type, Text):
        return func.json_quote(wanted, type_=Text) if dialect == "sqlite" else cast(func.to_json(wanted), Text)
    if isinstance(wanted.type, Uuid | UtcDateTime):
        return _literal('"') + plain(dialect, wanted) + _literal('"')
    return cast(wanted, Text)


def _literal(text: str) -> ColumnElement[str]:
    return literal_column(f"'{text}'", Text)


def plain(dialect: str, wanted: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[str]:
    """A UUID or a time (RFC 3339, UTC) as text, just as orjson writes it."""
    if isinstance(wanted.type, Uuid):
        if dialect == "sqlite":
            parts: list[ColumnElement[str]] = [func.substr(wanted, *each, type_=Text) for each in _UUID_PARTS]
            return reduce(lambda text, part: text + "-" + part, parts)
        return cast(wanted, Text)
    if dialect == "sqlite":
        written = func.replace(wanted, " ", "T", type_=Text) + "Z"
    else:
        utc = func.timezone(_literal("UTC"), wanted)
        written = func.to_char(utc, _literal('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), type_=Text)
    return func.replace(written, _literal(".000000Z"), _literal("Z"), type_=Text)


def rows_of(lists: Sequence[str | None]) -> Iterator[tuple[Any, ...]]:
    """The rows of such lists; without any rows, PostgreSQL has NULL for a list."""
    return zip(*(orjson.loads(each or "[]") for each in lists), strict=True)


def _extract(value: ColumnElement[Any], wanted: ColumnElement[Any]) -> ColumnElement[Any]:
    found = func.json_extract(value, f"$.{wanted.key}")
    # SQLAlchemy keeps UUIDs on SQLite without their hyphens.
    return (func.replace(found, "-", "") if isinstance(wanted.type, Uuid) else found).label(wanted.key)


def _sqlite_time(value: object) -> str:
    assert isinstance(value, datetime)
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")  # as SQLAlchemy keeps it
