"""The statement that reads a page of the listing: it finds the page's products by indexes, then reads their members.

For listing.py; it runs nothing. See docs/decisions/0010-listing.md.
"""

import operator
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Integer,
    OrderByList,
    Select,
    Subquery,
    UnaryExpression,
    Uuid,
    and_,
    asc,
    bindparam,
    desc,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from productagg.catalog import relevance
from productagg.catalog.listing_filters import (
    PRICE_FILTERS,
    count_statement,
    literal_int,
    matching,
    word_filters,
)
from productagg.catalog.product_members import PRODUCT_ID, joins, member_columns, member_models
from productagg.catalog.product_query import RELEVANCE, Sort, sort_of
from productagg.db.json_rows import as_text
from productagg.db.models import Base, Product, ProductChange, ProductSource, ProductSummary, UtcDateTime

_Column = ColumnElement[Any] | InstrumentedAttribute[Any]

# Up to this many matches are ranked one by one; more are searched for level by level.
MAX_RANKED = 1_000
# Edits since the first page are counted up to this number: see listing.OutdatedCursor.
MAX_EDITS = 50_000

# The indexes of the page's own columns in a row, after the members.
KEY, ID, NEWEST_CHANGE, TOTAL = -4, -3, -2, -1


class CursorShape(NamedTuple):
    """The properties of a cursor that change the statement's text. `has_key`: its product has a sort key."""

    has_key: bool
    backward: bool
    inclusive: bool

    @property
    def leaves_group(self) -> bool:
        """Whether the page may cross from products with a key to products without one, or back."""
        return self.has_key != self.backward


class PageShape(NamedTuple):
    """Everything that changes the text of a page's statement; other values are parameters.

    `limit` is in the text because PostgreSQL plans for few rows only if it sees the number. With a `count_limit`, the
    statement also counts the matches, up to one more than that.
    """

    dialect: str
    sort: str
    filters: frozenset[str]
    fields: tuple[str, ...]
    cursor: CursorShape | None
    limit: int
    count_limit: int | None

    @property
    def backward(self) -> bool:
        return self.cursor is not None and self.cursor.backward

    @property
    def inclusive(self) -> bool:
        return self.cursor is not None and self.cursor.inclusive

    @property
    def descending(self) -> bool:
        """Whether the rows are read in descending order of their keys."""
        return self.sort.startswith("-") != self.backward

    def in_order(self, key: _Column) -> OrderByList | UnaryExpression[Any]:
        """The key as an ORDER BY has it."""
        return desc(key) if self.descending else asc(key)

    def is_beyond(self, values: _Column, cursor: ColumnElement[Any]) -> ColumnElement[bool]:
        """Whether the values of a row come after those of the cursor, or equal them if it is inclusive."""
        condition: ColumnElement[bool] = _COMPARISONS[self.descending, self.inclusive](values, cursor)
        return condition


NEWEST = select(func.coalesce(func.max(ProductChange.sequence), 0))
_EDITED = (
    select(literal_column("1"))
    .select_from(ProductChange)
    # The kind is not a parameter: the planner has to see that the index of this kind will do.
    .where(
        ProductChange.sequence > bindparam("as_of", type_=BigInteger), ProductChange.kind == literal_column("'changed'")
    )
    .limit(literal_int(MAX_EDITS + 1))
    .subquery()
)
COUNT_EDITS = select(func.count()).select_from(_EDITED)
_COMPARISONS = {
    # (descending, inclusive)
    (False, False): operator.gt,
    (False, True): operator.ge,
    (True, False): operator.lt,
    (True, True): operator.le,
}


@lru_cache(maxsize=256)
def page_statement(shape: PageShape) -> Select[Any]:
    """The members of the products of a page, in order, and KEY, ID, NEWEST_CHANGE and TOTAL in each row."""
    union = _union([selected.subquery() for selected in _ranges(shape)]).subquery("parts")
    picked = select(union).order_by(*_page_order(shape, union)).limit(literal_int(shape.limit)).subquery("picked")
    return _with_members(shape, picked).order_by(*_page_order(shape, picked))


def _union(ranges: Sequence[Subquery]) -> Select[Any] | CompoundSelect[Any]:
    return union_all(*map(select, ranges)) if len(ranges) > 1 else select(ranges[0])


def _page_order(shape: PageShape, rows: Subquery) -> list[OrderByList | UnaryExpression[Any]]:
    keyless = rows.c.keyless.desc() if shape.backward else rows.c.keyless.asc()
    return [keyless, shape.in_order(rows.c.key), shape.in_order(rows.c.id)]


