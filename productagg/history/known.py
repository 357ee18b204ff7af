"""What is known of one product's past: its raw steps, its roll-ups, and where one takes over from the other.

For the readers of this room. Statements are made once: making one takes as long as running it. Roll-ups, whose rows are
wide, come as JSON (see bulk.columns).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Integer,
    Uuid,
    bindparam,
    cast,
    extract,
    func,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from productagg.bulk import columns as in_columns
from productagg.bulk import rows_of
from productagg.history.rollups import OfferBucket, OfferStep, ProductBucket, ProductStep
from productagg.history.steps import DAY, HOUR, INSTANT, SECOND, WEEK, Bucket, Step, bucket_start, microseconds, moment
from productagg.models import (
    Base,
    HistoryLate,
    HistoryProgress,
    OfferPrice,
    OfferPriceDaily,
    OfferPriceHourly,
    ProductPrice,
    ProductPriceDaily,
    ProductPriceHourly,
    ProductPriceWeekly,
    ProductSync,
    UtcDateTime,
)


@dataclass(frozen=True)
class Known:
    """How much of a product's past is there, as of `now`. All in microseconds since the epoch.

    `gap_from` is when the gap that has not ended yet began: nothing is known from then on; None if there is none.
    Before `rolled_until` the roll-ups can be relied on, from `raw_from` on the raw steps are there: 0 where nothing is
    rolled up, or dropped.
    """

    product_id: UUID
    now: int
    gap_from: int | None
    rolled_until: int
    raw_from: int


def known(connection: Connection, product_id: UUID, observed_for: timedelta, now: datetime) -> Known | None:
    """None: there is no such product. `observed_for` is how long an observation counts (see Schedule)."""
    found = connection.execute(_KNOWN, {"product_id": product_id}).one_or_none()
    if found is None:
        return None
    last_synced_at, *progress, late_since = found
    rolled_until, raw_from = (microseconds(time) if time else 0 for time in progress)
    if late_since is not None:
        rolled_until = min(rolled_until, max(raw_from, microseconds(late_since)))
    gap_from = None
    if last_synced_at is not None and now - last_synced_at > observed_for:
        gap_from = microseconds(last_synced_at + INSTANT)
        # Days that were rolled up since then took the product for observed.
        rolled_until = min(rolled_until, max(raw_from, bucket_start(gap_from, DAY)))
    return Known(product_id, microseconds(now), gap_from, rolled_until, raw_from)


def product_steps(
    connection: Connection, known: Known, begin: int, end: int, limit: int | None = None
) -> list[ProductStep]:
    """The step in force at `begin`, if there was one, and those up to `end`, in order; not before `known.raw_from`.

    The gap that has not ended yet is a step too. `limit` is for the steps after `begin`: no more than so many.
    """
    found = _steps(connection, ProductPrice, known, begin, end, _PRODUCT_STEP, limit=limit)
    steps = [ProductStep._make(row) for row in found]
    return _completed(connection, known, steps, begin, end)


def price_steps(connection: Connection, known: Known, begin: int, end: int, metric: str) -> Sequence[Sequence[Any]]:
    """The same of one of its prices, 'lowest' or 'average', as a Step has it: time, price, observed."""
    found = _steps(connection, ProductPrice, known, begin, end, (metric, "observed"))
    if (known.raw_from and not (found and found[0][0] <= begin)) or known.gap_from is not None:
        return [each.of(metric) for each in product_steps(connection, known, begin, end)]
    return found


def offer_steps(
    connection: Connection, known: Known, offer_id: UUID, begin: int, end: int, limit: int | None = None
) -> list[OfferStep]:
    """The same of one offer, without gaps: those are its product's (see rollups.with_gaps)."""
    found = _steps(connection, OfferPrice, known, begin, end, ("price", "items_in_stock"), offer_id, limit)
    steps = [OfferStep(*row) for row in found]
    if known.raw_from and not (steps and steps[0].at <= begin):
        columns = ("close", "items_in_stock")
        rolled = _rows(connection, OfferPriceDaily, known, known.raw_from, known.raw_from, columns, offer_id)
        for at, close, items in rolled:
            steps.insert(0, OfferStep(at, close or 0, items))
    return steps


