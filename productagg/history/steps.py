"""The arithmetic of histories: steps, the spans between them, and the buckets that sum them up. Pure; no database.

Times and durations are whole microseconds, times since the epoch; buckets are hours, UTC days and ISO weeks. What is
not observed, a gap or the time before the first observation, counts for nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

INSTANT = timedelta(microseconds=1)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
WEEK = 7 * DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The epoch was a Thursday; ISO weeks begin on Mondays.
_MONDAY = 4 * DAY


def microseconds(time: datetime) -> int:
    """A time as microseconds since the epoch, exactly."""
    return (time - _EPOCH) // INSTANT


def moment(microseconds: int) -> datetime:
    """The time of so many microseconds since the epoch, in UTC."""
    return _EPOCH + timedelta(0, 0, microseconds)


def bucket_start(at: int, length: int) -> int:
    """The beginning of the bucket (of HOUR, DAY or WEEK) that a time lies in."""
    offset = _MONDAY if length == WEEK else 0
    return (at - offset) // length * length + offset


class Step(NamedTuple):
    """From `at` on, until the next step: `price` in stock, None for sold out; if not `observed`, nobody knows."""

    at: int
    price: int | None
    observed: bool = True

    @property
    def known_price(self) -> int | None:
        """The price in stock; None as well where nobody knows."""
        return self.price if self.observed else None


class Bucket(NamedTuple):
    """What a price did from `at` on, for as long as the bucket is. See models._Rollup for the columns.

    `lowest` to `close` are of the time in stock, None if there was none; weighted / in_stock_us is the exact mean.
    """

    at: int
    state: str
    in_stock_us: int
    observed_us: int
    open: int | None
    close: int | None
    lowest: int | None
    highest: int | None
    weighted: int
    changes: int

    @property
    def end_step(self) -> Step:
        """What is in force from its end on. Its time is the bucket's."""
        return Step(self.at, self.close if self.state == "in_stock" else None, self.state != "not_observed")


def state_of(step: Step | None) -> str:
    """'in_stock', 'sold_out' or 'not_observed', which is also what there is before the first step."""
    if step is None or not step.observed:
        return "not_observed"
    return "sold_out" if step.price is None else "in_stock"


def roll_up(carried: Step | None, steps: Sequence[Step], length: int, end: int | None = None) -> Iterator[Bucket]:
    """The buckets in which there are steps, in order.

    `carried` is the step that was in force before the first one, at whatever time; `steps` have rising times. Buckets
    are whole, but for the last one if `end` cuts it off.
    """
    first = 0
    while first < len(steps):
        begin = bucket_start(steps[first].at, length)
        stop = begin + length
        last = first
        while last < len(steps) and steps[last].at < stop:
            last += 1
        yield _bucket(carried, steps[first:last], begin, stop if end is None else min(stop, end))
        carried = steps[last - 1]
        first = last


def _bucket(carried: Step | None, steps: Sequence[Step], begin: int, stop: int) -> Bucket:
    in_stock_us = observed_us = weighted = changes = 0
    prices = []
    before = carried
    spans = [carried._replace(at=begin), *steps] if carried is not None else steps
    for number, step in enumerate(spans):
        if before is not None and before.observed and step.observed and step.price != before.price:
            changes += 1
        before = step
        if step.observed:
            span = (spans[number + 1].at if number + 1 < len(spans) else stop) - step.at
            observed_us += span
            # A carried step that ends where the bucket begins was not in it.
            if step.price is not None and span:
                in_stock_us += span
                weighted += step.price * span
                prices.append(step.price)
    opening, closing = (prices[0], prices[-1]) if prices else (None, None)
    lowest, highest = (min(prices), max(prices)) if prices else (None, None)
    state = state_of(steps[-1])
    return Bucket(begin, state, in_stock_us, observed_us, opening, closing, lowest, highest, weighted, changes)


def constant(at: int, span: int, step: Step | None) -> Bucket:
    """A bucket in which nothing happened: all of it is as an earlier step left it."""
    state = state_of(step)
    if step is None or step.price is None or not step.observed:
        return Bucket(at, state, 0, span if state == "sold_out" else 0, None, None, None, None, 0, 0)
    price = step.price
    return Bucket(at, state, span, span, price, price, price, price, price * span, 0)


def fill(carried: Step | None, buckets: Iterable[Bucket], begin: int, end: int, length: int) -> Iterator[Bucket]:
    """Every bucket from the one that begins at `begin` to the one that ends at, or is cut off by, `end`.

    `buckets` are those in which something happened, `carried` is what was in force before them.
    """
    at = begin
    previous: Bucket | None = None
    for bucket in buckets:
        if at < bucket.at:
            step = carried if previous is None else previous.end_step
            yield from (constant(each, length, step) for each in range(at, bucket.at, length))
        yield bucket
        previous = bucket
        at = bucket.at + length
    step = carried if previous is None else previous.end_step
    yield from (constant(each, min(length, end - each), step) for each in range(at, end, length))


def merge(buckets: Iterable[Bucket], length: int) -> Iterator[Bucket]:
    """Filled buckets summed up to longer ones."""
    group: list[Bucket] = []
    for bucket in buckets:
        if group and bucket_start(group[0].at, length) != bucket_start(bucket.at, length):
            yield _merged(group, length)
            group = []
        group.append(bucket)
    if group:
        yield _merged(group, length)


def _merged(group: Sequence[Bucket], length: int) -> Bucket:
    priced = [each for each in group if each.in_stock_us]
    return Bucket(
        bucket_start(group[0].at, length),
        group[-1].state,
        sum(each.in_stock_us for each in group),
        sum(each.observed_us for each in group),
        priced[0].open if priced else None,
        priced[-1].close if priced else None,
        min((each.lowest for each in priced if each.lowest is not None), default=None),
        max((each.highest for each in priced if each.highest is not None), default=None),
        sum(each.weighted for each in group),
        sum(each.changes for each in group),
    )
