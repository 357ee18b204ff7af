"""Adds up what a price did in a window: the numbers that every statistic is worked out from. Pure; no database.

The weight of a price is how long it held while in stock. All sums are whole numbers; a statistic divides once, at its
end.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import mul
from typing import Any

from productagg.history.steps import Bucket, Step


class Tally:
    """What a price did in a window, durations in microseconds. What is not observed counts for nothing.

    `weighted` is the sum of price times duration in stock. `lowest` and `highest` are (price, since when); the first
    time counts.
    """

    def __init__(self) -> None:
        self.in_stock_us = 0
        self.sold_out_us = 0
        self.longest_gap_us = 0
        self.weighted = 0
        self.changes = 0
        self.lowest: tuple[int, int] | None = None
        self.highest: tuple[int, int] | None = None
        # How long each price of the steps held; of the buckets in stock the lowest, highest, weighted and in_stock_us.
        self._held: dict[int, int] = {}
        self._buckets: list[tuple[int, int, int, int]] = []
        self._gap_us = 0

    @property
    def observed_us(self) -> int:
        return self.in_stock_us + self.sold_out_us

    def steps(self, steps: Iterable[Sequence[Any]], begin: int, end: int) -> None:
        """Add the step in force at `begin`, and those up to `end`; each is a Step, or a row of the same three values.

        Changes are those from one to the next.
        """
        held: dict[int, int] = {}
        since: dict[int, int] = {}
        rows = [*steps, (end, None, None)]
        if rows[0][0] < begin:
            rows[0] = (begin, *rows[0][1:])
        changes = sold_out_us = 0
        at, price, observed = begin, None, None
        for next_at, next_price, next_observed in rows:
            us = next_at - at
            if observed:
                if next_observed and next_price != price:
                    changes += 1
                if us:
                    if self._gap_us:
                        self._gap_us = 0
                    if price is None:
                        sold_out_us += us
                    elif price in held:
                        held[price] += us
                    else:
                        held[price] = us
                        since[price] = at
            elif observed is not None:
                self.gap(us)
            at, price, observed = next_at, next_price, next_observed
        self.changes += changes
        self.sold_out_us += sold_out_us
        self.in_stock_us += sum(held.values())
        self.weighted += sum(map(mul, held.keys(), held.values()))
        if self._held:
            for price, us in held.items():
                self._held[price] = self._held.get(price, 0) + us
        else:
            self._held = held
        if since:
            lowest, highest = min(since), max(since)
            self._extremes((lowest, since[lowest]), (highest, since[highest]))

    def gap(self, us: int) -> None:
        """Add a time that nobody knows of, after the first observation; it goes on where the last one ended."""
        self._gap_us += us
        self.longest_gap_us = max(self.longest_gap_us, self._gap_us)

    def buckets(
        self, carried: Step | None, buckets: Sequence[Bucket], begin: int, end: int, length: int
    ) -> Step | None:
        """Add buckets of [begin, end), those in which something happened; `carried` was in force before them.

        Returns what was in force at their end.
        """
        at = begin
        for number, bucket in enumerate(buckets):
            if at < bucket.at:
                self._carry(buckets[number - 1].end_step if number else carried, at, bucket.at)
            self._bucket(bucket, length, known_before=number > 0 or carried is not None)
            at = bucket.at + length
        last = buckets[-1].end_step if buckets else carried
        self._carry(last, at, end)
        return last

    def median(self) -> float | None:
        """The weighted median: as long dearer as cheaper; the mean of two prices where time is halved between them.

        A bucket's price is its mean.
        """
        half, passed = self.in_stock_us, 0
        held: dict[float, int] = {**self._held}  # type: ignore[dict-item]  # whole numbers are numbers
        for _, _, weighted, us in self._buckets:
            mean = weighted / us
            held[mean] = held.get(mean, 0) + us
        prices = sorted(held)
        for number, price in enumerate(prices):
            passed += 2 * held[price]
            if passed == half:
                return (price + prices[number + 1]) / 2
            if passed > half:
                return float(price)
        return None

    def dearer_us(self, price: int) -> int:
        """How long it was dearer than this price. A bucket counts as if it had only its lowest and highest price."""
        return sum(us for held, us in self._prices() if held > price)

    def cheaper_us(self, price: int) -> int:
        """How long it was cheaper than this price. A bucket counts as if it had only its lowest and highest price."""
        return sum(us for held, us in self._prices() if held < price)

    def _prices(self) -> Iterator[tuple[int, int]]:
        """Prices and how long each held. Of a bucket's two, each held for as long as makes its mean what it is."""
        yield from self._held.items()
        for lowest, highest, weighted, in_stock_us in self._buckets:
            spread = highest - lowest
            at_highest_us = (weighted - lowest * in_stock_us) // spread if spread else 0
            yield lowest, in_stock_us - at_highest_us
            yield highest, at_highest_us

    def _carry(self, step: Step | None, at: int, end: int) -> None:
        if step is not None and at < end:
            self.steps((step,), at, end)

    def _bucket(self, bucket: Bucket, length: int, *, known_before: bool) -> None:
        self.in_stock_us += bucket.in_stock_us
        self.sold_out_us += bucket.observed_us - bucket.in_stock_us
        self.weighted += bucket.weighted
        self.changes += bucket.changes
        if bucket.lowest is not None and bucket.highest is not None:
            self._buckets.append((bucket.lowest, bucket.highest, bucket.weighted, bucket.in_stock_us))
            self._extremes((bucket.lowest, bucket.at), (bucket.highest, bucket.at))
        unknown = length - bucket.observed_us
        # In the first bucket of all, that is the time before the first observation.
        if known_before and unknown:
            self.longest_gap_us = max(self.longest_gap_us, self._gap_us + unknown)
        running = 0 if bucket.observed_us else self._gap_us
        self._gap_us = running + unknown if bucket.state == "not_observed" else 0

    def _extremes(self, lowest: tuple[int, int], highest: tuple[int, int]) -> None:
        if self.lowest is None or lowest[0] < self.lowest[0]:
            self.lowest = lowest
        if self.highest is None or highest[0] > self.highest[0]:
            self.highest = highest
