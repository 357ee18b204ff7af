"""Adds up what a price did in a window: the numbers that every statistic is worked out from. Pure; no database.

The weight of a price is how long it held while in stock. All sums are whole numbers; a statistic divides once, at its
end.
"""

from collections.abc import Sequence

from productagg.history.steps import Bucket, Step


class Tally:
    """What a price did in a window, durations in microseconds. What is not observed counts for nothing.

    `weighted` is the sum of price times duration in stock. `lowest` and `highest` are (price, since when); the first
    time counts. `start_price` and `end_price` are those in force at both ends: None for sold out, or nobody knows.
    """

    def __init__(self) -> None:
        self.in_stock_us = 0
        self.sold_out_us = 0
        self.longest_gap_us = 0
        self.weighted = 0
        self.changes = 0
        self.start_price: int | None = None
        self.end_price: int | None = None
        self.lowest: tuple[int, int] | None = None
        self.highest: tuple[int, int] | None = None
        # Prices, or the mean prices of buckets, and how long each held.
        self._held: list[tuple[float, int]] = []
        self._gap_us = 0

    @property
    def observed_us(self) -> int:
        return self.in_stock_us + self.sold_out_us

    def hold(self, price: int | None, us: int, at: int) -> None:
        """Add a time of being in stock at a price, first at `at`; or, without a price, of being sold out."""
        if price is None:
            self.sold_out_us += us
            return
        self.in_stock_us += us
        self.weighted += price * us
        self._held.append((price, us))
        self._extremes(price, price, at)

    def gap(self, us: int) -> None:
        """Add a time that nobody knows of, after the first observation."""
        self.longest_gap_us = max(self.longest_gap_us, us)

    def steps(self, steps: Sequence[Step], begin: int, end: int) -> None:
        """Add the step in force at `begin`, and those up to `end`. Changes are those from one to the next."""
        before = None
        for number, step in enumerate(steps):
            at = max(step.at, begin)
            us = (steps[number + 1].at if number + 1 < len(steps) else end) - at
            if not step.observed:
                self._gap_us += us
                self.gap(self._gap_us)
            elif us:
                self._gap_us = 0
                self.hold(step.price, us, at)
            if before is not None and before.observed and step.observed and step.price != before.price:
                self.changes += 1
            before = step
        if before is not None:
            self.end_price = before.known_price

    def start(self, carried: Step | None, buckets: Sequence[Bucket], begin: int, length: int) -> None:
        """Take the price in force at `begin` from the buckets: that before them, unless the first says otherwise."""
        first = buckets[0] if buckets and buckets[0].at == begin else None
        if carried is not None and carried.observed:
            # In stock: the bucket opens with it, unless another price came at its very beginning.
            self.start_price = first.open if first is not None and carried.price is not None else carried.price
        elif first is not None and first.observed_us == length:
            self.start_price = first.open

    def buckets(self, carried: Step | None, buckets: Sequence[Bucket], begin: int, end: int, length: int) -> None:
        """Add buckets of [begin, end), those in which something happened; `carried` was in force before them."""
        at = begin
        for number, bucket in enumerate(buckets):
            if at < bucket.at:
                self._carry(buckets[number - 1].end_step if number else carried, at, bucket.at)
            self._bucket(bucket, length, known_before=number > 0 or carried is not None)
            at = bucket.at + length
        last = buckets[-1].end_step if buckets else carried
        self._carry(last, at, end)
        self.end_price = last.known_price if last is not None else None

    def median(self) -> float | None:
        """The weighted median: as long dearer as cheaper; the mean of two prices where time is halved between them."""
        half, passed = self.in_stock_us, 0
        held = sorted(self._held)
        for number, (price, us) in enumerate(held):
            passed += 2 * us
            if passed == half:
                following = held[number + 1][0]
                return (price + following) / 2
            if passed > half:
                return float(price)
        return None

    def dearer_us(self, price: int) -> int:
        """How long it was dearer than this price; with buckets, as far as their means say."""
        return sum(us for held, us in self._held if held > price)

    def _carry(self, step: Step | None, at: int, end: int) -> None:
        if step is None or at >= end:
            return
        if step.observed:
            self.hold(step.price, end - at, at)
        else:
            self._gap_us += end - at
            self.gap(self._gap_us)

    def _bucket(self, bucket: Bucket, length: int, *, known_before: bool) -> None:
        self.in_stock_us += bucket.in_stock_us
        self.sold_out_us += bucket.observed_us - bucket.in_stock_us
        self.weighted += bucket.weighted
        self.changes += bucket.changes
        if bucket.lowest is not None and bucket.highest is not None:
            self._held.append((bucket.weighted / bucket.in_stock_us, bucket.in_stock_us))
            self._extremes(bucket.lowest, bucket.highest, bucket.at)
        unknown = length - bucket.observed_us
        # In the first bucket of all, that is the time before the first observation.
        if known_before and unknown:
            self.gap(self._gap_us + unknown)
        running = 0 if bucket.observed_us else self._gap_us
        self._gap_us = running + unknown if bucket.state == "not_observed" else 0

    def _extremes(self, lowest: int, highest: int, at: int) -> None:
        if self.lowest is None or (lowest, at) < self.lowest:
            self.lowest = (lowest, at)
        if self.highest is None or (-highest, at) < (-self.highest[0], self.highest[1]):
            self.highest = (highest, at)
