"""Leases say which products at which source a sync run may work on, and until when. For the sync only.

A lease is a row of product_sources whose `leased_until` lies in the future. Every function belongs into one short
transaction, and its number of statements does not depend on the number of products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from productagg.db import clock
from productagg.db.models import Base, Product, ProductSource
from productagg.sources.web import NO_VALIDATORS, Validators

_SYNC = Base.metadata.tables[ProductSource.__tablename__]
_RETURNED = ("product_id", "registration", "locator", "validators", "next_sync_at", "last_synced_at")


@dataclass(frozen=True, slots=True)
class Lease:
    """A product at one source, that only the holder asks for until `leased_until`. It was due at `due_at`.

    `locator` is None for the product's own id.

    `deadline` is `leased_until` on this process's monotonic clock: see clock.deadline.
    """

    product_id: UUID
    source_id: UUID
    name: str
    description: str
    registered: bool
    locator: str | None
    validators: Validators
    due_at: datetime
    last_synced_at: datetime | None
    leased_until: datetime
    deadline: float


def is_due(at: datetime) -> ColumnElement[bool]:
    """Whether a product is due at this time."""
    return ProductSource.next_sync_at <= at


def not_asked_since(started_at: datetime, now: datetime) -> ColumnElement[bool]:
    """Whether a run that began at `started_at`, and asks for products due or not, still has to ask for a product.

    A product that was asked for in the future, before the clock was set back, is included. Products of a whole document
    are not asked for: that is.
    """
    asked_at = ProductSource.last_asked_at
    not_asked = or_(asked_at.is_(None), asked_at < started_at, asked_at > now)
    return and_(ProductSource.next_sync_at.is_not(None), not_asked)


def count(session: Session, source_ids: Sequence[UUID], selected: ColumnElement[bool]) -> int:
    """Count the selected products at each of these sources, leased or not."""
    of_source = ProductSource.source_id.in_(source_ids)
    return session.execute(select(func.count()).select_from(ProductSource).where(of_source, selected)).scalar_one()


def has_free(session: Session, source_id: UUID, selected: ColumnElement[bool], now: datetime) -> bool:
    """Whether a selected product at a source is leased to nobody."""
    free = (ProductSource.source_id == source_id, selected, _is_free(now))
    return session.execute(select(exists().where(*free))).scalar_one()


def _is_free(now: datetime) -> ColumnElement[bool]:
    return or_(ProductSource.leased_until.is_(None), ProductSource.leased_until <= now)


def acquire(
    session: Session,
    source_id: UUID,
    selected: ColumnElement[bool],
    limit: int,
    duration: timedelta,
    now: datetime,
) -> list[Lease]:
    """Lease up to `limit` of the selected products at a source, the longest due first.

    Products that are leased to other runs are left out, and those that another transaction writes just now.
    """
    leased_until = now + duration
    deadline = clock.deadline(leased_until, now)
    chosen = (
        select(ProductSource.product_id)
        .where(ProductSource.source_id == source_id, selected, _is_free(now))
        .order_by(ProductSource.next_sync_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    rows = session.execute(
        update(_SYNC)
        .where(_SYNC.c.product_id == chosen.c.product_id, _SYNC.c.source_id == source_id)
        .values(leased_until=leased_until)
        .returning(*(_SYNC.c[name] for name in _RETURNED))
    ).all()
    if not rows:
        return []
    # Not a join: for a join, PostgreSQL reads all of product_sources rather than look a thousand products up.
    products = select(Product.id, Product.name, Product.description).where(Product.id.in_([row[0] for row in rows]))
    texts = {product_id: (name, description) for product_id, name, description in session.execute(products)}
    leases = [
        Lease(
            product_id,
            source_id,
            *texts[product_id],
            registered=registration == "registered",
            locator=locator,
            validators=Validators(*validators) if validators else NO_VALIDATORS,
            due_at=due_at,
            last_synced_at=last_synced_at,
            leased_until=leased_until,
            deadline=deadline,
        )
        for product_id, registration, locator, validators, due_at, last_synced_at in rows
    ]
    return sorted(leases, key=lambda lease: (lease.due_at, lease.product_id))
