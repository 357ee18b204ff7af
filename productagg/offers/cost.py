"""The cost of several units of a product: pure arithmetic on its current offers. For the API."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict
from uuid import UUID

from productagg.offers.stock import stock_of
from productagg.sources.vocabulary import Availability


class CurrentOffer(TypedDict):
    """A current offer as the API shows it, with these members among others."""

    id: str
    price: int
    comparable: bool
    availability: Availability
    items_in_stock: int | None


@dataclass(frozen=True)
class Purchase:
    """`quantity` units of one offer, at `price` per unit."""

    offer_id: UUID
    price: int
    quantity: int


@dataclass(frozen=True)
class Cost:
    """The cost of `quantity` units: `cost` is the exact sum of `lines`, which hold `available_quantity` units.

    Prices are in minor units of `currency`, without shipping. If `complete`, that is the whole quantity; otherwise it
    is everything in stock. With nothing in stock, cost is None.
    """

    product_id: UUID
    currency: str
    quantity: int
    available_quantity: int
    complete: bool
    cost: int | None
    lines: Sequence[Purchase]


def cheapest_cost(product_id: UUID, currency: str, offers: Iterable[CurrentOffer], quantity: int) -> Cost:
    """Take units from the cheapest offer first, then from the next, until there are `quantity` units.

    `offers` come cheapest first; those in other currencies than `currency`, the catalogue's, do not count. An offer in
    stock whose source tells no number has at least one unit, which counts.
    """
    lines = []
    missing = quantity
    for offer in offers:
        units = min(_units(offer), missing)
        if units:
            lines.append(Purchase(UUID(offer["id"]), offer["price"], units))
            missing -= units
    total = sum(line.price * line.quantity for line in lines) if lines else None
    return Cost(product_id, currency, quantity, quantity - missing, not missing, total, lines)


def _units(offer: CurrentOffer) -> int:
    if not offer["comparable"]:
        return 0
    stock = stock_of(offer["availability"], offer["items_in_stock"])
    return 1 if stock is None else stock
