"""Which steps compaction keeps as they are, and which days it sums up. Pure: no database.

A day is summed up only where that is smaller. Its last step then carries the summary, and stays the step in force until
the next one. Of its other steps two kinds are kept, because answers need them exactly: a step at the day's very
beginning, so that windows of days begin and end with the right price, and the steps at which a product's gaps begin and
end, because the product's offers share them.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from productagg.history.buckets import Bucket, bucket, summary_of
from productagg.history.timeline import (
    DAY,
    OfferStep,
    PriceStep,
    ProductStep,
    bucket_start,
    gap_turns,
    in_window,
    timeline_of,
    with_gaps,
)

# A summary replaces this many steps or more. On PostgreSQL, a step of a product takes 130 bytes with its key, one of an
# offer 140; a summary takes about 110 or 60, and 240 or 130 with the longest numbers. So two steps would be enough to
# be smaller at any price. Four are worth the loss, and a product that changes four times a day keeps every step.
FEWEST_REPLACED = 4

_Step = TypeVar("_Step", ProductStep, OfferStep)


def compact_product(before: ProductStep | None, steps: Sequence[ProductStep]) -> Iterator[ProductStep]:
    """What is left of the steps of whole days; `before` is the step before them."""
    timeline = timeline_of(before, steps)
    lowest = [PriceStep(step.at, step.lowest, step.observed) for step in timeline]
    average = [PriceStep(step.at, step.average, step.observed) for step in timeline]
    return _compact(steps, [lowest, average], dict(gap_turns(timeline)))


def compact_offer(
    before: OfferStep | None, steps: Sequence[OfferStep], gaps: Sequence[tuple[int, bool]]
) -> Iterator[OfferStep]:
    """What is left of an offer's steps in whole days; `gaps` are those of its product (see timeline.with_gaps)."""
    timeline = with_gaps(timeline_of(before, steps), gaps)
    prices = [PriceStep(step.at, step.price if step.items_in_stock else None, step.observed) for step in timeline]
    return _compact(steps, [prices], ())


def _compact(
    steps: Sequence[_Step], timelines: Sequence[Sequence[PriceStep]], needed: Collection[int]
) -> Iterator[_Step]:
    for day, group in groupby(steps, lambda step: bucket_start(step.at, DAY)):
        yield from _compact_day(day, list(group), timelines, needed)


def _compact_day(
    day: int, steps: Sequence[_Step], timelines: Sequence[Sequence[PriceStep]], needed: Collection[int]
) -> Sequence[_Step]:
    others, last = steps[:-1], steps[-1]
    kept: list[_Step] = [step for step in others if step.at == day or step.at in needed]
    if len(others) - len(kept) < FEWEST_REPLACED:
        return steps
    kept.append(last._replace(summary=summary_of([_whole_day(prices, day) for prices in timelines])))
    return kept


def _whole_day(prices: Sequence[PriceStep], day: int) -> Bucket:
    steps = in_window(prices, day - 1, day + DAY - 1)
    carried = steps[0] if steps[0].at < day else None
    return bucket(carried, steps[1:] if carried else steps, day, day + DAY)
