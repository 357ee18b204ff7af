"""Statistics of a price in a window, weighted by how long each price held in stock. Pure: no database.

Sums are integers; each statistic divides once. Unobserved time is excluded.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter, mul

from productagg.history.buckets import (
    CHANGES,
    HIGHEST,
    LOWEST,
    MEAN,
    NOT_OBSERVED_US,
    REMAINDER,
    SOLD_OUT_US,
    without_summarised,
)
from productagg.history.timeline import DAY, DaySummary, PriceStep, gap_turns


class TimeWeighted:
    """Statistics of a price in [begin, end), in microseconds. The window must not cut a summarised day.

    `steps` are sorted by time; the first may lie before the window. `weighted` is the sum of price times duration in
    stock. `lowest` and `highest` are (price, since when); the first time counts. `changes` are those from one step to
    the next, and within summarised days.
    """

    def __init__(self, steps: Sequence[PriceStep], begin: int, end: int) -> None:
        self.in_stock_us = 0
        self.sold_out_us = 0
        self.weighted = 0
        self.changes = 0
        self.lowest: tuple[int, int] | None = None
        self.highest: tuple[int, int] | None = None
        # How long each price held; for summarised days: lowest, highest, weighted, in_stock_us.
        self._held: dict[int, int] = {}
        self._days: list[tuple[int, int, int, int]] = []
        self._add(steps, begin, end)

    @property
    def observed_us(self) -> int:
        return self.in_stock_us + self.sold_out_us

    def mean(self) -> float | None:
        """The mean price in stock, weighted by how long each price held."""
        return self.weighted / self.in_stock_us if self.in_stock_us else None

    def median(self) -> float | None:
        """Weighted median; if exactly half of the time lies on either side, the mean of the two prices.

        The price of a summarised day is its mean.
        """
        half, passed = self.in_stock_us, 0
        prices: list[tuple[float, int]] = [(weighted / us, us) for _, _, weighted, us in self._days]
        prices = sorted([*self._held.items(), *prices])
        for number, (price, us) in enumerate(prices):
            passed += 2 * us
            if passed == half:
                return (price + prices[number + 1][0]) / 2
            if passed > half:
                return float(price)
        return None

    def dearer_us(self, price: int) -> int:
        """How long the price was higher than this one."""
        return sum(us for held, us in self._prices() if held > price)

    def cheaper_us(self, price: int) -> int:
        """How long the price was lower than this one."""
        return sum(us for held, us in self._prices() if held < price)

    def _prices(self) -> Iterator[tuple[int, int]]:
        """A summarised day counts as its lowest and highest price, for the durations that give its mean."""
        yield from self._held.items()
        for lowest, highest, weighted, in_stock_us in self._days:
            spread = highest - lowest
            at_highest_us = (weighted - lowest * in_stock_us) // spread if spread else 0
            yield lowest, in_stock_us - at_highest_us
            yield highest, at_highest_us

    def _add(self, steps: Sequence[PriceStep], begin: int, end: int) -> None:
        run: list[PriceStep] = []
        days: list[tuple[int, DaySummary]] = []
        at = begin
        for step in without_summarised(steps):
            summary, day = step[3], step[0] - step[0] % DAY
            if summary is None or day < begin:
                run.append(step)
                continue
            if at < day:
                self._add_steps(run, at, day)
            days.append((day, summary))
            at, run = day + DAY, [step]
        if at < end:
            self._add_steps(run, at, end)
        self._add_days(days)

    def _add_steps(self, steps: Sequence[PriceStep], begin: int, end: int) -> None:
        held, since, sold_out_us, changes = _held(steps, begin, end)
        self.changes += changes
        self.sold_out_us += sold_out_us
        self.in_stock_us += sum(held.values())
        self.weighted += sum(map(mul, held.keys(), held.values()))
        for price, us in held.items():
            self._held[price] = self._held.get(price, 0) + us
        if since:
            lowest, highest = min(since), max(since)
            self._extremes((lowest, since[lowest]), (highest, since[highest]))

    def _add_days(self, days: Sequence[tuple[int, DaySummary]]) -> None:
        self.sold_out_us += sum([summary[SOLD_OUT_US] for _, summary in days])
        self.changes += sum([summary[CHANGES] for _, summary in days])
        in_stock = [(day, summary) for day, summary in days if summary[NOT_OBSERVED_US] + summary[SOLD_OUT_US] < DAY]
        if not in_stock:
            return
        times = ((summary, DAY - summary[NOT_OBSERVED_US] - summary[SOLD_OUT_US]) for _, summary in in_stock)
        self._days = [
            (summary[LOWEST], summary[HIGHEST], summary[MEAN] * us + summary[REMAINDER], us) for summary, us in times
        ]
        self.in_stock_us += sum([us for _, _, _, us in self._days])
        self.weighted += sum([weighted for _, _, weighted, _ in self._days])
        self._extremes(*_extremes_of(in_stock))

    def _extremes(self, lowest: tuple[int, int], highest: tuple[int, int]) -> None:
        """The first time of a price counts; steps and days are not added by time."""
        if self.lowest is None or lowest < self.lowest:
            self.lowest = lowest
        if self.highest is None or (-highest[0], highest[1]) < (-self.highest[0], self.highest[1]):
            self.highest = highest


def _extremes_of(days: Sequence[tuple[int, DaySummary]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The lowest and the highest price of days in stock, each with its first day."""
    highest, minus_day = max([(summary[HIGHEST], -day) for day, summary in days])
    return min([(summary[LOWEST], day) for day, summary in days]), (highest, -minus_day)


def _held(steps: Sequence[PriceStep], begin: int, end: int) -> tuple[dict[int, int], dict[int, int], int, int]:
    """How long each price in stock held, since when; how long it was sold out; the changes from step to step."""
    held: dict[int, int] = {}
    since: dict[int, int] = {}
    sold_out_us = changes = 0
    following = iter([*steps[1:], PriceStep(end, None, observed=False)])
    for at, price, observed, _, _ in steps:
        next_at, next_price, next_observed, _, _ = next(following)
        if not observed:
            continue
        if next_observed and next_price != price:
            changes += 1
        at = at if at > begin else begin
        us = next_at - at
        if price is None:
            sold_out_us += us
        elif price in held:
            held[price] += us
        elif us:
            held[price] = us
            since[price] = at
    return held, since, sold_out_us, changes


def longest_gap_us(steps: Sequence[PriceStep], begin: int, end: int) -> int:
    """The longest unobserved time after the first step, which may lie before the window.

    It is exact in summarised days, too.
    """
    if all(map(_observed, steps)):
        return 0
    turns = pairwise([*gap_turns(steps), (end, True)])
    return max((until - max(since, begin) for (since, observed), (until, _) in turns if not observed), default=0)


_observed = itemgetter(2)
