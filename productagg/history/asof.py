"""A product's offers as they stood at a time. For the API and the export."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Executable, FromClause, Uuid, bindparam, case, func, or_, select

from productagg.db.models import (
    Base,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDaily,
    OfferPriceHourly,
    UtcDateTime,
)
from productagg.history.known import Known, product_gaps, rolled_prices
from productagg.history.rollups import ProductStep
from productagg.history.steps import DAY, HOUR, Step, bucket_start, microseconds, moment


@dataclass(frozen=True)
class OfferThen:
    """An offer that was in stock: its price in the upstream's unit, and since when it had stood so."""

    id: UUID
    price: int
    items_in_stock: int
    since: datetime


@dataclass(frozen=True)
class OffersThen:
    """The in-stock offers at a time, the cheapest first. 'not_observed': those last seen; nobody knows better.

    `resolution` is 'raw' for an exact answer, else 'hour': as of the end of the hour that was asked for, which is `at`
    then. Of an offer whose raw steps are no longer kept `since` is, unless it has stood so until now, the beginning of
    the newest hour or day in which anything happened to it, be it a gap: it may have stood so for longer.
    """

    at: datetime
    state: Literal["observed", "not_observed"]
    resolution: Literal["raw", "hour"]
    offers: Sequence[OfferThen]


class OffersNotKept(Exception):
    """Some of the offers at the time may have been removed; all that were open at `offers_from` or later are there."""

    def __init__(self, offers_from: datetime) -> None:
        super().__init__(offers_from)
        self.offers_from = offers_from


def offers_at(connection: Connection, known: Known, at: datetime) -> OffersThen:
    """The offers at a time that is not in the future. Raises OffersNotKept."""
    found = _offers_at(connection, known, at)
    # Afterwards: whoever removes offers says so before.
    offers_from = connection.scalar(select(HistoryProgress.offers_from))
    if offers_from is not None and at < offers_from:
        raise OffersNotKept(offers_from)
    return found


def _offers_at(connection: Connection, known: Known, at: datetime) -> OffersThen:
    time = microseconds(at)
    if time >= known.raw_from:
        gaps = product_gaps(connection, known, time, time)
        times = {"at": at, "raw_from": moment(known.raw_from)}
        offers = _offers(connection, _raw(), known, times)
        return OffersThen(moment(time), _state(gaps[-1] if gaps else None), "raw", offers)
    hour, day = bucket_start(time, HOUR), bucket_start(time, DAY)
    product, _ = rolled_prices(connection, known, hour + HOUR, hour + HOUR, HOUR, "lowest")
    times = {"at": moment(hour + HOUR - 1), "day": moment(day)}
    offers = _offers(connection, _rolled(), known, times)
    return OffersThen(moment(hour + HOUR), _state(product), "hour", offers)


def _state(step: Step | ProductStep | None) -> Literal["observed", "not_observed"]:
    return "observed" if step is not None and step.observed else "not_observed"


def _offers(
    connection: Connection, statement: Executable, known: Known, times: dict[str, datetime]
) -> Sequence[OfferThen]:
    return [OfferThen(*row) for row in connection.execute(statement, {"product_id": known.product_id, **times})]


_PRODUCT = bindparam("product_id", type_=Uuid)
_AT, _RAW_FROM, _DAY = (bindparam(name, type_=UtcDateTime) for name in ("at", "raw_from", "day"))
_OFFER = Offer.__table__.c


class _Rows(NamedTuple):
    """Rows of offers, a table's that is joined, at most one of each offer."""

    table: FromClause
    which: ColumnElement[bool]
    price: ColumnElement[int]
    items_in_stock: ColumnElement[int]
    time: ColumnElement[datetime]


@cache
def _raw() -> Executable:
    """What the raw rows do not say any more is in the daily ones."""
    return _standing(
        _newest(OfferPrice, "observed_at", "price", lambda time: time <= _AT),
        _newest(OfferPriceDaily, "at", "close", lambda time: time < _RAW_FROM),
    )


@cache
def _rolled() -> Executable:
    """The newest hour of the day, else the newest day before."""
    return _standing(
        _newest(OfferPriceHourly, "at", "close", lambda time: (time >= _DAY) & (time <= _AT)),
        _newest(OfferPriceDaily, "at", "close", lambda time: time < _DAY),
    )


def _newest(model: type[Base], time: str, price: str, within: Callable[[Any], ColumnElement[bool]]) -> _Rows:
    """Each offer's newest row in some time. It is a probe of the key: nobody reads years of rows."""
    rows, earlier = model.__table__.alias(), model.__table__.alias()
    mine = (earlier.c.product_id == _PRODUCT, earlier.c.offer_id == _OFFER.id, within(earlier.c[time]))
    newest = select(func.max(earlier.c[time])).where(*mine).correlate(Offer.__table__).scalar_subquery()
    which = (rows.c.product_id == _PRODUCT) & (rows.c.offer_id == _OFFER.id) & (rows.c[time] == newest)
    return _Rows(rows, which, rows.c[price], rows.c.items_in_stock, rows.c[time])


def _standing(recent: _Rows, older: _Rows) -> Executable:
    """The offers in stock, as the recent rows say, else the older ones; the cheapest first."""
    price, items, since = (
        func.coalesce(getattr(recent, name), getattr(older, name)) for name in ("price", "items_in_stock", "time")
    )
    offers = Offer.__table__.outerjoin(recent.table, recent.which).outerjoin(
        older.table, older.which & recent.time.is_(None)
    )
    return (
        select(_OFFER.id, price, items, case((_OFFER.changed_at <= _AT, _OFFER.changed_at), else_=since))
        .select_from(offers)
        # One that was closed by then, for good, has nothing to say.
        .where(_OFFER.product_id == _PRODUCT, or_(_OFFER.closed_at.is_(None), _OFFER.closed_at > _AT), items > 0)
        .order_by(price, _OFFER.id)
    )
