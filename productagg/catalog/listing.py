"""Paging through the catalogue: searched, filtered and sorted, with the summary that people browse by.

Called by the API; what a listed product says, the catalogue also says of a single one. It only reads, and takes a
connection and plain values. See docs/decisions/0010-browsing.md.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain, groupby
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    Text,
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
from productagg.db import prepared_statements
from productagg.db.json_rows import as_text, object_members
from productagg.db.models import Product, ProductChange, ProductSummary, ProductSync, UtcDateTime

# Counting stops here unless the exact number is asked for.
COUNTED = 1_000
# By relevance, so many products are put in order one by one.
FEW = 1_000
# Pages keep to the order of the first one for so many changes: what has moved since must be gone through for each.
MOST_CHANGES = 500_000
# And so many names and descriptions, by name and by when they changed.
MOST_EDITS = 50_000


# The sort by how well products meet the words.
RELEVANCE = "relevance"


class Outdated(Exception):
    """Too much has changed since the first page."""


_Model = type[Product | ProductSync | ProductSummary]

_MEMBERS: dict[str, InstrumentedAttribute[Any]] = {
    "id": Product.id,
    "name": Product.name,
    "description": Product.description,
    "created_at": Product.created_at,
    "updated_at": Product.updated_at,
    "registration": ProductSync.registration,
    "last_synced_at": ProductSync.last_synced_at,
    "last_changed_at": ProductSync.last_changed_at,
    "lowest_price": ProductSummary.lowest,
    "offer_count": ProductSummary.offers,
    "items_in_stock": ProductSummary.items_in_stock,
    # Made from this price and the one now.
    "change_24h": ProductSummary.lowest_24h,
    "change_24h_percent": ProductSummary.lowest_24h,
}
_Derive = Callable[[int, int], int | float | None]
_DERIVED: dict[str, _Derive] = {
    "change_24h": lambda before, now: now - before,
    "change_24h_percent": lambda before, now: round(100 * (now - before) / before, 2) if before else None,
}
MEMBERS = tuple(_MEMBERS)


class _Sort(NamedTuple):
    """`key` is a column of `model`, which has an index over it and the product's id; it may be NULL if `optional`.

    Changes of the `kind` have what it was before in their column `before`; empty: it never changes.
    """

    model: _Model
    key: InstrumentedAttribute[Any]
    before: str = ""
    kind: str = ""
    optional: bool = False


_SORTS = {
    "name": _Sort(Product, Product.sort_name, "sort_name", "changed"),
    "created_at": _Sort(Product, Product.created_at),
    "updated_at": _Sort(Product, Product.updated_at, "updated_at", "changed"),
    "lowest_price": _Sort(ProductSummary, ProductSummary.lowest, "lowest", "offers", optional=True),
    "items_in_stock": _Sort(ProductSummary, ProductSummary.items_in_stock, "items_in_stock", "offers"),
}
_BY_TIME = frozenset(name for name, sort in _SORTS.items() if isinstance(sort.key.type, UtcDateTime))
# Its key is a level (see relevance.py), which is made of this column and the words that are looked for.
_SORTS[RELEVANCE] = _Sort(Product, Product.search_text, "search_text", "changed")
# All but the relevance also the other way round.
SORTS = (RELEVANCE, *chain.from_iterable((name, f"-{name}") for name in _SORTS if name != RELEVANCE))


@dataclass(frozen=True)
class Wanted:
    """Which products, in which order, and which of MEMBERS. None: whichever.

    `words` are those of words.search_words, and each must occur in a product's name or description; without any, all
    products are equally relevant. Prices are the lowest in-stock price. `sort` is one of SORTS; products without a
    price come last by price, in both directions.
    """

    sort: str = "created_at"
    words: Sequence[str] = ()
    min_price: int | None = None
    max_price: int | None = None
    in_stock: bool | None = None
    registration: str | None = None
    updated_since: datetime | None = None
    ids: Sequence[UUID] | None = None
    fields: tuple[str, ...] = MEMBERS


class Place(NamedTuple):
    """Where a page begins: beyond a product, or with it if `including`; going `back` or on. Fit for JSON.

    `key` is what the product was sorted by when the first page was read. That was after the change number `as_of`: all
    pages are in the order of that moment, so that nothing is skipped or repeated that changes its place meanwhile.
    """

    key: str | int | None
    id: UUID
    as_of: int
    back: bool
    including: bool


@dataclass(frozen=True)
class Page:
    """`products` in the order wanted, as JSON objects, the places of the pages before and after, and how many in all.

    None: there is no such page; they are not counted.
    """

    products: Sequence[str]
    previous: Place | None
    following: Place | None
    total: int | None = None


class _Reach(NamedTuple):
    """A place without its values. `keyed`: what is there has something to be sorted by."""

    keyed: bool
    back: bool
    including: bool


class _Shape(NamedTuple):
    """What makes one statement another one, rather than only its parameters.

    `limit` is part of it, or PostgreSQL would not plan for so few rows; it is one of _SIZES, if any is enough.
    """

    dialect: str
    sort: str
    filters: frozenset[str]
    fields: tuple[str, ...]
    reach: _Reach | None
    limit: int
    counted: bool


def page(
    connection: Connection, wanted: Wanted, limit: int, place: Place | None = None, *, counted: bool = False
) -> Page:
    """Up to `limit` products from a place on, or from the beginning. Raises Outdated.

    One statement; for later pages by what changes with edits, one more before it that counts those. If `counted`, how
    many are wanted in all is told, too, unless they are more than COUNTED.
    """
    filters = _filters(wanted)
    reach = place and _reach(place)
    dialect = connection.dialect.name
    # One more than wanted tells whether there are more.
    size = next((each for each in _SIZES if each > limit), limit + 1)
    shape = _Shape(dialect, wanted.sort, frozenset(filters), wanted.fields, reach, size, counted)
    parameters = {**filters, **(_position(wanted, place) if place else {})}
    moved_by = _SORTS[_name(wanted.sort)].kind if place is not None else ""
    if place is not None and moved_by == "changed":
        edits = connection.execute(_EDITS, {"as_of": place.as_of}).scalar_one()
        if edits > MOST_EDITS:
            raise Outdated
    if filters or moved_by:  # the best plan depends on the values
        rows: Sequence[Sequence[Any]] = connection.execute(_statement(shape), parameters).all()
    else:
        rows = prepared_statements.rows(connection, _statement(shape), parameters)
    if moved_by == "offers":
        newest = rows[0][_NUMBER] if rows else connection.execute(_NEWEST).scalar_one()
        if newest > parameters["until"]:
            raise Outdated
    in_all = None
    if counted:
        in_all = rows[0][_IN_ALL] if rows else total(connection, wanted)
    more, rows = len(rows) > limit, rows[:limit]
    back = place is not None and place.back
    if back:
        rows = rows[::-1]
    return Page(
        ["{" + shown(row, wanted.fields) + "}" for row in rows],
        _beyond(rows[:1], place, back=True) if place is not None and (more or not back) else None,
        _beyond(rows[-1:], place, back=False) if more or back else None,
        in_all if in_all is None or in_all <= COUNTED else None,
    )


def total(connection: Connection, wanted: Wanted, *, exact: bool = False) -> int | None:
    """How many products are wanted in all; None if there are more than COUNTED, unless it has to be exact."""
    filters = _filters(wanted)
    counted: int = connection.execute(_count(frozenset(filters), exact), filters).scalar_one()
    return counted if exact or counted <= COUNTED else None


def columns(dialect: str, fields: tuple[str, ...]) -> list[ColumnElement[Any]]:
    """What to select of products, their `product_sync` and `product_summaries`, for `shown`."""
    runs = _runs(fields)
    stored = [object_members(dialect, {name: _MEMBERS[name] for name in run}) for derive, run in runs if derive is None]
    known: list[ColumnElement[Any]] = []
    if len(stored) < len(runs):
        known = [ProductSummary.lowest_24h.label("before"), ProductSummary.lowest.label("now")]
    return [*known, *stored]


def shown(row: Sequence[Any], fields: tuple[str, ...]) -> str:
    """What a product says, from a row that begins with those `columns`: the inside of a JSON object."""
    runs = _runs(fields)
    if len(runs) == 1 and runs[0][0] is None:
        only: str = row[0]
        return only
    before, now, *stored = row
    parts = []
    for derive, run in runs:
        if derive is None:
            parts.append(stored.pop(0))
        elif before is None or now is None:
            parts.append(f'"{run[0]}":null')
        else:
            parts.append(f'"{run[0]}":{orjson.dumps(derive(before, now)).decode()}')
    return ",".join(parts)


@lru_cache(maxsize=256)
def _runs(fields: tuple[str, ...]) -> list[tuple[_Derive | None, tuple[str, ...]]]:
    """The fields: those that are stored together, as far as none is between them that is derived, and each of these."""
    return [(derive, tuple(run)) for derive, run in groupby(fields, _DERIVED.get)]


# How many rows a page's statement reads. For each number that is asked for, there would be another one to be compiled
# and planned.
_SIZES = (11, 51, 101, 201)

# Where a row has what its page is made of, after what its product says.
_KEY, _ID, _NUMBER, _IN_ALL = -4, -3, -2, -1


def _beyond(rows: Sequence[Sequence[Any]], place: Place | None, *, back: bool) -> Place:
    """The place beyond a row. Without a row, all that was there is gone, and the way leads where one came from."""
    if rows:
        key, id_, newest = rows[0][_KEY], rows[0][_ID], rows[0][_NUMBER]
        as_of = newest if place is None else place.as_of
        return Place(key, UUID(id_), as_of, back, False)
    assert place is not None
    return place._replace(back=back, including=True)


def _reach(place: Place) -> _Reach:
    return _Reach(place.key is not None, place.back, place.including)


def _position(wanted: Wanted, place: Place) -> dict[str, Any]:
    key = datetime.fromisoformat(str(place.key)) if _name(wanted.sort) in _BY_TIME else place.key
    return {"place_key": key, "place_id": place.id, "as_of": place.as_of, "until": place.as_of + MOST_CHANGES}


def _name(sort: str) -> str:
    return sort.removeprefix("-")


def _filters(wanted: Wanted) -> dict[str, Any]:
    """The parameters of the conditions that are wanted. Their names say which."""
    names = ("min_price", "max_price", "in_stock", "registration", "updated_since", "ids")
    found = {name: value for name in names if (value := getattr(wanted, name)) is not None}
    if found.pop("in_stock", None) is not None:
        found["in_stock" if wanted.in_stock else "sold_out"] = True
    return found | {f"{_WORD}{number}": relevance.escaped(word) for number, word in enumerate(wanted.words)}


# The beginning of the names of those parameters that are words.
_WORD = "word_"


_IDS: dict[Any, InstrumentedAttribute[UUID]] = {
    Product: Product.id,
    ProductSync: ProductSync.product_id,
    ProductSummary: ProductSummary.product_id,
}


def _number(value: int) -> ColumnElement[int]:
    """A number as part of a statement's text: the planner is to see how few rows are wanted."""
    return literal_column(str(value), Integer)


