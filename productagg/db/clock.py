"""The current time by the database's clock, the only clock that all hosts and processes share.

Every time that is stored, or compared with a stored time, comes from here. On PostgreSQL it is `now()`, the time at
which the transaction began: all statements of a transaction write the same time, and most need no statement of their
own to get it. SQLite has no clock, so there it is the host's.
"""

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, bindparam, func, select
from sqlalchemy.orm import Session

from productagg.db import prepared_statements
from productagg.db.engines import dialect_name
from productagg.db.models import UtcDateTime


def now_parameter(dialect: str) -> datetime | None:
    """Return the value of the parameter in `now_expression`: the host's time, or None for the database's own clock.

    Tests replace this function to set the clock on both databases.
    """
    return datetime.now(UTC) if dialect == "sqlite" else None


def now_expression(dialect: str, parameter: str = "now", later: timedelta = timedelta(0)) -> ColumnElement[datetime]:
    """Return an SQL expression for the current time plus `later`.

    `parameter` names a parameter of the statement. Its value is `now_parameter`, plus `later` unless it is None.
    """
    value: ColumnElement[datetime] = bindparam(parameter, type_=UtcDateTime)
    if dialect == "sqlite":
        return value
    return func.coalesce(value, func.now() + later if later else func.now(), type_=UtcDateTime())


def now(connection: Connection | Session) -> datetime:
    """Return the current time: the same as `now_expression` in a transaction. On PostgreSQL this costs a statement."""
    host_time = now_parameter(dialect_name(connection))
    if host_time is not None:
        return host_time
    row = prepared_statements.row(connection, _NOW, {})
    assert row is not None
    time_of_transaction: datetime = row[0]
    return time_of_transaction.astimezone(UTC)


def deadline(until: datetime, now: datetime) -> float:
    """Convert a time of the database's clock, which shows `now`, to this process's monotonic clock.

    So a process can tell whether the time is over without asking the database, whatever its own wall clock shows.
    """
    return time.monotonic() + (until - now).total_seconds()


def seconds_left(deadline: float) -> float:
    """Return the seconds until a deadline; negative once it has passed."""
    return deadline - time.monotonic()


_NOW = select(func.now())
