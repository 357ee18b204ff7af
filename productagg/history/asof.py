"""A product's offers as they stood at a time. For the API and the export."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, Executable, Select, Uuid, bindparam, func, select, union_all

from productagg.history.known import Known, product_gaps, rolled_prices
from productagg.history.rollups import ProductStep
from productagg.history.steps import DAY, HOUR, Step, bucket_start, microseconds, moment
from productagg.models import OfferPrice, OfferPriceDaily, OfferPriceHourly, UtcDateTime


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
    then; `since` is the beginning of the hour or day in which that was.
    """

    at: datetime
    state: Literal["observed", "not_observed"]
    resolution: Literal["raw", "hour"]
    offers: Sequence[OfferThen]


def offers_at(connection: Connection, known: Known, at: datetime) -> OffersThen:
    """The offers at a time that is not in the future."""
    time = microseconds(at)
    if time >= known.raw_from:
        gaps = product_gaps(connection, known, time, time)
        times = {"until": at, "raw_from": moment(known.raw_from)}
        offers = _offers(connection, _raw(), known, times)
        return OffersThen(moment(time), _state(gaps[-1] if gaps else None), "raw", offers)
    hour, day = bucket_start(time, HOUR), bucket_start(time, DAY)
    product, _ = rolled_prices(connection, known, hour + HOUR, hour + HOUR, HOUR, "lowest")
    offers = _offers(connection, _rolled(), known, {"day": moment(day), "hour": moment(hour)})
    return OffersThen(moment(hour + HOUR), _state(product), "hour", offers)


def _state(step: Step | ProductStep | None) -> Literal["observed", "not_observed"]:
    return "observed" if step is not None and step.observed else "not_observed"


def _offers(
    connection: Connection, statement: Executable, known: Known, times: dict[str, datetime]
) -> Sequence[OfferThen]:
    return [OfferThen(*row) for row in connection.execute(statement, {"product_id": known.product_id, **times})]


@cache
def _raw() -> Executable:
    """The newest raw row of each offer; what the raw rows no longer say is in the daily ones."""
    raw, daily = OfferPrice.__table__.c, OfferPriceDaily.__table__.c
    until, raw_from = (bindparam(name, type_=UtcDateTime) for name in ("until", "raw_from"))
    return _newest(
        select(raw.offer_id, raw.price, raw.items_in_stock, raw.observed_at.label("since")).where(
            raw.product_id == _PRODUCT, raw.observed_at <= until
        ),
        select(daily.offer_id, daily.close, daily.items_in_stock, daily.at).where(
            daily.product_id == _PRODUCT, daily.at < raw_from
        ),
    )


@cache
def _rolled() -> Executable:
    """The newest hour of each offer in the day, and for those without one the newest day before."""
    hourly, daily = OfferPriceHourly.__table__.c, OfferPriceDaily.__table__.c
    day, hour = (bindparam(name, type_=UtcDateTime) for name in ("day", "hour"))
    return _newest(
        select(hourly.offer_id, hourly.close.label("price"), hourly.items_in_stock, hourly.at.label("since")).where(
            hourly.product_id == _PRODUCT, hourly.at >= day, hourly.at <= hour
        ),
        select(daily.offer_id, daily.close, daily.items_in_stock, daily.at).where(
            daily.product_id == _PRODUCT, daily.at < day
        ),
    )


_PRODUCT = bindparam("product_id", type_=Uuid)


def _newest(*sources: Select[Any]) -> Executable:
    """Of each offer the newest row, if it was in stock then; the cheapest first."""
    rows = union_all(*sources).subquery()
    place = func.row_number().over(partition_by=rows.c.offer_id, order_by=rows.c.since.desc())
    ranked = select(rows, place.label("place")).subquery().c
    return (
        select(ranked.offer_id, ranked.price, ranked.items_in_stock, ranked.since)
        .where(ranked.place == 1, ranked.items_in_stock > 0, ranked.price.is_not(None))
        .order_by(ranked.price, ranked.offer_id)
    )
