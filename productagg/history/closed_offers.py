"""Removes offers that were closed long ago, with their steps. For compaction.

Products' own histories do not change: they do not depend on offers. An offer is removed only if it was closed before
the time since which all steps are kept.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, sessionmaker

from productagg.db.models import Base, HistoryProgress, Offer, OfferPrice, OfferPriceDay, Product, ProductSource

# In one transaction.
PRODUCTS_AT_ONCE = 20
OFFERS_AT_ONCE = 500

_OFFERS = Base.metadata.tables[Offer.__tablename__]
_STEPS = [Base.metadata.tables[model.__tablename__] for model in (OfferPrice, OfferPriceDay)]


def remove_closed(reader: Connection, sessions: sessionmaker[Session], before: datetime) -> int:
    """Remove the offers that were closed before a time, in short transactions. Returns how many.

    `before` is not after HistoryProgress.raw_from. Products that are being imported are left to the next run.
    """
    removed, after = 0, UUID(int=0)
    while product_ids := reader.scalars(_with_closed(before, after)).all():
        if not removed:
            _advance_watermark(sessions, before)
        after = product_ids[-1]
        count = OFFERS_AT_ONCE
        while count == OFFERS_AT_ONCE:
            with sessions.begin() as session:
                count = _remove_some(session, product_ids, before)
            removed += count
    return removed


def _with_closed(before: datetime, after: UUID) -> Select[UUID]:
    """The next products that have offers closed before a time. It probes the index once per product."""
    mine = (Offer.product_id == Product.id, Offer.closed_at.is_not(None))
    oldest = select(func.min(Offer.closed_at)).where(*mine).correlate(Product).scalar_subquery()
    return select(Product.id).where(Product.id > after, oldest < before).order_by(Product.id).limit(PRODUCTS_AT_ONCE)


def _advance_watermark(sessions: sessionmaker[Session], before: datetime) -> None:
    """Advance the watermark before any offer is removed; offers_at reads it after the offers."""
    earlier = or_(HistoryProgress.offers_from.is_(None), HistoryProgress.offers_from < before)
    with sessions.begin() as session:
        session.execute(update(HistoryProgress).where(earlier).values(offers_from=before))


def _remove_some(session: Session, product_ids: Sequence[UUID], before: datetime) -> int:
    # Imports take the same lock on a product whose offers they write.
    products = select(Product.id).where(Product.id.in_(product_ids)).order_by(Product.id)
    locked = session.scalars(products.with_for_update(key_share=True, skip_locked=True)).all()
    # A sync run holds this lock while it writes a product's offers: none of them is opened again meanwhile.
    sync = select(ProductSource.product_id).where(ProductSource.product_id.in_(locked))
    session.execute(sync.order_by(*ProductSource.__mapper__.primary_key).with_for_update())
    key = tuple_(_OFFERS.c.product_id, _OFFERS.c.id)
    closed = select(*key).where(_OFFERS.c.product_id.in_(locked), _OFFERS.c.closed_at < before).limit(OFFERS_AT_ONCE)
    removal: Any = delete(_OFFERS).where(key.in_(closed)).returning(*key)
    removed = [tuple(row) for row in session.execute(removal)]
    # If an import had locked the product, its steps may not be compacted yet.
    for steps in _STEPS if removed else ():
        session.execute(delete(steps).where(tuple_(steps.c.product_id, steps.c.offer_id).in_(removed)))
    return len(removed)
