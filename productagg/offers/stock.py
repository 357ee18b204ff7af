"""What counts as in stock. Pure: no database.

A source may state an availability, a number of items, both, or neither. None, as a number of items, is 'not told',
which is neither 0 nor sold out.
"""

from productagg.sources.vocabulary import Availability


def stock_of(availability: Availability, items_in_stock: int | None) -> int | None:
    """The items in stock as a history states them: 0 if it is not in stock, None if it is and the number is not told.

    In stock is what its source calls so, unless it tells a number of 0; and what has a number above 0, if the source
    says nothing about its availability. A missing availability alone is unknown, which is not in stock.
    """
    if availability == "in_stock":
        return items_in_stock
    return (items_in_stock or 0) if availability == "unknown" else 0
