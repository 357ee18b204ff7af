"""PostgreSQL's monthly partitions of the steps: created ahead, and dropped once compaction has emptied them.

For compaction only. Each function is one short transaction for each table and month. Locks are taken in the same order
as everywhere (products, then histories), with a short time-out: a partition that is in use is left to the next run. No
row moves between partitions: rows in a default partition stay there until they are compacted.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from productagg.db.engines import SCHEMA

TABLES = ("offer_prices", "product_prices")

_MONTHS_AHEAD = 2
# A statement that waits for a table's lock blocks all that ask for the table after it.
LOCK_TIMEOUT = "2s"
STATEMENT_TIMEOUT = "5s"
_ATTEMPTS = 5
_Result = TypeVar("_Result")
_TIMED_OUT = {"55P03", "57014"}  # lock_not_available; query_canceled, by the statement's time-out


class Locked(Exception):
    """A table stayed locked, or checking its default partition would lock it for too long."""


def month_of(time: datetime, later: int = 0) -> datetime:
    """The start of the UTC month that a time lies in, or of the month so many months `later`."""
    time = time.astimezone(UTC)
    months = time.year * 12 + time.month - 1 + later
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def prepare(sessions: sessionmaker[Session], now: datetime) -> None:
    """Create the partitions of this month and the next two, except of months with rows in the default partition."""
    ahead = [month_of(now, later) for later in range(_MONTHS_AHEAD + 1)]
    for table in TABLES:
        with sessions() as session:
            missing = _missing_months(session, table, ahead)
        for month in missing:
            _retry(sessions, partial(_create, table=table, month=month))


def drop_empty(sessions: sessionmaker[Session], before: datetime) -> int:
    """Drop the empty partitions of months before a month. Returns the number of months."""
    dropped = set()
    for table in TABLES:
        with sessions() as session:
            months = sorted((month, name) for month, name in _partitions(session, table) if month < before)
        for month, name in months:
            if _retry(sessions, partial(_drop_if_empty, name=name)):
                dropped.add(month)
    return len(dropped)


def _missing_months(session: Session, table: str, months: Sequence[datetime]) -> Sequence[datetime]:
    """The months without a partition and without rows in the default partition."""
    missing = sorted(set(months).difference(dict(_partitions(session, table))))
    if not missing:
        return []
    return sorted(set(missing) - _months_in_default(session, table, missing[0], month_of(missing[-1], 1)))


def _partitions(session: Session, table: str) -> Iterator[tuple[datetime, str]]:
    """The months that have a partition, with its name."""
    query = text(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = to_regclass(:table)"
    )
    for name in session.scalars(query, {"table": f"{SCHEMA}.{table}"}).all():
        found = re.fullmatch(rf"{table}_(\d{{4}})_(\d\d)", name)
        if found:
            yield datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC), name


def _months_in_default(session: Session, table: str, begin: datetime, end: datetime) -> set[datetime]:
    query = text(
        f"SELECT DISTINCT date_trunc('month', observed_at, 'UTC') FROM {SCHEMA}.{table}_default"  # noqa: S608
        " WHERE observed_at >= :begin AND observed_at < :end"
    )
    return {month_of(month) for month in session.scalars(query, {"begin": begin, "end": end})}


def _create(session: Session, table: str, month: datetime) -> None:
    name = f"{table}_{month:%Y_%m}"
    # Attaching a partition locks all three; no row may enter the default partition before it is attached.
    session.execute(text(f"LOCK TABLE {SCHEMA}.products IN SHARE ROW EXCLUSIVE MODE"))
    session.execute(text(f"LOCK TABLE ONLY {SCHEMA}.{table} IN SHARE UPDATE EXCLUSIVE MODE"))
    session.execute(text(f"LOCK TABLE {SCHEMA}.{table}_default IN ACCESS EXCLUSIVE MODE"))
    if session.scalar(text("SELECT to_regclass(:name)"), {"name": f"{SCHEMA}.{name}"}) is not None:
        return  # another compaction was faster
    if _months_in_default(session, table, month, month_of(month, 1)):
        return
    session.execute(text(f"CREATE TABLE {SCHEMA}.{name} (LIKE {SCHEMA}.{table} INCLUDING ALL)"))
    window = f"FOR VALUES FROM ('{month}') TO ('{month_of(month, 1)}')"
    session.execute(text(f"ALTER TABLE {SCHEMA}.{table} ATTACH PARTITION {SCHEMA}.{name} {window}"))


def _drop_if_empty(session: Session, name: str) -> bool:
    # From here on nothing can be written to the month; it can be read until it is dropped.
    session.execute(text(f"LOCK TABLE {SCHEMA}.{name} IN SHARE MODE"))
    if session.scalar(text(f"SELECT EXISTS (SELECT FROM {SCHEMA}.{name})")):  # noqa: S608
        return False
    session.execute(text(f"DROP TABLE {SCHEMA}.{name}"))
    return True


def _retry(sessions: sessionmaker[Session], act: Callable[[Session], _Result]) -> _Result:
    """Run a transaction that waits for locks only briefly, up to _ATTEMPTS times."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(attempt)
        try:
            with sessions.begin() as session:
                session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
                return act(session)
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) not in _TIMED_OUT:
                raise
    raise Locked(
        "a history table stayed locked, or its default partition is too large to check in time; "
        "the next run tries again"
    )
