"""Which days compaction summarises, and which of their steps it keeps. Pure: no database.

A day is summarised only if that saves space. Its last step then has the summary, and is in force until the next step.
Two kinds of other steps stay: a step at midnight, so that windows of days start and end with the right price, and the
steps at which gaps begin and end, which offers share.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from productagg.history.buckets import Bucket, bucket, summary_of
from productagg.history.timeline import (
    DAY,
    OfferStep,
    PriceStep,
    ProductStep,
    Step,
    bucket_start,
    gap_turns,
    in_window,
    timeline_of,
    with_gaps,
)

# A summary replaces this many steps or more. On PostgreSQL, a step of a product takes 130 bytes with its key, one of an
# offer 140; a summary takes about 110 or 60, and 240 or 130 with the longest numbers. Two would already be smaller;
# with four, products with up to four changes a day stay exact.
FEWEST_REPLACED = 4


def compact_product(before: ProductStep | None, steps: Sequence[ProductStep]) -> Iterator[ProductStep]:
    """The compacted steps of whole days; `before` is the step before them."""
    timeline = timeline_of(before, steps)
    lowest = [PriceStep(step.at, step.lowest, step.observed) for step in timeline]
    average = [PriceStep(step.at, step.average, step.observed) for step in timeline]
    return _compact(steps, [lowest, average], dict(gap_turns(timeline)))


def compact_offer(
    before: OfferStep | None, steps: Sequence[OfferStep], gaps: Sequence[tuple[int, bool]]
) -> Iterator[OfferStep]:
    """The compacted steps of an offer's whole days; `gaps` are those of its product (see timeline.with_gaps)."""
    timeline = with_gaps(timeline_of(before, steps), gaps)
    prices = [PriceStep(step.at, step.price_in_stock, step.observed) for step in timeline]
    return _compact(steps, [prices], ())


def _compact(
    steps: Sequence[Step], timelines: Sequence[Sequence[PriceStep]], needed: Collection[int]
) -> Iterator[Step]:
    for day, group in groupby(steps, lambda step: bucket_start(step.at, DAY)):
        yield from _compact_day(day, list(group), timelines, needed)


def _compact_day(
    day: int, steps: Sequence[Step], timelines: Sequence[Sequence[PriceStep]], needed: Collection[int]
) -> Sequence[Step]:
    others, last = steps[:-1], steps[-1]
    kept: list[Step] = [step for step in others if step.at == day or step.at in needed]
    if len(others) - len(kept) < FEWEST_REPLACED:
        return steps
    kept.append(last._replace(summary=summary_of([_whole_day(prices, day) for prices in timelines])))
    return kept


def _whole_day(prices: Sequence[PriceStep], day: int) -> Bucket:
    steps = in_window(prices, day - 1, day + DAY - 1)
    step_before = steps[0] if steps[0].at < day else None
    return bucket(step_before, steps[1:] if step_before else steps, day, day + DAY)
