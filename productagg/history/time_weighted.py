"""Statistics of a price in a window, weighted by how long each price held in stock. Pure: no database.

All sums are whole numbers; a statistic divides once, at its end. What is not observed counts for nothing.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter, mul

from productagg.history.buckets import without_summed_up
from productagg.history.timeline import DAY, PriceStep, Summary, gap_turns


class Tally:
    """What a price did in [begin, end), durations in microseconds. No summed-up day may be cut by the window.

    `steps` are in order; the first one may lie before the window and be carried into it. `weighted` is the sum of price
    times duration in stock. `lowest` and `highest` are (price, since when); the first time counts. `changes` are those
    from one step to the next, and within summed-up days.
    """

    def __init__(self, steps: Sequence[PriceStep], begin: int, end: int) -> None:
        self.in_stock_us = 0
        self.sold_out_us = 0
        self.weighted = 0
        self.changes = 0
        self.lowest: tuple[int, int] | None = None
        self.highest: tuple[int, int] | None = None
        # How long each price of the steps held; of the days in stock the lowest, highest, weighted and in_stock_us.
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
        """The weighted median: as long dearer as cheaper; the mean of two prices where time is halved between them.

        A day's price is its mean.
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
        """How long it was dearer than this price. A day counts as if it had only its lowest and highest price."""
        return sum(us for held, us in self._prices() if held > price)

    def cheaper_us(self, price: int) -> int:
        """How long it was cheaper than this price. A day counts as if it had only its lowest and highest price."""
        return sum(us for held, us in self._prices() if held < price)

    def _prices(self) -> Iterator[tuple[int, int]]:
        """Prices and how long they held. A day's lowest and highest price last so long that their mean is the day's."""
        yield from self._held.items()
        for lowest, highest, weighted, in_stock_us in self._days:
            spread = highest - lowest
            at_highest_us = (weighted - lowest * in_stock_us) // spread if spread else 0
            yield lowest, in_stock_us - at_highest_us
            yield highest, at_highest_us

    def _add(self, steps: Sequence[PriceStep], begin: int, end: int) -> None:
        run: list[PriceStep] = []
        days: list[tuple[int, Summary]] = []
        at = begin
        for step in without_summed_up(steps):
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

    def _add_days(self, days: Sequence[tuple[int, Summary]]) -> None:
        self.sold_out_us += sum([summary[1] for _, summary in days])
        self.changes += sum([summary[2] for _, summary in days])
        in_stock = [(day, summary) for day, summary in days if summary[0] + summary[1] < DAY]
        if in_stock:
            self._add_days_in_stock(in_stock)

    def _add_days_in_stock(self, days: Sequence[tuple[int, Summary]]) -> None:
        times = ((summary, DAY - summary[0] - summary[1]) for _, summary in days)
        self._days = [(summary[5], summary[6], summary[7] * us + summary[8], us) for summary, us in times]
        self.in_stock_us += sum([us for _, _, _, us in self._days])
        self.weighted += sum([weighted for _, _, weighted, _ in self._days])
        self._extremes(*_extremes_of(days))

    def _extremes(self, lowest: tuple[int, int], highest: tuple[int, int]) -> None:
        """The first time of a price counts: steps and days are not added in the order of time."""
        if self.lowest is None or lowest < self.lowest:
            self.lowest = lowest
        if self.highest is None or (-highest[0], highest[1]) < (-self.highest[0], self.highest[1]):
            self.highest = highest


def _extremes_of(days: Sequence[tuple[int, Summary]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The lowest and the highest price of days in stock, each with its first day."""
    highest, minus_day = max([(summary[6], -day) for day, summary in days])
    return min([(summary[5], day) for day, summary in days]), (highest, -minus_day)


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
    """The longest time without a break, after the first step, that nothing is known of: exact, also in summed-up days.

    The first step may lie before the window.
    """
    if all(map(_observed, steps)):
        return 0
    turns = pairwise([*gap_turns(steps), (end, True)])
    return max((until - max(since, begin) for (since, observed), (until, _) in turns if not observed), default=0)


_observed = itemgetter(2)
