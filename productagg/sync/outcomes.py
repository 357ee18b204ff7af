"""The outcomes of leases, and how they are written to the database. For the sync only.

`apply_outcomes` belongs into one short transaction; its number of statements does not depend on the number of products.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Executable, Integer, RowMapping, Text, Uuid, null, select, update
from sqlalchemy.orm import Session

from productagg.db.engines import dialect_name
from productagg.db.json_rows import Rows
from productagg.db.models import Base, Product, ProductSource
from productagg.history.timeline import INSTANT
from productagg.offers.reconcile import (
    Observation,
    OfferState,
    OffersUpdate,
    apply_updates,
    plan_updates,
    read_stored,
)
from productagg.sources.offers_service.errors import Refused, UpstreamError
from productagg.sync.leases import Lease
from productagg.sync.schedule import Schedule

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a lease: either `offers`, a complete, valid list, or `error`, the reason why there is no list.

    Without both, no request was made for the product: its lease is given back, and it stays due as before.
    """

    lease: Lease
    registered: bool
    offers: Mapping[UUID, OfferState] | None = None
    error: UpstreamError | None = None

    @property
    def was_asked(self) -> bool:
        return self.offers is not None or self.error is not None


def apply_outcomes(
    session: Session, outcomes: Sequence[Outcome], schedule: Schedule, run_started_at: datetime
) -> list[OffersUpdate]:
    """Write the outcomes of a batch and give its leases back; return the updates that changed offers.

    Products that were deleted meanwhile, or whose lease another run has taken over, stay as they are.
    """
    offers = _offers_by_lease(outcomes)
    stored = read_stored(session, [lease.product_id for lease in offers])
    observations = _observe(offers, schedule, stored.now)
    updates = plan_updates(stored, observations.values())
    _lock_products(session, updates)
    held = _lock_held(session, outcomes)
    _log_first_failures(held)
    rescheduling = _Rescheduling(schedule, run_started_at, stored.now)
    _write_rows(session, rescheduling.next_rows(held, observations, updates))
    held_updates = _held_updates(held, updates)
    apply_updates(session, held_updates)
    return [update for update in held_updates if update.difference]


def _offers_by_lease(outcomes: Iterable[Outcome]) -> dict[Lease, Mapping[UUID, OfferState]]:
    return {outcome.lease: outcome.offers for outcome in outcomes if outcome.offers is not None}


def _held_updates(
    held: Iterable[tuple[RowMapping, Outcome]], updates: Mapping[UUID, OffersUpdate]
) -> list[OffersUpdate]:
    return [updates[row["product_id"]] for row, _ in held if row["product_id"] in updates]


def _observe(
    offers: Mapping[Lease, Mapping[UUID, OfferState]], schedule: Schedule, now: datetime
) -> dict[UUID, Observation]:
    return {lease.product_id: _observation(lease, listed, schedule, now) for lease, listed in offers.items()}


def _observation(lease: Lease, offers: Mapping[UUID, OfferState], schedule: Schedule, now: datetime) -> Observation:
    last = lease.last_synced_at
    if last is None:
        return Observation(lease.product_id, offers, now, first=True)
    # If the clock was set back or stands still, the history goes on in the smallest steps, so that it stays in order.
    at = max(now, last + INSTANT)
    gap_from = last + INSTANT if at - last > schedule.observed_for else None
    return Observation(lease.product_id, offers, at, first=False, unobserved_from=gap_from)


def _lock_products(session: Session, product_ids: Collection[UUID]) -> None:
    """Lock the products that the new rows will refer to, before their rows in product_sources.

    Editing and removing a product locks in this order; the opposite order would deadlock.
    """
    if not product_ids:
        return
    products = select(Product.id).where(Product.id.in_(product_ids)).order_by(Product.id)
    session.execute(products.with_for_update(read=True, key_share=True))


def _lock_held(session: Session, outcomes: Iterable[Outcome]) -> list[tuple[RowMapping, Outcome]]:
    """Lock the rows of product_sources whose leases are still ours."""
    by_key = {(outcome.lease.product_id, outcome.lease.source_id): outcome for outcome in outcomes}
    mine = _SYNC.c.product_id.in_({product_id for product_id, _ in by_key})
    query = select(*_SYNC.c).where(mine).order_by(*_SYNC.primary_key).with_for_update()
    return [
        (row, outcome)
        for row in session.execute(query).mappings()
        if (outcome := by_key.get((row["product_id"], row["source_id"]))) is not None
        and outcome.lease.leased_until == row["leased_until"]
    ]


