"""Hours, UTC days and ISO weeks of a price's history: downsampled from steps, and days read back from their summaries.

Pure: no database. No bucket of a window is left out (gap filling), and the last step before a bucket is carried into it
(LOCF: last observation carried forward). What is not observed counts for nothing.

A day's summary is a JSON list of numbers. It begins with not_observed_us and sold_out_us, in microseconds of the whole
day. Then come, for the price of an offer, or for the lowest and then for the average price of a product: changes, open,
close, lowest, highest, mean, remainder. Open to highest are null if it was never in stock. The exact sum of price times
duration in stock is mean * in_stock_us + remainder, so that every number fits 64 bits.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from productagg.history.timeline import DAY, OfferStep, PriceStep, ProductStep, Summary, bucket_start, state_of


class Bucket(NamedTuple):
    """What a price did from `at` on, for as long as the bucket is. `state` is the one at its end.

    `open` to `highest` are of the time in stock, None if there was none; weighted / in_stock_us is the exact mean.
    `changes` counts new prices, sold out among them. `weighted_average` is of the average price that steps have beside.
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


def summary_of(buckets: Sequence[Bucket]) -> Summary:
    """The summary of a day, which is a bucket for each price."""
    day = buckets[0]
    summary: Summary = [DAY - day.observed_us, day.observed_us - day.in_stock_us]
    for price in buckets:
        mean = divmod(price.weighted, price.in_stock_us) if price.in_stock_us else (0, 0)
        summary += [price.changes, price.open, price.close, price.lowest, price.highest, *mean]
    return summary


def summary_of_average(summary: Summary) -> Summary:
    """The summary of a product's average price alone."""
    return [*summary[:2], *summary[9:]]


def is_exact(steps: Iterable[PriceStep | ProductStep | OfferStep], begin: int, end: int) -> bool:
    """Whether all steps of a window are kept: no summed-up day lies in it, or ends it before the day's last step."""
    return not any(step.summary is not None and step.at > begin and bucket_start(step.at, DAY) < end for step in steps)


def without_summed_up(steps: Sequence[PriceStep]) -> Sequence[PriceStep]:
    """The steps without those that a day's summary counts already: a step with a summary is the last of its day then.

    An offer's steps may be followed by its product's gaps on a summed-up day.
    """
    newest = next((step for step in reversed(steps) if step[3] is not None), None)
    if newest is None:
        return steps
    raw_from = bisect_left(steps, bucket_start(newest.at, DAY) + DAY, key=_at)
    left: list[PriceStep] = []
    day, summed_up_until = 0, 0
    for step in steps[:raw_from]:
        if step[3] is not None:
            day = step[0] - step[0] % DAY
            summed_up_until = day + DAY
            while left and left[-1][0] >= day:
                left.pop()
        elif step[0] < summed_up_until:
            step = left.pop()._replace(price=step.price, observed=step.observed)
        left.append(step)
    return [*left, *steps[raw_from:]]


_at = itemgetter(0)


def downsample(steps: Sequence[PriceStep], begin: int, end: int, length: int) -> Iterator[Bucket]:
    """All buckets of [begin, end), of which the last may be cut off by the end; none before the first step of all.

    The steps are those of the window; one may lie before its begin, which is that of a bucket. Hours need all steps.
    """
    steps = without_summed_up(steps)
    if not steps:
        return
    begin = max(begin, bucket_start(steps[0].at, length))
    number = bisect_left(steps, begin, key=_at)
    for at in range(begin, end, length):
        stop = min(at + length, end)
        first, number = number, bisect_left(steps, stop, number, key=_at)
        yield bucket(steps[first - 1] if first else None, steps[first:number], at, stop)


def bucket(carried: PriceStep | None, steps: Iterable[PriceStep], begin: int, end: int) -> Bucket:
    """The bucket of [begin, end) in which these steps lie; `carried` is the step before them."""
    sums = _Sums(carried, begin)
    for step in steps:
        if step.summary is None:
            sums.add_step(step)
        else:
            sums.add_day(step, step.summary)
    return sums.bucket(begin, end)


class _Sums:
    """What a price did so far: the last step that was added holds from `at` on."""

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

    def __init__(self, carried: PriceStep | None, begin: int) -> None:
        self._at = begin
        self._last = carried or PriceStep(begin, None, observed=False)
        self._in_stock_us = self._observed_us = self._changes = self._weighted = self._weighted_avg = 0
        # In the order of time; of a day its open, lowest, highest and close.
        self._prices: list[int] = []

    def add_step(self, step: PriceStep) -> None:
        last = self._last
        self._hold(step.at)
        if last.observed and step.observed and step.price != last.price:
            self._changes += 1
        self._last = step

    def add_day(self, step: PriceStep, summary: Summary) -> None:
        day = step.at - step.at % DAY
        if day > self._at:
            self._hold(day)
        in_stock_us = DAY - summary[0] - summary[1]
        self._observed_us += DAY - summary[0]
        self._changes += summary[2]
        if in_stock_us:
            self._in_stock_us += in_stock_us
            self._prices += (summary[3], summary[5], summary[6], summary[4])
            self._weighted += summary[7] * in_stock_us + summary[8]
            if len(summary) > 9:
                self._weighted_avg += summary[14] * in_stock_us + summary[15]
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
        """The last step goes on until then; one that ended where the bucket begins is no part of it."""
        last, us = self._last, until - self._at
        if last.observed and us:
            self._observed_us += us
            if last.price is not None:
                self._in_stock_us += us
                self._weighted += last.price * us
                self._weighted_avg += (last.average or 0) * us
                self._prices.append(last.price)
        self._at = until
