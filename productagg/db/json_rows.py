"""Many rows in one statement: they go to and come from the database as one JSON text.

For code that writes or reads whole batches. The number of statements does not depend on the number of rows, and neither
SQLAlchemy nor the driver handles single values.
"""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeEngine

from productagg.db.models import UtcDateTime

# Start and length of the parts of a UUID that SQLite stores as 32 hexadecimal digits.
_UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))

_Column = ColumnElement[Any] | InstrumentedAttribute[Any]


class Rows:
    """Rows to select from, e.g. for `insert(…).from_select(…)`, that the statement's parameter `rows` brings.

    PostgreSQL reads the JSON by the types of the columns, SQLite by paths.
    """

    def __init__(self, **columns: type[TypeEngine[Any]] | TypeEngine[Any]) -> None:
        parameter = bindparam("rows", type_=Text)
        typed_columns = [column(name, type_) for name, type_ in columns.items()]
        row = func.json_each(parameter).table_valued("value").c.value
        self._tables: dict[str, FromClause] = {
            "postgresql": func.json_to_recordset(cast(parameter, JSON))
            .table_valued(*typed_columns)
            .render_derived(name="data", with_types=True),
            "sqlite": select(*(_extract(row, typed) for typed in typed_columns)).subquery("data"),
        }

    def table(self, dialect: str) -> FromClause:
        """Return the table to select from."""
        return self._tables[dialect]

    @staticmethod
    def parameter(dialect: str, rows: Sequence[Mapping[str, object]]) -> dict[str, str]:
        """Return the parameter that brings these rows. Times must be aware."""
        option = orjson.OPT_PASSTHROUGH_DATETIME if dialect == "sqlite" else 0
        return {"rows": orjson.dumps(rows, _sqlite_time, option).decode()}


def aggregate_rows(dialect: str, *columns: _Column) -> ColumnElement[str]:
    """Aggregate the rows of a group into one JSON text, a list of lists."""
    if dialect == "sqlite":
        return func.json_group_array(func.json_array(*map(_parsed, columns)))
    # As text: the driver would parse JSON itself, more slowly.
    return cast(func.json_agg(func.json_build_array(*columns)), Text)


def aggregate_columns(dialect: str, *columns: _Column) -> list[ColumnElement[str]]:
    """Aggregate each column of all rows into a JSON list. For many rows this is twice as fast as `aggregate_rows`.

    The order of the values is undefined but the same in all lists. `zip_columns` turns the lists into rows again.
    """
    if dialect == "sqlite":
        return [func.json_group_array(column) for column in columns]
    return [cast(func.json_agg(column), Text) for column in columns]


def zip_columns(lists: Sequence[str | None]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of lists made by `aggregate_columns`. Without rows, a list is NULL on PostgreSQL."""
    return zip(*(orjson.loads(values or "[]") for values in lists), strict=True)


def aggregate_objects(
    dialect: str, columns: Sequence[ColumnElement[Any]], order: Iterable[ColumnElement[Any]]
) -> ScalarSelect[str]:
    """Select all rows of a subquery, in order, as one JSON text: a list of objects, formatted as orjson formats it.

    The columns are texts, whole numbers, UUIDs, times, booleans and JSON of one subquery.
    """
    values = {str(column.key): _json_value(dialect, column) for column in columns}
    if dialect == "sqlite":
        arguments = chain.from_iterable((_literal(name), value) for name, value in values.items())
        # group_concat takes the rows in the order of the subquery.
        ordered = select(func.json_object(*arguments).label("json_object")).order_by(*order).subquery()
        return _json_list(func.group_concat(ordered.c.json_object, ",", type_=Text)).scalar_subquery()
    # The whole row at once: to concatenate its members would take twice as long.
    rows = columns[0].table
    row = select(*(value.label(name) for name, value in values.items())).correlate(rows).lateral("json_object")
    json_object = cast(func.row_to_json(row.table_valued()), Text)
    objects = func.string_agg(json_object, postgresql.aggregate_order_by(_literal(","), *order), type_=Text)
    return _json_list(objects).select_from(rows.join(row, true())).scalar_subquery()


def object_members(dialect: str, columns: Mapping[str, _Column]) -> ColumnElement[str]:
    """Format named columns as the members of a JSON object, without its braces, as orjson formats them.

    The columns are texts, whole numbers, UUIDs and times.
    """
    parts: list[ColumnElement[str]] = []
    for name, value in columns.items():
        parts.append(_literal(f'{"," if parts else ""}"{name}":'))
        parts.append(func.coalesce(_as_json(dialect, value), _literal("null"), type_=Text))
    return reduce(operator.add, parts)


def as_text(dialect: str, column: _Column) -> ColumnElement[str]:
    """Format a UUID or a time (RFC 3339, UTC) as orjson formats it, without quotes."""
    return _uuid_as_text(dialect, column) if isinstance(column.type, Uuid) else _time_as_text(dialect, column)


def _uuid_as_text(dialect: str, column: _Column) -> ColumnElement[str]:
    if dialect == "sqlite":
        parts: list[ColumnElement[str]] = [
            func.substr(column, start, length, type_=Text) for start, length in _UUID_PARTS
        ]
        return reduce(lambda text, part: text + "-" + part, parts)
    return cast(column, Text)


def _time_as_text(dialect: str, column: _Column) -> ColumnElement[str]:
    if dialect == "sqlite":
        text = func.replace(column, " ", "T", type_=Text) + "Z"
    else:
        # to_char uses the session's time zone for a time that has one.
        utc = func.timezone(_literal("UTC"), column)
        text = func.to_char(utc, _literal('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), type_=Text)
    return func.replace(text, _literal(".000000Z"), _literal("Z"), type_=Text)


def _as_json(dialect: str, column: _Column) -> ColumnElement[str]:
    if isinstance(column.type, Text):
        return func.json_quote(column, type_=Text) if dialect == "sqlite" else cast(func.to_json(column), Text)
    if isinstance(column.type, Uuid | UtcDateTime):
        return _literal('"') + as_text(dialect, column) + _literal('"')
    return cast(column, Text)


def _json_value(dialect: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column as the database's own JSON functions must get it to format it as orjson does."""
    if isinstance(column.type, Uuid | UtcDateTime):
        return as_text(dialect, column)
    if isinstance(column.type, Boolean) and dialect == "sqlite":
        return func.json(case((column, _literal("true")), else_=_literal("false")))
    return _parsed(column) if dialect == "sqlite" else column


def _parsed(column: _Column) -> Any:
    """SQLite: JSON is stored as text, which would become a string within JSON."""
    return func.json(column) if isinstance(column.type, JSON) else column


def _json_list(objects: ColumnElement[str]) -> Select[tuple[str]]:
    return select(_literal("[") + func.coalesce(objects, _literal("")) + _literal("]"))


def _literal(text: str) -> ColumnElement[str]:
    return literal_column(f"'{text}'", Text)


def _extract(row: ColumnElement[Any], column: ColumnElement[Any]) -> ColumnElement[Any]:
    value = func.json_extract(row, f"$.{column.key}")
    # SQLAlchemy stores UUIDs on SQLite without hyphens.
    return (func.replace(value, "-", "") if isinstance(column.type, Uuid) else value).label(column.key)


def _sqlite_time(value: object) -> str:
    """Format a time as SQLAlchemy stores it on SQLite."""
    assert isinstance(value, datetime)
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
