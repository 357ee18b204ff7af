"""A page of the catalogue: searched, filtered and sorted, with the summary that people browse by; and the total.

Called by the API. It only reads, and takes a connection and plain values. See docs/decisions/0010-listing.md.
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
# Limits are rounded up to one of these: otherwise every limit that a client chooses would be a new statement to compile
# and plan.
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

    It runs one statement, and another before it if the page has a cursor and edits can change the sort key. With
    `counted`, the page has its total.
    """
    if cursor is None:
        rows = _rows(connection, query, limit, None, counted=counted)
    else:
        _check_edits(connection, query, cursor)
        rows = _rows(connection, query, limit, cursor, counted=counted)
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
    """The rows of the page, and at least one more if more products follow."""
    parameters = filter_parameters(query)
    shape = PageShape(
        connection.dialect.name,
        query.sort,
        frozenset(parameters),
        query.fields,
        _cursor_shape(cursor),
        _statement_limit(limit),
        COUNT_LIMIT if counted else None,
    )
    statement = page_statement(shape)
    parameters |= _cursor_parameters(query, cursor)
    if _plan_depends_on_values(shape):
        return connection.execute(statement, parameters).all()
    return prepared_statements.rows(connection, statement, parameters)


def _plan_depends_on_values(shape: PageShape) -> bool:
    """Whether PostgreSQL should plan for the values: they decide how many rows a filter or the changes match."""
    return bool(shape.filters) or (shape.cursor is not None and bool(sort_of(shape.sort).change_kind))


def _statement_limit(limit: int) -> int:
    """How many rows to read for a page: at least one more than its limit."""
    return next((size for size in _STATEMENT_LIMITS if size > limit), limit + 1)


def _cursor_shape(cursor: Cursor | None) -> CursorShape | None:
    return cursor and CursorShape(cursor.key is not None, cursor.backward, cursor.inclusive)


def _cursor_parameters(query: ProductQuery, cursor: Cursor | None) -> dict[str, Any]:
    if cursor is None:
        return {}
    key = datetime.fromisoformat(str(cursor.key)) if sort_of(query.sort).is_time else cursor.key
    return {
        "cursor_key": key,
        "cursor_id": cursor.id,
        "as_of": cursor.as_of,
        "until": cursor.as_of + MAX_CHANGES,
    }


def _check_edits(connection: Connection, query: ProductQuery, cursor: Cursor) -> None:
    """Raises OutdatedCursor if edits change the sort key, and there were too many edits since the first page."""
    if sort_of(query.sort).change_kind != "changed":
        return
    if connection.execute(COUNT_EDITS, {"as_of": cursor.as_of}).scalar_one() > MAX_EDITS:
        raise OutdatedCursor


def _check_changes(connection: Connection, query: ProductQuery, cursor: Cursor, rows: Sequence[Sequence[Any]]) -> None:
    """Raises OutdatedCursor if offers change the sort key, and there were too many changes since the first page."""
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
    has_more, rows = len(rows) > limit, rows[:limit]
    if cursor is not None and cursor.backward:
        rows = rows[::-1]
    previous, following = _cursors(rows, cursor, has_more=has_more)
    return ProductPage([f"{{{members_json(row, query.fields)}}}" for row in rows], previous, following, page_total)


def _cursors(
    rows: Sequence[Sequence[Any]], cursor: Cursor | None, *, has_more: bool
) -> tuple[Cursor | None, Cursor | None]:
    """The cursors of the pages before and after."""
    if cursor is None:
        return None, _cursor_at(rows[-1], rows[-1][NEWEST_CHANGE], backward=False) if has_more else None
    if not rows:
        return _cursors_of_empty_page(cursor)
    previous = _cursor_at(rows[0], cursor.as_of, backward=True)
    following = _cursor_at(rows[-1], cursor.as_of, backward=False)
    if has_more:
        return previous, following
    return (None, following) if cursor.backward else (previous, None)


def _cursors_of_empty_page(cursor: Cursor) -> tuple[Cursor | None, Cursor | None]:
    """All products ahead of the cursor are gone: only a cursor back to its own product remains."""
    back = cursor._replace(backward=not cursor.backward, inclusive=True)
    return (None, back) if cursor.backward else (back, None)


def _cursor_at(row: Sequence[Any], as_of: int, *, backward: bool) -> Cursor:
    return Cursor(row[KEY], UUID(row[ID]), as_of, backward, inclusive=False)
