"""A whole document's lease and state: its row in sources. For `documents`.

Every function belongs into one short transaction.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from productagg.db import clock
from productagg.db.models import Base, Source
from productagg.sources.web import NO_VALIDATORS, Validators
from productagg.sync import unmatched_items
from productagg.sync.schedule import Schedule
from productagg.sync.sources import is_document_free

_SOURCES = Base.metadata.tables[Source.__tablename__]
# A document with fewer of its items than this is not believed at once: exports break off, too.
LEAST_SHARE = 0.7


class LeaseLost(Exception):
    """Another run has the document now, or the source was removed."""


@dataclass(frozen=True)
class DocumentLease:
    """A document that only the holder fetches until `leased_until`.

    `item_count` and `fewer_item_count`: see models.Source.
    """

    source_id: UUID
    due_at: datetime
    leased_until: datetime
    validators: Validators
    item_count: int | None
    fewer_item_count: int | None

    def holds_back(self, items: int) -> bool:
        """Whether a complete document of so many items has shrunk too much, and was not like that the last time."""
        if self.item_count is None or items >= self.item_count * LEAST_SHARE:
            return False
        return self.fewer_item_count is None or items < self.fewer_item_count * LEAST_SHARE


def acquire(
    session: Session, source_id: UUID, selected: ColumnElement[bool], duration: timedelta, now: datetime
) -> DocumentLease | None:
    """Lease the document if it is selected and free.

    Without validators, so that it is read even if it has not changed, if an item of it has a product since.
    """
    until = now + duration
    # Conditions on the row itself: if another run leases it first, PostgreSQL checks them again, but no subquery.
    chosen = (_SOURCES.c.id == source_id, Source.enabled, selected, is_document_free(now))
    leasing = update(_SOURCES).where(*chosen).values(leased_until=until)
    columns = (_SOURCES.c.next_sync_at, _SOURCES.c.validators, _SOURCES.c.item_count, _SOURCES.c.fewer_item_count)
    row = session.execute(leasing.returning(*columns)).one_or_none()
    if row is None:
        return None
    validators = NO_VALIDATORS
    if row.validators and not unmatched_items.have_products_now(session, source_id):
        validators = Validators(*row.validators)
    return DocumentLease(source_id, row.next_sync_at, until, validators, row.item_count, row.fewer_item_count)


def check(session: Session, lease: DocumentLease) -> None:
    """Raise LeaseLost unless the lease is still ours; until the commit it stays so."""
    row = select(Source.leased_until).where(Source.id == lease.source_id).with_for_update(read=True)
    if session.scalar(row) != lease.leased_until:
        raise LeaseLost


def give_back(session: Session, lease: DocumentLease) -> None:
    """The document stays due as before."""
    _write(session, lease)


def succeed(
    session: Session, lease: DocumentLease, schedule: Schedule, run_started_at: datetime, **values: Any
) -> None:
    """The document was read, or is the same as before; `values` are columns about what it has."""
    now = clock.now(session)
    next_sync_at = schedule.after_success(lease.source_id, run_started_at, now, None)
    state = {"last_asked_at": now, "next_sync_at": next_sync_at, "failures": 0, "last_error": None}
    _write(session, lease, **{**state, "last_synced_at": now, **values})


def hold_back(session: Session, lease: DocumentLease, schedule: Schedule, run_started_at: datetime, items: int) -> str:
    """The document is complete, but has shrunk too much: it is read once more. Returns the reason, for people."""
    now = clock.now(session)
    reason = f"the document has {items} items instead of {lease.item_count}: nothing is closed until it is so once more"
    next_sync_at = schedule.after_success(lease.source_id, run_started_at, now, None)
    # Without validators, so that it is read even if it has not changed since.
    state = {"last_asked_at": now, "next_sync_at": next_sync_at, "last_error": reason, "validators": None}
    _write(session, lease, failures=_SOURCES.c.failures + 1, fewer_item_count=items, **state)
    return reason


def fail(
    session: Session,
    lease: DocumentLease,
    schedule: Schedule,
    run_started_at: datetime,
    reason: str,
    retry_after: timedelta | None,
) -> None:
    """The document was not read, or not to its end."""
    now = clock.now(session)
    failures = (session.scalar(select(Source.failures).where(Source.id == lease.source_id)) or 0) + 1
    due_at = schedule.after_failure(lease.source_id, run_started_at, now, failures)
    next_sync_at = max(due_at, now + (retry_after or timedelta(0)))
    _write(session, lease, last_asked_at=now, next_sync_at=next_sync_at, failures=failures, last_error=reason)


def _write(session: Session, lease: DocumentLease, **values: Any) -> None:
    mine = (_SOURCES.c.id == lease.source_id, _SOURCES.c.leased_until == lease.leased_until)
    session.execute(update(_SOURCES).where(*mine).values(leased_until=None, **values))
