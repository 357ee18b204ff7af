"""What a roll-up's row says, made from raw steps and read back: one shape for compaction, import, checks and readers.

Pure: no database. The steps of a product carry both of its prices; those of an offer come with its product's gaps.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar

from productagg.history.steps import Bucket, Step, bucket_start, roll_up

_AnyStep = TypeVar("_AnyStep", "ProductStep", "OfferStep")


class ProductStep(NamedTuple):
    """A row of product_prices: from `at` on, this was so. NULL prices say 'sold out', unless it is not `observed`."""

    at: int
    lowest: int | None
    average: int | None
    offers: int
    items_in_stock: int
    observed: bool

    def of(self, metric: str) -> Step:
        """The step of one of its prices: 'lowest' or 'average'."""
        return Step(self.at, self.lowest if metric == "lowest" else self.average, self.observed)

    @property
    def prices(self) -> tuple[Step, ...]:
        return self.of("lowest"), self.of("average")

    @property
    def counts(self) -> tuple[int, ...]:
        return self.offers, self.items_in_stock


class OfferStep(NamedTuple):
    """A row of offer_prices; not `observed`: its product was not, from `at` on."""

    at: int
    price: int
    items_in_stock: int
    observed: bool = True

    def of(self) -> Step:
        return Step(self.at, self.price if self.items_in_stock else None, self.observed)

    @property
    def prices(self) -> tuple[Step, ...]:
        return (self.of(),)

    @property
    def counts(self) -> tuple[int, ...]:
        return (self.items_in_stock if self.observed else 0,)


class ProductBucket(NamedTuple):
    """A row of product_prices_hourly or _daily: both prices, and the in-stock offers and their items at the end."""

    lowest: Bucket
    average: Bucket
    offers: int
    items_in_stock: int

    @property
    def end_step(self) -> ProductStep:
        """What is in force from its end on. Its time is the bucket's."""
        at, lowest, observed = self.lowest.end_step
        return ProductStep(at, lowest, self.average.end_step.price, self.offers, self.items_in_stock, observed)

    @property
    def prices(self) -> tuple[Bucket, ...]:
        return self.lowest, self.average

    @property
    def counts(self) -> tuple[int, ...]:
        return self.offers, self.items_in_stock


class OfferBucket(NamedTuple):
    """A row of offer_prices_hourly or _daily."""

    price: Bucket
    items_in_stock: int

    @property
    def prices(self) -> tuple[Bucket, ...]:
        return (self.price,)

    @property
    def counts(self) -> tuple[int, ...]:
        return (self.items_in_stock if self.price.state != "not_observed" else 0,)


def product_buckets(
    carried: ProductStep | None, steps: Sequence[ProductStep], length: int, end: int | None = None
) -> Iterator[ProductBucket]:
    """The buckets in which there are steps. See steps.roll_up."""
    lowest, average = (
        roll_up(carried.of(metric) if carried else None, [each.of(metric) for each in steps], length, end)
        for metric in ("lowest", "average")
    )
    for one, other, last in zip(lowest, average, _last_of_each(steps, length), strict=True):
        yield ProductBucket(one, other, last.offers, last.items_in_stock)


def offer_buckets(
    carried: OfferStep | None, steps: Sequence[OfferStep], length: int, end: int | None = None
) -> Iterator[OfferBucket]:
    """The buckets in which there are steps, gaps among them (see with_gaps)."""
    prices = roll_up(carried.of() if carried else None, [each.of() for each in steps], length, end)
    for price, last in zip(prices, _last_of_each(steps, length), strict=True):
        if price.close is None and last.items_in_stock:
            # Its product's gap began with the bucket: what it cost is still what was last seen.
            price = price._replace(close=last.price)
        yield OfferBucket(price, last.items_in_stock)


def with_gaps(offers: Sequence[OfferStep], products: Sequence[ProductStep]) -> list[OfferStep]:
    """An offer's steps with the gaps of its product: nothing is known of an offer while the product is not observed.

    Where a gap ends, the offer is as it was before, unless it has a step of its own at that time.
    """
    merged: list[OfferStep] = []
    current: OfferStep | None = None
    observed = True
    events: list[tuple[int, bool, ProductStep | OfferStep]] = [(each.at, False, each) for each in products]
    events += [(each.at, True, each) for each in offers]
    for at, _, step in sorted(events, key=lambda each: each[:2]):
        if isinstance(step, OfferStep):
            current = step
            if merged and merged[-1].at == at:
                merged.pop()  # what the end of the gap brought back
            merged.append(step._replace(observed=observed))
        elif step.observed != observed:
            observed = step.observed
            if current is not None:
                merged.append(current._replace(at=at, observed=observed))
    return merged


def product_row(bucket: ProductBucket) -> dict[str, int | str | None]:
    """The columns of a product's roll-up, but for its key: `at` is for the caller."""
    average = {f"average_{name}": value for name, value in _prices(bucket.average).items()}
    return {
        **_times(bucket.lowest),
        **_prices(bucket.lowest),
        **average,
        "offers": bucket.offers,
        "items_in_stock": bucket.items_in_stock,
    }


def offer_row(bucket: OfferBucket) -> dict[str, int | str | None]:
    """The columns of an offer's roll-up, but for its key: `at` is for the caller."""
    return {**_times(bucket.price), **_prices(bucket.price), "items_in_stock": bucket.items_in_stock}


def bucket_of(at: int, row: Mapping[str, Any], prefix: str = "") -> Bucket:
    """The bucket that a roll-up's row says, at a time in microseconds; of the average with the prefix 'average_'."""
    in_stock_us = row["in_stock_us"]
    prices = (row[prefix + name] for name in ("open", "close", "lowest", "highest"))
    weighted = row[f"{prefix}mean"] * in_stock_us + row[f"{prefix}remainder"]
    changes = row[f"{prefix}changes"]
    return Bucket._make((at, row["state"], in_stock_us, row["observed_us"], *prices, weighted, changes))


def _times(bucket: Bucket) -> dict[str, int | str | None]:
    return {"state": bucket.state, "in_stock_us": bucket.in_stock_us, "observed_us": bucket.observed_us}


def _prices(bucket: Bucket) -> dict[str, int | str | None]:
    mean, remainder = divmod(bucket.weighted, bucket.in_stock_us) if bucket.in_stock_us else (0, 0)
    values = {name: getattr(bucket, name) for name in ("open", "close", "lowest", "highest", "changes")}
    return {**values, "mean": mean, "remainder": remainder}


def _last_of_each(steps: Sequence[_AnyStep], length: int) -> Iterator[_AnyStep]:
    """The last step of each bucket that has any."""
    for step, following in zip_longest(steps, steps[1:]):
        if following is None or bucket_start(following.at, length) != bucket_start(step.at, length):
            yield step
