"""A price's course over a window, for charts and for export: every step, or a point for each hour, day or week.

For the API. A series has at most MAX_POINTS points. Buckets are whole, in UTC, and the window is aligned to them. What
lies before the first observation has no points.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, exists, select

from productagg.db.models import Offer
from productagg.history.known import Known, is_raw, product_part
from productagg.history.reading import Part
from productagg.history.sources import AnyBucket, Before, OfferSource, Point, ProductSource, Window
from productagg.history.steps import DAY, HOUR, WEEK, bucket_start, fill, merge, microseconds, moment

# About as many as a screen has columns.
MAX_POINTS = 1000
_LENGTHS = {"hour": HOUR, "day": DAY, "week": WEEK}
RESOLUTIONS = ("raw", *_LENGTHS)


class TooManyPoints(Exception):
    """The window has more than MAX_POINTS points in this resolution; in `coarser` it has not (None: in none)."""

    def __init__(self, resolution: str, coarser: str | None) -> None:
        super().__init__(resolution, coarser)
        self.resolution = resolution
        self.coarser = coarser


class NotKept(Exception):
    """The window's raw steps are no longer there; they are from `raw_from` on."""

    def __init__(self, raw_from: datetime) -> None:
        super().__init__(raw_from)
        self.raw_from = raw_from


@dataclass(frozen=True)
class Series:
    """Points in the order of time, of [begin, end): the window as it was aligned to the resolution.

    A point of the resolution 'raw' holds from its `at` on, until the next one; the first is what was in force at the
    begin. Any other sums up the hour, day or week that begins at its `at`: `lowest` (of an offer: `price`), `highest`,
    `open` and `close` and the time-weighted `mean` are of the time in stock, the product's `average` is the mean of its
    average price, rounded half up; `state`, `offers` and `items_in_stock` are those at its end.
    """

    begin: datetime
    end: datetime
    resolution: str
    points: list[Point]


def raw_part(begin: datetime, end: datetime, now: datetime) -> Part | None:
    """What a product's series is made of if it is surely 'raw'; the end is not in the future."""
    return product_part(microseconds(begin), microseconds(end), MAX_POINTS + 1) if is_raw(begin, now) else None


def product_series(connection: Connection, known: Known, begin: datetime, end: datetime, resolution: str) -> Series:
    """A product's series in one of RESOLUTIONS, or 'auto': the finest that has no more than MAX_POINTS points.

    Raises TooManyPoints, with 'auto' if even weeks are too many, and NotKept, never with 'auto'. Begin lies before end,
    and before now, to which the end is clamped.
    """
    return _series(ProductSource(connection, known), known, begin, end, resolution)


def offer_series(
    connection: Connection, known: Known, offer_id: UUID, begin: datetime, end: datetime, resolution: str
) -> Series | None:
    """The same of one offer, with `price` for `lowest` and no averages; None: the product never had such an offer."""
    found = _series(OfferSource(connection, known, offer_id), known, begin, end, resolution)
    if not found.points and not _ever_offered(connection, known, offer_id):
        return None
    return found


def _series(source: ProductSource, known: Known, begin: datetime, end: datetime, resolution: str) -> Series:
    first, last = microseconds(begin), min(microseconds(end), known.now)
    if resolution == "raw" and first < known.raw_from:
        raise NotKept(moment(known.raw_from))
    if resolution == "raw" or (resolution == "auto" and first >= known.raw_from):
        points = source.points(first, last, MAX_POINTS + 1)
        if len(points) <= MAX_POINTS:
            return Series(moment(first), moment(last), "raw", points)
        if resolution == "raw":
            raise TooManyPoints(resolution, _finest(first, last))
    if resolution == "auto":
        return _finest_series(source, known, first, last)
    if not _fits(first, last, resolution):
        # Before the first observation there are no points.
        seen_from = max(first, min(source.first_observed() or last, last - 1))
        if not _fits(seen_from, last, resolution):
            raise TooManyPoints(resolution, _finest(seen_from, last))
    return _buckets(source, known, first, last, resolution)


def _finest_series(source: ProductSource, known: Known, first: int, last: int) -> Series:
    resolution = _finest(first, last) or "week"
    found = _buckets(source, known, first, last, resolution)
    if found.points and found.points[0]["at"] > found.begin:
        # It was observed only later: what there is may fit in a finer one.
        finer = _finest(microseconds(found.points[0]["at"]), last)
        if finer is not None and finer != resolution:
            return _buckets(source, known, first, last, finer)
    if len(found.points) > MAX_POINTS:
        raise TooManyPoints("auto", None)
    return found


def _finest(begin: int, end: int) -> str | None:
    """The finest resolution of buckets in which a window has no more than MAX_POINTS points; None: in none."""
    return next((name for name in _LENGTHS if _fits(begin, end, name)), None)


def _fits(begin: int, end: int, resolution: str) -> bool:
    length = _LENGTHS[resolution]
    return bucket_start(end - 1, length) + length - bucket_start(begin, length) <= MAX_POINTS * length


def _buckets(source: ProductSource, known: Known, first: int, last: int, resolution: str) -> Series:
    length = _LENGTHS[resolution]
    first, last = bucket_start(first, length), min(bucket_start(last - 1, length) + length, known.now)
    return Series(moment(first), moment(last), resolution, _points(source, known, first, last, length))


def _points(source: ProductSource, known: Known, begin: int, end: int, length: int) -> list[Point]:
    stored = min(length, source.longest_stored)
    rolled_until = max(begin, min(end, known.rolled_until))
    # Weeks that are not over, or not stored, are made of days.
    middle = bucket_start(rolled_until, length) if stored == length else begin
    windows = [
        Window(start, max(start, min(stop, rolled_until)), stop, base)
        for start, stop, base in ((begin, middle, length), (middle, end, min(length, DAY)))
        if start < stop
    ]
    source.bring(windows)
    points: list[Point] = []
    last: Before = None
    for number, window in enumerate(windows):
        if window.split == window.end and window.base == length:
            found, last = source.stored(window.begin, window.end, length)
            points += found
        else:
            before, buckets = source.buckets(window, last, first=number == 0)
            points += _dense(source, window, length, before, buckets)
    return points


def _dense(
    source: ProductSource, window: Window, length: int, before: Before, buckets: Sequence[AnyBucket]
) -> Iterator[Point]:
    """A point for each bucket of a window, also where nothing happened, summed up to `length`."""
    begin, _, end, base = window
    if before is None:
        if not buckets:
            return
        begin = bucket_start(buckets[0].prices[0].at, length)
    prices_of = [each.prices for each in buckets]
    filled = [
        fill(step, [prices[number] for prices in prices_of], begin, end, base)
        for number, step in enumerate(source.end_steps(before))
    ]
    if base < length:
        filled = [merge(each, length) for each in filled]
    counts = before.counts if before is not None else (0,) * source.counts
    counts_at = {prices[0].at: each.counts for prices, each in zip(prices_of, buckets, strict=True)}
    for prices in zip(*filled, strict=True):
        first = prices[0].at
        for at in range(first, first + length, base):
            counts = counts_at.get(at, counts)
        yield source.bucket_point(source.row_of(prices, counts))


def _ever_offered(connection: Connection, known: Known, offer_id: UUID) -> bool:
    which = exists().where(Offer.product_id == known.product_id, Offer.id == offer_id)
    return bool(connection.execute(select(which)).scalar_one())
