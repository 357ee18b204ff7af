"""Sums up a product's offers as one row of its history. The sync writes the row; productagg.history reads it."""

from collections.abc import Iterable
from typing import NamedTuple


class Summary(NamedTuple):
    """A product's offers at one moment, in-stock offers only.

    `lowest` and `average` are prices in the Offers service's unit, None when nothing is in stock; `average` is rounded
    half up to a whole unit. `offers` counts the in-stock offers, `items_in_stock` their items.
    """

    lowest: int | None
    average: int | None
    offers: int
    items_in_stock: int


NOTHING_IN_STOCK = Summary(None, None, 0, 0)


def summarise(offers: Iterable[tuple[int, int]]) -> Summary:
    """Sum up (price, items in stock) pairs."""
    in_stock = [(price, items) for price, items in offers if items > 0]
    if not in_stock:
        return NOTHING_IN_STOCK
    prices, items_in_stock = zip(*in_stock, strict=True)
    count = len(prices)
    return Summary(min(prices), (2 * sum(prices) + count) // (2 * count), count, sum(items_in_stock))
