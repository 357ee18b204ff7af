"""The records of sync runs: a run writes its own row in sync_runs, the API and `productagg status` read them."""

import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TypedDict, cast
from uuid import UUID

import uuid_utils
from sqlalchemy import Connection, RowMapping, delete, select, update
from sqlalchemy.orm import Session

from productagg.db import clock
from productagg.db.models import SyncRun
from productagg.offers.reconcile import OffersUpdate
from productagg.sync.leases import Lease
from productagg.sync.outcomes import Outcome

# How much longer than planned a run may need, on a bad day, to record its end.
_GRACE = timedelta(minutes=1)
_RETENTION = timedelta(days=90)

_RUN = select(SyncRun.__table__)
_COUNTS = ("leased", "fetched", "changed", "closed", "failed")


class SourceRun(TypedDict):
    """What a run did at one source: see RunResult. `seconds` is how long that took."""

    source_id: str
    name: str
    leased: int
    fetched: int
    changed: int
    closed: int
    failed: int
    failures: dict[str, int]
    seconds: float
    ended_by: str


@dataclass
class RunResult:
    """The result of a sync run.

    `leased` counts leased products, `fetched` complete, valid lists, `changed` products with changed offers, `closed`
    offers that vanished, `failed` products without a list, by reason in `failures`. `ended_by` is 'done', 'budget' (its
    time was up), 'interrupted', 'crashed', or why the run could not go on. `sources` has these for each source.
    """

    started_at: datetime
    finished_at: datetime
    leased: int = 0
    fetched: int = 0
    changed: int = 0
    closed: int = 0
    failed: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    bytes: int = 0
    longest_wait_seconds: float = 0.0
    ended_by: str = "done"
    sources: list[SourceRun] = field(default_factory=list)

    def count_leases(self, leases: Sequence[Lease], now: datetime) -> None:
        """Count leases that were acquired together, the longest due first."""
        self.leased += len(leases)
        if leases:
            self.longest_wait_seconds = max(self.longest_wait_seconds, (now - leases[0].due_at).total_seconds())

    def count_outcomes(self, outcomes: Sequence[Outcome], updates: Sequence[OffersUpdate]) -> None:
        """Count a batch's outcomes, and the updates that changed offers."""
        self.fetched += sum(outcome.offers is not None and outcome.error is None for outcome in outcomes)
        self.changed += len(updates)
        self.closed += sum(len(update.difference.closed) for update in updates)
        for outcome in outcomes:
            if outcome.error is not None:
                self.failed += 1
                self.failures[outcome.error.reason] += 1

    def add(self, source_id: UUID, name: str, at_source: "RunResult") -> None:
        """Add what the run did at one source."""
        for count in _COUNTS:
            setattr(self, count, getattr(self, count) + getattr(at_source, count))
        self.failures.update(at_source.failures)
        self.longest_wait_seconds = max(self.longest_wait_seconds, at_source.longest_wait_seconds)
        if at_source.leased or at_source.ended_by != "done":
            self.sources.append(_at_source(source_id, name, at_source))

    @property
    def asked(self) -> int:
        return self.fetched + self.failed

    @property
    def exit_code(self) -> int:
        """0: no failures; 1: some products failed; 2: the run could not start or could not finish."""
        if self.ended_by not in ("done", "budget"):
            return 2
        return 1 if self.failed else 0

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()

    def __str__(self) -> str:
        return (
            f"{self.asked} products asked, {self.changed} changed, {self.closed} offers closed, {self.failed} failed, "
            f"in {self.seconds:.2f} s: {self.ended_by}"
        )


def _at_source(source_id: UUID, name: str, result: RunResult) -> SourceRun:
    return {
        "source_id": str(source_id),
        "name": name,
        "leased": result.leased,
        "fetched": result.fetched,
        "changed": result.changed,
        "closed": result.closed,
        "failed": result.failed,
        "failures": dict(result.failures),
        "seconds": round(result.seconds, 3),
        "ended_by": result.ended_by,
    }


class RecordedRun(TypedDict):
    """A row of sync_runs. `state`: 'finished', 'running', or 'lost' if no end was recorded in time.

    `sources` is empty until the run ends.
    """

    id: UUID
    host: str
    started_at: datetime
    finished_at: datetime | None
    leased: int
    fetched: int
    changed: int
    closed: int
    failed: int
    failures: dict[str, int]
    requests: int
    bytes: int
    longest_wait_seconds: float
    ended_by: str | None
    sources: list[SourceRun]
    state: str


@dataclass(frozen=True)
class RunPage:
    """`runs`, newest first. `following` is the `before` of the next page, None on the last page."""

    runs: Sequence[RecordedRun]
    following: UUID | None


def record_start(session: Session, now: datetime, longest: timedelta) -> UUID:
    """Record that a run begins, which takes `longest` at most; return its id."""
    run_id = UUID(int=uuid_utils.uuid7(nanoseconds=int(now.timestamp() * 1e6) * 1000).int)
    not_yet = {"finished_at": None, "ended_by": None, "sources": None, "lost_after": now + longest + _GRACE}
    session.add(SyncRun(id=run_id, host=socket.gethostname(), **{**vars(RunResult(now, now)), **not_yet}))
    return run_id


def record_end(session: Session, run_id: UUID, result: RunResult) -> None:
    """Record the result of a run, and remove runs older than the retention time."""
    values = {column.name: getattr(result, column.name) for column in fields(result)}
    session.execute(update(SyncRun).where(SyncRun.id == run_id).values(**values, lost_after=None))
    # A UUIDv7 begins with its time in milliseconds.
    oldest = int((result.started_at - _RETENTION).timestamp() * 1000)
    session.execute(delete(SyncRun).where(SyncRun.id < UUID(int=oldest << 80)))


def page(connection: Connection, limit: int, before: UUID | None = None) -> RunPage:
    """Return the `limit` newest runs, or the newest runs before the run `before`."""
    query = _RUN.order_by(SyncRun.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(SyncRun.id < before)
    rows = connection.execute(query).mappings().all()
    now = clock.now(connection)
    runs = [_recorded(row, now) for row in rows[:limit]]
    return RunPage(runs, runs[-1]["id"] if len(rows) > limit else None)


def get(connection: Connection, run_id: UUID) -> RecordedRun | None:
    """Return a run, or None."""
    row = connection.execute(_RUN.where(SyncRun.id == run_id)).mappings().one_or_none()
    return None if row is None else _recorded(row, clock.now(connection))


def _recorded(row: RowMapping, now: datetime) -> RecordedRun:
    # SQLAlchemy's names may be instances of a subclass of str, which orjson does not accept as keys.
    run = {str(name): value for name, value in row.items()}
    state = _state(run["finished_at"], run.pop("lost_after"), now)
    return cast(RecordedRun, {**run, "sources": run["sources"] or [], "state": state})


def _state(finished_at: datetime | None, lost_after: datetime | None, now: datetime) -> str:
    if finished_at is not None:
        return "finished"
    return "running" if lost_after is not None and now <= lost_after else "lost"
