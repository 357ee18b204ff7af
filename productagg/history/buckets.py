"""Downsamples steps into hours, UTC days and ISO weeks, and reads summaries of compacted days.

Pure: no database. Every bucket of a window is returned (gapfill). The step before a bucket holds at its start (LOCF).
Unobserved time enters no sum.

A day's summary is a JSON list of numbers. It begins with not_observed_us and sold_out_us, in microseconds of the whole
day. Then come, for the price of an offer, or for the lowest and then for the average price of a product: changes, open,
close, lowest, highest, mean, remainder. Open to highest are null if it was never in stock. The exact sum of price times
duration in stock is mean * in_stock_us + remainder, so that every number fits 64 bits.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from productagg.history.timeline import DAY, DaySummary, OfferStep, PriceStep, ProductStep, bucket_start, state_of

# Positions in a summary.
NOT_OBSERVED_US, SOLD_OUT_US, CHANGES, OPEN, CLOSE, LOWEST, HIGHEST, MEAN, REMAINDER = range(9)
_AVERAGE = REMAINDER + 1  # where the average price's part begins
_AVERAGE_MEAN, _AVERAGE_REMAINDER = (_AVERAGE + position - CHANGES for position in (MEAN, REMAINDER))


class Bucket(NamedTuple):
    """Statistics of a price in one bucket. `state` is that at its end.

    `open` to `highest` cover the time in stock, else None; weighted / in_stock_us is the exact mean. `changes` includes
    those to and from sold out. `weighted_average`: like `weighted`, for the average price.
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
    weighted_average: int = 0


def summary_of(buckets: Sequence[Bucket]) -> DaySummary:
    """The summary of a day, of one bucket for each price."""
    day = buckets[0]
    summary: DaySummary = [DAY - day.observed_us, day.observed_us - day.in_stock_us]
    for price in buckets:
        mean = divmod(price.weighted, price.in_stock_us) if price.in_stock_us else (0, 0)
        summary += [price.changes, price.open, price.close, price.lowest, price.highest, *mean]
    return summary


def summary_of_average(summary: DaySummary) -> DaySummary:
    """The summary of a product's average price alone."""
    return [*summary[:CHANGES], *summary[_AVERAGE:]]


def is_exact(steps: Iterable[PriceStep | ProductStep | OfferStep], begin: int, end: int) -> bool:
    """Whether steps alone answer the window: it cuts no summarised day before that day's last step."""
    return not any(step.summary is not None and step.at > begin and bucket_start(step.at, DAY) < end for step in steps)


def without_summarised(steps: Sequence[PriceStep]) -> Sequence[PriceStep]:
    """Drop the steps that a day's summary includes; the step with the summary becomes the last of its day.

    On a summarised day, gaps of the product may follow an offer's last step.
    """
    newest = next((step for step in reversed(steps) if step[3] is not None), None)
    if newest is None:
        return steps
    raw_from = bisect_left(steps, bucket_start(newest.at, DAY) + DAY, key=_at)
    left: list[PriceStep] = []
    day, summarised_until = 0, 0
    for step in steps[:raw_from]:
        if step[3] is not None:
            day = step[0] - step[0] % DAY
            summarised_until = day + DAY
            while left and left[-1][0] >= day:
                left.pop()
        elif step[0] < summarised_until:
            step = left.pop()._replace(price=step.price, observed=step.observed)
        left.append(step)
    return [*left, *steps[raw_from:]]


_at = itemgetter(0)


def downsample(steps: Sequence[PriceStep], begin: int, end: int, length: int) -> Iterator[Bucket]:
    """Yield the buckets of [begin, end) from the first step on; `end` may cut the last one.

    `begin` starts a bucket. Hours need every step.
    """
    steps = without_summarised(steps)
    if not steps:
        return
    begin = max(begin, bucket_start(steps[0].at, length))
    number = bisect_left(steps, begin, key=_at)
    for at in range(begin, end, length):
        stop = min(at + length, end)
        first, number = number, bisect_left(steps, stop, number, key=_at)
        yield bucket(steps[first - 1] if first else None, steps[first:number], at, stop)


def bucket(step_before: PriceStep | None, steps: Iterable[PriceStep], begin: int, end: int) -> Bucket:
    """The bucket of [begin, end) with these steps, after the step before them, if any."""
    sums = _Sums(step_before, begin)
    for step in steps:
        if step.summary is None:
            sums.add_step(step)
        else:
            sums.add_day(step, step.summary)
    return sums.bucket(begin, end)


class _Sums:
    """Running sums; the last step added is in force from `_at`."""

    __slots__ = (
        "_at",
        "_changes",
        "_in_stock_us",
        "_last",
        "_observed_us",
        "_prices",
        "_weighted",
        "_weighted_avg",
    )

    def __init__(self, step_before: PriceStep | None, begin: int) -> None:
        self._at = begin
        self._last = step_before or PriceStep(begin, None, observed=False)
        self._in_stock_us = self._observed_us = self._changes = self._weighted = self._weighted_avg = 0
        # By time; of a summarised day its open, lowest, highest and close.
        self._prices: list[int] = []

    def add_step(self, step: PriceStep) -> None:
        last = self._last
        self._hold(step.at)
        if last.observed and step.observed and step.price != last.price:
            self._changes += 1
        self._last = step

    def add_day(self, step: PriceStep, summary: DaySummary) -> None:
        day = step.at - step.at % DAY
        if day > self._at:
            self._hold(day)
        in_stock_us = DAY - summary[NOT_OBSERVED_US] - summary[SOLD_OUT_US]
        self._observed_us += DAY - summary[NOT_OBSERVED_US]
        self._changes += summary[CHANGES]
        if in_stock_us:
            self._in_stock_us += in_stock_us
            self._prices += (summary[OPEN], summary[LOWEST], summary[HIGHEST], summary[CLOSE])
            self._weighted += summary[MEAN] * in_stock_us + summary[REMAINDER]
            if len(summary) > _AVERAGE:
                self._weighted_avg += summary[_AVERAGE_MEAN] * in_stock_us + summary[_AVERAGE_REMAINDER]
        self._at = day + DAY
        self._last = step

    def bucket(self, begin: int, end: int) -> Bucket:
        self._hold(end)
        last = self._last
        prices = self._prices
        return Bucket(
            begin,
            state_of(last.price, last.observed),
            self._in_stock_us,
            self._observed_us,
            prices[0] if prices else None,
            prices[-1] if prices else None,
            min(prices, default=None),
            max(prices, default=None),
            self._weighted,
            self._changes,
            self._weighted_avg,
        )

    def _hold(self, until: int) -> None:
        """Extend the last step to `until`. A step that ended at the bucket's start adds nothing."""
        last, us = self._last, until - self._at
        if last.observed and us:
            self._observed_us += us
            if last.price is not None:
                self._in_stock_us += us
                self._weighted += last.price * us
                self._weighted_avg += (last.average or 0) * us
                self._prices.append(last.price)
        self._at = until
