"""Where the points of a series come from: a product, or one of its offers; stored buckets and those made of raw steps.

For `series`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from productagg.history.known import (
    Known,
    first_observed,
    offer_bucket,
    offer_part,
    offer_steps,
    product_bucket,
    product_gaps,
    product_part,
    product_rows,
    product_steps,
    product_tail,
    product_tail_part,
    rolled_offer,
    rolled_offer_part,
    rolled_product,
    rolled_product_part,
)
from productagg.history.reading import Part, Row
from productagg.history.rollups import (
    OfferBucket,
    OfferStep,
    ProductBucket,
    ProductStep,
    offer_buckets,
    product_buckets,
    with_gaps,
)
from productagg.history.steps import DAY, SECOND, WEEK, Bucket, Step, constant, moment, state_of

Point = dict[str, Any]
AnyStep = ProductStep | OfferStep
AnyBucket = ProductBucket | OfferBucket
# What was in force before some buckets.
Before = AnyStep | AnyBucket | None


class Window(NamedTuple):
    """Buckets of `base` length in [begin, end): before `split` they are stored, then made of raw steps."""

    begin: int
    split: int
    end: int
    base: int


class ProductSource:
    """Where a product's points come from."""

    prices = 2
    counts = 2
    longest_stored = WEEK

    def __init__(self, connection: Connection, known: Known) -> None:
        self._connection = connection
        self._known = known

    def first_observed(self) -> int | None:
        return first_observed(self._connection, self._known)

    def bring(self, windows: Sequence[Window]) -> None:
        """Have all that these windows are made of at once."""
        parts: list[Part] = []
        for begin, split, end, base in windows:
            if begin < split:
                parts.append(self._rolled_part(begin, split, base, first=not parts))
            if split < end:
                parts.append(self._tail_part(split, end, first=not parts))
        self._known = self._known.bring(self._connection, parts)

    def _rolled_part(self, begin: int, end: int, length: int, *, first: bool = True) -> Part:
        return rolled_product_part(begin, end, length, first=first)

    def _tail_part(self, begin: int, end: int, *, first: bool) -> Part:
        return product_part(begin - 1, end - 1) if first else product_tail_part(begin, end - 1)

    def _tail(self, last: Before, begin: int, end: int, *, first: bool) -> Sequence[Any]:
        """The steps of [begin, end), and that in force before: `last`, unless nothing has been looked up yet."""
        if first:
            # As of just before, so that a step at this very moment is within.
            return self.steps(begin - 1, end - 1)
        carried = last.end_step if isinstance(last, ProductBucket) else None
        return product_tail(self._connection, self._known, carried, begin, end - 1)

    def buckets(self, window: Window, last: Before, *, first: bool) -> tuple[Before, list[AnyBucket]]:
        """What was in force before a window, and its buckets in which anything happened, stored ones and others.

        That is `last`, what the window before ended with, unless it is the first one.
        """
        begin, split, end, base = window
        before = last
        buckets: list[AnyBucket] = []
        if begin < split:
            stored_before, stored = self._rolled(begin, split, base, first=first)
            buckets += stored
            before = stored_before if first else last
            last, first = buckets[-1] if buckets else before, False
        if split < end:
            steps = self._tail(last, split, end, first=first)
            carried = steps[0] if steps and steps[0].at < split else None
            before = carried if first else before
            buckets += self._roll_up(carried, steps[1:] if carried else steps, base, end)
        return before, buckets

    def stored(self, begin: int, end: int, length: int) -> tuple[list[Point], Before]:
        """The points of [begin, end), all of which is stored, and what it ends with.

        Straight from the rows: there may be a thousand of them.
        """
        rows = self._known.rows(self._connection, self._rolled_part(begin, end, length))
        points: list[Point] = []
        last: Row | None = None
        at = begin
        for row in rows:
            if last is not None and at < row[0]:
                points += [self.bucket_point(self._unchanged(last, each, length)) for each in range(at, row[0], length)]
            if row[0] >= begin:
                points.append(self.bucket_point(row))
                at = row[0] + length
            last = row
        if last is None:
            return points, None
        points += [self.bucket_point(self._unchanged(last, each, length)) for each in range(at, end, length)]
        return points, self._bucket_of(last)

    def end_steps(self, before: Before) -> list[Step | None]:
        """What each price is from its end on."""
        if before is None:
            return [None] * self.prices
        return [price.end_step if isinstance(price, Bucket) else price for price in before.prices]

    def steps(self, begin: int, end: int) -> Sequence[AnyStep]:
        """The step in force at `begin`, and those up to `end`, gaps among them."""
        return product_steps(self._connection, self._known, begin, end)

    def points(self, begin: int, end: int, limit: int) -> list[Point]:
        """A point for each step; the first one, which was in force before, is as of `begin`."""
        rows = product_rows(self._connection, self._known, begin, end, limit)
        found: list[Point] = [
            {
                "at": moment(at),
                "state": ("sold_out" if lowest is None else "in_stock") if observed else "not_observed",
                "lowest": lowest,
                "average": average,
                "offers": offers,
                "items_in_stock": items_in_stock,
            }
            for at, lowest, average, offers, items_in_stock, observed in rows
        ]
        if rows and rows[0][0] < begin:
            found[0]["at"] = moment(begin)
        return found

    def bucket_point(self, row: Row) -> Point:
        at, state, us, observed_us, first, last, lowest, highest, *sums, _, average, part, offers, items = row
        return {
            "at": moment(at),
            "state": state,
            "lowest": lowest,
            # Rounded half up, as every average here.
            "average": average + (2 * part >= us) if us else None,
            "offers": offers,
            "items_in_stock": items,
            **_sums(us, observed_us, first, last, highest, *sums),
        }

    def row_of(self, prices: Sequence[Bucket], counts: Sequence[int]) -> Row:
        """As it would be stored, if a bucket did this."""
        return (*_row(prices[0]), None, *_mean(prices[1]), *counts)

    def _unchanged(self, row: Row, at: int, length: int) -> Row:
        """The row of a later bucket in which all stays as it was."""
        _, state, *_, close, _, _, offers, items = row
        average = (close, 0) if state == "in_stock" else (0, 0)
        return (*_constant(row, at, length), close, *average, offers, items)

    def _bucket_of(self, row: Row) -> AnyBucket:
        return product_bucket(row)

    def _rolled(
        self, begin: int, end: int, length: int, *, first: bool
    ) -> tuple[AnyBucket | None, Sequence[AnyBucket]]:
        return rolled_product(self._connection, self._known, begin, end, length, first=first)

    def _roll_up(self, carried: Any, steps: Sequence[Any], length: int, end: int) -> Iterable[AnyBucket]:
        return product_buckets(carried, steps, length, end)


