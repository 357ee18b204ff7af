"""The cost of several units of a product: pure arithmetic on its current offers. For the API."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict
from uuid import UUID


class CurrentOffer(TypedDict):
    """A current offer as the API shows it, with these members among others."""

    id: str
    price: int
    items_in_stock: int


@dataclass(frozen=True)
class Purchase:
    """`quantity` units of one offer, at `price` per unit in the Offers service's unit."""

    offer_id: UUID
    price: int
    quantity: int


@dataclass(frozen=True)
class Cost:
    """The cost of `quantity` units: `cost` is the exact sum of `lines`, which hold `available_quantity` units.

    If `complete`, that is the whole quantity; otherwise it is everything in stock. With nothing in stock, cost is None.
    """

    product_id: UUID
    quantity: int
    available_quantity: int
    complete: bool
    cost: int | None
    lines: Sequence[Purchase]


def cheapest_cost(product_id: UUID, offers: Iterable[CurrentOffer], quantity: int) -> Cost:
    """Take units from the cheapest offer first, then from the next, until there are `quantity` units.

    `offers` come cheapest first.
    """
    lines = []
    missing = quantity
    for offer in offers:
        units = min(offer["items_in_stock"], missing)
        if units:
            lines.append(Purchase(UUID(offer["id"]), offer["price"], units))
            missing -= units
    total = sum(line.price * line.quantity for line in lines) if lines else None
    return Cost(product_id, quantity, quantity - missing, not missing, total, lines)
