"""From an offer as an adapter states it to one as we store it: its id, and its state. Pure; for the sync."""

from collections.abc import Iterable
from uuid import UUID, uuid5

from productagg.offers.reconcile import OfferState
from productagg.sources.base import SourceOffer

# How many items there are of an offer whose source does not say, but that can be bought.
_SOME = 1
_SOLD_OUT = {"out_of_stock", "discontinued"}


def offer_id(source_id: UUID, offer: SourceOffer) -> UUID:
    """The same offer has the same id at each sync. One in another currency is another offer."""
    return uuid5(source_id, f"{offer.currency} {offer.external_id}")


def offer_state(offer: SourceOffer) -> OfferState:
    if offer.availability in _SOLD_OUT:
        return OfferState(offer.price, 0)
    return OfferState(offer.price, _SOME if offer.items_in_stock is None else offer.items_in_stock)


def states(source_id: UUID, offers: Iterable[SourceOffer]) -> dict[UUID, OfferState]:
    """The states of a product's offers, by id."""
    return {offer_id(source_id, offer): offer_state(offer) for offer in offers}