class OfferSource(ProductSource):
    """Where an offer's points come from. It is observed while its product is."""

    prices = 1
    counts = 1
    longest_stored = DAY

    def __init__(self, connection: Connection, known: Known, offer_id: UUID) -> None:
        super().__init__(connection, known)
        self._offer_id = offer_id

    def _rolled_part(self, begin: int, end: int, length: int, *, first: bool = True) -> Part:
        return rolled_offer_part(self._offer_id, begin, end, length)

    def _tail_part(self, begin: int, end: int, *, first: bool) -> Part:
        return offer_part(self._offer_id, begin - 1, end - 1)

    def _tail(self, last: Before, begin: int, end: int, *, first: bool) -> Sequence[Any]:
        return self.steps(begin - 1, end - 1)

    def steps(self, begin: int, end: int, limit: int | None = None) -> Sequence[OfferStep]:
        offers = offer_steps(self._connection, self._known, self._offer_id, begin, end, limit)
        steps = with_gaps(offers, product_gaps(self._connection, self._known, begin, end))
        # Of those before, the last one says it all.
        later = next((number for number, step in enumerate(steps) if step.at > begin), len(steps))
        return steps[max(later - 1, 0) :]

    def points(self, begin: int, end: int, limit: int) -> list[Point]:
        return [
            {
                "at": moment(max(step.at, begin)),
                "state": state_of(step.of()),
                "price": step.of().known_price,
                "items_in_stock": step.items_in_stock if step.observed else 0,
            }
            for step in self.steps(begin, end, limit)
        ]

    def bucket_point(self, row: Row) -> Point:
        at, state, us, observed_us, first, last, lowest, highest, mean, rest, changes, items = row
        return {
            "at": moment(at),
            "state": state,
            "price": lowest,
            "items_in_stock": items if state != "not_observed" else 0,
            **_sums(us, observed_us, first, last, highest, mean, rest, changes),
        }

    def row_of(self, prices: Sequence[Bucket], counts: Sequence[int]) -> Row:
        return (*_row(prices[0]), *counts)

    def _unchanged(self, row: Row, at: int, length: int) -> Row:
        return (*_constant(row, at, length), row[-1])

    def _bucket_of(self, row: Row) -> AnyBucket:
        return offer_bucket(row)

    def _rolled(
        self, begin: int, end: int, length: int, *, first: bool
    ) -> tuple[AnyBucket | None, Sequence[AnyBucket]]:
        return rolled_offer(self._connection, self._known, self._offer_id, begin, end, length)

    def _roll_up(self, carried: Any, steps: Sequence[Any], length: int, end: int) -> Iterable[AnyBucket]:
        return offer_buckets(carried, steps, length, end)


def _sums(
    us: int,
    observed_us: int,
    first: int | None,
    last: int | None,
    highest: int | None,
    mean: int,
    rest: int,
    changes: int,
) -> Point:
    return {
        "open": first,
        "close": last if us else None,
        "highest": highest,
        "mean": (mean * us + rest) / us if us else None,
        "in_stock_seconds": us / SECOND,
        "observed_seconds": observed_us / SECOND,
        "changes": changes,
    }


def _mean(bucket: Bucket) -> tuple[int, int]:
    return divmod(bucket.weighted, bucket.in_stock_us) if bucket.in_stock_us else (0, 0)


def _row(bucket: Bucket) -> Row:
    return (*bucket[:8], *_mean(bucket), bucket.changes)


def _constant(row: Row, at: int, length: int) -> Row:
    bucket = constant(at, length, Step(at, row[5] if row[1] == "in_stock" else None, row[1] != "not_observed"))
    return _row(bucket)