def product_gaps(connection: Connection, known: Known, begin: int, end: int) -> list[ProductStep]:
    """Of the same product's steps, only those at which being observed begins or ends (see rollups.with_gaps)."""
    parameters = {"product_id": known.product_id, "begin": moment(begin), "end": moment(end)}
    steps = [
        ProductStep(microseconds(at), None, None, 0, 0, observed)
        for at, observed in connection.execute(_GAPS, parameters)
    ]
    return _completed(connection, known, steps, begin, end)


def rolled_prices(
    connection: Connection, known: Known, begin: int, end: int, length: int, metric: str
) -> tuple[Step | None, list[Bucket]]:
    """One of a product's prices in stored buckets: those of [begin, end), and what was in force before them."""
    model = _PRODUCT_ROLLUPS[length]
    prefix = "average_" if metric == "average" else ""
    columns = (*_DURATIONS, *(prefix + name for name in _PRICES))
    found = [_bucket(row[:4], row[4:]) for row in _rows(connection, model, known, begin, end, columns)]
    before = found.pop(0).end_step if found and found[0].at < begin else None
    return before, found


def rolled_product(
    connection: Connection, known: Known, begin: int, end: int, length: int
) -> tuple[ProductBucket | None, list[ProductBucket]]:
    """A product's stored buckets of [begin, end), and the newest before them."""
    model = _PRODUCT_ROLLUPS[length]
    averages = (f"average_{name}" for name in _PRICES)
    columns = (*_DURATIONS, *_PRICES, *averages, "offers", "items_in_stock")
    found = [
        ProductBucket(_bucket(row[:4], row[4:11]), _bucket(row[:4], row[11:18]), row[18], row[19])
        for row in _rows(connection, model, known, begin, end, columns)
    ]
    before = found.pop(0) if found and found[0].lowest.at < begin else None
    return before, found


def rolled_offer(
    connection: Connection, known: Known, offer_id: UUID, begin: int, end: int, length: int
) -> tuple[OfferBucket | None, list[OfferBucket]]:
    """An offer's stored buckets of [begin, end), and the newest before them."""
    model = OfferPriceHourly if length == HOUR else OfferPriceDaily
    columns = (*_DURATIONS, *_PRICES, "items_in_stock")
    found = [
        OfferBucket(_bucket(row[:4], row[4:11]), row[11])
        for row in _rows(connection, model, known, begin, end, columns, offer_id)
    ]
    before = found.pop(0) if found and found[0].price.at < begin else None
    return before, found


