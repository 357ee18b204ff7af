"""The steps of histories and the arithmetic of their times. Pure: no database.

Times and durations are whole microseconds, times since the epoch. A step holds from its time on until the next step.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

INSTANT = timedelta(microseconds=1)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
WEEK = 7 * DAY

# A day's summary, as it is stored: see buckets.
Summary = list[Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The epoch was a Thursday; ISO weeks begin on Mondays.
_MONDAY = 4 * DAY
_AnyStep = TypeVar("_AnyStep", bound=tuple[Any, ...])
_at = itemgetter(0)


def microseconds(time: datetime) -> int:
    """A time as microseconds since the epoch, exactly."""
    return (time - _EPOCH) // INSTANT


def moment(microseconds: int) -> datetime:
    """The time that lies so many microseconds after the epoch, in UTC."""
    return _EPOCH + timedelta(0, 0, microseconds)


def bucket_start(at: int, length: int) -> int:
    """The beginning of the bucket (of HOUR, DAY or WEEK) that a time lies in."""
    offset = _MONDAY if length == WEEK else 0
    return (at - offset) // length * length + offset


def bucket_end(at: int, length: int) -> int:
    """The end of the last bucket that begins before a time: the time itself, if a bucket begins there."""
    return bucket_start(at - 1, length) + length


class ProductStep(NamedTuple):
    """A row of product_prices or product_price_days. NULL prices mean 'sold out', unless it is not `observed`."""

    at: int
    lowest: int | None
    average: int | None
    offers: int
    items_in_stock: int
    observed: bool
    summary: Summary | None = None


class OfferStep(NamedTuple):
    """A row of offer_prices or offer_price_days; not `observed`: from `at` on, its product was not."""

    at: int
    price: int
    items_in_stock: int
    observed: bool = True
    summary: Summary | None = None


def as_steps(kind: type[_AnyStep], rows: Iterable[tuple[Any, ...]]) -> list[_AnyStep]:
    """The rows as named tuples with as many fields; of thousands of rows, twice as fast as to call the class."""
    return list(map(partial(tuple.__new__, kind), rows))


def state_of(price: int | None, observed: bool) -> str:
    """'in_stock', 'sold_out' or 'not_observed'."""
    if not observed:
        return "not_observed"
    return "sold_out" if price is None else "in_stock"


def in_window(steps: Sequence[_AnyStep], begin: int, end: int) -> Sequence[_AnyStep]:
    """The step in force at `begin`, if there is one, and those after it up to `end`."""
    first = bisect_right(steps, begin, key=_at)
    return steps[max(first - 1, 0) : bisect_right(steps, end, key=_at)]


def until_gap(steps: Sequence[_AnyStep], gap: _AnyStep, begin: int, end: int) -> Sequence[_AnyStep]:
    """The steps of a window with a gap that goes on, if the window reaches it and it is not recorded yet."""
    if gap[0] > end or (steps and steps[-1][0] >= gap[0]):
        return steps
    return [*(step for step in steps if step[0] < gap[0]), gap] if begin < gap[0] else [gap]


def with_gaps(offers: Sequence[OfferStep], gaps: Sequence[tuple[int, bool]]) -> list[OfferStep]:
    """An offer's steps with the gaps of its product, during which nothing is known of the offer either.

    `gaps` has the times at which being observed ends (False) or begins (True). After a gap the offer is as it was
    before, unless it has a step of its own at that time.
    """
    merged: list[OfferStep] = []
    current: OfferStep | None = None
    observed = True
    for at, step, is_observed in _events(offers, gaps):
        if step is not None:
            current = step
            if merged and merged[-1].at == at:
                merged.pop()  # the state that the end of the gap brought back
            merged.append(step._replace(observed=observed))
        elif is_observed != observed:
            observed = is_observed
            if current is not None:
                merged.append(current._replace(at=at, observed=observed, summary=None))
    return merged


def _events(
    offers: Sequence[OfferStep], gaps: Sequence[tuple[int, bool]]
) -> Iterator[tuple[int, OfferStep | None, bool]]:
    """An offer's steps and the turns of its product's gaps by time; at the same time, the turn comes first."""
    turns: list[tuple[int, OfferStep | None, bool]] = [(at, None, observed) for at, observed in gaps]
    yield from sorted([*turns, *((step.at, step, True) for step in offers)], key=_at)