_EDITED = (
    select(literal_column("1"))
    .select_from(ProductChange)
    # Not a parameter: the planner is to see that it may take the index of that kind.
    .where(
        ProductChange.sequence > bindparam("as_of", type_=BigInteger), ProductChange.kind == literal_column("'changed'")
    )
    .limit(_number(MOST_EDITS + 1))
    .subquery()
)
_EDITS = select(func.count()).select_from(_EDITED)
_NEWEST = select(func.coalesce(func.max(ProductChange.sequence), 0))
_CONDITIONS: dict[str, tuple[_Model, ColumnElement[bool]]] = {
    "min_price": (ProductSummary, ProductSummary.lowest >= bindparam("min_price", type_=BigInteger)),
    "max_price": (ProductSummary, ProductSummary.lowest <= bindparam("max_price", type_=BigInteger)),
    "in_stock": (ProductSummary, ProductSummary.lowest.is_not(None)),
    "sold_out": (ProductSummary, ProductSummary.lowest.is_(None)),
    "registration": (ProductSync, ProductSync.registration == bindparam("registration", type_=Text)),
    "updated_since": (Product, Product.updated_at >= bindparam("updated_since", type_=UtcDateTime)),
}
# Those that no product without a price meets.
_PRICED = {"min_price", "max_price", "in_stock"}
_COMPARISONS = {
    # (descending, including)
    (False, False): operator.gt,
    (False, True): operator.ge,
    (True, False): operator.lt,
    (True, True): operator.le,
}


