"""The change feed: what happened to products, in commit order. Writers of products record events; the API reads them.

The numbers are in commit order: once a client has seen a change, no change with a smaller number can appear. This
module never commits and never sees a request.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    Sequence,
    Text,
    Uuid,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.event import listens_for
from sqlalchemy.orm import Session, SessionTransaction

from productagg.db import clock, prepared_statements
from productagg.db.engines import dialect_name
from productagg.db.json_rows import Rows
from productagg.db.models import Base, ProductChange, UtcDateTime

Kind = Literal["created", "changed", "deleted", "offers"]

_PENDING = "changes to record"
_LOCK = 0x50A99_FEED
# How many rows one transaction of the compaction looks through.
COMPACTED_AT_ONCE = 10_000
# A process that hangs between its last statement and its commit would block everything else that records changes.
_COMMIT_TIMEOUT = "15s"


class Event(NamedTuple):
    """What happened to a product, and its sort keys from before: see models.ProductChange. `at` None: now."""

    product_id: UUID
    kind: Kind
    at: datetime | None = None
    sort_name: str | None = None
    updated_at: datetime | None = None
    lowest: int | None = None
    items_in_stock: int | None = None
    search_text: str | None = None


class UnknownSequence(Exception):
    """This number has not been assigned yet: it comes from another database, or from before a backup was restored."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.last = last


@dataclass(frozen=True)
class Change:
    """A change of a product, with its number in the feed."""

    sequence: int
    at: datetime
    kind: Kind
    product_id: UUID


class ChangePage(NamedTuple):
    """Some changes in order, whether there are more, and the newest number of the whole feed, 0 if it is empty."""

    changes: list[Change]
    more: bool
    last: int


def record(session: Session, events: Collection[Event]) -> None:
    """Write the events when the transaction commits, after everything else that it writes or locks.

    While they are written, until the commit, no other transaction can record events. If this transaction took another
    lock after that, it might wait for a transaction that waits for it: a deadlock.
    """
    session.info.setdefault(_PENDING, []).extend(events)


def write_pending(session: Session) -> None:
    """Write the recorded events at once. Every commit calls this."""
    if events := session.info.pop(_PENDING, None):
        dialect = dialect_name(session)
        parameters = Rows.parameter(dialect, [event._asdict() for event in events])
        prepared_statements.rows(session, _RECORD[dialect], {**parameters, "now": clock.now_parameter(dialect)})


@listens_for(Session, "before_commit")
def _before_commit(session: Session) -> None:
    if not session.in_nested_transaction():  # releasing a savepoint commits nothing yet
        write_pending(session)


@listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_PENDING, None)


def since(connection: Connection, sequence: int, limit: int) -> ChangePage:
    """The first `limit` changes after a number. Raises UnknownSequence."""
    newest = select(func.coalesce(func.max(_CHANGES.c.sequence), 0).label("last")).subquery("newest")
    columns = (_CHANGES.c.sequence, _CHANGES.c.at, _CHANGES.c.kind, _CHANGES.c.product_id)
    after = select(*columns).where(_CHANGES.c.sequence > sequence).order_by(_CHANGES.c.sequence).limit(limit + 1)
    some = after.subquery("some")
    query = select(newest.c.last, *some.c).select_from(newest.outerjoin(some, true())).order_by(some.c.sequence)
    rows = connection.execute(query).all()
    last = cast(int, rows[0].last)
    if sequence > last:
        raise UnknownSequence(last)
    changes = [Change(number, at, kind, product_id) for _, number, at, kind, product_id in rows if number is not None]
    return ChangePage(changes[:limit], len(changes) > limit, last)


def compact(session: Session, after: int, before: datetime) -> tuple[int, int | None]:
    """Remove superseded changes from before a time, among the first COMPACTED_AT_ONCE after a number.

    A change is superseded by a newer one of its product that has the same kind or says that the product was deleted. A
    client that comes back after a long time still gets the newest change of every kind. The changes that stay lose
    their search texts. Returns how many were removed, and the number to go on after, or None at the end.
    """
    following = select(_CHANGES.c.sequence, _CHANGES.c.at).where(_CHANGES.c.sequence > after)
    chunk = following.order_by(_CHANGES.c.sequence).limit(COMPACTED_AT_ONCE).subquery()
    until, oldest = session.execute(select(func.max(chunk.c.sequence), func.min(chunk.c.at))).one()
    if until is None or oldest >= before:
        return 0, None
    this, later = _CHANGES.c, _CHANGES.alias("later").c
    superseded = [
        exists().where(later.product_id == this.product_id, later.kind == kind, later.sequence > this.sequence)
        for kind in (this.kind, "deleted")
    ]
    in_chunk = (this.sequence > after, this.sequence <= until, this.at < before)
    removed = cast("CursorResult[Any]", session.execute(delete(_CHANGES).where(*in_chunk, or_(*superseded))))
    session.execute(update(_CHANGES).where(*in_chunk, this.search_text.is_not(None)).values(search_text=null()))
    return removed.rowcount, until


_CHANGES = Base.metadata.tables[ProductChange.__tablename__]
_TIME = UtcDateTime().impl
_EVENTS = Rows(
    product_id=Uuid,
    kind=Text,
    at=_TIME,
    sort_name=Text,
    updated_at=_TIME,
    lowest=BigInteger,
    items_in_stock=BigInteger,
    search_text=Text,
)


def _record_statement(dialect: str) -> Executable:
    """The statement that writes events.

    SQLite has one writer at a time anyway. On PostgreSQL, a number is drawn only under an advisory lock, which is
    released when other transactions can see this transaction's changes.
    """
    data = _EVENTS.table(dialect)
    values: dict[str, ColumnElement[Any]] = {column.key: column for column in data.c}
    values["at"] = func.coalesce(data.c.at, clock.now_expression(dialect))
    if dialect == "sqlite":
        return insert(_CHANGES).from_select(list(values), select(*values.values()))
    timeout = func.set_config("idle_in_transaction_session_timeout", _COMMIT_TIMEOUT, literal(value=True))
    lock = select(func.pg_advisory_xact_lock(_LOCK).label("lock"), timeout.label("timeout")).cte("locked")
    lock = lock.prefix_with("MATERIALIZED")
    # The number depends on the lock, so that no plan can draw it earlier.
    values["sequence"] = case((lock.c.lock.is_not(None), Sequence("changes_sequence_seq").next_value()))
    return insert(_CHANGES).from_select(list(values), select(*values.values()).select_from(data.join(lock, true())))


_RECORD = {dialect: _record_statement(dialect) for dialect in ("postgresql", "sqlite")}
