"""What time it is: by the database's clock, the only one that all hosts and processes share.

Everything that is written or compared with what is written takes its time from here. On PostgreSQL that is `now()`, the
time at which the transaction began: one time for all that a transaction writes, whichever of its statements asks, so
that most need no statement of their own for it. SQLite has no clock of its own: there it is the host's.
"""

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, bindparam, func, select
from sqlalchemy.orm import Session

from productagg.db import prepared_statements
from productagg.db.engines import dialect_name
from productagg.db.models import UtcDateTime


def given(dialect: str) -> datetime | None:
    """The time to hand to the database, for the parameter of `expression`; None: it looks at its own clock.

    Tests replace this function to set the clock, on both databases.
    """
    return datetime.now(UTC) if dialect == "sqlite" else None


def now(connection: Connection | Session) -> datetime:
    """The time. In a transaction it is that of every `expression`; on PostgreSQL this is a statement of its own."""
    found = given(dialect_name(connection))
    if found is None:
        row = prepared_statements.row(connection, _NOW, {})
        assert row is not None
        found = row[0].astimezone(UTC)
    return found


def expression(dialect: str, parameter: str = "now", later: timedelta = timedelta(0)) -> ColumnElement[datetime]:
    """The time, or one so much later, within a statement.

    The statement's `parameter` is what is `given`, so much later as well; None on PostgreSQL.
    """
    value: ColumnElement[datetime] = bindparam(parameter, type_=UtcDateTime)
    if dialect == "sqlite":
        return value
    return func.coalesce(value, func.now() + later if later else func.now(), type_=UtcDateTime())


def deadline(until: datetime, now: datetime) -> float:
    """A time by the database's clock, of which it is `now`, on this process's monotonic clock: see `left`.

    So a process can tell whether it is over without asking the database, and whatever its own wall clock says.
    """
    return time.monotonic() + (until - now).total_seconds()


def left(deadline: float) -> float:
    """Seconds until a deadline; negative when it is over."""
    return deadline - time.monotonic()


_NOW = select(func.now())
