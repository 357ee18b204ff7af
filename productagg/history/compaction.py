"""Keeps years of history small: rolls up the days that are over, and drops raw rows that are over age.

For `productagg history compact`. All of it is made of short transactions, and can be killed between, or in, any two of
them: what is rolled up is written down by day (models.HistoryProgress), and rolling up again changes nothing. Raw rows
go only after what is written of them has been compared with them.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Uuid, column, delete, func, literal, select, table, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, sessionmaker

from productagg.bulk import Rows
from productagg.history import partitions
from productagg.history.partitions import month_of
from productagg.history.progress import roll_up_again
from productagg.history.rolling import Batch, Rollups, batches, first_day, rollups_of, weeks, write
from productagg.history.steps import DAY, INSTANT, bucket_start, microseconds, moment
from productagg.history.verification import differences
from productagg.history.weekly import write_weeks
from productagg.models import HistoryProgress, Product, ProductPrice, ProductSync, UtcDateTime

# A day is rolled up when it is over for so long that whoever was writing into it has come to an end.
_SETTLED = timedelta(hours=1)
# How long a reader that looked up what there is may take until it has read it.
_READERS_LEAVE_SECONDS = 10
_LOCK = 0x50A99_C0DE
_PRODUCTS_AT_ONCE = 200


class Busy(Exception):
    """Another compaction is at work."""


class Inconsistent(Exception):
    """The roll-ups are not what the raw rows say, so these are not dropped."""


@dataclass
class Report:
    """What a compaction did: days rolled up, rows written from so many raw rows, months of raw rows dropped."""

    days: int = 0
    rows: int = 0
    raw_rows: int = 0
    months: int = 0
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return (
            f"{self.days} days rolled up, {self.rows} rows written from {self.raw_rows}, {self.months} months dropped, "
            f"in {time.monotonic() - self.started:.2f} s"
        )


class _Progress(NamedTuple):
    """Where the histories stand, in microseconds; None as in models.HistoryProgress."""

    rolled_until: int | None
    raw_from: int | None
    generation: int


class Compaction:
    """One run. `reader` only reads; `observed_for` is how long an observation counts (see Schedule)."""

    def __init__(
        self,
        reader: Connection,
        sessions: sessionmaker[Session],
        raw_days: int,
        observed_for: timedelta,
        now: datetime,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._reader = reader
        self._sessions = sessions
        self._now = now
        # Every gap that began before that is long since one, whoever looks.
        oldest = now - max(timedelta(days=raw_days), observed_for + timedelta(days=1))
        self._cutoff = microseconds(month_of(oldest))
        self._postgresql = reader.dialect.name == "postgresql"
        self._tell = progress
        self._done = self._total = 0
        self.report = Report()

    def run(self) -> Report:
        """Roll up and drop all there is to. Raises Busy, Inconsistent, partitions.Locked; a later run goes on."""
        with self._alone():
            if self._postgresql:
                partitions.prepare(self._sessions, self._now, moment(self._cutoff))
            with self._sessions.begin() as session:
                _begin_progress(session)
            self._roll_up()
            if self._release():
                # Who reads now may still count on the rows that are about to go.
                time.sleep(_READERS_LEAVE_SECONDS)
            self._remove()
        return self.report

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """On SQLite two at once do no harm: each transaction waits, and who comes second does the same again."""
        if not self._postgresql:
            yield
            return
        if not self._reader.scalar(select(func.pg_try_advisory_lock(_LOCK))):
            raise Busy("another compaction is at work")
        try:
            yield
        finally:
            if not self._reader.invalidated:  # else the lock went with the connection
                self._reader.execute(select(func.pg_advisory_unlock(_LOCK)))

    def _progress(self) -> _Progress:
        row = HistoryProgress
        until, raw_from, generation = self._reader.execute(select(row.rolled_until, row.raw_from, row.generation)).one()
        return _Progress(
            microseconds(until) if until else None, microseconds(raw_from) if raw_from else None, generation
        )

    def _roll_up(self) -> _Progress:
        """Roll up all days that are over and are not rolled up. Returns where the histories stand then."""
        until = bucket_start(microseconds(self._now - _SETTLED), DAY)
        while True:
            progress = self._progress()
            begin = progress.rolled_until if progress.rolled_until is not None else first_day(self._reader)
            if begin is None or (begin := max(begin, progress.raw_from or begin)) >= until:
                return progress
            begin, end = next(weeks(begin, until))
            self._expect(begin, until)
            self._roll_up_days(begin, end)
            if self._move(progress, rolled_until=moment(end)):
                self.report.days += (end - begin) // DAY

    def _roll_up_days(self, begin: int, end: int) -> None:
        """While the database writes one batch, the next one is read and rolled up."""
        with ThreadPoolExecutor(1) as writer:
            writing: Future[None] | None = None
            for batch in batches(self._reader, begin, end):
                rollups = rollups_of(batch.pasts, begin)
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._write, batch, rollups, begin, end)
            if writing is not None:
                writing.result()

    def _write(self, batch: Batch, rollups: Rollups, begin: int, end: int) -> None:
        if batch.pasts:
            with self._sessions.begin() as session:
                written = write(session, rollups)
                written += write_weeks(session, batch.product_ids[0], batch.product_ids[-1], begin, end)
            self.report.rows += written
            self.report.raw_rows += batch.rows
        self._advance(len(batch.product_ids))

    def _move(self, seen: _Progress, **values: datetime) -> bool:
        """Write down how far it has got, unless something was written into the past meanwhile, or somebody else did."""
        row = HistoryProgress
        until = moment(seen.rolled_until) if seen.rolled_until is not None else None
        same = (row.generation == seen.generation, row.rolled_until.is_not_distinct_from(until))
        with self._sessions.begin() as session:
            moved = session.execute(
                update(row).where(*same).values(**values).execution_options(synchronize_session=False)
            )
            return bool(getattr(moved, "rowcount", 0))

    def _release(self) -> bool:
        """Move the beginning of the raw rows to the cutoff, when all before it is rolled up for good."""
        progress = self._progress()
        begin = progress.raw_from if progress.raw_from is not None else first_day(self._reader)
        if begin is None or begin >= self._cutoff or (progress.rolled_until or 0) < self._cutoff:
            return False
        checked, repaired = begin, None
        while True:
            self._record_open_gaps(begin)
            progress = self._roll_up()
            self._expect(checked, self._cutoff)
            found = next(differences(self._reader, checked, self._cutoff, self._advance), None)
            if found is None:
                checked = self._cutoff
                if self._move(progress, raw_from=moment(self._cutoff)):
                    self.report.months = _months_between(begin, self._cutoff)
                    return True
                continue
            if found == repaired:
                raise Inconsistent(f"no raw rows are dropped, for the roll-ups are wrong: {found}")
            # Written late, by a host whose clock was behind.
            checked, repaired = bucket_start(found.at, DAY), found
            with self._sessions.begin() as session:
                roll_up_again(session, moment(checked))

    def _record_open_gaps(self, begin: int) -> None:
        """Write down the gaps that began before the cutoff and have not ended, as they would be when they end.

        Afterwards it would be too late: their beginning is among the raw rows that go.
        """
        last = ProductSync.last_synced_at
        window = (last >= moment(begin) - INSTANT, last < moment(self._cutoff) - INSTANT)
        found: Any = self._reader.execute(select(ProductSync.product_id, last).where(*window))
        gaps = [{"product_id": product_id, "observed_at": synced_at + INSTANT} for product_id, synced_at in found]
        for first in range(0, len(gaps), _PRODUCTS_AT_ONCE):
            with self._sessions.begin() as session:
                recorded = _record_gaps(session, gaps[first : first + _PRODUCTS_AT_ONCE])
                if recorded:
                    roll_up_again(session, min(recorded))

    def _remove(self) -> None:
        """Remove the raw rows that nobody reads any more: all of a product at once, since the newest may be read."""
        raw_from = self._progress().raw_from
        if raw_from is None:
            return
        if self._postgresql:
            partitions.drop(self._sessions, moment(raw_from))
        suffix = "_default" if self._postgresql else ""
        for name in partitions.TABLES:
            self._remove_rows(f"{name}{suffix}", moment(raw_from))

    def _remove_rows(self, name: str, before: datetime) -> None:
        rows = table(name, column("product_id", Uuid), column("observed_at", UtcDateTime))
        old, after = rows.c.observed_at < before, UUID(int=0)
        products = select(rows.c.product_id).distinct().order_by(rows.c.product_id).limit(_PRODUCTS_AT_ONCE)
        while product_ids := self._reader.scalars(products.where(old, rows.c.product_id > after)).all():
            after = product_ids[-1]
            with self._sessions.begin() as session:
                session.execute(delete(rows).where(old, rows.c.product_id.in_(product_ids)))

    def _expect(self, begin: int, end: int) -> None:
        """Some weeks of all products are about to be gone through."""
        if self._tell is not None:
            products = self._reader.scalar(select(func.count()).select_from(Product)) or 0
            self._total = self._done + products * len(list(weeks(begin, end)))

    def _advance(self, products: int) -> None:
        if self._tell is not None:
            self._done += products
            self._tell(self._done, max(self._done, self._total))


def _months_between(begin: int, end: int) -> int:
    first, last = moment(begin), moment(end)
    return (last.year - first.year) * 12 + last.month - first.month


def _begin_progress(session: Session) -> None:
    statement = _INSERTS[session.get_bind().dialect.name](HistoryProgress.__table__)
    session.execute(statement.values(id=1, generation=0).on_conflict_do_nothing())


def _record_gaps(session: Session, gaps: Sequence[Mapping[str, Any]]) -> list[datetime]:
    """Append the gaps' beginnings to the products' histories; returns the times of those that were not there."""
    dialect = session.get_bind().dialect.name
    data = _GAPS.table(dialect)
    values = {
        "product_id": data.c.product_id,
        "observed_at": data.c.observed_at,
        "offers": literal(0),
        "items_in_stock": literal(0),
        "observed": literal(value=False),
    }
    there = select(*values.values()).join(Product, Product.id == data.c.product_id)
    statement = _INSERTS[dialect](ProductPrice.__table__).from_select(
        list(values), there.where(data.c.product_id.is_not(None))
    )
    statement = statement.on_conflict_do_nothing().returning(ProductPrice.__table__.c.observed_at)
    return list(session.scalars(statement, Rows.parameter(dialect, gaps)))


_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_GAPS = Rows(product_id=Uuid, observed_at=UtcDateTime)