def as_microseconds(dialect: str, time: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """A time's microseconds since the epoch, exactly."""
    if dialect == "sqlite":  # where it is the text that SQLAlchemy keeps: YYYY-MM-DD HH:MM:SS.ffffff
        # Without the fraction: strftime would round it.
        seconds = cast(func.strftime("%s", func.substr(time, 1, 19)), Integer)
        return seconds * SECOND + cast(func.substr(time, 21, 6), Integer)
    return cast(extract("epoch", time) * SECOND, BigInteger)


_KNOWN = (
    select(ProductSync.last_synced_at, HistoryProgress.rolled_until, HistoryProgress.raw_from, HistoryLate.since)
    .select_from(ProductSync)
    .outerjoin(HistoryProgress, true())
    .outerjoin(HistoryLate, HistoryLate.product_id == ProductSync.product_id)
    .where(ProductSync.product_id == bindparam("product_id", type_=Uuid))
)


def _gaps() -> Executable:
    price = ProductPrice.__table__.c
    begin, end = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
    which = price.product_id == bindparam("product_id", type_=Uuid)
    wanted = (price.observed_at, price.observed)
    before = select(*wanted).where(which, price.observed_at <= begin).order_by(price.observed_at.desc()).limit(1)
    within = select(*wanted).where(which, price.observed_at > begin, price.observed_at <= end)
    steps = union_all(select(before.subquery()), within).subquery()
    observed_before = func.lag(steps.c.observed).over(order_by=steps.c.observed_at)
    in_turn = select(steps, observed_before.label("before")).subquery()
    turns = in_turn.c.observed.is_distinct_from(in_turn.c.before)
    return select(in_turn.c.observed_at, in_turn.c.observed).where(turns).order_by(in_turn.c.observed_at)


_GAPS = _gaps()
_PRODUCT_ROLLUPS = {HOUR: ProductPriceHourly, DAY: ProductPriceDaily, WEEK: ProductPriceWeekly}
_PRODUCT_STEP = ("lowest", "average", "offers", "items_in_stock", "observed")
_DURATIONS = ("state", "in_stock_us", "observed_us")
_PRICES = ("open", "close", "lowest", "highest", "mean", "remainder", "changes")


def _completed(
    connection: Connection, known: Known, steps: list[ProductStep], begin: int, end: int
) -> list[ProductStep]:
    """The steps with what the raw ones cannot say: what was in force before they begin, and the gap that goes on."""
    if known.raw_from and not (steps and steps[0].at <= begin):
        columns = ("state", "close", "average_close", "offers", "items_in_stock")
        rolled = _rows(connection, ProductPriceDaily, known, known.raw_from, known.raw_from, columns)
        for at, state, close, average_close, offers, items in rolled:
            lowest, average = (close, average_close) if state == "in_stock" else (None, None)
            steps.insert(0, ProductStep(at, lowest, average, offers, items, state != "not_observed"))
    if known.gap_from is not None and known.gap_from <= end:
        steps = [each for each in steps if each.at < known.gap_from] if begin < known.gap_from else []
        steps.append(ProductStep(known.gap_from, None, None, 0, 0, observed=False))
    return steps


def _bucket(times: Sequence[Any], prices: Sequence[Any]) -> Bucket:
    opening, closing, lowest, highest, mean, remainder, changes = prices
    at, state, in_stock_us, observed_us = times
    weighted = mean * in_stock_us + remainder
    return Bucket(at, state, in_stock_us, observed_us, opening, closing, lowest, highest, weighted, changes)


def _steps(
    connection: Connection,
    model: type[Base],
    known: Known,
    begin: int,
    end: int,
    columns: tuple[str, ...],
    offer_id: UUID | None = None,
    limit: int | None = None,
) -> Sequence[Sequence[Any]]:
    """Rows of a history in order; each begins with its time in microseconds."""
    statement = _raw(connection.dialect.name, model, columns, limited=limit is not None)
    return connection.execute(statement, {**_parameters(known, begin, end, offer_id), "limit": limit}).all()


@cache
def _raw(dialect: str, model: type[Base], columns: tuple[str, ...], *, limited: bool) -> Executable:
    """The newest row at or before a window's begin, and those in it up to its end."""
    table = model.__table__
    begin, end = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
    time, which = table.c.observed_at, _which(table)
    wanted = [as_microseconds(dialect, time).label("at"), *(table.c[name] for name in columns)]
    before = select(*wanted).where(*which, time <= begin).order_by(time.desc()).limit(1)
    within = select(*wanted).where(*which, time > begin, time <= end)
    if limited:
        within = within.order_by(time).limit(bindparam("limit", type_=Integer))
    # Each in a subquery of its own: SQLite's grammar has ORDER BY and LIMIT only at the end of a UNION.
    found = union_all(select(before.subquery()), select(within.subquery()))
    return found.order_by("at")


def _rows(
    connection: Connection,
    model: type[Base],
    known: Known,
    begin: int,
    end: int,
    columns: tuple[str, ...],
    offer_id: UUID | None = None,
) -> list[tuple[Any, ...]]:
    """Rows of a roll-up in order; each begins with its time in microseconds. The first may lie before the window."""
    statement = _rolled(connection.dialect.name, model, columns)
    found = connection.execute(statement, _parameters(known, begin, end, offer_id)).one()
    return sorted(rows_of(found), key=itemgetter(0))


@cache
def _rolled(dialect: str, model: type[Base], columns: tuple[str, ...]) -> Executable:
    """The newest bucket before a window's begin, and those in it, but for one that begins at its end."""
    table = model.__table__
    begin, end = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
    time, which = table.c.at, _which(table)
    wanted = [time, *(table.c[name] for name in columns)]
    before = select(*wanted).where(*which, time < begin).order_by(time.desc()).limit(1)
    within = select(*wanted).where(*which, time >= begin, time < end)
    at, *others = union_all(select(before.subquery()), within).subquery().c
    return select(*in_columns(dialect, as_microseconds(dialect, at), *others))


def _which(table: FromClause) -> list[ColumnElement[bool]]:
    which = [table.c.product_id == bindparam("product_id", type_=Uuid)]
    if "offer_id" in table.c:
        which.append(table.c.offer_id == bindparam("offer_id", type_=Uuid))
    return which


def _parameters(known: Known, begin: int, end: int, offer_id: UUID | None) -> dict[str, Any]:
    which = {"product_id": known.product_id, "offer_id": offer_id}
    return {**which, "begin": moment(begin), "end": moment(end)}
