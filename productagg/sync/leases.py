"""The database's side of a pass: take the leases of what is to be asked, and write down what came of it.

For the sync only. Each function is the content of one short transaction, with a number of statements that does not
depend on how many products it is about. Nothing here waits for the network.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Executable,
    Integer,
    RowMapping,
    Text,
    Uuid,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from productagg.db import clock
from productagg.db.json_rows import Rows
from productagg.db.models import Base, Product, ProductSync
from productagg.history.timeline import INSTANT
from productagg.offers.reconcile import Change, Observation, State, apply, compare, stored
from productagg.sources.offers_service.client import Refused, UpstreamError
from productagg.sync.schedule import Schedule

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A product that is ours to work on until `leased_until`. It was due at `due_at`.

    `deadline` is when the lease ends by this process's monotonic clock: see clock.left.
    """

    product_id: UUID
    name: str
    description: str
    registered: bool
    due_at: datetime
    last_synced_at: datetime | None
    leased_until: datetime
    deadline: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a claim: `offers`, a whole, valid list, or `error`, why there is none. Neither: it was not asked."""

    claim: Claim
    registered: bool
    offers: Mapping[UUID, State] | None = None
    error: UpstreamError | None = None


def due(at: datetime) -> ColumnElement[bool]:
    """Whether a product's turn has come."""
    return ProductSync.next_sync_at <= at


def not_asked_since(at: datetime, now: datetime) -> ColumnElement[bool]:
    """Whether a product is still to be asked by a pass that began at this time and asks for products due or not.

    One that was asked in the future, before the clock was set back, is too.
    """
    asked_at = ProductSync.last_asked_at
    return or_(asked_at.is_(None), asked_at < at, asked_at > now)


def count(session: Session, which: ColumnElement[bool]) -> int:
    return session.execute(select(func.count()).select_from(ProductSync).where(which)).scalar_one()


