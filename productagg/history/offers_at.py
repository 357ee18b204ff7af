"""A product's offers at a time. For the API and the export."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    true,
)

from productagg.db.models import Base, Catalogue, HistoryProgress, Offer, OfferPrice, OfferPriceDay, UtcDateTime
from productagg.history.queries import StepQueries
from productagg.history.timeline import DAY, bucket_start, microseconds, moment


@dataclass(frozen=True)
class OfferAt:
    """An offer that was in stock, with its price in minor units of `currency`. It had not changed since `since`.

    `comparable`: `currency` is the catalogue's. `seller` is the one last seen. `items_in_stock` is None if the number
    was not told.
    """

    id: UUID
    seller: str | None
    price: int
    currency: str
    comparable: bool
    items_in_stock: int | None
    since: datetime


@dataclass(frozen=True)
class OffersAt:
    """The in-stock offers at a time, the cheapest first, by currency: first the catalogue's `currency`.

    'not_observed': the offers when last observed.

    `resolution` is 'raw' for an exact answer. It is 'day' if an offer's day is summarised: then the offers are those at
    the end of the UTC day, which is `at`.
    """

    at: datetime
    currency: str
    state: Literal["observed", "not_observed"]
    resolution: Literal["raw", "day"]
    offers: Sequence[OfferAt]


class OffersNotKept(Exception):
    """Offers open at this time may have been removed; none open at `offers_from` or later were."""

    def __init__(self, offers_from: datetime) -> None:
        self.offers_from = offers_from


def offers_at(
    connection: Connection, product_id: UUID, at: datetime, *, now: datetime, observed_for: timedelta
) -> OffersAt:
    """The offers at a time that is not in the future. `observed_for`: see StepQueries.

    Raises UnknownProduct, OffersNotKept.
    """
    queries = StepQueries(connection, product_id, now, observed_for)
    last = microseconds(at)
    day_end = bucket_start(last, DAY) + DAY
    summarised, offers = _read(connection, product_id, last, day_end)
    if summarised:
        last = day_end - 1
        _, offers = _read(connection, product_id, last, day_end)
    currency, steps = queries.price_steps(last, last)
    _check_kept(connection, at)
    state: Literal["observed", "not_observed"] = "observed" if steps and steps[-1].observed else "not_observed"
    at = moment(day_end if summarised else last)
    return OffersAt(at, currency, state, "day" if summarised else "raw", offers)


def _check_kept(connection: Connection, at: datetime) -> None:
    """Call this after the offers are read: compaction writes `offers_from` before it removes offers."""
    offers_from = connection.scalar(select(HistoryProgress.offers_from))
    if offers_from is not None and at < offers_from:
        raise OffersNotKept(offers_from)


def _read(connection: Connection, product_id: UUID, at: int, day_end: int) -> tuple[bool, list[OfferAt]]:
    """Whether a summary includes steps after the time on that day, and the offers in stock by the steps."""
    parameters = {"product_id": product_id, "at": moment(at), "day_end": moment(day_end)}
    rows = connection.execute(_statement(), parameters).all()
    return rows[0].summarised, [OfferAt(*offer) for _, *offer in rows if offer[0] is not None]


@cache
def _statement() -> Select[Any]:
    offer = Offer.__table__
    at, day_end = (bindparam(name, type_=UtcDateTime) for name in ("at", "day_end"))
    mine = offer.c.product_id == bindparam("product_id", type_=Uuid)
    day = OfferPriceDay.__table__
    later = (_of(day, offer), day.c.observed_at > at, day.c.observed_at < day_end, day.c.summary.is_not(None))
    summarised = select(select(1).select_from(offer.join(day, and_(*later))).where(mine).exists().label("summarised"))

    step, compacted = (_newest(model, offer, at) for model in (OfferPrice, OfferPriceDay))
    is_newer = or_(compacted.table.c.observed_at.is_(None), step.table.c.observed_at > compacted.table.c.observed_at)
    is_step = and_(step.table.c.observed_at.is_not(None), is_newer)
    price, items, since = (
        case((is_step, step.table.c[name]), else_=compacted.table.c[name]).label(name)
        for name in ("price", "items_in_stock", "observed_at")
    )
    comparable = (offer.c.currency == select(Catalogue.currency).scalar_subquery()).label("comparable")
    offers = (
        select(offer.c.id, offer.c.seller, price, offer.c.currency, comparable, items, since)
        .select_from(offer.outerjoin(*step).outerjoin(*compacted))
        # An offer that was closed by then, and still is, was not in stock.
        .where(mine, or_(offer.c.closed_at.is_(None), offer.c.closed_at > at))
        # Without a step it was not offered yet. A step without a number is in stock.
        .where(since.is_not(None), func.coalesce(items, 1) > 0)
        .subquery()
    )
    flag = summarised.subquery()
    rows = select(flag.c.summarised, *offers.c)
    in_order = (offers.c.comparable.desc(), offers.c.currency, offers.c.price, offers.c.id)
    return rows.select_from(flag.outerjoin(offers, true())).order_by(*in_order)


class _Joined(NamedTuple):
    """A table and the condition to join it on."""

    table: FromClause
    which: ColumnElement[bool]


def _newest(model: type[Base], offer: FromClause, at: ColumnElement[datetime]) -> _Joined:
    """The offers' newest steps up to a time: one index probe per offer instead of years of rows."""
    steps, earlier = model.__table__.alias(), model.__table__.alias()
    newest = select(func.max(earlier.c.observed_at)).where(_of(earlier, offer), earlier.c.observed_at <= at)
    which = _of(steps, offer) & (steps.c.observed_at == newest.correlate(offer).scalar_subquery())
    return _Joined(steps, which)


def _of(steps: FromClause, offer: FromClause) -> ColumnElement[bool]:
    return (steps.c.product_id == offer.c.product_id) & (steps.c.offer_id == offer.c.id)