def _page_columns(shape: PageShape, picked: Subquery) -> list[ColumnElement[Any]]:
    """The values that the page is made of: KEY, ID, NEWEST_CHANGE and TOTAL.

    They are in the same statement as the members, so that they belong to the same moment.
    """
    key = as_text(shape.dialect, picked.c.key) if isinstance(picked.c.key.type, UtcDateTime) else picked.c.key
    columns = [key, as_text(shape.dialect, picked.c.id), NEWEST.scalar_subquery()]
    if shape.count_limit is None:
        return [*columns, null()]
    return [*columns, count_statement(shape.filters, shape.count_limit).scalar_subquery()]


def _members(shape: PageShape) -> tuple[Select[Any], type[Base]]:
    """A select of the members, and the first of the models that it joins."""
    models = member_models(shape.fields)
    # Every product has rows in these, but perhaps none at the Offers service.
    always: set[type[Base]] = models - {ProductSource} or {ProductSummary}
    first, *others = sorted(always, key=attrgetter("__tablename__"))
    members = select(*member_columns(shape.dialect, shape.fields)).select_from(first)
    for model in others:
        members = members.join(model, joins(first, model))
    if ProductSource in models:
        members = members.outerjoin(ProductSource, joins(first, ProductSource))
    return members, first


def _with_members(shape: PageShape, picked: Subquery) -> Select[Any]:
    """The members of the products that were picked, and the columns of the page."""
    page = _page_columns(shape, picked)
    members, first = _members(shape)
    if shape.dialect == "sqlite":
        return members.add_columns(*page).join(picked, PRODUCT_ID[first] == picked.c.id)
    # Without LATERAL, PostgreSQL reads all products for one page if the catalogue has a few thousand.
    row = members.where(PRODUCT_ID[first] == picked.c.id).limit(literal_int(1)).lateral("members")
    return select(row, *page).select_from(picked).join(row, true())


def _ranges(shape: PageShape) -> Iterator[Select[Any]]:
    """Selects whose union has the page: every select reads one range of an index, and at most as many rows as the page.

    Products without a key have ranges of their own.
    """
    if shape.sort == RELEVANCE:
        return _relevance_ranges(shape)
    sort = sort_of(shape.sort)
    sources = _key_sources(shape, sort)
    return (_key_range(shape, *source, keyless=keyless) for keyless in _key_groups(shape, sort) for source in sources)


def _key_sources(shape: PageShape, sort: Sort) -> list[tuple[Select[Any], _Column, _Column]]:
    """Selects of products, with the columns of their keys and ids.

    Products that have moved since the first page have a select of their own: they are sorted by their keys of that
    time, all others by their current keys.
    """
    own_id, products = PRODUCT_ID[sort.model], matching(shape.filters, sort.model)
    if shape.cursor is None or not sort.old_value:
        return [(products, sort.key, own_id)]
    moved = _moved_products(sort)
    return [
        (products.where(own_id.not_in(select(moved.c.product_id))), sort.key, own_id),
        (products.join(moved, moved.c.product_id == own_id), moved.c.key, moved.c.product_id),
    ]


def _key_groups(shape: PageShape, sort: Sort) -> Sequence[bool]:
    """Which groups the page can have products of: those with a key (False), which come first, those without (True)."""
    if not sort.nullable:
        return (False,)
    if shape.cursor is not None and not shape.cursor.leaves_group:
        return (not shape.cursor.has_key,)
    return (False,) if shape.filters & PRICE_FILTERS else (False, True)


def _key_range(shape: PageShape, query: Select[Any], key: _Column, id_: _Column, *, keyless: bool) -> Select[Any]:
    """The first products of one group, from the cursor on."""
    sort = sort_of(shape.sort)
    if sort.nullable:
        query = query.where(_is_in_group(key, keyless=keyless))
    if shape.cursor is not None and keyless != shape.cursor.has_key:  # the cursor is in this group
        query = query.where(_is_beyond_cursor(shape, sort, key, id_))
    query = query.add_columns(id_.label("id"), key.label("key"), literal_int(int(keyless)).label("keyless"))
    return query.order_by(shape.in_order(key), shape.in_order(id_)).limit(literal_int(shape.limit))


def _is_in_group(key: _Column, *, keyless: bool) -> ColumnElement[bool]:
    return key.is_(None) if keyless else key.is_not(None)


