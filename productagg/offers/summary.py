"""Sums up a product's offers as one row of its history. The sync writes the row; productagg.history reads it."""

from collections.abc import Iterable
from typing import NamedTuple


class Summary(NamedTuple):
    """A product's offers at one moment: those that are in stock and have the catalogue's currency.

    `lowest` and `average` are prices in minor units, None when nothing is in stock; `average` is rounded half up to a
    whole unit. `offers` counts the offers, `items_in_stock` sums the numbers of items that are told.
    """

    lowest: int | None
    average: int | None
    offers: int
    items_in_stock: int


_LARGEST_INTEGER = 2**63 - 1
NOTHING_IN_STOCK = Summary(None, None, 0, 0)


def summarise(offers: Iterable[tuple[int, int | None]]) -> Summary:
    """Sum up offers of one currency: pairs of a price and the stock (see stock.stock_of)."""
    in_stock = [(price, stock) for price, stock in offers if stock != 0]
    if not in_stock:
        return NOTHING_IN_STOCK
    prices = [price for price, _ in in_stock]
    count = len(prices)
    items_in_stock = sum(stock for _, stock in in_stock if stock is not None)
    return Summary(min(prices), (2 * sum(prices) + count) // (2 * count), count, items_in_stock)


def storable(summary: Summary) -> Summary:
    """The summary with at most as many items as a 64-bit column holds.

    A shop that means 'plenty' may tell the largest number there is. The sum must not end the whole sync.
    """
    return summary._replace(items_in_stock=min(summary.items_in_stock, _LARGEST_INTEGER))
