"""A price's course over a window, for charts and for export: every step, or a point for each hour, day or week.

For the API. A series has at most MAX_POINTS points. Buckets are whole, in UTC, and the window is aligned to them. What
lies before the first observation has no points.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, exists, select

from productagg.history.known import (
    Known,
    first_observed,
    is_raw,
    offer_part,
    offer_steps,
    product_gaps,
    product_part,
    product_steps,
    product_tail,
    product_tail_part,
    rolled_offer,
    rolled_offer_part,
    rolled_product,
    rolled_product_part,
)
from productagg.history.reading import Part
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


def raw_part(begin: datetime, end: datetime, now: datetime) -> Part | None:
    """What a product's series is made of if it is surely 'raw'; the end is not in the future."""
    return product_part(microseconds(begin), microseconds(end), MAX_POINTS + 1) if is_raw(begin, now) else None


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

    def bring(self, windows: Sequence["_Window"]) -> None:
        """Have all that these windows are made of at once."""
        parts = []
        for begin, split, end, base in windows:
            if begin < split:
                parts.append(self.rolled_part(begin, split, base))
            if split < end:
                parts.append(self.tail_part(split, end, first=not parts))
        self._known = self._known.bring(self._connection, parts)

    def rolled_part(self, begin: int, end: int, length: int) -> Part:
        return rolled_product_part(begin, end, length)

    def tail_part(self, begin: int, end: int, *, first: bool) -> Part:
        return product_part(begin - 1, end - 1) if first else product_tail_part(begin, end - 1)

    def tail(self, carried: Any, begin: int, end: int, *, first: bool) -> Sequence[Any]:
        """The steps of [begin, end), after that in force before, which roll-ups say unless they are the `first`."""
        if first:
            # As of just before, so that a step at this very moment is within.
            return self.steps(begin - 1, end - 1)
        return product_tail(self._connection, self._known, carried, begin, end - 1)

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

    def rolled_part(self, begin: int, end: int, length: int) -> Part:
        return rolled_offer_part(self._offer_id, begin, end, length)

    def tail_part(self, begin: int, end: int, *, first: bool) -> Part:
        return offer_part(self._offer_id, begin - 1, end - 1)

    def tail(self, carried: Any, begin: int, end: int, *, first: bool) -> Sequence[Any]:
        return self.steps(begin - 1, end - 1)

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


class _Window(NamedTuple):
    """Buckets of `base` length in [begin, end): before `split` they are stored, then made of raw steps."""

    begin: int
    split: int
    end: int
    base: int


def _series(source: _Product, known: Known, begin: datetime, end: datetime, resolution: str) -> Series:
    first, last = microseconds(begin), min(microseconds(end), known.now)
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
            raise TooManyPoints(resolution, _finest(first, last))
    if resolution == "auto":
        return _finest_series(source, known, first, last)
    if not _fits(first, last, resolution):
        # Before the first observation there are no points.
        seen_from = max(first, min(source.first_observed() or last, last - 1))
        if not _fits(seen_from, last, resolution):
            raise TooManyPoints(resolution, _finest(seen_from, last))
    return _buckets(source, known, first, last, resolution)


def _finest_series(source: _Product, known: Known, first: int, last: int) -> Series:
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


def _buckets(source: _Product, known: Known, first: int, last: int, resolution: str) -> Series:
    length = _LENGTHS[resolution]
    first, last = bucket_start(first, length), min(bucket_start(last - 1, length) + length, known.now)
    return Series(moment(first), moment(last), resolution, _points(source, known, first, last, length))


def _points(source: _Product, known: Known, begin: int, end: int, length: int) -> list[Point]:
    stored = min(length, source.longest_stored)
    rolled_until = max(begin, min(end, known.rolled_until))
    # Weeks that are not over, or not stored, are made of days.
    middle = bucket_start(rolled_until, length) if stored == length else begin
    windows = [
        _Window(start, max(start, min(stop, rolled_until)), stop, base)
        for start, stop, base in ((begin, middle, length), (middle, end, min(length, DAY)))
        if start < stop
    ]
    source.bring(windows)
    points: list[Point] = []
    last: AnyStep | AnyBucket | None = None
    for number, window in enumerate(windows):
        before, buckets = _made(source, window, last, first=number == 0)
        points += _dense(source, window, length, before, buckets)
        last = buckets[-1] if buckets else before
    return points


def _made(
    source: _Product, window: _Window, last: AnyStep | AnyBucket | None, *, first: bool
) -> tuple[AnyStep | AnyBucket | None, list[AnyBucket]]:
    """What was in force before a window, `last` unless it is the first one, and its buckets, stored ones and others."""
    begin, split, end, base = window
    buckets: list[AnyBucket] = []
    before = last
    if begin < split:
        found, stored = source.rolled(begin, split, base)
        buckets.extend(stored)
        before = found if first else last
        first = False
        last = buckets[-1] if buckets else before
    if split < end:
        carried = last.end_step if isinstance(last, ProductBucket) else last
        steps = source.tail(carried, split, end, first=first)
        carried = steps[0] if steps and steps[0].at < split else None
        if split == begin and first:
            before = carried
        buckets.extend(source.roll_up(carried, steps[1:] if carried else steps, base, end))
    return before, buckets


def _dense(
    source: _Product, window: _Window, length: int, before: AnyStep | AnyBucket | None, buckets: Sequence[AnyBucket]
) -> Iterator[Point]:
    """A point for each bucket of a window, also where nothing happened, summed up to `length`."""
    begin, _, end, base = window
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
        at, state, in_stock_us, observed_us, opening, closing, _, highest, weighted, changes = prices[0]
        for each in range(at, at + length, base):
            counts = counts_at.get(each, counts)
        yield {
            "at": moment(at),
            "state": state,
            **source.sums(prices, counts),
            "open": opening,
            "close": closing if in_stock_us else None,
            "highest": highest,
            "mean": weighted / in_stock_us if in_stock_us else None,
            "in_stock_seconds": in_stock_us / SECOND,
            "observed_seconds": observed_us / SECOND,
            "changes": changes,
        }


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
