"""Which steps compaction keeps as they are, and which days it sums up. Pure: no database.

A day is summed up only where that is smaller. Its last step then carries the summary, and stays the step in force until
the next one. Of its other steps two kinds are kept, because answers need them exactly: a step at the day's very
beginning, so that windows of days begin and end with the right price, and the steps at which a product's gaps begin and
end, because the product's offers share them.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, pairwise
from typing import TypeVar

from productagg.history.buckets import Bucket, PriceStep, bucket, summary_of
from productagg.history.timeline import DAY, OfferStep, ProductStep, bucket_start, in_window, with_gaps

# A summary replaces this many steps or more. On PostgreSQL, a step of a product takes 130 bytes with its key, one of an
# offer 140; a summary takes about 110 or 60, and 240 or 130 with the longest numbers. So two steps would be enough to
# be smaller at any price. Four are worth the loss, and a product that changes four times a day keeps every step.
FEWEST_REPLACED = 4

_AnyStep = TypeVar("_AnyStep", ProductStep, OfferStep)


def compact_product(before: ProductStep | None, steps: Sequence[ProductStep]) -> Iterator[ProductStep]:
    """What is left of the steps of whole days; `before` is the step before them."""
    timeline = [before, *steps] if before is not None else steps
    lowest = [PriceStep(step.at, step.lowest, step.observed) for step in timeline]
    average = [PriceStep(step.at, step.average, step.observed) for step in timeline]
    return _compact(steps, [lowest, average], {at for at, _ in gap_turns(before, steps)})


def compact_offer(
    before: OfferStep | None, steps: Sequence[OfferStep], gaps: Sequence[tuple[int, bool]]
) -> Iterator[OfferStep]:
    """What is left of an offer's steps in whole days; `gaps` are those of its product (see timeline.with_gaps)."""
    timeline = with_gaps([before, *steps] if before is not None else steps, gaps)
    prices = [PriceStep(step.at, step.price if step.items_in_stock else None, step.observed) for step in timeline]
    return _compact(steps, [prices], ())


def gap_turns(before: ProductStep | None, steps: Sequence[ProductStep]) -> list[tuple[int, bool]]:
    """The times at which being observed begins or ends, the first step's among them."""
    timeline = [before, *steps] if before is not None else steps
    turns = [(step.at, step.observed) for step in timeline[:1]]
    return turns + [(after.at, after.observed) for step, after in pairwise(timeline) if after.observed != step.observed]


def _compact(
    steps: Sequence[_AnyStep], timelines: Sequence[Sequence[PriceStep]], needed: Collection[int]
) -> Iterator[_AnyStep]:
    for day, group in groupby(steps, lambda step: bucket_start(step.at, DAY)):
        of_day: list[_AnyStep] = list(group)
        others, last = of_day[:-1], of_day[-1]
        kept = [step for step in others if step.at == day or step.at in needed]
        if len(others) - len(kept) < FEWEST_REPLACED:
            yield from of_day
        else:
            yield from kept
            yield last._replace(summary=summary_of([_whole_day(prices, day) for prices in timelines]))


def _whole_day(prices: Sequence[PriceStep], day: int) -> Bucket:
    steps = in_window(prices, day - 1, day + DAY - 1)
    carried = steps[0] if steps[0].at < day else None
    return bucket(carried, steps[1:] if carried else steps, day, day + DAY)