@lru_cache(maxsize=256)
def _statement(shape: _Shape) -> Select[Any]:
    """The keys of the products of a page, each part from an index, and then what these products say."""
    back = shape.reach is not None and shape.reach.back
    descending = shape.sort.startswith("-") != back
    turned = desc if descending else asc
    parts = [part.subquery() for part in _parts(shape, descending)]
    both = (union_all(*map(select, parts)) if len(parts) > 1 else select(parts[0])).subquery("parts")

    def in_order(some: Subquery) -> list[ColumnElement[Any]]:
        return [some.c.keyless.desc() if back else some.c.keyless.asc(), turned(some.c.key), turned(some.c.id)]

    picked = select(both).order_by(*in_order(both)).limit(_number(shape.limit)).subquery("picked")
    in_all = _count(shape.filters, exact=False).scalar_subquery() if shape.counted else null()
    # In the same statement: neither older nor newer than the page.
    key = as_text(shape.dialect, picked.c.key) if isinstance(picked.c.key.type, UtcDateTime) else picked.c.key
    page = (key, as_text(shape.dialect, picked.c.id), _NEWEST.scalar_subquery(), in_all)
    first, *others = sorted({_MEMBERS[name].class_ for name in shape.fields}, key=lambda model: model.__tablename__)
    said = select(*columns(shape.dialect, shape.fields)).select_from(first)
    for model in others:
        said = said.join(model, _IDS[model] == _IDS[first])
    if shape.dialect == "sqlite":
        query = said.add_columns(*page).join(picked, _IDS[first] == picked.c.id)
    else:
        # One by one: of some thousand products, PostgreSQL would rather read all than look up those of a page.
        each = said.where(_IDS[first] == picked.c.id).limit(_number(1)).lateral("said")
        query = select(each, *page).select_from(picked).join(each, true())
    return query.order_by(*in_order(picked))


