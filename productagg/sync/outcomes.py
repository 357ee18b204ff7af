"""The outcomes of leases, and how they are written to the database. For the sync only.

`apply_outcomes` belongs into one short transaction; its number of statements does not depend on the number of products.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, DateTime, Executable, Integer, RowMapping, Text, Uuid, null, update
from sqlalchemy.orm import Session

from productagg.db.engines import dialect_name
from productagg.db.json_rows import Rows
from productagg.db.models import Base, ProductSource
from productagg.offers.reconcile import OfferState, OffersUpdate, apply_updates
from productagg.sources.offers_service.errors import Refused, UpstreamError
from productagg.sources.web import Validators
from productagg.sync.leases import Lease
from productagg.sync.schedule import Schedule
from productagg.sync.settling import Listing, Plan, log_glitches, plan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a lease: `offers`, a valid list, or `error`, the reason why there is none.

    A list that is not complete closes nothing. If it has an `error` as well, that says why it is not complete; without
    one, the source said that nothing has changed. Without a list and an error, no request was made for the product: its
    lease is given back, and it stays due as before. For `retry_after`, the source wants no request for the product.
    """

    lease: Lease
    registered: bool
    offers: Mapping[UUID, OfferState] | None = None
    error: UpstreamError | None = None
    is_complete: bool = True
    validators: Validators | None = None
    retry_after: timedelta | None = None

    @property
    def was_asked(self) -> bool:
        return self.offers is not None or self.error is not None


def apply_outcomes(
    session: Session,
    outcomes: Sequence[Outcome],
    schedule: Schedule,
    run_started_at: datetime,
    observed_for: timedelta | None = None,
    quarantine_factor: float = 0,
) -> list[OffersUpdate]:
    """Write the outcomes of a batch and give its leases back; return the updates that changed offers.

    All are of one source, whose `schedule` is given. A product counts as observed for `observed_for` after a list of
    any source; by default what the schedule says. For `quarantine_factor` see plan_updates. Products that were deleted
    meanwhile, or whose lease another run has taken over, stay as they are.
    """
    listings = [_listing(outcome.lease, outcome) for outcome in outcomes if outcome.offers is not None]
    product_ids = [outcome.lease.product_id for outcome in outcomes]
    planned = plan(session, listings, observed_for or schedule.observed_for, product_ids, quarantine_factor)
    held = _held(planned.rows, outcomes)
    _log_first_failures(held)
    rescheduling = _Rescheduling(schedule, run_started_at, planned)
    write_rows(session, [rescheduling.next_row(row, outcome) for row, outcome in held])
    updates = [planned.updates[row["product_id"]] for row, _ in held if row["product_id"] in planned.updates]
    apply_updates(session, updates)
    log_glitches(updates)
    return [update for update in updates if update.difference]


def _listing(lease: Lease, outcome: Outcome) -> Listing:
    offers = outcome.offers or {}
    return Listing(lease.product_id, lease.source_id, offers, lease.last_synced_at, outcome.is_complete)


def _held(rows: Iterable[RowMapping], outcomes: Iterable[Outcome]) -> list[tuple[RowMapping, Outcome]]:
    """The rows of product_sources whose leases are still ours."""
    by_key = {(outcome.lease.product_id, outcome.lease.source_id): outcome for outcome in outcomes}
    return [
        (row, outcome)
        for row in rows
        if (outcome := by_key.get((row["product_id"], row["source_id"]))) is not None
        and outcome.lease.leased_until == row["leased_until"]
    ]


@dataclass(frozen=True)
class _Rescheduling:
    """How outcomes change rows of product_sources, and when their products are due again."""

    schedule: Schedule
    run_started_at: datetime
    plan: Plan

    def next_row(self, row: RowMapping, outcome: Outcome) -> dict[str, Any]:
        new = dict(row)
        if outcome.registered and row["registration"] in ("pending", "failed"):
            new.update(registration="registered", registered_at=self.plan.now)
        update = self.plan.updates.get(row["product_id"])
        difference = update.differences.get(row["source_id"]) if update is not None else None
        is_changed = bool(difference)
        if is_changed:
            new["last_changed_at"] = self._observed_at(row)
        if outcome.error is not None:
            if update is not None:
                # The history says that the product was observed now; otherwise the same gap would end in every run.
                new["last_synced_at"] = self._observed_at(row)
            self._fail(new, outcome, outcome.error)
        elif outcome.offers is not None:
            self._succeed(new, outcome)
        if difference is not None and difference.holds_back:
            # 'Not modified' would not confirm the price that is held back, nor take it back.
            new["validators"] = None
        return new

    def _observed_at(self, row: RowMapping) -> datetime:
        return self.plan.times[row["product_id"]]

    def _succeed(self, row: dict[str, Any], outcome: Outcome) -> None:
        now = self.plan.now
        unchanged_since = row["last_changed_at"] or row["registered_at"]
        if outcome.validators is not None:
            row["validators"] = list(outcome.validators)
        row.update(
            last_asked_at=now,
            last_synced_at=self.plan.times[row["product_id"]],
            failures=0,
            last_error=None,
            next_sync_at=self.schedule.after_success(row["product_id"], self.run_started_at, now, unchanged_since),
        )

    def _fail(self, row: dict[str, Any], outcome: Outcome, error: UpstreamError) -> None:
        if isinstance(error, Refused) and not outcome.registered:
            row["registration"] = "failed"
        now, failures = self.plan.now, row["failures"] + 1
        due_at = self.schedule.after_failure(row["product_id"], self.run_started_at, now, failures)
        row.update(
            last_asked_at=now,
            failures=failures,
            last_error=str(error),
            next_sync_at=max(due_at, now + (outcome.retry_after or timedelta(0))),
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


def write_rows(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    """Overwrite these rows of product_sources, and end their leases."""
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
    validators=JSON,
)


def _write_statement(dialect: str) -> Executable:
    data = _ROWS.table(dialect)
    keys = _SYNC.primary_key.columns.keys()
    values = {column.key: column for column in data.c if column.key not in keys}
    same = (_SYNC.c[name] == data.c[name] for name in keys)
    return update(_SYNC).where(*same).values(leased_until=null(), **values)


_WRITE = {dialect: _write_statement(dialect) for dialect in ("postgresql", "sqlite")}
