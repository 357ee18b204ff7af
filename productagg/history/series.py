"""A price over a window, for charts: every step, or one point per hour, day or week.

For the API. A series has at most MAX_POINTS points. Buckets are whole, in UTC, and the window is aligned to them. The
time before the first observation has no points.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any, Generic, Literal
from uuid import UUID

from sqlalchemy import Connection, select

from productagg.db.models import HistoryProgress
from productagg.history import UnknownOffer
from productagg.history.buckets import Bucket, downsample, is_exact
from productagg.history.queries import StepQueries, Steps
from productagg.history.timeline import (
    DAY,
    HOUR,
    SECOND,
    WEEK,
    OfferStep,
    PriceStep,
    ProductStep,
    Step,
    as_steps,
    bucket_end,
    bucket_start,
    in_window,
    moment,
    state_of,
)

# About the number of columns of a screen.
MAX_POINTS = 1000
Resolution = Literal["raw", "hour", "day", "week"]
_LENGTHS: dict[Resolution, int] = {"hour": HOUR, "day": DAY, "week": WEEK}
RESOLUTIONS: tuple[Resolution, ...] = ("raw", *_LENGTHS)

Point = dict[str, Any]
# Begin and end in microseconds, and the points.
_Window = tuple[int, int, list[Point]]
_at = itemgetter(0)
# Of a product's step, in the order of PriceStep: at, lowest, observed, summary, average.
_price_columns = itemgetter(0, 1, 5, 6, 2)


class TooManyPoints(Exception):
    """The window has more than MAX_POINTS points at this resolution, but not at the `coarser` one (None: at all)."""

    def __init__(self, resolution: str, coarser: Resolution | None) -> None:
        self.resolution = resolution
        self.coarser = coarser


class NotKept(Exception):
    """Some days of the window are summarised, so its steps and hours are gone. Steps since `raw_from` are kept."""

    def __init__(self, resolution: Resolution, raw_from: datetime) -> None:
        self.resolution = resolution
        self.raw_from = raw_from


@dataclass(frozen=True)
class Series:
    """Points of [begin, end), by time; the window is aligned to the resolution. Prices: minor units of `currency`.

    A 'raw' point holds from `at` to the next point; the first is the step in force at `begin`. Other points describe
    the hour, day or week starting at `at`. Their `lowest` (of an offer: `price`), `highest`, `open`, `close` and
    time-weighted `mean` cover the time in stock; a product's `average` is the mean of its average price, rounded half
    up; `state`, `offers` and `items_in_stock` are those at its end.
    """

    begin: datetime
    end: datetime
    resolution: Resolution
    currency: str
    points: list[Point]


def product_series(
    connection: Connection,
    product_id: UUID,
    begin: datetime,
    end: datetime,
    resolution: str,
    *,
    now: datetime,
    observed_for: timedelta,
) -> Series:
    """A product's series in one of RESOLUTIONS, or 'auto': the finest that is kept and has at most MAX_POINTS points.

    `begin` lies before `end` and before now; `end` is clamped to now. `observed_for`: see StepQueries. Raises
    UnknownProduct; TooManyPoints, with 'auto' if even weeks are too many; NotKept, never with 'auto'.
    """
    queries = StepQueries(connection, product_id, now, observed_for)
    source = _Source(queries, queries.product_steps, _product_prices, _product_point, _product_bucket_point)
    return _series(source, begin, end, resolution)


def offer_series(
    connection: Connection,
    product_id: UUID,
    offer_id: UUID,
    begin: datetime,
    end: datetime,
    resolution: str,
    *,
    now: datetime,
    observed_for: timedelta,
) -> Series | None:
    """One offer's series, in its currency, with `price` for `lowest` and no averages.

    None if the product never had this offer.
    """
    queries = StepQueries(connection, product_id, now, observed_for)
    steps = partial(queries.offer_steps, offer_id)
    source = _Source(queries, steps, _offer_prices, _offer_point, _offer_bucket_point)
    try:
        return _series(source, begin, end, resolution)
    except UnknownOffer:
        return None


@dataclass(frozen=True)
class _Source(Generic[Step]):
    """The source of a series: a product's steps, or an offer's, and how they become points.

    A point describes a step, or a bucket and the step in force at its end.
    """

    queries: StepQueries
    steps: Callable[[int, int], Steps[Step]]
    prices: Callable[[Sequence[Step]], Sequence[PriceStep]]
    point: Callable[[Step], Point]
    bucket_point: Callable[[Bucket, Step], Point]


def _product_prices(steps: Sequence[ProductStep]) -> Sequence[PriceStep]:
    return as_steps(PriceStep, map(_price_columns, steps))


def _product_point(step: ProductStep) -> Point:
    _, lowest, average, offers, items_in_stock, observed, _ = step
    return {
        "state": ("sold_out" if lowest is None else "in_stock") if observed else "not_observed",
        "lowest": lowest,
        "average": average,
        "offers": offers,
        "items_in_stock": items_in_stock,
    }


def _product_bucket_point(bucket: Bucket, last: ProductStep) -> Point:
    us = bucket.in_stock_us
    return {
        "at": moment(bucket.at),
        "state": bucket.state,
        "lowest": bucket.lowest,
        # Rounded half up, as every average here.
        "average": (2 * bucket.weighted_average + us) // (2 * us) if us else None,
        "offers": last.offers,
        "items_in_stock": last.items_in_stock,
        **_statistics(bucket),
    }


def _offer_prices(steps: Sequence[OfferStep]) -> Sequence[PriceStep]:
    return [
        PriceStep(at, None if items_in_stock == 0 else price, observed, summary)
        for at, price, items_in_stock, observed, summary in steps
    ]


def _offer_point(step: OfferStep) -> Point:
    price = step.price_in_stock if step.observed else None
    return {
        "state": state_of(price, step.observed),
        "price": price,
        "items_in_stock": step.items_in_stock if step.observed else 0,
    }


def _offer_bucket_point(bucket: Bucket, last: OfferStep) -> Point:
    return {
        "at": moment(bucket.at),
        "state": bucket.state,
        "price": bucket.lowest,
        "items_in_stock": last.items_in_stock if last.observed else 0,
        **_statistics(bucket),
    }


def _statistics(bucket: Bucket) -> Point:
    return {
        "open": bucket.open,
        "close": bucket.close,
        "highest": bucket.highest,
        "mean": bucket.weighted / bucket.in_stock_us if bucket.in_stock_us else None,
        "in_stock_seconds": bucket.in_stock_us / SECOND,
        "observed_seconds": bucket.observed_us / SECOND,
        "changes": bucket.changes,
    }


def _series(source: _Source[Step], begin: datetime, end: datetime, resolution: str) -> Series:
    now = source.queries.now
    first, last = source.queries.window(begin, end)
    asked = next((name for name in RESOLUTIONS if name == resolution), None)
    if asked in _LENGTHS:
        _check_point_count(source, first, last, asked)
    length = _length_to_read(asked, first, last)
    currency, steps = source.steps(bucket_start(first, length) - 1, min(bucket_end(last, length), now))
    if asked is None:
        asked = _finest_kept(steps, first, last)
    elif not _is_kept(steps, first, last, asked):
        raise NotKept(asked, _raw_from(source.queries.connection))
    if asked == "raw":
        first, last, points = _raw(source, steps, first, last)
    else:
        first, last, points = _in_buckets(source, steps, first, last, asked)
    return Series(moment(first), moment(last), asked, currency, points)


def _length_to_read(asked: Resolution | None, first: int, last: int) -> int:
    """Length of the buckets to read: at least a day, to detect summarised days."""
    if asked is None:
        asked = _finest(first, last) or "week"
    return max(DAY, _LENGTHS.get(asked, DAY))


def _check_point_count(source: _Source[Step], first: int, last: int, resolution: Resolution) -> None:
    if not _fits(first, last, resolution):
        # There are no points before the first observation.
        seen_from = max(first, min(source.queries.first_observed() or last, last - 1))
        if not _fits(seen_from, last, resolution):
            raise TooManyPoints(resolution, _finest(seen_from, last))


def _fits(begin: int, end: int, resolution: Resolution) -> bool:
    length = _LENGTHS[resolution]
    return bucket_end(end, length) - bucket_start(begin, length) <= MAX_POINTS * length


def _finest(begin: int, end: int) -> Resolution | None:
    """The finest resolution of buckets at which a window has at most MAX_POINTS points; None if there is none."""
    return next((name for name in _LENGTHS if _fits(begin, end, name)), None)


def _finest_kept(steps: Sequence[Step], first: int, last: int) -> Resolution:
    """The finest resolution with at most MAX_POINTS points whose steps are kept."""
    if _is_kept(steps, first, last, "raw") and len(in_window(steps, first, last)) <= MAX_POINTS:
        return "raw"
    # Without a step before the window, the first step is the first of the history.
    seen_from = max(first, min(steps[0].at, last - 1))
    for name in _LENGTHS:
        if _fits(seen_from, last, name) and _is_kept(steps, first, last, name):
            return name
    raise TooManyPoints("auto", None)


def _is_kept(steps: Sequence[Step], first: int, last: int, resolution: Resolution) -> bool:
    """Whether the window can be answered at this resolution."""
    if resolution in ("day", "week"):
        return True
    if resolution == "hour":
        # The step before the window is needed, too: a change at its start counts.
        first, last = bucket_start(first, HOUR) - 1, bucket_end(last, HOUR)
    return is_exact(steps, first, last)


def _raw(source: _Source[Step], steps: Sequence[Step], first: int, last: int) -> _Window:
    steps = in_window(steps, first, last)
    if len(steps) > MAX_POINTS:
        raise TooManyPoints("raw", _finest(first, last))
    points = [{"at": moment(max(step.at, first)), **source.point(step)} for step in steps]
    return first, last, points


def _in_buckets(source: _Source[Step], steps: Sequence[Step], first: int, last: int, resolution: Resolution) -> _Window:
    length = _LENGTHS[resolution]
    first, last = bucket_start(first, length), min(bucket_end(last, length), source.queries.now)
    window = list(in_window(steps, first - 1, last - 1))
    if window and window[0].at < first:
        # A summary before the window is not part of it.
        window[0] = window[0]._replace(summary=None)
    points = list(_bucket_points(source, window, first, last, length))
    return first, last, points


def _bucket_points(source: _Source[Step], steps: Sequence[Step], begin: int, end: int, length: int) -> Iterator[Point]:
    for bucket in downsample(source.prices(steps), begin, end, length):
        after = bisect_left(steps, bucket.at + length, key=_at)
        yield source.bucket_point(bucket, steps[after - 1])


def _raw_from(connection: Connection) -> datetime:
    raw_from = connection.execute(select(HistoryProgress.raw_from)).scalar_one()
    assert raw_from is not None, "compaction sets raw_from before it summarises days"
    return raw_from
