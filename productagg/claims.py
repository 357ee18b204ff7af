"""The database's side of a pass: take the leases of what is to be asked, and write down what came of it.

For the sync only. Each function is the content of one short transaction, with a number of statements that does not
depend on how many products it is about. Nothing here waits for the network.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Executable,
    Integer,
    Text,
    Uuid,
    and_,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from productagg.bulk import Rows
from productagg.models import Base, Product, ProductSync
from productagg.offers import Difference, Observation, State, reconcile
from productagg.schedule import Schedule
from productagg.upstream import Refused, UpstreamError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A product that is ours to work on until `leased_until`. It was due at `due_at`."""

    product_id: UUID
    name: str
    description: str
    registered: bool
    leased_until: datetime
    due_at: datetime


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


def not_asked_since(at: datetime) -> ColumnElement[bool]:
    """Whether a product is still to be asked by a pass that began at this time and asks for products due or not."""
    return or_(ProductSync.last_asked_at.is_(None), ProductSync.last_asked_at < at)


def count(session: Session, which: ColumnElement[bool]) -> int:
    return session.execute(select(func.count()).select_from(ProductSync).where(which)).scalar_one()


def claim(session: Session, which: ColumnElement[bool], limit: int, lease: timedelta) -> list[Claim]:
    """Lease up to `limit` products, the longest due first, skipping those that somebody works on."""
    now = datetime.now(UTC)
    leased_until = now + lease
    free = or_(
        ProductSync.leased_until.is_(None),
        ProductSync.leased_until <= now,
        # Left behind by a clock that has been set back.
        ProductSync.leased_until > now + _LONGEST_LEASE,
    )
    taken = (
        select(ProductSync.product_id)
        .where(which, free)
        .order_by(ProductSync.next_sync_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    product_ids = session.scalars(
        update(ProductSync)
        .where(ProductSync.product_id == taken.c.product_id)
        .values(leased_until=leased_until)
        .returning(ProductSync.product_id)
        .execution_options(synchronize_session=False)
    ).all()
    if not product_ids:
        return []
    rows = session.execute(
        select(Product.id, Product.name, Product.description, ProductSync.registration, ProductSync.next_sync_at)
        .join(ProductSync, ProductSync.product_id == Product.id)
        .where(Product.id.in_(product_ids))
        .order_by(ProductSync.next_sync_at, Product.id)
    )
    return [
        Claim(product_id, name, description, registration == "registered", leased_until, due_at)
        for product_id, name, description, registration, due_at in rows
    ]


def settle(
    session: Session, outcomes: Sequence[Outcome], schedule: Schedule, started_at: datetime
) -> dict[UUID, Difference]:
    """Write down what came of a batch in the pass that began at `started_at`, and give its leases back.

    Returns the differences of the products that changed. A product that was deleted meanwhile, or whose lease somebody
    else took over, is left alone.
    """
    now = datetime.now(UTC)
    by_id = {each.claim.product_id: each for each in outcomes}
    # The products first, as whoever removes or changes one does: the other way round is a deadlock.
    kept = select(Product.id).where(Product.id.in_(by_id)).order_by(Product.id)
    session.execute(kept.with_for_update(read=True, key_share=True))
    locked = select(*_SYNC.c).where(_SYNC.c.product_id.in_(by_id)).order_by(_SYNC.c.product_id).with_for_update()
    rows = [
        row
        for row in session.execute(locked).mappings()
        if row["leased_until"] == by_id[row["product_id"]].claim.leased_until
    ]
    observations = {
        row["product_id"]: Observation(
            row["product_id"], fetched, _later(now, row["last_synced_at"]), row["last_synced_at"] is None
        )
        for row in rows
        if (fetched := by_id[row["product_id"]].offers) is not None
    }
    differences = reconcile(session, list(observations.values())) if observations else {}
    _log_first_failures([by_id[row["product_id"]] for row in rows if row["failures"] == 0])
    changes = []
    for row in rows:
        product_id = row["product_id"]
        change = dict(row)
        at = observations[product_id].at if product_id in observations else now
        if product_id in differences:
            change["last_changed_at"] = at
        _record(change, by_id[product_id], schedule, started_at, now, at)
        changes.append(change)
    if changes:
        dialect = session.get_bind().dialect.name
        session.execute(_WRITE[dialect], Rows.parameter(dialect, changes))
    return differences


def _record(
    row: dict[str, Any], outcome: Outcome, schedule: Schedule, started_at: datetime, now: datetime, at: datetime
) -> None:
    """Put into a product's row what came of asking for it."""
    product_id = row["product_id"]
    if outcome.registered and row["registration"] != "registered":
        row.update(registration="registered", registered_at=now)
    if outcome.offers is not None:
        unchanged_since = row["last_changed_at"] or row["registered_at"]
        next_sync_at = schedule.after_success(product_id, started_at, now, unchanged_since)
        row.update(last_asked_at=now, last_synced_at=at, failures=0, last_error=None, next_sync_at=next_sync_at)
    elif outcome.error is not None:
        if isinstance(outcome.error, Refused) and not outcome.registered:
            row["registration"] = "failed"
        failures = row["failures"] + 1
        next_sync_at = schedule.after_failure(product_id, started_at, now, failures)
        row.update(last_asked_at=now, failures=failures, last_error=str(outcome.error), next_sync_at=next_sync_at)


def _later(now: datetime, last: datetime | None) -> datetime:
    """Now, or just after the last observation: if the clock was set back, a history goes on in small steps."""
    return now if last is None else max(now, last + _INSTANT)


def _log_first_failures(outcomes: Iterable[Outcome]) -> None:
    """One line for each reason, not for each product: they often fail all at once. Each has its own in its row."""
    failed: dict[str, list[Outcome]] = {}
    for each in outcomes:
        if each.error is not None:
            failed.setdefault(each.error.reason, []).append(each)
    for first, *others in failed.values():
        more = f" (and {len(others)} more products)" if others else ""
        log.warning("product %s: %s%s", first.claim.product_id, first.error, more)


def repair_after_clock_was_set_back(session: Session, now: datetime, lead: timedelta) -> int:
    """Make due what was asked or made by a clock that was `lead` or more ahead of `now`. Returns how many products."""
    ahead = or_(
        ProductSync.last_asked_at > now + lead,
        and_(ProductSync.last_asked_at.is_(None), ProductSync.next_sync_at > now + lead),
    )
    repaired = session.execute(
        update(ProductSync)
        .where(ahead)
        .values(next_sync_at=now)
        .returning(ProductSync.product_id)
        .execution_options(synchronize_session=False)
    )
    return len(repaired.all())


_SYNC = Base.metadata.tables[ProductSync.__tablename__]
_INSTANT = timedelta(microseconds=1)
# With the longest OFFERS_TIMEOUT_SECONDS, six times five minutes; and something more.
_LONGEST_LEASE = timedelta(minutes=35)
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
