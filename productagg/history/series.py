"""A price's course over a window, for charts and for export: every step, or a point for each hour, day or week.

For the API. A series has at most MAX_POINTS points. Buckets are whole, in UTC, and the window is aligned to them. What
lies before the first observation has no points.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, exists, select

from productagg.history.known import (
    Known,
    first_observed,
    offer_steps,
    product_gaps,
    product_steps,
    rolled_offer,
    rolled_product,
)
from productagg.history.rollups import (
    OfferBucket,
    OfferStep,
    ProductBucket,
    ProductStep,
    offer_buckets,
    product_buckets,
    with_gaps,
)
from productagg.history.steps import (
    DAY,
    HOUR,
    SECOND,
    WEEK,
    Bucket,
    Step,
    bucket_start,
    fill,
    merge,
    microseconds,
    moment,
    state_of,
)
from productagg.models import Offer

# About as many as a screen has columns.
MAX_POINTS = 1000
_LENGTHS = {"hour": HOUR, "day": DAY, "week": WEEK}
RESOLUTIONS = ("raw", *_LENGTHS)

Point = dict[str, Any]
AnyStep = ProductStep | OfferStep
AnyBucket = ProductBucket | OfferBucket


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


def product_series(connection: Connection, known: Known, begin: datetime, end: datetime, resolution: str) -> Series:
    """A product's series in one of RESOLUTIONS, or 'auto': the finest that has no more than MAX_POINTS points.

    Raises TooManyPoints, with 'auto' if even weeks are too many, and NotKept, never with 'auto'. Begin lies before end,
    and before now, to which the end is clamped.
    """
    return _series(_Product(connection, known), known, begin, end, resolution)


def offer_series(
    connection: Connection, known: Known, offer_id: UUID, begin: datetime, end: datetime, resolution: str
) -> Series | None:
    """The same of one offer, with `price` for `lowest` and no averages; None: the product never had such an offer."""
    found = _series(_Offer(connection, known, offer_id), known, begin, end, resolution)
    if not found.points and not _ever_offered(connection, known, offer_id):
        return None
    return found


class _Product:
    """Where a product's points come from."""

    prices = 2
    counts = 2
    longest_stored = WEEK

    def __init__(self, connection: Connection, known: Known) -> None:
        self._connection = connection
        self._known = known

    def first_observed(self) -> int | None:
        return first_observed(self._connection, self._known)

    def steps(self, begin: int, end: int, limit: int | None = None) -> Sequence[AnyStep]:
        """The step in force at `begin`, and those up to `end`, gaps among them."""
        return product_steps(self._connection, self._known, begin, end, limit)

    def point(self, step: Any) -> Point:
        at, lowest, average, offers, items_in_stock, observed = step
        state = ("sold_out" if lowest is None else "in_stock") if observed else "not_observed"
        return {
            "at": moment(at),
            "state": state,
            "lowest": lowest,
            "average": average,
            "offers": offers,
            "items_in_stock": items_in_stock,
        }

    def sums(self, prices: Sequence[Bucket], counts: Sequence[int]) -> Point:
        lowest, average = prices
        offers, items_in_stock = counts
        return {
            "lowest": lowest.lowest,
            "average": _rounded_mean(average),
            "offers": offers,
            "items_in_stock": items_in_stock,
        }

    def rolled(self, begin: int, end: int, length: int) -> tuple[AnyBucket | None, Sequence[AnyBucket]]:
        return rolled_product(self._connection, self._known, begin, end, length)

    def roll_up(self, carried: Any, steps: Sequence[Any], length: int, end: int) -> Iterable[AnyBucket]:
        return product_buckets(carried, steps, length, end)


class _Offer(_Product):
    """Where an offer's points come from. It is observed while its product is."""

    prices = 1
    counts = 1
    longest_stored = DAY

    def __init__(self, connection: Connection, known: Known, offer_id: UUID) -> None:
        super().__init__(connection, known)
        self._offer_id = offer_id

    def steps(self, begin: int, end: int, limit: int | None = None) -> Sequence[AnyStep]:
        offers = offer_steps(self._connection, self._known, self._offer_id, begin, end, limit)
        steps = with_gaps(offers, product_gaps(self._connection, self._known, begin, end))
        # Of those before, the last one says it all.
        later = next((number for number, step in enumerate(steps) if step.at > begin), len(steps))
        return steps[max(later - 1, 0) :]

    def point(self, step: Any) -> Point:
        price = step.of()
        return {
            "at": moment(step.at),
            "state": state_of(price),
            "price": price.known_price,
            "items_in_stock": step.items_in_stock if step.observed else 0,
        }

    def sums(self, prices: Sequence[Bucket], counts: Sequence[int]) -> Point:
        return {"price": prices[0].lowest, "items_in_stock": counts[0]}

    def rolled(self, begin: int, end: int, length: int) -> tuple[AnyBucket | None, Sequence[AnyBucket]]:
        return rolled_offer(self._connection, self._known, self._offer_id, begin, end, length)

    def roll_up(self, carried: Any, steps: Sequence[Any], length: int, end: int) -> Iterable[AnyBucket]:
        return offer_buckets(carried, steps, length, end)