def _is_beyond_cursor(shape: PageShape, sort: Sort, key: _Column, id_: _Column) -> ColumnElement[bool]:
    """Whether a product in the cursor's group comes after the cursor."""
    cursor_id = bindparam("cursor_id", type_=Uuid)
    if shape.cursor is None or not shape.cursor.has_key:
        return shape.is_beyond(id_, cursor_id)
    return shape.is_beyond(tuple_(key, id_), tuple_(bindparam("cursor_key", type_=sort.key.type), cursor_id))


def _relevance_ranges(shape: PageShape) -> Iterator[Select[Any]]:
    """The ranges of the sort by relevance, whose key is a level.

    If few products match, one range ranks them all; if many match, every level has a range. The statement holds both
    kinds, and one of them finds nothing.
    """
    words = word_filters(shape.filters)
    moved = _moved_products(sort_of(RELEVANCE)) if shape.cursor is not None else None
    unmoved = true() if moved is None else Product.id.not_in(select(moved.c.product_id))
    matches = matching(shape.filters, Product).add_columns(Product.id, Product.search_text).where(unmoved)
    candidates = matches.limit(literal_int(MAX_RANKED + 1)).cte("candidates")
    are_few = select(func.count()).select_from(candidates).scalar_subquery() <= literal_int(MAX_RANKED)
    level = relevance.match_level(shape.dialect, candidates.c.search_text, words)
    yield _level_range(shape, select().select_from(candidates).where(are_few), candidates.c.id, level)
    yield from _levels(shape, words, unmoved, not_(are_few))
    if moved is not None:
        query = matching(shape.filters, Product).join(moved, moved.c.product_id == Product.id)
        yield _level_range(shape, query, Product.id, relevance.match_level(shape.dialect, moved.c.key, words))


def _levels(
    shape: PageShape, words: list[str], unmoved: ColumnElement[bool], are_many: ColumnElement[bool]
) -> Iterator[Select[Any]]:
    """The ranges of the levels, in order.

    A level is searched only while the levels before it do not fill the page: a search is slow if the words are common
    at one level and rare at another.
    """
    filled: ColumnElement[int] = literal_int(0)
    for level in reversed(relevance.LEVELS) if shape.backward else relevance.LEVELS:
        query = matching(shape.filters.difference(words), Product).where(are_many, filled < literal_int(shape.limit))
        query = query.where(relevance.matches(Product.search_text, words, level), unmoved)
        if level:
            query = query.where(not_(relevance.matches(Product.search_text, words, level - 1)))
        level_range = _level_range(shape, query, Product.id, literal_int(level)).cte(f"level_{level}")
        filled = filled + select(func.count()).select_from(level_range).scalar_subquery()
        yield select(level_range)


def _level_range(shape: PageShape, query: Select[Any], id_: _Column, level: ColumnElement[int]) -> Select[Any]:
    """The first products of a level, or of several levels, from the cursor on."""
    key = level.label("key")  # ORDER BY a constant would mean the number of a column
    query = query.add_columns(id_.label("id"), key, literal_int(0).label("keyless"))
    if shape.cursor is not None:
        cursor_key, cursor_id = bindparam("cursor_key", type_=Integer), bindparam("cursor_id", type_=Uuid)
        # Not a comparison of tuples: within a level, the planner has to see that this is a range of ids, or nothing.
        beyond = key < cursor_key if shape.backward else key > cursor_key
        query = query.where(or_(beyond, and_(key == cursor_key, shape.is_beyond(id_, cursor_id))))
    return query.order_by(shape.in_order(key), shape.in_order(id_)).limit(literal_int(shape.limit))


def _moved_products(sort: Sort) -> CTE:
    """The products whose key may have changed since the first page, with the key of that time.

    The first change since then holds it.
    """
    change = ProductChange
    # The kind is not a parameter: the planner has to see that the index of this kind will do.
    since = [
        change.sequence > bindparam("as_of", type_=BigInteger),
        change.kind == literal_column(f"'{sort.change_kind}'"),
    ]
    if sort.change_kind == "offers":  # the number of edits is limited by COUNT_EDITS
        since.append(change.sequence <= bindparam("until", type_=BigInteger))
    # Not a join with the smallest numbers: the planner does not know yet how many of these rows there are.
    number = func.row_number().over(partition_by=change.product_id, order_by=change.sequence).label("number")
    old_key = getattr(change, sort.old_value).label("key")
    changes = select(change.product_id, old_key, number).where(*since).subquery("since")
    return select(changes.c.product_id, changes.c.key).where(changes.c.number == 1).cte("moves")
