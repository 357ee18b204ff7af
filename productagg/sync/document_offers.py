"""The offers of a whole document, and what they change. For `documents`.

While a document is read, its offers are written a chunk at a time, and nothing is closed. When it has been read to its
end, `close_vanished` closes what it did not have. Every function belongs into one short transaction.
"""

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from productagg.db.models import LAST_OBSERVED_AT, ProductSource, Source
from productagg.offers.reconcile import OffersUpdate, apply_updates, read_stored
from productagg.sources.base import SourceOffer
from productagg.sync.document_matching import match
from productagg.sync.outcomes import write_rows
from productagg.sync.settling import Listing, Plan, lock, log_glitches, plan
from productagg.sync.source_offers import states
from productagg.sync.unmatched_items import Reason

PRODUCTS_AT_ONCE = 1000
_LOW_64_BITS = 2**64 - 1


class SeenOffers:
    """The offers that a document has had, in eight bytes each: the last bits of their ids, which are digests."""

    def __init__(self) -> None:
        self._bits = array("Q")
        self._sorted = True

    def add(self, ids: Iterable[UUID]) -> None:
        self._bits.extend(id_.int & _LOW_64_BITS for id_ in ids)
        self._sorted = False

    def __contains__(self, id_: UUID) -> bool:
        if not self._sorted:
            self._bits = array("Q", sorted(self._bits))
            self._sorted = True
        bits = id_.int & _LOW_64_BITS
        place = bisect_left(self._bits, bits)
        return place < len(self._bits) and self._bits[place] == bits


class Chunk(NamedTuple):
    """What a chunk of offers changed, which offers of our products it has, and those of no product, with the reason."""

    updates: Sequence[OffersUpdate]
    offers: Collection[UUID]
    unmatched: Sequence[tuple[SourceOffer, Reason]]


def write_chunk(
    session: Session,
    source_id: UUID,
    offers: Sequence[SourceOffer],
    observed_for: timedelta,
    *,
    creates_products: bool = False,
    quarantine_factor: float = 0,
) -> Chunk:
    """Write the offers of a part of the document; those that are absent from it stay.

    For `quarantine_factor` see plan_updates.
    """
    products, reasons = match(session, source_id, offers, creates_products=creates_products)
    lists: dict[UUID, list[SourceOffer]] = {}
    last: dict[UUID, datetime | None] = {}
    for offer in offers:
        for product_id, last_observed_at, linked_by in products.get(offer.locator, ()):
            lists.setdefault(product_id, []).append(_with_own_id(offer, linked_by))
            last[product_id] = last_observed_at
    listings = [
        Listing(product_id, source_id, states(source_id, listed), last[product_id], is_complete=False)
        for product_id, listed in lists.items()
    ]
    planned = plan(session, listings, observed_for, quarantine_factor=quarantine_factor) if listings else None
    updates = _write(session, source_id, planned) if planned is not None else []
    unmatched = [(offer, reasons[offer.locator]) for offer in offers if offer.locator in reasons]
    return Chunk(updates, [id_ for listing in listings for id_ in listing.offers], unmatched)


def _with_own_id(offer: SourceOffer, linked_by: str | None) -> SourceOffer:
    """The offer with an id of its own among all offers of its product.

    Ids are unique among the offers of one locator only. Items of two locators that belong to one product might
    overwrite each other, at each document.
    """
    if offer.locator in (linked_by, offer.external_id):
        return offer
    return offer._replace(external_id=f"{offer.locator} {offer.external_id}")


def close_vanished(
    session: Session, source_id: UUID, seen: SeenOffers, after: UUID, observed_for: timedelta
) -> tuple[Sequence[OffersUpdate], UUID | None]:
    """Close the offers of the next products that the document did not have.

    Returns what that changed, and the last product; None after the last one of all.
    """
    query = select(ProductSource.product_id, LAST_OBSERVED_AT).join(Source, Source.id == ProductSource.source_id)
    query = query.where(ProductSource.source_id == source_id, ProductSource.product_id > after)
    found = session.execute(query.order_by(ProductSource.product_id).limit(PRODUCTS_AT_ONCE)).all()
    if not found:
        return [], None
    observed: dict[UUID, datetime | None] = {row[0]: row[1] for row in found}
    listings = _without_vanished(session, source_id, seen, observed)
    if listings:
        # Once more, locked: an admin may accept or correct a price meanwhile, which the listings would take back.
        observed = {listing.product_id: listing.last_synced_at for listing in listings}
        lock(session, observed.keys())
        listings = _without_vanished(session, source_id, seen, observed)
    updates = _write(session, source_id, plan(session, listings, observed_for)) if listings else []
    return updates, found[-1][0]


def _without_vanished(
    session: Session, source_id: UUID, seen: SeenOffers, observed: Mapping[UUID, datetime | None]
) -> list[Listing]:
    """What the document has of those products' stored offers, for products of which it lacks some, and for new ones.

    `observed` says when the source last listed each product.
    """
    stored = read_stored(session, list(observed)).by_product
    listings = []
    for product_id, last_observed_at in observed.items():
        mine = stored.get(product_id, {}).get(source_id, {})
        left = {id_: state for id_, state in mine.items() if id_ in seen}
        if len(left) < len(mine) or last_observed_at is None:
            listings.append(Listing(product_id, source_id, left, last_observed_at))
    return listings


def _write(session: Session, source_id: UUID, planned: Plan) -> Sequence[OffersUpdate]:
    """Write a plan's updates of products that still have this source; return those that changed offers."""
    updates = []
    rows = []
    for row in planned.rows:
        update = planned.updates.get(row["product_id"])
        if row["source_id"] != source_id or update is None:
            continue
        updates.append(update)
        at = planned.times[row["product_id"]]
        new = {**row, "last_asked_at": planned.now, "last_synced_at": at, "failures": 0, "last_error": None}
        if update.difference:
            new["last_changed_at"] = at
        rows.append(new)
    write_rows(session, rows)
    apply_updates(session, updates)
    log_glitches(updates)
    return [update for update in updates if update.difference]
