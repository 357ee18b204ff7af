"""The products that are late: something was written into a day of theirs that is rolled up, or might be just now.

Whoever writes there calls `mark`, as the last of what the transaction writes. From that day on readers take raw steps
(known.py), and compaction rolls these products up again (again.py).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, Uuid, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.db.json_rows import Rows
from productagg.db.models import HistoryLate, UtcDateTime
from productagg.history.steps import DAY, bucket_start, microseconds, moment

# A day is rolled up when it is over for so long that whoever was writing into it has come to an end.
SETTLED = timedelta(hours=1)
# How long a transaction may take.
_MARGIN = timedelta(minutes=30)


def may_be_rolled_up(at: datetime, now: datetime) -> bool:
    """Whether the day that a time lies in is rolled up, or may be before a transaction of now has ended."""
    return day_of(at) + timedelta(days=1) + SETTLED - _MARGIN <= now


def mark(session: Session, since: Mapping[UUID, datetime]) -> None:
    """These products' roll-ups are not to be relied on from a time on. Their rows in `products` are locked."""
    if not since:
        return
    dialect = session.get_bind().dialect.name
    rows = [{"product_id": product_id, "since": day_of(since[product_id])} for product_id in sorted(since)]
    session.execute(_mark(dialect), Rows.parameter(dialect, rows))


def day_of(time: datetime) -> datetime:
    """The beginning of the UTC day that a time lies in."""
    return moment(bucket_start(microseconds(time), DAY))


@cache
def _mark(dialect: str) -> Executable:
    makes: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
    data, table = Rows(product_id=Uuid, since=UtcDateTime()).table(dialect), HistoryLate.__table__
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for a join's ON.
    statement = makes[dialect](table).from_select(
        ["product_id", "since"], select(*data.c).where(data.c.since.is_not(None))
    )
    least = func.min if dialect == "sqlite" else func.least
    marked: Executable = statement.on_conflict_do_update(
        index_elements=["product_id"], set_={"since": least(table.c.since, statement.excluded.since)}
    )
    return marked
