"""An offer as its source lists it and as we store it. Plain values: no database."""

from typing import Literal, NamedTuple, Self, TypedDict

from productagg.offers.stock import stock_of
from productagg.sources.vocabulary import Availability, Condition


class Quarantined(TypedDict):
    """A price that is held back, as it is stored and shown, in the offer's currency and minor units.

    `since` is when the source first listed it (RFC 3339), `seen` how many of its lists have had it. A `rejected` price
    stays held back however often it is listed.
    """

    price: int
    reason: Literal["zero", "jump"]
    since: str
    seen: int
    rejected: bool


class OfferState(NamedTuple):
    """An offer as its source lists it; the columns of Offer that a source decides.

    `price` and `shipping` are in minor units of `currency`. None: the source does not tell; as `external_id`: the
    offer's own id is that of its source. `quarantined`: the price that the source lists, while it is held back.
    """

    price: int
    items_in_stock: int | None
    currency: str
    availability: Availability = "unknown"
    condition: Condition = "unknown"
    seller: str | None = None
    url: str | None = None
    shipping: int | None = None
    external_id: str | None = None
    quarantined: Quarantined | None = None

    @property
    def stock(self) -> int | None:
        """The items in stock as a step of the history states them."""
        return stock_of(self.availability, self.items_in_stock)

    def has_same_step(self, other: Self) -> bool:
        """Whether the history has the same of both: the price and the stock."""
        return self.price == other.price and self.stock == other.stock

    @property
    def accepted_price(self) -> int | None:
        """The price, unless it has been held back ever since the offer is known."""
        is_held_back = self.quarantined is not None and self.quarantined["price"] == self.price
        return None if is_held_back else self.price

    @property
    def is_waiting(self) -> bool:
        """Whether a price is held back that is taken when its source lists it again."""
        return self.quarantined is not None and not self.quarantined["rejected"]

    def closed(self) -> Self:
        return self._replace(items_in_stock=0, availability="out_of_stock", quarantined=None)