def _parts(shape: _Shape, descending: bool) -> Iterator[Select[Any]]:
    """The keys of what is wanted from the place on: of the products that have a key, and of those that have none.

    Of each, those that have not moved since the first page, by what they are sorted by now, and those that have, by
    what they were sorted by then.
    """
    if shape.sort == RELEVANCE:
        yield from _relevant(shape)
        return
    reach, sort, turned = shape.reach, _SORTS[_name(shape.sort)], desc if descending else asc
    compare = _COMPARISONS[descending, reach is not None and reach.including]
    place_key, place_id = bindparam("place_key", type_=sort.key.type), bindparam("place_id", type_=Uuid)
    moves = _moves(sort) if reach is not None and sort.before else None
    for keyless in (False, True) if sort.optional else (False,):
        if keyless and shape.filters & _PRICED:
            continue
        if reach is not None and keyless == reach.keyed == reach.back:  # wholly on the other side
            continue
        for moved in (False,) if moves is None else (False, True):
            key, id_ = (sort.key, _IDS[sort.model]) if moves is None or not moved else (moves.c.key, moves.c.product_id)
            flag = literal_column("1" if keyless else "0", Integer).label("keyless")
            query = _meeting(shape.filters, sort.model, id_.label("id"), key.label("key"), flag)
            if moves is not None:
                own = _IDS[sort.model]
                others = own.not_in(select(moves.c.product_id))
                query = query.join(moves, moves.c.product_id == own) if moved else query.where(others)
            if sort.optional:
                query = query.where(key.is_(None) if keyless else key.is_not(None))
            if reach is not None and keyless != reach.keyed:
                query = query.where(
                    compare(id_, place_id) if keyless else compare(tuple_(key, id_), tuple_(place_key, place_id))
                )
            yield query.order_by(turned(key), turned(id_)).limit(_number(shape.limit))


