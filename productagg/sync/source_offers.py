"""From an offer as an adapter states it to one as we store it: its id, and its state. Pure; for the sync."""

from collections.abc import Iterable
from uuid import UUID

from productagg.offers.identity import offer_id
from productagg.offers.reconcile import OfferState
from productagg.sources.base import SourceOffer


def states(source_id: UUID, offers: Iterable[SourceOffer]) -> dict[UUID, OfferState]:
    """The states of a product's offers of one source, by id."""
    return {offer_id(source_id, offer.external_id, offer.currency): _state(offer) for offer in offers}


def _state(offer: SourceOffer) -> OfferState:
    return OfferState(
        price=offer.price,
        items_in_stock=offer.items_in_stock,
        currency=offer.currency,
        availability=offer.availability,
        condition=offer.condition,
        seller=offer.seller,
        url=offer.url,
        shipping=offer.shipping,
        external_id=offer.external_id,
    )
