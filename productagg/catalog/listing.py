"""A page of the catalogue: searched, filtered and sorted, with the summary that people browse by; and the total.

Called by the API. It only reads, and takes a connection and plain values. See docs/decisions/0010-browsing.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from productagg.catalog.listing_filters import count_statement, filter_parameters
from productagg.catalog.listing_sql import (
    COUNT_EDITS,
    ID,
    KEY,
    MAX_EDITS,
    NEWEST,
    NEWEST_CHANGE,
    TOTAL,
    CursorShape,
    PageShape,
    page_statement,
)
from productagg.catalog.product_members import members_json
from productagg.catalog.product_query import Cursor, ProductQuery, sort_of
from productagg.db import prepared_statements

# Counting stops here unless the caller asks for the exact number.
COUNT_LIMIT = 1_000
# Pages keep the order of the first page for this many changes: every page looks through the changes since then.
MAX_CHANGES = 500_000
# A statement has one of these limits: with one for every limit that clients choose, few would be compiled and planned
# already.
_STATEMENT_LIMITS = (11, 51, 101, 201)


class OutdatedCursor(Exception):
    """Too much has changed since the first page to keep its order."""


@dataclass(frozen=True)
class ProductPage:
    """Products in order, as JSON objects; the cursors of the pages before and after, None if there is no such page.

    `total` is the number of all matches; None if they were not counted or are more than COUNT_LIMIT.
    """

    products: Sequence[str]
    previous: Cursor | None
    following: Cursor | None
    total: int | None = None


def page(
    connection: Connection, query: ProductQuery, limit: int, cursor: Cursor | None = None, *, counted: bool = False
) -> ProductPage:
    """Up to `limit` products from the cursor on, or from the beginning. Raises OutdatedCursor.

    One statement; a page with a cursor needs another one before it if edits can change the sort key. With `counted`,
    the page has its total.
    """
    if cursor is not None:
        _check_edits(connection, query, cursor)
    rows = _rows(connection, query, limit, cursor, counted=counted)
    if cursor is not None:
        _check_changes(connection, query, cursor, rows)
    page_total = _page_total(connection, query, rows) if counted else None
    return _cut(rows, query, limit, cursor, page_total)


def total(connection: Connection, query: ProductQuery, *, exact: bool = False) -> int | None:
    """How many products match in all; None if they are more than COUNT_LIMIT, unless the number has to be exact."""
    parameters = filter_parameters(query)
    statement = count_statement(frozenset(parameters), None if exact else COUNT_LIMIT)
    counted: int = connection.execute(statement, parameters).scalar_one()
    return counted if exact or counted <= COUNT_LIMIT else None


def _rows(
    connection: Connection, query: ProductQuery, limit: int, cursor: Cursor | None, *, counted: bool
) -> Sequence[Sequence[Any]]:
    """The rows of the page, and at least one more if the catalogue goes on."""
    parameters = filter_parameters(query)
    shape = PageShape(
        connection.dialect.name,
        query.sort,
        frozenset(parameters),
        query.fields,
        cursor and CursorShape(cursor.key is not None, cursor.backward, cursor.inclusive),
        next((size for size in _STATEMENT_LIMITS if size > limit), limit + 1),
        COUNT_LIMIT if counted else None,
    )
    statement = page_statement(shape)
    if cursor is not None:
        parameters |= _cursor_parameters(query, cursor)
    if _plan_depends_on_values(shape):
        return connection.execute(statement, parameters).all()
    return prepared_statements.rows(connection, statement, parameters)


def _plan_depends_on_values(shape: PageShape) -> bool:
    """Whether PostgreSQL should plan for the values: filters, and changes since page one, match few rows or many."""
    return bool(shape.filters) or (shape.cursor is not None and bool(sort_of(shape.sort).change_kind))


def _cursor_parameters(query: ProductQuery, cursor: Cursor) -> dict[str, Any]:
    key = datetime.fromisoformat(str(cursor.key)) if sort_of(query.sort).is_time else cursor.key
    return {
        "cursor_key": key,
        "cursor_id": cursor.id,
        "as_of": cursor.as_of,
        "until": cursor.as_of + MAX_CHANGES,
    }


def _check_edits(connection: Connection, query: ProductQuery, cursor: Cursor) -> None:
    """Raises OutdatedCursor if the sort key changes with edits, and there were too many since the first page."""
    if sort_of(query.sort).change_kind != "changed":
        return
    if connection.execute(COUNT_EDITS, {"as_of": cursor.as_of}).scalar_one() > MAX_EDITS:
        raise OutdatedCursor


def _check_changes(connection: Connection, query: ProductQuery, cursor: Cursor, rows: Sequence[Sequence[Any]]) -> None:
    """Raises OutdatedCursor if the sort key changes with offers, and too much has changed since the first page."""
    if sort_of(query.sort).change_kind != "offers":
        return
    newest = rows[0][NEWEST_CHANGE] if rows else connection.execute(NEWEST).scalar_one()
    if newest > cursor.as_of + MAX_CHANGES:
        raise OutdatedCursor


def _page_total(connection: Connection, query: ProductQuery, rows: Sequence[Sequence[Any]]) -> int | None:
    if not rows:
        return total(connection, query)
    counted: int = rows[0][TOTAL]
    return counted if counted <= COUNT_LIMIT else None


def _cut(
    rows: Sequence[Sequence[Any]], query: ProductQuery, limit: int, cursor: Cursor | None, page_total: int | None
) -> ProductPage:
    """The page from its rows: put into the order of the sort, without the row that only says that there are more."""
    backward = cursor is not None and cursor.backward
    has_more, rows = len(rows) > limit, rows[:limit]
    if backward:
        rows = rows[::-1]
    has_previous = cursor is not None and (has_more or not backward)
    return ProductPage(
        [f"{{{members_json(row, query.fields)}}}" for row in rows],
        _cursor_from(rows[:1], cursor, backward=True) if has_previous else None,
        _cursor_from(rows[-1:], cursor, backward=False) if has_more or backward else None,
        page_total,
    )


def _cursor_from(rows: Sequence[Sequence[Any]], cursor: Cursor | None, *, backward: bool) -> Cursor:
    """The cursor after a row. Without a row, all products ahead are gone: the cursor leads back to its own product."""
    if rows:
        (row,) = rows
        as_of = row[NEWEST_CHANGE] if cursor is None else cursor.as_of
        return Cursor(row[KEY], UUID(row[ID]), as_of, backward, inclusive=False)
    assert cursor is not None
    return cursor._replace(backward=backward, inclusive=True)