def _relevant(shape: _Shape) -> Iterator[Select[Any]]:
    """The same by relevance: of few products, the levels of all; of many, a part for each level; and those that moved.

    A level is only searched while those before it do not fill the page: that takes long for words that are common at
    one level and rare at another.
    """
    reach = shape.reach
    back = reach is not None and reach.back
    turned, compare = (desc if back else asc), _COMPARISONS[back, reach is not None and reach.including]
    place_key, place_id = bindparam("place_key", type_=Integer), bindparam("place_id", type_=Uuid)
    words = sorted(name for name in shape.filters if name.startswith(_WORD))
    moves = _moves(_SORTS[RELEVANCE]) if reach is not None else None
    unmoved = true() if moves is None else Product.id.not_in(select(moves.c.product_id))

    def part(query: Select[Any], id_: Any, key: ColumnElement[int]) -> Select[Any]:
        named = key.label("key")  # or an order by a constant would mean a column's number
        query = query.add_columns(id_.label("id"), named, _number(0).label("keyless"))
        if reach is not None:
            # Not a comparison of tuples: of one level, the planner is to see that this is a range of ids, or nothing.
            beyond = key < place_key if back else key > place_key
            query = query.where(or_(beyond, and_(key == place_key, compare(id_, place_id))))
        return query.order_by(turned(named), turned(id_)).limit(_number(shape.limit))

    found = _meeting(shape.filters, Product).add_columns(Product.id, Product.search_text).where(unmoved)
    some = found.limit(_number(FEW + 1)).cte("candidates")
    are_few = select(func.count()).select_from(some).scalar_subquery() <= _number(FEW)
    yield part(select().select_from(some).where(are_few), some.c.id, relevance.level(some.c.search_text, words))
    filled: ColumnElement[int] = _number(0)
    for level in reversed(relevance.LEVELS) if back else relevance.LEVELS:
        query = _meeting(shape.filters.difference(words), Product).where(not_(are_few), filled < _number(shape.limit))
        query = query.where(relevance.meets(Product.search_text, words, level), unmoved)
        if level:
            query = query.where(not_(relevance.meets(Product.search_text, words, level - 1)))
        of_level = part(query, Product.id, _number(level)).cte(f"level_{level}")
        filled = filled + select(func.count()).select_from(of_level).scalar_subquery()
        yield select(of_level)
    if moves is not None:
        query = _meeting(shape.filters, Product).join(moves, moves.c.product_id == Product.id)
        yield part(query, Product.id, relevance.level(moves.c.key, words))


def _moves(sort: _Sort) -> CTE:
    """The products that may have another place than on the first page, and by what they were sorted then.

    That is what the first change since says was before.
    """
    change = ProductChange
    # Not a parameter: the planner is to see that it may take the index of that kind.
    which = [change.sequence > bindparam("as_of", type_=BigInteger), change.kind == literal_column(f"'{sort.kind}'")]
    if sort.kind == "offers":  # edits are counted
        which.append(change.sequence <= bindparam("until", type_=BigInteger))
    # Not a join with the smallest numbers: nobody has told the planner yet how many such rows there are.
    number = func.row_number().over(partition_by=change.product_id, order_by=change.sequence).label("number")
    each = select(change.product_id, getattr(change, sort.before).label("key"), number).where(*which).subquery("since")
    return select(each.c.product_id, each.c.key).where(each.c.number == 1).cte("moves")


def _meeting(filters: frozenset[str], model: _Model, *selected: ColumnElement[Any]) -> Select[Any]:
    """Select something of the products that meet the conditions. Only the tables that this needs are read."""
    query = select(*selected).select_from(model)
    joined = {model}
    for name in sorted(filters):
        if name == "ids":
            query = query.where(_IDS[model].in_(bindparam("ids", expanding=True, type_=Uuid)))
            continue
        if name in _CONDITIONS:
            other, condition = _CONDITIONS[name]
        else:
            other, condition = Product, relevance.meets(Product.search_text, [name])
        if other not in joined:
            query = query.join(other, _IDS[other] == _IDS[model])
            joined.add(other)
        query = query.where(condition)
    return query


@lru_cache(maxsize=256)
def _count(filters: frozenset[str], exact: bool) -> Select[Any]:
    model = next((_CONDITIONS[name][0] for name in sorted(filters) if name in _CONDITIONS), Product)
    counted = _meeting(filters, model, literal_column("1"))
    return select(func.count()).select_from((counted if exact else counted.limit(_number(COUNTED + 1))).subquery())
