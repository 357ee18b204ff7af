"""Keeps years of history small: rolls up the days that are over, and drops raw rows and closed offers over age.

For `productagg history compact`. All of it is made of short transactions, and can be killed between, or in, any two of
them: what is rolled up is written down by day (models.HistoryProgress), and rolling up again changes nothing. What was
written into the past meanwhile is rolled up again, product by product (again.py). Raw rows go only after what is
written of them has been compared with them.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Uuid, column, delete, exists, func, literal, select, table, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from productagg.db.json_rows import Rows
from productagg.db.models import Base, HistoryLate, HistoryProgress, Product, ProductPrice, ProductSync, UtcDateTime
from productagg.history import partitions
from productagg.history.again import count_late_weeks, roll_up_again
from productagg.history.closed import remove_closed
from productagg.history.late import SETTLED, mark
from productagg.history.partitions import month_of
from productagg.history.rolling import Batch, Rollups, batches, first_day, lock, rollups_of, weeks, write
from productagg.history.steps import DAY, INSTANT, WEEK, bucket_start, microseconds, moment
from productagg.history.verification import differences, rolled_up_days
from productagg.history.weekly import write_weeks

# How long a reader that looked up what there is may take until it has read it.
_READERS_LEAVE_SECONDS = 10
_LOCK = 0x50A99_C0DE
_PRODUCTS_AT_ONCE = 200
_DIFFERENCES_AT_ONCE = 1000
# Of a transaction that removes raw rows: products, and rows.
_REMOVED_AT_ONCE = 20
_ROWS_AT_ONCE = 20_000


class Busy(Exception):
    """Another compaction is at work."""


class Inconsistent(Exception):
    """The roll-ups are not what the raw rows say, so these are not dropped."""


@dataclass
class Report:
    """What a compaction did: days rolled up, rows written from so many raw rows, months of raw rows dropped; closed
    offers removed."""

    days: int = 0
    rows: int = 0
    raw_rows: int = 0
    months: int = 0
    offers: int = 0
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return (
            f"{self.days} days rolled up, {self.rows} rows written from {self.raw_rows}, {self.months} months dropped, "
            f"{self.offers} closed offers removed, in {time.monotonic() - self.started:.2f} s"
        )


class _Progress(NamedTuple):
    """Where the histories stand, in microseconds; None as in models.HistoryProgress."""

    rolled_until: int | None
    raw_from: int | None


class Compaction:
    """One run. `reader` only reads; `observed_for` is how long an observation counts (see Schedule).

    Raw rows are kept for `raw_days`, in whole months; closed offers for `closed_days`, but not shorter than raw rows.
    """

    def __init__(
        self,
        reader: Connection,
        sessions: sessionmaker[Session],
        raw_days: int,
        observed_for: timedelta,
        now: datetime,
        progress: Callable[[int, int], None] | None = None,
        *,
        closed_days: int,
    ) -> None:
        self._reader = reader
        self._sessions = sessions
        self._now = now
        # The days that are over.
        self._until = bucket_start(microseconds(now - SETTLED), DAY)
        # Every gap that began before that is long since one, whoever looks.
        oldest = now - max(timedelta(days=raw_days), observed_for + timedelta(days=1))
        self._cutoff = microseconds(month_of(oldest))
        self._closed_cutoff = bucket_start(microseconds(now - timedelta(days=closed_days)), DAY)
        # Whether raw rows cannot go yet, for something that was written into their days is not rolled up.
        self._is_late = select(exists().where(HistoryLate.since < moment(self._cutoff)))
        self._postgresql = reader.dialect.name == "postgresql"
        self._tell = progress
        self._done = self._total = 0
        self.report = Report()

    def run(self) -> Report:
        """Roll up and drop all there is to. Raises Busy, Inconsistent, partitions.Locked; a later run goes on."""
        with self._alone():
            self._roll_up()
            self._roll_up_again()
            if self._release():
                # Who reads now may still count on the rows that are about to go.
                time.sleep(_READERS_LEAVE_SECONDS)
            self._tidy_up()
        return self.report

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """On SQLite two at once do no harm: each transaction waits, and who comes second does the same again."""
        if not self._postgresql:
            yield
            return
        # A lock of a transaction, not of a session: behind a pooler, sessions are shared. Nothing else is done in it.
        no_limit = func.set_config("idle_in_transaction_session_timeout", "0", literal(value=True))
        with self._sessions() as session:
            is_ours, _ = session.execute(select(func.pg_try_advisory_xact_lock(_LOCK), no_limit)).one()
            if not is_ours:
                raise Busy("another compaction is at work")
            try:
                yield
            finally:
                with suppress(DBAPIError):  # the lock went with its connection
                    session.rollback()

    def _progress(self) -> _Progress:
        found = self._reader.execute(select(HistoryProgress.rolled_until, HistoryProgress.raw_from)).one()
        return _Progress(*(microseconds(time) if time else None for time in found))

    def _roll_up(self) -> None:
        """Roll up all days that are over and are not rolled up."""
        while True:
            progress = self._progress()
            begin = progress.rolled_until if progress.rolled_until is not None else first_day(self._reader)
            if begin is None or (begin := max(begin, progress.raw_from or begin)) >= self._until:
                return
            self._expect_all(begin, self._until)
            begin, end = next(weeks(begin, self._until))
            self._roll_up_days(progress, begin, end)
            if self._move(progress, rolled_until=moment(end)):
                self.report.days += (end - begin) // DAY

    def _roll_up_again(self) -> None:
        """Roll up again the products that are late, and only those: as much as there is now, so that it has an end."""
        left = count_late_weeks(self._reader)
        self._expect(left)
        while left > 0:
            with self._sessions.begin() as session:
                done = roll_up_again(session)
            if done is None:
                return
            left -= done.products
            self.report.rows += done.rows
            self.report.raw_rows += done.raw_rows
            self._advance(done.products)

    def _roll_up_days(self, progress: _Progress, begin: int, end: int) -> None:
        """While the database writes one batch, the next one is read and rolled up."""
        with ThreadPoolExecutor(1) as writer:
            writing: Future[None] | None = None
            for batch in batches(self._reader, begin, end):
                rollups = rollups_of(batch.pasts, begin)
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._write, progress, batch, rollups, begin, end)
            if writing is not None:
                writing.result()

    def _write(self, seen: _Progress, batch: Batch, rollups: Rollups, begin: int, end: int) -> None:
        product_ids = [UUID(past.product_id) for past in batch.pasts]
        if product_ids:
            with self._sessions.begin() as session:
                # Else somebody else was faster, and what was late meanwhile may have been rolled up again since.
                if session.scalar(select(_is_rolled_until(seen))):
                    lock(session, product_ids)
                    self.report.rows += write(session, rollups) + write_weeks(session, product_ids, begin, end)
            self.report.raw_rows += batch.rows
        self._advance(len(batch.product_ids))

    def _move(self, seen: _Progress, **values: datetime) -> bool:
        """Write down how far it has got, unless somebody else did."""
        moves = update(_PROGRESS).where(_is_rolled_until(seen)).values(**values)
        with self._sessions.begin() as session:
            return bool(getattr(session.execute(moves), "rowcount", 0))

    def _release(self) -> bool:
        """Move the beginning of the raw rows to the cutoff, when all before it is rolled up for good."""
        progress = self._progress()
        begin = progress.raw_from if progress.raw_from is not None else first_day(self._reader)
        if begin is None or begin >= self._cutoff or (progress.rolled_until or 0) < self._cutoff:
            return False
        checked, repaired = min(begin, *rolled_up_days(self._reader)), None
        while True:
            self._record_open_gaps(begin)
            self._roll_up_again()
            if self._reader.scalar(self._is_late):  # somebody else holds on to it
                return False
            self._expect_all(checked, self._cutoff)
            found = list(islice(differences(self._reader, checked, self._cutoff, self._advance), _DIFFERENCES_AT_ONCE))
            if not found:
                checked = self._cutoff
                if self._drop_before_cutoff():
                    self.report.months = _months_between(begin, self._cutoff)
                    return True
            elif found[0] == repaired:
                raise Inconsistent(f"no raw rows are dropped, for the roll-ups are wrong: {repaired}")
            else:
                # Written late, by a host whose clock was behind.
                checked, repaired = max(checked, bucket_start(found[0].at, WEEK)), found[0]
                self._mark((UUID(each.product_id), moment(each.at)) for each in found)

    def _drop_before_cutoff(self) -> bool:
        """Raw rows count from the cutoff on; unless something is late before it."""
        with self._sessions.begin() as session:
            # An import looks at this row at its end, when it has written down what is late (see importing.py).
            session.execute(select(HistoryProgress.id).with_for_update())
            if session.scalar(self._is_late):
                return False
            session.execute(update(_PROGRESS).values(raw_from=moment(self._cutoff)))
        return True

    def _record_open_gaps(self, begin: int) -> None:
        """Write down the gaps that began before the cutoff and have not ended, as they would be when they end.

        Afterwards it would be too late: their beginning is among the raw rows that go.
        """
        last = ProductSync.last_synced_at
        window = (last >= moment(begin) - INSTANT, last < moment(self._cutoff) - INSTANT)
        query = select(ProductSync.product_id, last).where(*window).order_by(ProductSync.product_id)
        found: Any = self._reader.execute(query)
        gaps = [{"product_id": product_id, "observed_at": synced_at + INSTANT} for product_id, synced_at in found]
        for first in range(0, len(gaps), _PRODUCTS_AT_ONCE):
            with self._sessions.begin() as session:
                mark(session, _record_gaps(session, gaps[first : first + _PRODUCTS_AT_ONCE]))

    def _mark(self, late: Iterable[tuple[UUID, datetime]]) -> None:
        since: dict[UUID, datetime] = {}
        for product_id, at in late:
            since[product_id] = min(at, since.get(product_id, at))
        with self._sessions.begin() as session:
            there = lock(session, since)
            mark(session, {each: since[each] for each in there})

    def _tidy_up(self) -> None:
        """Remove what nobody reads any more, and make partitions ahead: whatever cannot be had stops nothing else."""
        locked = None
        for act in (self._remove, self._remove_closed, self._prepare):
            try:
                act()
            except partitions.Locked as reason:
                locked = reason
        if locked is not None:
            raise locked

    def _prepare(self) -> None:
        if self._postgresql:
            partitions.prepare(self._sessions, self._now)

    def _remove(self) -> None:
        """Remove the raw rows that nobody reads any more, the oldest first: one that is there is its newest."""
        raw_from = self._progress().raw_from
        if raw_from is None:
            return
        for name in partitions.TABLES:
            if self._postgresql:
                for month in partitions.old(self._sessions, name, moment(raw_from)):
                    self._remove_rows(f"{name}_default", month)
                    partitions.drop(self._sessions, name, month)
            self._remove_rows(f"{name}_default" if self._postgresql else name, moment(raw_from))

    def _remove_closed(self) -> None:
        raw_from = self._progress().raw_from
        if raw_from is not None:
            before = moment(min(raw_from, self._closed_cutoff))
            self.report.offers = remove_closed(self._reader, self._sessions, before)

    def _remove_rows(self, name: str, before: datetime) -> None:
        """A few products' rows at a time, and not many of those, so that no transaction is long."""
        rows = table(name, column("product_id", Uuid), column("observed_at", UtcDateTime))
        old, after = rows.c.observed_at < before, UUID(int=0)
        products = select(rows.c.product_id).distinct().order_by(rows.c.product_id).limit(_REMOVED_AT_ONCE)
        while product_ids := self._reader.scalars(products.where(old, rows.c.product_id > after)).all():
            after = product_ids[-1]
            mine = (rows.c.product_id.in_(product_ids), old)
            times = select(rows.c.observed_at).where(*mine).order_by(rows.c.observed_at)
            until: datetime | None = before
            while until is not None:
                until = self._reader.scalar(times.offset(_ROWS_AT_ONCE - 1).limit(1))
                with self._sessions.begin() as session:
                    session.execute(delete(rows).where(*mine, rows.c.observed_at <= (until or before)))

    def _expect_all(self, begin: int, end: int) -> None:
        """Some weeks of all products are about to be gone through."""
        if self._tell is not None:
            products = self._reader.scalar(select(func.count()).select_from(Product)) or 0
            self._expect(products * len(list(weeks(begin, end))))

    def _expect(self, products: int) -> None:
        self._total = self._done + products

    def _advance(self, products: int) -> None:
        if self._tell is not None:
            self._done += products
            self._tell(self._done, max(self._done, self._total))


def _months_between(begin: int, end: int) -> int:
    first, last = moment(begin), moment(end)
    return (last.year - first.year) * 12 + last.month - first.month


def _is_rolled_until(seen: _Progress) -> ColumnElement[bool]:
    until = moment(seen.rolled_until) if seen.rolled_until is not None else None
    return HistoryProgress.rolled_until.is_not_distinct_from(until)


def _record_gaps(session: Session, gaps: Sequence[Mapping[str, Any]]) -> dict[UUID, datetime]:
    """Append the gaps' beginnings to the products' histories; returns those that were not there, by product."""
    lock(session, [each["product_id"] for each in gaps])
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
    columns = ProductPrice.__table__.c
    statement = statement.on_conflict_do_nothing().returning(columns.product_id, columns.observed_at)
    return {row.product_id: row.observed_at for row in session.execute(statement, Rows.parameter(dialect, gaps))}


_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_PROGRESS = Base.metadata.tables[HistoryProgress.__tablename__]
_GAPS = Rows(product_id=Uuid, observed_at=UtcDateTime)
