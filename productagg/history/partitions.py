"""PostgreSQL's monthly partitions of the raw histories: made ahead, and dropped with all that is in them.

For compaction only. Each function is one short transaction for each table and month. Locks are taken in the order in
which everybody takes them (products, then histories), and waited for no longer than a moment: what is not had is left
to the next run. No row is ever moved: what lies in a default partition stays there until it is over age.
"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from productagg.db.engines import SCHEMA

TABLES = ("offer_prices", "product_prices")

_MONTHS_AHEAD = 2
# Who waits for a table's lock makes all others wait that come after it, and so does who has got it.
_LOCK_TIMEOUT = "2s"
_STATEMENT_TIMEOUT = "5s"
_ATTEMPTS = 5
_GIVES_UP = {"55P03", "57014"}  # lock_not_available; query_canceled, for its time is up


class Locked(Exception):
    """A history is in use all the time, or to look through its default partition would lock it for too long."""


def month_of(time: datetime, later: int = 0) -> datetime:
    """The beginning of the UTC month that a time lies in, or of one so many months later."""
    time = time.astimezone(UTC)
    months = time.year * 12 + time.month - 1 + later
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def prepare(sessions: sessionmaker[Session], now: datetime) -> int:
    """See that this month and the next two have partitions, but for what has rows in the default one already.

    Returns how many were made.
    """
    ahead = [month_of(now, later) for later in range(_MONTHS_AHEAD + 1)]
    made = 0
    for table in TABLES:
        with sessions() as session:
            there = dict(_partitions(session, table)).keys()
            missing = [month for month in ahead if month not in there]
            if missing:
                in_default = _months_in_default(session, table, missing[0], month_of(missing[-1], 1))
                missing = [month for month in missing if month not in in_default]
        for month in missing:
            made += _patiently(sessions, partial(_make, table=table, month=month))
    return made


def old(sessions: sessionmaker[Session], table: str, before: datetime) -> list[datetime]:
    """The months before a month that have a partition, in order."""
    with sessions() as session:
        return sorted(month for month, _ in _partitions(session, table) if month < month_of(before))


def drop(sessions: sessionmaker[Session], table: str, month: datetime) -> None:
    """Drop a month's partition with all its rows."""
    _patiently(sessions, partial(_drop, name=_name(table, month)))


def _name(table: str, month: datetime) -> str:
    return f"{table}_{month:%Y_%m}"


def _partitions(session: Session, table: str) -> Iterator[tuple[datetime, str]]:
    """The months that have one, with its name."""
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


def _make(session: Session, table: str, month: datetime) -> bool:
    name = _name(table, month)
    # Attaching a partition locks all three, and in the default one nothing may come in between.
    session.execute(text(f"LOCK TABLE {SCHEMA}.products IN SHARE ROW EXCLUSIVE MODE"))
    session.execute(text(f"LOCK TABLE ONLY {SCHEMA}.{table} IN SHARE UPDATE EXCLUSIVE MODE"))
    session.execute(text(f"LOCK TABLE {SCHEMA}.{table}_default IN ACCESS EXCLUSIVE MODE"))
    if session.scalar(text("SELECT to_regclass(:name)"), {"name": f"{SCHEMA}.{name}"}) is not None:
        return False  # somebody else was faster
    if _months_in_default(session, table, month, month_of(month, 1)):
        return False
    session.execute(text(f"CREATE TABLE {SCHEMA}.{name} (LIKE {SCHEMA}.{table} INCLUDING ALL)"))
    window = f"FOR VALUES FROM ('{month}') TO ('{month_of(month, 1)}')"
    session.execute(text(f"ALTER TABLE {SCHEMA}.{table} ATTACH PARTITION {SCHEMA}.{name} {window}"))
    return True


def _drop(session: Session, name: str) -> bool:
    session.execute(text(f"DROP TABLE IF EXISTS {SCHEMA}.{name}"))
    return True


def _patiently(sessions: sessionmaker[Session], act: Callable[[Session], bool]) -> bool:
    """One transaction that waits for locks only shortly, and tries again a few times."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(attempt)
        try:
            with sessions.begin() as session:
                session.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
                session.execute(text(f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'"))
                return act(session)
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) not in _GIVES_UP:
                raise
    raise Locked(
        "the price histories are in use all the time, or their default partitions too large to be looked through: "
        "their partitions stay as they are until the next run"
    )
