"""Rolling up: from the raw steps of some products in some days to the rows of their roll-ups, and writing those.

For compaction, verification and import. `rollups_of` is pure; `batches` and `read` read what it needs for some
products, in a number of statements that does not depend on how many rows there are. Nothing here decides which days, or
commits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, Executable, Table, Text, Uuid, bindparam, cast, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from productagg.db.json_rows import Rows, aggregate_rows
from productagg.db.models import (
    Base,
    Offer,
    OfferPrice,
    OfferPriceDaily,
    OfferPriceHourly,
    Product,
    ProductPrice,
    ProductPriceDaily,
    ProductPriceHourly,
    UtcDateTime,
)
from productagg.history.reading import as_microseconds
from productagg.history.rollups import (
    OfferStep,
    ProductStep,
    offer_buckets,
    offer_row,
    product_buckets,
    product_row,
    with_gaps,
)
from productagg.history.steps import DAY, HOUR, WEEK, bucket_start, microseconds, moment

_LENGTHS = ((HOUR, ProductPriceHourly, OfferPriceHourly), (DAY, ProductPriceDaily, OfferPriceDaily))
ROLLUPS: tuple[type[Base], ...] = (ProductPriceHourly, ProductPriceDaily, OfferPriceHourly, OfferPriceDaily)

Rollups = dict[type[Base], list[dict[str, Any]]]

# Of a batch: about how many raw rows, how many products at most, and in the first one, when nothing is known of them.
_ROWS = 20_000
_MOST_PRODUCTS = 1000
_FIRST_PRODUCTS = 50


class OfferPast(NamedTuple):
    """An offer's steps, without gaps, and what was in force before them: not `observed` if it was in a gap then."""

    carried: OfferStep | None
    steps: Sequence[OfferStep]


class Past(NamedTuple):
    """A product's steps in some days, with those of its offers, by the text of their ids."""

    product_id: str
    carried: ProductStep | None
    steps: Sequence[ProductStep]
    offers: dict[str, OfferPast]


class Batch(NamedTuple):
    """The pasts of the products of `product_ids` that have any, and how many raw rows they are made of."""

    product_ids: Sequence[UUID]
    pasts: Sequence[Past]
    rows: int


def rollups_of(pasts: Iterable[Past], begin: int) -> Rollups:
    """The rows of the roll-ups. The steps lie in whole UTC days from `begin` on, what is carried before.

    An offer takes the gaps of its product, except one that begins when it has been sold out since an earlier day: sold
    out offers pile up, and a short gap would write rows for all there ever were.
    """
    rollups: Rollups = {model: [] for model in ROLLUPS}
    for past in pasts:
        gaps = _gaps(past, begin)
        offers = past.offers.items()
        observed = [(offer_id, _with_gaps(each, gaps, begin) if gaps else each) for offer_id, each in offers]
        for length, of_products, of_offers in _LENGTHS:
            rows = rollups[of_products]
            for product in product_buckets(past.carried, past.steps, length):
                key = {"product_id": past.product_id, "at": moment(product.lowest.at)}
                rows.append(key | product_row(product))
            rows = rollups[of_offers]
            for offer_id, (carried, steps) in observed:
                for offer in offer_buckets(carried, steps, length):
                    key = {"product_id": past.product_id, "offer_id": offer_id, "at": moment(offer.price.at)}
                    rows.append(key | offer_row(offer))
    return rollups


def _gaps(past: Past, begin: int) -> list[tuple[ProductStep, ProductStep | None]]:
    """Where the product's gaps begin and end; one that began before `begin` has a time before those of all offers."""
    gaps: list[tuple[ProductStep, ProductStep | None]] = []
    gap = None
    if past.carried is not None and not past.carried.observed:
        gap = past.carried._replace(at=begin - 2)
    for step in past.steps:
        if step.observed and gap is not None:
            gaps.append((gap, step))
            gap = None
        elif not step.observed and gap is None:
            gap = step
    return [*gaps, (gap, None)] if gap is not None else gaps


def _with_gaps(offer: OfferPast, gaps: Iterable[tuple[ProductStep, ProductStep | None]], begin: int) -> OfferPast:
    """The offer's steps with those gaps that it takes."""
    carried, steps = offer
    own = list(steps) if carried is None else [carried._replace(at=begin - 1, observed=True), *steps]
    turns: list[ProductStep] = []
    for gap, end in gaps:
        taken = carried is not None and not carried.observed if gap.at < begin else _is_open(own, gap.at)
        if taken:
            turns += [gap] if end is None else [gap, end]
    merged = with_gaps(own, turns)
    return OfferPast(None, merged) if carried is None else OfferPast(merged[0], merged[1:])


def _is_open(own: Sequence[OfferStep], at: int) -> bool:
    """Whether an offer is in stock at a time, or was at any time of that day."""
    last = next((step for step in reversed(own) if step.at <= at), None)
    return last is not None and (last.items_in_stock > 0 or bucket_start(last.at, DAY) == bucket_start(at, DAY))