@dataclass(frozen=True)
class _Rescheduling:
    """How outcomes that are applied at `now` change rows of product_sources, and when their products are due again."""

    schedule: Schedule
    run_started_at: datetime
    now: datetime

    def next_rows(
        self,
        held: Iterable[tuple[RowMapping, Outcome]],
        observations: Mapping[UUID, Observation],
        updates: Mapping[UUID, OffersUpdate],
    ) -> list[dict[str, Any]]:
        return [self._next_row(row, outcome, observations, updates) for row, outcome in held]

    def _next_row(
        self,
        row: RowMapping,
        outcome: Outcome,
        observations: Mapping[UUID, Observation],
        updates: Mapping[UUID, OffersUpdate],
    ) -> dict[str, Any]:
        product_id = row["product_id"]
        new = dict(row)
        if outcome.registered and row["registration"] != "registered":
            new.update(registration="registered", registered_at=self.now)
        if outcome.error is not None:
            self._fail(new, outcome, outcome.error)
        elif outcome.offers is not None:
            self._succeed(new, observations[product_id].at, updates.get(product_id))
        return new

    def _succeed(self, row: dict[str, Any], observed_at: datetime, update: OffersUpdate | None) -> None:
        if update is not None and update.difference:
            row["last_changed_at"] = observed_at
        unchanged_since = row["last_changed_at"] or row["registered_at"]
        row.update(
            last_asked_at=self.now,
            last_synced_at=observed_at,
            failures=0,
            last_error=None,
            next_sync_at=self.schedule.after_success(row["product_id"], self.run_started_at, self.now, unchanged_since),
        )

    def _fail(self, row: dict[str, Any], outcome: Outcome, error: UpstreamError) -> None:
        if isinstance(error, Refused) and not outcome.registered:
            row["registration"] = "failed"
        failures = row["failures"] + 1
        row.update(
            last_asked_at=self.now,
            failures=failures,
            last_error=str(error),
            next_sync_at=self.schedule.after_failure(row["product_id"], self.run_started_at, self.now, failures),
        )


def _log_first_failures(held: Iterable[tuple[RowMapping, Outcome]]) -> None:
    """Log one line per reason, not per product: products often fail all at once. Every row holds its own error."""
    for first, *others in _first_failures(held).values():
        more = f" (and {len(others)} more products)" if others else ""
        log.warning("product %s: %s%s", first.lease.product_id, first.error, more)


def _first_failures(held: Iterable[tuple[RowMapping, Outcome]]) -> dict[str, list[Outcome]]:
    """Return, by reason, the failures of products that had not failed before."""
    failed: dict[str, list[Outcome]] = {}
    for row, outcome in held:
        if outcome.error is not None and row["failures"] == 0:
            failed.setdefault(outcome.error.reason, []).append(outcome)
    return failed


def _write_rows(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        dialect = dialect_name(session)
        session.execute(_WRITE[dialect], Rows.parameter(dialect, rows))


_SYNC = Base.metadata.tables[ProductSource.__tablename__]
_ROWS = Rows(
    product_id=Uuid,
    source_id=Uuid,
    registration=Text,
    registered_at=DateTime(timezone=True),
    next_sync_at=DateTime(timezone=True),
    last_asked_at=DateTime(timezone=True),
    last_synced_at=DateTime(timezone=True),
    last_changed_at=DateTime(timezone=True),
    failures=Integer,
    last_error=Text,
)


def _write_statement(dialect: str) -> Executable:
    data = _ROWS.table(dialect)
    keys = _SYNC.primary_key.columns.keys()
    values = {column.key: column for column in data.c if column.key not in keys}
    same = (_SYNC.c[name] == data.c[name] for name in keys)
    return update(_SYNC).where(*same).values(leased_until=null(), **values)


_WRITE = {dialect: _write_statement(dialect) for dialect in ("postgresql", "sqlite")}
