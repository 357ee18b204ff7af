"""What lists of offers change, worked out under the locks that keep it true. For `outcomes` and `documents`.

`plan` belongs into the transaction that writes the result. A lease keeps other runs from writing a product's offers of
the same source meanwhile, but not from writing those of another source.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.orm import Session

from productagg.db.engines import dialect_name
from productagg.db.models import LAST_OBSERVED_AT, Base, Product, ProductSource, Source
from productagg.history.queries import counts_until
from productagg.history.timeline import INSTANT, microseconds
from productagg.offers.reconcile import (
    Observation,
    OfferState,
    OffersUpdate,
    StoredOffers,
    plan_updates,
    read_stored,
)

log = logging.getLogger(__name__)

_PRODUCT_SOURCES = Base.metadata.tables[ProductSource.__tablename__]


class Listing(NamedTuple):
    """What a source lists for a product. `last_synced_at` is when it did so before, as the caller knows it."""

    product_id: UUID
    source_id: UUID
    offers: Mapping[UUID, OfferState]
    last_synced_at: datetime | None
    is_complete: bool = True


@dataclass(frozen=True)
class Plan:
    """The locked rows of product_sources, and what the lists change, as of `now`, the transaction's time.

    The rows are those of all sources of the products. `times` says, by product, as of when they are observed.
    """

    now: datetime
    rows: Sequence[RowMapping]
    times: Mapping[UUID, datetime]
    updates: Mapping[UUID, OffersUpdate]


def plan(
    session: Session,
    listings: Iterable[Listing],
    observed_for: timedelta,
    also_lock: Collection[UUID] = (),
    quarantine_factor: float = 0,
) -> Plan:
    """Plan the updates of the listed products, and lock the rows of product_sources of the products that change.

    `also_lock` are more products whose rows are locked. Products that were deleted meanwhile have no rows. For
    `quarantine_factor` see plan_updates.
    """
    listings = list(listings)
    stored = read_stored(session, list({listing.product_id for listing in listings}))
    last = {listing.product_id: listing.last_synced_at for listing in listings}
    observations = _observe(session, listings, last, observed_for, stored.now)
    updates = plan_updates(stored, observations, quarantine_factor)
    _lock_products(session, updates)
    rows = _lock_rows(session, {*updates, *also_lock})
    if shared := _shared(rows, stored) & updates.keys():
        # Another run, or an admin, may have written offers since they were read, or removed them.
        again = [listing for listing in listings if listing.product_id in shared]
        stored = read_stored(session, list(shared))
        observed_again = _observe(session, again, _last_observed(session, shared), observed_for, stored.now)
        updates = {id_: update for id_, update in updates.items() if id_ not in shared}
        updates |= plan_updates(stored, observed_again, quarantine_factor)
        observations = [*(each for each in observations if each.product_id not in shared), *observed_again]
    return Plan(stored.now, rows, {each.product_id: each.at for each in observations}, updates)


def lock(session: Session, product_ids: Collection[UUID]) -> None:
    """Keep all others from writing these products' offers until the commit."""
    _lock_products(session, product_ids)
    _lock_rows(session, product_ids)


def log_glitches(updates: Iterable[OffersUpdate]) -> None:
    """Log one line for the prices that are held back from now on: a source often lists many wrong prices at once."""
    found = [
        (update.product_id, offer_id, state.quarantined["price"], state.price)
        for update in updates
        for offer_id, state in update.difference.changed.items()
        if state.quarantined is not None and state.quarantined["seen"] == 1
    ]
    if found:
        count = "a price is" if len(found) == 1 else f"{len(found)} prices are"
        log.warning("%s held back: product %s, offer %s: %d instead of %d", count, *found[0])


def take_over(session: Session, product_id: UUID) -> Sequence[RowMapping]:
    """Keep all others from writing a product's offers; returns its rows of product_sources, none if it is gone.

    A run that is fetching the product loses its lease, and drops what it has: that was worked out from the offers as
    they were before. The product stays due as it is.
    """
    # As imports and compaction lock it, which write histories.
    session.execute(select(Product.id).where(Product.id == product_id).with_for_update(key_share=True))
    rows = _lock_rows(session, [product_id])
    ending = update(_PRODUCT_SOURCES).where(_PRODUCT_SOURCES.c.product_id == product_id)
    session.execute(ending.values(leased_until=None))
    return rows


def _observe(
    session: Session,
    listings: Iterable[Listing],
    last: Mapping[UUID, datetime | None],
    observed_for: timedelta,
    now: datetime,
) -> list[Observation]:
    late = {product_id for product_id, at in last.items() if at is not None and now - at > observed_for}
    unobserved = late - _still_observed(session, late, now)
    return [_observation(each, last.get(each.product_id), each.product_id in unobserved, now) for each in listings]


def _still_observed(session: Session, product_ids: Collection[UUID], now: datetime) -> set[UUID]:
    """Those of the products that a source with a longer interval of its own has observed lately enough."""
    if not product_ids:
        return set()
    counts = counts_until(dialect_name(session)) >= microseconds(now)
    query = select(ProductSource.product_id).join(Source, Source.id == ProductSource.source_id)
    return set(session.scalars(query.where(ProductSource.product_id.in_(product_ids), counts)))


def _observation(listing: Listing, last: datetime | None, is_unobserved: bool, now: datetime) -> Observation:
    at, gap_from = now, None
    if last is not None:
        # If the clock was set back or stands still, the history goes on in the smallest steps, so that it stays in
        # order.
        at = max(now, last + INSTANT)
        gap_from = last + INSTANT if is_unobserved else None
    return Observation(
        listing.product_id,
        listing.offers,
        at,
        first=last is None,
        unobserved_from=gap_from,
        source_id=listing.source_id,
        is_complete=listing.is_complete,
    )


def _lock_products(session: Session, product_ids: Collection[UUID]) -> None:
    """Lock the products that the new rows will refer to, before their rows in product_sources.

    Editing and removing a product locks in this order; the opposite order would deadlock.
    """
    if not product_ids:
        return
    products = select(Product.id).where(Product.id.in_(product_ids)).order_by(Product.id)
    session.execute(products.with_for_update(read=True, key_share=True))


def _lock_rows(session: Session, product_ids: Collection[UUID]) -> Sequence[RowMapping]:
    """Lock the rows of all sources of these products: runs that write offers of other sources wait."""
    if not product_ids:
        return []
    table = _PRODUCT_SOURCES
    query = select(*table.c).where(table.c.product_id.in_(product_ids)).order_by(*table.primary_key)
    return session.execute(query.with_for_update()).mappings().all()


def _shared(rows: Iterable[RowMapping], stored: StoredOffers) -> set[UUID]:
    """The products whose offers no lease of ours kept from being written.

    They have several sources, or had others when their offers were read, or no lease.
    """
    linked: dict[UUID, set[UUID]] = {}
    unleased = set()
    for row in rows:
        linked.setdefault(row["product_id"], set()).add(row["source_id"])
        if row["leased_until"] is None:
            unleased.add(row["product_id"])
    return unleased | {
        product_id
        for product_id, sources in linked.items()
        if len(sources) > 1 or not stored.by_product.get(product_id, {}).keys() <= sources
    }


def _last_observed(session: Session, product_ids: Collection[UUID]) -> dict[UUID, datetime | None]:
    """When any source last listed the products."""
    query = (
        select(ProductSource.product_id, func.max(LAST_OBSERVED_AT))
        .join(Source, Source.id == ProductSource.source_id)
        .where(ProductSource.product_id.in_(product_ids))
        .group_by(ProductSource.product_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}