def _series(source: _Product, known: Known, begin: datetime, end: datetime, resolution: str) -> Series:
    first, last = microseconds(begin), min(microseconds(end), known.now)
    seen_from = first
    if _span(first, last, HOUR) > MAX_POINTS * HOUR:
        # Before the first observation there are no points.
        seen_from = min(max(first, source.first_observed() or last), last - 1)
    fits = next(
        (name for name, length in _LENGTHS.items() if _span(seen_from, last, length) <= MAX_POINTS * length), None
    )
    if resolution == "raw" and first < known.raw_from:
        raise NotKept(moment(known.raw_from))
    if resolution == "raw" or (resolution == "auto" and first >= known.raw_from):
        steps = source.steps(first, last, limit=MAX_POINTS + 1)
        if len(steps) <= MAX_POINTS:
            points = [source.point(step) for step in steps]
            if points and steps[0].at < first:
                points[0]["at"] = moment(first)
            return Series(moment(first), moment(last), "raw", points)
        if resolution == "raw":
            raise TooManyPoints(resolution, fits)
    if resolution == "auto":
        resolution = fits or "week"
    length = _LENGTHS[resolution]
    if _span(seen_from, last, length) > MAX_POINTS * length:
        raise TooManyPoints(resolution, fits)
    first, last = bucket_start(first, length), min(bucket_start(last - 1, length) + length, known.now)
    points = list(_bucket_points(source, known, max(first, bucket_start(seen_from, length)), last, length))
    return Series(moment(first), moment(last), resolution, points)


def _span(begin: int, end: int, length: int) -> int:
    """How long a window is when it is made of whole buckets."""
    return bucket_start(end - 1, length) + length - bucket_start(begin, length)


def _bucket_points(source: _Product, known: Known, begin: int, end: int, length: int) -> Iterator[Point]:
    stored = min(length, source.longest_stored)
    # Weeks that are not over, or not stored, are made of days.
    split = bucket_start(max(begin, min(end, known.rolled_until)), length) if stored == length else begin
    dense = chain(
        _dense(source, known, begin, split, length, length) if begin < split else (),
        _dense(source, known, split, end, min(length, DAY), length) if split < end else (),
    )
    for prices, counts in dense:
        price = prices[0]
        yield {
            "at": moment(price.at),
            "state": price.state,
            **source.sums(prices, counts),
            "open": price.open,
            "close": price.close if price.in_stock_us else None,
            "highest": price.highest,
            "mean": price.weighted / price.in_stock_us if price.in_stock_us else None,
            "in_stock_seconds": price.in_stock_us / SECOND,
            "observed_seconds": price.observed_us / SECOND,
            "changes": price.changes,
        }


def _dense(
    source: _Product, known: Known, begin: int, end: int, base: int, length: int
) -> Iterator[tuple[tuple[Bucket, ...], tuple[int, ...]]]:
    """Each bucket's prices, and the counts at its end: buckets of `base`, summed up to `length`.

    They are stored as far as the history is rolled up; from there on they are made of raw steps.
    """
    split = max(begin, min(end, known.rolled_until))
    before: AnyStep | AnyBucket | None = None
    buckets: list[AnyBucket] = []
    if begin < split:
        before, stored = source.rolled(begin, split, base)
        buckets.extend(stored)
    if split < end:
        # As of just before, so that a step at this very moment is within.
        steps = source.steps(split - 1, end - 1)
        carried = steps[0] if steps and steps[0].at < split else None
        before = carried if split == begin else before
        buckets.extend(source.roll_up(carried, steps[1:] if carried else steps, base, end))
    if before is None:
        if not buckets:
            return
        begin = bucket_start(buckets[0].prices[0].at, length)
    filled = [
        fill(_end_step(before, number), [each.prices[number] for each in buckets], begin, end, base)
        for number in range(source.prices)
    ]
    if base < length:
        filled = [merge(each, length) for each in filled]
    counts = before.counts if before is not None else (0,) * source.counts
    counts_at = {each.prices[0].at: each.counts for each in buckets}
    for prices in zip(*filled, strict=True):
        first = prices[0].at
        for at in range(first, first + length, base):
            counts = counts_at.get(at, counts)
        yield prices, counts


def _end_step(before: AnyStep | AnyBucket | None, number: int) -> Step | None:
    """What one of its prices is from its end on."""
    if before is None:
        return None
    price = before.prices[number]
    return price.end_step if isinstance(price, Bucket) else price


def _rounded_mean(bucket: Bucket) -> int | None:
    """Half up, as every average here."""
    if not bucket.in_stock_us:
        return None
    return (2 * bucket.weighted + bucket.in_stock_us) // (2 * bucket.in_stock_us)


def _ever_offered(connection: Connection, known: Known, offer_id: UUID) -> bool:
    which = exists().where(Offer.product_id == known.product_id, Offer.id == offer_id)
    return bool(connection.execute(select(which)).scalar_one())
