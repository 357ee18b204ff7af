"""What is known of one product's past: its raw steps, its roll-ups, and where one takes over from the other.

For the readers of this room. Many rows come as one JSON text: neither the driver nor SQLAlchemy handles each value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, cast, extract, func, select, true, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from productagg.bulk import aggregate
from productagg.history.rollups import OfferStep, ProductStep
from productagg.history.steps import INSTANT, SECOND, microseconds, moment
from productagg.models import HistoryProgress, OfferPrice, OfferPriceDaily, ProductPrice, ProductPriceDaily, ProductSync

AnyConnection = Connection | Session


@dataclass(frozen=True)
class Known:
    """How much of a product's past is there, as of `now`. All in microseconds since the epoch.

    `gap_from` is when the gap that has not ended yet began: nothing is known from then on; None if there is none.
    `rolled_until` and `raw_from` are 0 where nothing is rolled up or dropped (see models.HistoryProgress).
    """

    product_id: UUID
    now: int
    gap_from: int | None
    rolled_until: int
    raw_from: int


def known(connection: AnyConnection, product_id: UUID, observed_for: timedelta, now: datetime) -> Known | None:
    """None: there is no such product. `observed_for` is how long an observation counts (see Schedule)."""
    found = connection.execute(
        select(ProductSync.last_synced_at, HistoryProgress.rolled_until, HistoryProgress.raw_from)
        .select_from(ProductSync)
        .outerjoin(HistoryProgress, true())
        .where(ProductSync.product_id == product_id)
    ).one_or_none()
    if found is None:
        return None
    last_synced_at, rolled_until, raw_from = found
    gap_from = None
    if last_synced_at is not None and now - last_synced_at > observed_for:
        gap_from = microseconds(last_synced_at + INSTANT)
    return Known(
        product_id,
        microseconds(now),
        gap_from,
        microseconds(rolled_until) if rolled_until else 0,
        microseconds(raw_from) if raw_from else 0,
    )


def product_steps(connection: AnyConnection, known: Known, begin: int, end: int) -> list[ProductStep]:
    """The steps in [begin, end), in order, and before them the one that was in force at `begin`, if there was one.

    `begin` is not before `known.raw_from`. The gap that has not ended yet is a step too.
    """
    price = ProductPrice
    columns = (price.lowest, price.average, price.offers, price.items_in_stock, price.observed)
    found = _window(connection, price.observed_at, columns, (price.product_id == known.product_id,), begin, end)
    steps = [ProductStep._make((*values, bool(observed))) for *values, observed in found]
    if known.raw_from and not (steps and steps[0].at <= begin):
        daily = ProductPriceDaily
        rolled = connection.execute(
            select(daily.at, daily.state, daily.close, daily.average_close, daily.offers, daily.items_in_stock)
            .where(daily.product_id == known.product_id, daily.at < moment(known.raw_from))
            .order_by(daily.at.desc())
            .limit(1)
        ).one_or_none()
        if rolled is not None:
            lowest, average = (rolled.close, rolled.average_close) if rolled.state == "in_stock" else (None, None)
            at, observed = microseconds(rolled.at), rolled.state != "not_observed"
            steps.insert(0, ProductStep(at, lowest, average, rolled.offers, rolled.items_in_stock, observed))
    if known.gap_from is not None and known.gap_from < end:
        steps.append(ProductStep(known.gap_from, None, None, 0, 0, observed=False))
    return steps


def offer_steps(connection: AnyConnection, known: Known, offer_id: UUID, begin: int, end: int) -> list[OfferStep]:
    """The same of one offer, without gaps: those are its product's (see rollups.with_gaps)."""
    price = OfferPrice
    which = (price.product_id == known.product_id, price.offer_id == offer_id)
    found = _window(connection, price.observed_at, (price.price, price.items_in_stock), which, begin, end)
    steps = [OfferStep(*row) for row in found]
    if known.raw_from and not (steps and steps[0].at <= begin):
        daily = OfferPriceDaily
        rolled = connection.execute(
            select(daily.at, daily.close, daily.items_in_stock)
            .where(daily.product_id == known.product_id, daily.offer_id == offer_id)
            .where(daily.at < moment(known.raw_from))
            .order_by(daily.at.desc())
            .limit(1)
        ).one_or_none()
        if rolled is not None:
            steps.insert(0, OfferStep(microseconds(rolled.at), rolled.close or 0, rolled.items_in_stock))
    return steps


def as_microseconds(dialect: str, time: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """A time's microseconds since the epoch, exactly."""
    if dialect == "sqlite":  # where it is the text that SQLAlchemy keeps: YYYY-MM-DD HH:MM:SS.ffffff
        seconds = cast(func.strftime("%s", time), Integer)
        return seconds * SECOND + cast(func.substr(time, 21, 6), Integer)
    return cast(extract("epoch", time) * SECOND, BigInteger)


def _window(
    connection: AnyConnection,
    time: InstrumentedAttribute[datetime],
    columns: Sequence[InstrumentedAttribute[Any]],
    which: Sequence[ColumnElement[bool]],
    begin: int,
    end: int,
) -> list[list[Any]]:
    """The raw rows of [begin, end) and the one before, as lists that begin with their time."""
    dialect = connection.get_bind().dialect.name if isinstance(connection, Session) else connection.dialect.name
    at = time.label("at")
    before = select(at, *columns).where(*which, time <= moment(begin)).order_by(time.desc()).limit(1).subquery()
    within = select(at, *columns).where(*which, time > moment(begin), time < moment(end))
    found = union_all(select(before), within).subquery()
    text = aggregate(dialect, as_microseconds(dialect, found.c.at), *list(found.c)[1:])
    rows = orjson.loads(connection.execute(select(text)).scalar_one() or "[]")
    rows.sort(key=lambda row: row[0])
    return rows  # type: ignore[no-any-return]
