"""What an admin decides about a price that is held back: to take it now, or never. For the API.

The functions belong into the caller's transaction.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, update
from sqlalchemy.orm import Session

from productagg.catalog.products import NotFound
from productagg.db.models import Base, ProductSource
from productagg.offers.offer_state import OfferState, Quarantined
from productagg.offers.reconcile import Observation, StoredOffers, apply_updates, plan_updates, read_stored
from productagg.sync.settling import Listing, plan, take_over

_PRODUCT_SOURCES = Base.metadata.tables[ProductSource.__tablename__]


class NoOpenOffer(Exception):
    """The product has no such offer, or it is closed."""


class NotQuarantined(Exception):
    """The offer does not hold back this price."""


class _Held(NamedTuple):
    """An offer that holds a price back, with the locked rows of product_sources of its product."""

    rows: Sequence[RowMapping]
    stored: StoredOffers
    source_id: UUID
    state: OfferState
    quarantined: Quarantined


def accept(session: Session, product_id: UUID, offer_id: UUID, price: int, observed_for: timedelta) -> None:
    """Take the price as if the source had listed it now, and had said nothing about its other offers.

    `observed_for` is how long a product counts as observed: see Schedule. Raises NotFound, NoOpenOffer, NotQuarantined.
    """
    held = _held(session, product_id, offer_id, price)
    accepted = {offer_id: held.state._replace(price=price, quarantined=None)}
    last = max((row["last_synced_at"] for row in held.rows if row["last_synced_at"]), default=None)
    planned = plan(session, [Listing(product_id, held.source_id, accepted, last, is_complete=False)], observed_for)
    apply_updates(session, planned.updates.values())
    at = planned.times[product_id]
    mine = (_PRODUCT_SOURCES.c.product_id == product_id, _PRODUCT_SOURCES.c.source_id == held.source_id)
    session.execute(update(_PRODUCT_SOURCES).where(*mine).values(last_synced_at=at, last_changed_at=at))


def reject(session: Session, product_id: UUID, offer_id: UUID, price: int) -> None:
    """Hold the price back for as long as the source lists it. Raises NotFound, NoOpenOffer, NotQuarantined."""
    held = _held(session, product_id, offer_id, price)
    rejected = {offer_id: held.state._replace(quarantined={**held.quarantined, "rejected": True})}
    observation = Observation(
        product_id, rejected, held.stored.now, first=False, source_id=held.source_id, is_complete=False
    )
    apply_updates(session, plan_updates(held.stored, [observation]).values())


def _held(session: Session, product_id: UUID, offer_id: UUID, price: int) -> _Held:
    """The offer, as it stays until the end of the transaction."""
    rows = take_over(session, product_id)
    if not rows:
        raise NotFound(product_id)
    stored = read_stored(session, [product_id])
    for source_id, offers in stored.by_product.get(product_id, {}).items():
        if offer_id in offers:
            state = offers[offer_id]
            if state.quarantined is None or state.quarantined["price"] != price:
                raise NotQuarantined(price)
            return _Held(rows, stored, source_id, state, state.quarantined)
    raise NoOpenOffer(offer_id)
