"""Reads histories as lines that history/importing.py takes: what `productagg history export` writes.

It needs a connection that only reads, and holds no more than a few thousand lines at a time, however long a history is.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Connection, Text, Uuid, case, cast, func, literal, null, select, union_all
from sqlalchemy.sql.selectable import CompoundSelect

from productagg.db import clock, engines
from productagg.db.models import (
    LAST_OBSERVED_AT,
    HistoryProgress,
    Offer,
    OfferPrice,
    Product,
    ProductPrice,
    ProductSource,
    Source,
)
from productagg.history.lines import Line
from productagg.history.offers_at import offers_at
from productagg.history.partitions import TABLES
from productagg.history.timeline import INSTANT, microseconds, moment

_BATCH = 1000
_EPOCH = moment(0)


class _Product(NamedTuple):
    id: UUID
    last_synced_at: datetime | None

    def exported_until(self, end: datetime | None) -> int | None:
        """End of the window or of the product's last observation, whichever is earlier; None: no limit."""
        known_until = self.last_synced_at + INSTANT if self.last_synced_at is not None else None
        limits = [time for time in (end, known_until) if time is not None]
        return microseconds(min(limits)) if limits else None


@contextmanager
def history_snapshot(connection: Connection) -> Iterator[None]:
    """Read one snapshot; no partition is dropped meanwhile. Writers do not wait."""
    with engines.snapshot(connection):
        if connection.dialect.name == "postgresql":
            # Before the first read: a dropped partition is gone from every snapshot.
            tables = ", ".join(f"{engines.SCHEMA}.{table}" for table in TABLES)
            connection.exec_driver_sql(f"LOCK TABLE {tables} IN ACCESS SHARE MODE")
        yield


def export(
    connection: Connection,
    product_ids: Collection[UUID] = (),
    begin: datetime | None = None,
    end: datetime | None = None,
) -> Iterator[Line]:
    """Yield the steps of [begin, end), of these products or of all, by product and time.

    Only steps since HistoryProgress.raw_from are exported: older days may be summarised. The first lines are the state
    at the start of the window, or at that time if it is later. The last line says when observation ended, so that an
    import does not extend the last price.
    """
    raw_from = connection.execute(select(HistoryProgress.raw_from)).scalar_one_or_none()
    first = microseconds(max(begin or _EPOCH, raw_from or _EPOCH))
    now = clock.now(connection)
    for product in _products(connection, product_ids):
        last = product.exported_until(end)
        if last is None or first < last:
            yield from _lines(connection, product.id, first, last, now)


def _products(connection: Connection, product_ids: Collection[UUID]) -> Iterator[_Product]:
    query = (
        select(Product.id, func.max(LAST_OBSERVED_AT))
        .outerjoin(ProductSource, ProductSource.product_id == Product.id)
        .outerjoin(Source, Source.id == ProductSource.source_id)
        .group_by(Product.id)
        .order_by(Product.id)
        .limit(_BATCH)
    )
    if product_ids:
        query = query.where(Product.id.in_(product_ids))
    found = connection.execute(query).all()
    while found:
        yield from (_Product(*row) for row in found)
        found = connection.execute(query.where(Product.id > found[-1].id)).all()


def _lines(connection: Connection, product_id: UUID, begin: int, end: int | None, now: datetime) -> Iterator[Line]:
    """One product's lines of [begin, end); `begin` 0: from the start of the history."""
    in_force = list(_in_force(connection, product_id, begin, now)) if begin else []
    observed = bool(in_force) and not in_force[-1].is_gap
    yield from in_force
    rows = connection.execute(_rows(product_id, begin, end), execution_options={"yield_per": _BATCH})
    for time, changes in groupby(rows, itemgetter(0)):
        lines, observed = _lines_of_time(product_id, microseconds(time), changes, observed=observed)
        yield from lines
    if observed and end is not None:
        yield Line(product_id, None, end, None, None)


def _lines_of_time(product_id: UUID, at: int, changes: Iterable[Any], *, observed: bool) -> tuple[list[Line], bool]:
    """The lines for one time, and whether the product was observed from then on."""
    lines = []
    for _, of_product, offer_id, price, items, currency in changes:
        if of_product:
            observed = items is not None
        else:
            lines.append(Line(product_id, offer_id, at, price, items, currency))
    if not observed:  # even if offers were closed then, as an import does at its end
        lines.append(Line(product_id, None, at, None, None))
    elif not lines:
        lines.append(Line(product_id, None, at, None, 0))
    return lines, observed


def _in_force(connection: Connection, product_id: UUID, at: int, now: datetime) -> Iterator[Line]:
    """A product's state at a time, as lines; changes at that time are included."""
    # No open gap begins earlier: the caller ends with the last observation.
    found = offers_at(connection, product_id, moment(at), now=now, observed_for=timedelta.max)
    for offer in sorted(found.offers, key=attrgetter("id")):
        yield Line(product_id, offer.id, at, offer.price, offer.items_in_stock, offer.currency)
    if found.state == "not_observed":
        yield Line(product_id, None, at, None, None)
    elif not found.offers:
        yield Line(product_id, None, at, None, 0)


def _rows(product_id: UUID, begin: int, end: int | None) -> CompoundSelect[Any]:
    """The steps after `begin`. As in a product's line, `items_in_stock` is 0 if it was observed, else NULL."""
    offer, product = OfferPrice, ProductPrice
    offers = select(
        offer.observed_at.label("at"),
        literal(value=False).label("of_product"),
        offer.offer_id.label("offer_id"),
        offer.price,
        offer.items_in_stock,
        Offer.currency,
    )
    products = select(
        product.observed_at,
        literal(value=True),
        cast(null(), Uuid),
        cast(null(), BigInteger),
        case((product.observed, cast(0, BigInteger))),
        cast(null(), Text),
    )
    offers = offers.outerjoin(Offer, (Offer.product_id == offer.product_id) & (Offer.id == offer.offer_id))
    offers = offers.where(*_within(offer, product_id, begin, end))
    products = products.where(*_within(product, product_id, begin, end))
    return union_all(offers, products).order_by("at", "of_product", "offer_id")


def _within(steps: type[OfferPrice | ProductPrice], product_id: UUID, begin: int, end: int | None) -> Iterator[Any]:
    yield steps.product_id == product_id
    if begin:
        yield steps.observed_at > moment(begin)
    if end is not None:
        yield steps.observed_at < moment(end)