def weeks(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Whole days, as many at once as are rolled up at once: of one week, since weeks are made of them."""
    while begin < end:
        stop = min(bucket_start(begin, WEEK) + WEEK, end)
        yield begin, stop
        begin = stop


def first_day(connection: Connection, time: InstrumentedAttribute[datetime] = ProductPrice.observed_at) -> int | None:
    """The UTC day of the oldest raw row, or of the oldest of another table of products; None: there is none."""
    # One probe of the key for each product, not all that there is. No offer's history begins before its product's.
    oldest = select(func.min(time)).where(time.class_.product_id == Product.id).correlate(Product).scalar_subquery()
    found = connection.scalar(select(func.min(select(oldest.label("at")).select_from(Product).subquery().c.at)))
    return None if found is None else bucket_start(microseconds(found), DAY)


def batches(connection: Connection, begin: int, end: int) -> Iterator[Batch]:
    """All products' steps in some whole days, in batches of about as many rows, whatever there is of each product."""
    after, limit = None, _FIRST_PRODUCTS
    while product_ids := _next(connection, after, limit):
        yield (batch := read(connection, product_ids, begin, end))
        after = batch.product_ids[-1]
        limit = max(1, min(_MOST_PRODUCTS, limit * _ROWS // max(batch.rows, 1)))


def _next(connection: Connection, after: UUID | None, limit: int) -> Sequence[UUID]:
    ids = select(Product.id).order_by(Product.id).limit(limit)
    return connection.scalars(ids if after is None else ids.where(Product.id > after)).all()


def read(
    connection: Connection, product_ids: Sequence[UUID], begin: int, end: int, *, scattered: bool = False
) -> Batch:
    """What is to be rolled up of these products: of all from the first to the last, unless they are `scattered`."""
    dialect = connection.dialect.name
    statements = _statements(dialect, scattered=scattered)
    window: dict[str, Any] = {"begin": moment(begin), "end": moment(end)}
    if scattered:
        window |= Rows.parameter(dialect, [{"product_id": each} for each in product_ids])
    else:
        window |= {"first": product_ids[0], "last": product_ids[-1]}
    products = {
        product_id: [ProductStep._make((*values, bool(observed))) for *values, observed in _in_order(text)]
        for product_id, text in connection.execute(statements.products, window)
    }
    offers: dict[str, dict[str, list[OfferStep]]] = {product_id: {} for product_id in products}
    for product_id, offer_id, text in connection.execute(statements.offers, window):
        offers.setdefault(product_id, {})[offer_id] = [OfferStep(*row) for row in _in_order(text)]
    if not offers:
        return Batch(product_ids, (), 0)
    carried = _carried_products(connection.execute(statements.carried_products, window))
    carried_offers = _carried_offers(connection, statements, products, offers, carried, moment(begin))
    pasts = [
        Past(
            product_id,
            carried.get(product_id),
            products.get(product_id, ()),
            {
                offer_id: OfferPast(carried_offers.get((product_id, offer_id)), steps)
                for offer_id, steps in of_product.items()
            },
        )
        for product_id, of_product in offers.items()
    ]
    rows = sum(map(len, products.values())) + sum(len(steps) for each in offers.values() for steps in each.values())
    return Batch(product_ids, pasts, rows)


def _in_order(text: str) -> list[list[Any]]:
    rows: list[list[Any]] = orjson.loads(text)
    rows.sort(key=lambda row: row[0])
    return rows


def _carried_products(rows: Iterable[Any]) -> dict[str, ProductStep]:
    carried = {}
    for product_id, at, state, close, average_close, offers, items in rows:
        lowest, average = (close, average_close) if state == "in_stock" else (None, None)
        step = ProductStep(microseconds(at), lowest, average, offers, items, state != "not_observed")
        carried[product_id] = step
    return carried


def _carried_offers(
    connection: Connection,
    statements: "_Statements",
    products: dict[str, list[ProductStep]],
    offers: dict[str, dict[str, list[OfferStep]]],
    carried: dict[str, ProductStep],
    begin: datetime,
) -> dict[tuple[str, str], OfferStep]:
    """What was in force of the offers. Those that have no steps, but may take a gap, are added to `offers`."""
    dialect = connection.dialect.name
    since = []
    for product_id in offers:
        before = carried.get(product_id)
        if before is not None and not before.observed:
            since.append({"product_id": product_id, "since": moment(bucket_start(before.at, DAY))})
        elif not all(step.observed for step in products.get(product_id, ())):
            since.append({"product_id": product_id, "since": begin})
    if since:
        for product_id, offer_id in connection.execute(statements.open_offers, Rows.parameter(dialect, since)):
            offers[product_id].setdefault(offer_id, [])
    keys = [{"product_id": product_id, "offer_id": offer_id} for product_id, of in offers.items() for offer_id in of]
    parameters = {**Rows.parameter(dialect, keys), "begin": begin}
    return {
        (product_id, offer_id): OfferStep(0, price or 0, items, state != "not_observed")
        for product_id, offer_id, state, price, items in connection.execute(statements.carried_offers, parameters)
    }


class _Statements(NamedTuple):
    products: Executable
    offers: Executable
    carried_products: Executable
    open_offers: Executable
    carried_offers: Executable


def is_one_of(dialect: str, product_id: Any) -> ColumnElement[bool]:
    """Whether a product is in the parameter `rows`."""
    chosen: ColumnElement[bool] = product_id.in_(select(Rows(product_id=Uuid).table(dialect).c.product_id))
    return chosen


@cache
def _statements(dialect: str, *, scattered: bool) -> _Statements:
    begin, end = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
    product, offer = ProductPrice.__table__.c, OfferPrice.__table__.c

    def wanted(product_id: Any) -> ColumnElement[bool]:
        if scattered:
            return is_one_of(dialect, product_id)
        between: ColumnElement[bool] = product_id.between(*(bindparam(name, type_=Uuid) for name in ("first", "last")))
        return between

    def steps(table: Any, keys: Sequence[Any], values: Sequence[Any]) -> Executable:
        within = (wanted(table.product_id), table.observed_at >= begin, table.observed_at < end)
        text = aggregate_rows(dialect, as_microseconds(dialect, table.observed_at), *values)
        return select(*map(_text, keys), text).where(*within).group_by(*keys)

    daily, earlier = ProductPriceDaily.__table__, ProductPriceDaily.__table__.alias()
    newest = select(func.max(earlier.c.at)).where(earlier.c.product_id == Product.id, earlier.c.at < begin)
    names = ("at", "state", "close", "average_close", "offers", "items_in_stock")
    carried_products = (
        select(_text(Product.id), *(daily.c[name] for name in names))
        .join(daily, (daily.c.product_id == Product.id) & (daily.c.at == newest.scalar_subquery()))
        .where(wanted(Product.id))
    )

    since = Rows(product_id=Uuid, since=UtcDateTime()).table(dialect)
    open_offers = (
        select(_text(Offer.product_id), _text(Offer.id))
        .join(since, since.c.product_id == Offer.product_id)
        .where(or_(Offer.closed_at.is_(None), Offer.closed_at >= since.c.since))
    )
    return _Statements(
        steps(
            product,
            [product.product_id],
            [product.lowest, product.average, product.offers, product.items_in_stock, product.observed],
        ),
        steps(offer, [offer.product_id, offer.offer_id], [offer.price, offer.items_in_stock]),
        carried_products,
        open_offers,
        _carried_offers_statement(dialect),
    )


def _carried_offers_statement(dialect: str) -> Executable:
    """Of each offer the newest day before."""
    key = Rows(product_id=Uuid, offer_id=Uuid).table(dialect)
    daily, earlier = (OfferPriceDaily.__table__.alias(name) for name in ("daily", "earlier"))

    def of(table: Any) -> Any:
        return (table.c.product_id == key.c.product_id) & (table.c.offer_id == key.c.offer_id)

    newest = select(func.max(earlier.c.at)).where(of(earlier), earlier.c.at < bindparam("begin", type_=UtcDateTime))
    return select(
        _text(daily.c.product_id), _text(daily.c.offer_id), daily.c.state, daily.c.close, daily.c.items_in_stock
    ).select_from(key.join(daily, of(daily) & (daily.c.at == newest.correlate(key).scalar_subquery())))


def _text(id_: Any) -> Any:
    """An id as the database gives it: nobody here needs to know it for a UUID."""
    return cast(id_, Text)


def lock(session: Session, product_ids: Iterable[UUID]) -> Sequence[UUID]:
    """Keep products from being removed; returns those that are there.

    First of all, as everywhere: the other way round is a deadlock.
    """
    locked = select(Product.id).where(Product.id.in_(product_ids)).order_by(Product.id)
    return session.scalars(locked.with_for_update(read=True, key_share=True)).all()


def write(session: Session, rollups: Rollups) -> int:
    """Write the rows over those that are there; returns how many. Those of products that are gone are left out.

    The products are locked. It removes no row: the weeks are to be written after it (see weekly.py).
    """
    for model, rows in rollups.items():
        upsert(session, model, rows)
    return sum(map(len, rollups.values()))


def upsert(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    dialect = session.get_bind().dialect.name
    for first in range(0, len(rows), _ROWS):
        session.execute(_upsert(dialect, model), Rows.parameter(dialect, rows[first : first + _ROWS]))


@cache
def _upsert(dialect: str, model: type[Base]) -> Executable:
    table = model.__table__
    assert isinstance(table, Table)
    data = Rows(**{each.name: each.type for each in table.columns}).table(dialect)
    there = select(*data.c).join(Product.__table__, Product.__table__.c.id == data.c.product_id)
    makes: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for a join's ON.
    statement = makes[dialect](table).from_select(list(data.c.keys()), there.where(data.c.product_id.is_not(None)))
    written = {each.name: statement.excluded[each.name] for each in table.columns if not each.primary_key}
    upsert: Executable = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=written)
    return upsert
