"""The steps of histories and the arithmetic of their times. Pure: no database.

Times and durations are whole microseconds, times since the epoch. A step holds from its time on until the next step.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeVar

INSTANT = timedelta(microseconds=1)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
WEEK = 7 * DAY

# An observation counts for so many intervals of the source that made it.
INTERVALS_OBSERVED = 5

# As it is stored; see buckets.
DaySummary = list[Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The epoch was a Thursday; ISO weeks begin on Mondays.
_MONDAY = 4 * DAY
_AnyStep = TypeVar("_AnyStep", bound=tuple[Any, ...])
_at = itemgetter(0)
_observed = attrgetter("observed")


def microseconds(time: datetime) -> int:
    """A time as microseconds since the epoch, exactly."""
    return (time - _EPOCH) // INSTANT


def moment(microseconds: int) -> datetime:
    """The time so many microseconds after the epoch, in UTC."""
    return _EPOCH + timedelta(0, 0, microseconds)


def bucket_start(at: int, length: int) -> int:
    """The start of the bucket (of HOUR, DAY or WEEK) that a time lies in."""
    offset = _MONDAY if length == WEEK else 0
    return (at - offset) // length * length + offset


def bucket_end(at: int, length: int) -> int:
    """The end of the last bucket that starts before a time: the time itself, if a bucket starts there."""
    return bucket_start(at - 1, length) + length


class ProductStep(NamedTuple):
    """A row of product_prices or product_price_days. NULL prices mean 'sold out', unless it is not `observed`."""

    at: int
    lowest: int | None
    average: int | None
    offers: int
    items_in_stock: int
    observed: bool
    summary: DaySummary | None = None


class OfferStep(NamedTuple):
    """A row of offer_prices or offer_price_days. `observed` is false while the product is not observed.

    `items_in_stock` is 0 if it is not in stock, None if it is and the number is not told.
    """

    at: int
    price: int
    items_in_stock: int | None
    observed: bool = True
    summary: DaySummary | None = None

    @property
    def price_in_stock(self) -> int | None:
        """The price; None if it is not in stock."""
        return None if self.items_in_stock == 0 else self.price


Step = TypeVar("Step", ProductStep, OfferStep)


class PriceStep(NamedTuple):
    """One price of a product or an offer from `at` on: None for sold out; unknown if not `observed`.

    The last step of a summarised day has its `summary`; the summary includes that day's other steps. The summary's
    first price is this one. `average` is a second price, which buckets average.
    """

    at: int
    price: int | None
    observed: bool = True
    summary: DaySummary | None = None
    average: int | None = None

    @property
    def known_price(self) -> int | None:
        """The price in stock; None if it is sold out or unknown."""
        return self.price if self.observed else None


def as_steps(kind: type[_AnyStep], rows: Iterable[tuple[Any, ...]]) -> list[_AnyStep]:
    """Build named tuples without calling the class, twice as fast for thousands of rows."""
    return list(map(partial(tuple.__new__, kind), rows))


def state_of(price: int | None, observed: bool) -> str:
    """'in_stock', 'sold_out' or 'not_observed'."""
    if not observed:
        return "not_observed"
    return "sold_out" if price is None else "in_stock"


def in_window(steps: Sequence[_AnyStep], begin: int, end: int) -> Sequence[_AnyStep]:
    """The step in force at `begin`, if any, and those after it up to `end`."""
    first = bisect_right(steps, begin, key=_at)
    return steps[max(first - 1, 0) : bisect_right(steps, end, key=_at)]


def timeline_of(before: _AnyStep | None, steps: Sequence[_AnyStep]) -> Sequence[_AnyStep]:
    """The steps, after the step before them, if any."""
    return [before, *steps] if before is not None else steps


def with_open_gap(steps: Sequence[_AnyStep], gap: _AnyStep, begin: int, end: int) -> Sequence[_AnyStep]:
    """A window's steps with the open gap, if the window reaches it and the gap is not recorded yet."""
    if steps and steps[-1][0] >= gap[0]:
        return steps
    return in_window([*steps, gap], begin, end)


def gap_turns(steps: Iterable[ProductStep | PriceStep]) -> list[tuple[int, bool]]:
    """The times at which observation begins (True) or ends (False), the first step's among them."""
    return [(next(group).at, observed) for observed, group in groupby(steps, _observed)]


def with_gaps(offers: Sequence[OfferStep], gaps: Sequence[tuple[int, bool]]) -> list[OfferStep]:
    """An offer's steps with the gaps of its product, in which the offer is not observed either.

    `gaps` come from gap_turns. After a gap the offer returns to its previous state, unless it has a step then.
    """
    own_steps = {step.at: step for step in offers}
    turns = dict(gaps)
    steps: list[OfferStep] = []
    current: OfferStep | None = None
    observed = True
    for at in sorted({*own_steps, *turns}):
        was_observed, observed = observed, turns.get(at, observed)
        if at in own_steps:
            current = own_steps[at]
            steps.append(current._replace(observed=observed))
        elif current is not None and observed != was_observed:
            steps.append(current._replace(at=at, observed=observed, summary=None))
    return steps