def claim(session: Session, which: ColumnElement[bool], limit: int, lease: timedelta, now: datetime) -> list[Claim]:
    """Lease up to `limit` products, the longest due first, skipping those that somebody works on."""
    leased_until = now + lease
    deadline = clock.deadline(leased_until, now)
    free = or_(ProductSync.leased_until.is_(None), ProductSync.leased_until <= now)
    taken = (
        select(ProductSync.product_id)
        .where(which, free)
        .order_by(ProductSync.next_sync_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    leased = session.execute(
        update(_SYNC)
        .where(_SYNC.c.product_id == taken.c.product_id)
        .values(leased_until=leased_until)
        .returning(_SYNC.c.product_id, _SYNC.c.registration, _SYNC.c.next_sync_at, _SYNC.c.last_synced_at)
    ).all()
    if not leased:
        return []
    # Not a join: PostgreSQL would rather read all of product_sync for that than look a thousand products up.
    found = select(Product.id, Product.name, Product.description).where(Product.id.in_([row[0] for row in leased]))
    texts = {product_id: (name, description) for product_id, name, description in session.execute(found)}
    claims = [
        Claim(product_id, *texts[product_id], each == "registered", due_at, last_synced_at, leased_until, deadline)
        for product_id, each, due_at, last_synced_at in leased
    ]
    return sorted(claims, key=lambda each: (each.due_at, each.product_id))


def settle(session: Session, outcomes: Sequence[Outcome], schedule: Schedule, started_at: datetime) -> list[Change]:
    """Write down what came of a batch in the pass that began at `started_at`, and give its leases back.

    Returns what changed. A product that was deleted meanwhile, or whose lease somebody else took over, is left alone.
    """
    there = stored(session, [each.claim.product_id for each in outcomes if each.offers is not None])
    now = there.now
    observations = [_observation(each, each.offers, schedule, now) for each in outcomes if each.offers is not None]
    changes = compare(there, observations)
    # What is to be written refers to products. They are locked first, as whoever removes or changes one does: the other
    # way round is a deadlock.
    touched = select(Product.id).where(Product.id.in_(changes)).order_by(Product.id)
    if changes:
        session.execute(touched.with_for_update(read=True, key_share=True))
    by_id = {each.claim.product_id: each for each in outcomes}
    locked = select(*_SYNC.c).where(_SYNC.c.product_id.in_(by_id)).order_by(_SYNC.c.product_id).with_for_update()
    rows = [
        row
        for row in session.execute(locked).mappings()
        if row["leased_until"] == by_id[row["product_id"]].claim.leased_until
    ]
    ours = [changes[row["product_id"]] for row in rows if row["product_id"] in changes]
    _log_first_failures([by_id[row["product_id"]] for row in rows if row["failures"] == 0])
    if rows:
        written = [
            _record(row, by_id[row["product_id"]], changes.get(row["product_id"]), schedule, started_at, now)
            for row in rows
        ]
        dialect = session.get_bind().dialect.name
        session.execute(_WRITE[dialect], Rows.parameter(dialect, written))
    apply(session, ours)
    return [change for change in ours if change.difference]


def _observation(outcome: Outcome, offers: Mapping[UUID, State], schedule: Schedule, now: datetime) -> Observation:
    product_id, last = outcome.claim.product_id, outcome.claim.last_synced_at
    if last is None:
        return Observation(product_id, offers, now, first=True)
    # If the clock was set back, or stands still, a history goes on in small steps: it stays in order.
    at = max(now, last + INSTANT)
    gap = last + INSTANT if at - last > schedule.observed_for else None
    return Observation(product_id, offers, at, first=False, unobserved_from=gap)


def _record(
    row: RowMapping,
    outcome: Outcome,
    change: Change | None,
    schedule: Schedule,
    started_at: datetime,
    now: datetime,
) -> dict[str, Any]:
    """A product's row with what came of asking for it."""
    product_id = row["product_id"]
    new = dict(row)
    if outcome.registered and row["registration"] != "registered":
        new.update(registration="registered", registered_at=now)
    if outcome.offers is not None:
        at = _observation(outcome, outcome.offers, schedule, now).at
        if change is not None and change.difference:
            new["last_changed_at"] = at
        unchanged_since = new["last_changed_at"] or new["registered_at"]
        next_sync_at = schedule.after_success(product_id, started_at, now, unchanged_since)
        new.update(last_asked_at=now, last_synced_at=at, failures=0, last_error=None, next_sync_at=next_sync_at)
    elif outcome.error is not None:
        if isinstance(outcome.error, Refused) and not outcome.registered:
            new["registration"] = "failed"
        failures = row["failures"] + 1
        next_sync_at = schedule.after_failure(product_id, started_at, now, failures)
        new.update(last_asked_at=now, failures=failures, last_error=str(outcome.error), next_sync_at=next_sync_at)
    return new


def _log_first_failures(outcomes: Iterable[Outcome]) -> None:
    """One line for each reason, not for each product: they often fail all at once. Each has its own in its row."""
    failed: dict[str, list[Outcome]] = {}
    for each in outcomes:
        if each.error is not None:
            failed.setdefault(each.error.reason, []).append(each)
    for first, *others in failed.values():
        more = f" (and {len(others)} more products)" if others else ""
        log.warning("product %s: %s%s", first.claim.product_id, first.error, more)


_SYNC = Base.metadata.tables[ProductSync.__tablename__]
_CHANGES = Rows(
    product_id=Uuid,
    registration=Text,
    registered_at=DateTime(timezone=True),
    next_sync_at=DateTime(timezone=True),
    last_asked_at=DateTime(timezone=True),
    last_synced_at=DateTime(timezone=True),
    last_changed_at=DateTime(timezone=True),
    failures=Integer,
    last_error=Text,
)


def _write(dialect: str) -> Executable:
    data = _CHANGES.table(dialect)
    values = {each.key: each for each in data.c if each.key != "product_id"}
    return update(_SYNC).where(_SYNC.c.product_id == data.c.product_id).values(leased_until=null(), **values)


_WRITE = {dialect: _write(dialect) for dialect in ("postgresql", "sqlite")}
