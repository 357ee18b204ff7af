"""What happened to products, as a feed in commit order: whoever writes records it, the API reads it.

The numbers are in commit order, so whoever has seen one has seen all before it, and nothing comes in between later. It
never commits and never sees a request.
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
# How many rows a transaction that removes some looks through.
_ROWS_AT_ONCE = 10_000
# A process that stops between its last statement and its commit stops all others that have something to record.
_COMMITS_WITHIN = "15s"


class Event(NamedTuple):
    """What happened to a product, and what was before: see models.ProductChange. `at` None: now."""

    product_id: UUID
    kind: Kind
    at: datetime | None = None
    sort_name: str | None = None
    updated_at: datetime | None = None
    lowest: int | None = None
    items_in_stock: int | None = None
    search_text: str | None = None


class Unknown(Exception):
    """No such number has been given out: whoever has it knows another past, of which this database is no sequel."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.last = last


@dataclass(frozen=True)
class Change:
    """Something that happened to a product, as the number so-and-so of all."""

    sequence: int
    at: datetime
    kind: Kind
    product_id: UUID


class Page(NamedTuple):
    """Some changes in their order; whether there are more; the newest one's number, 0 if there is none."""

    changes: list[Change]
    more: bool
    last: int


def record(session: Session, events: Collection[Event]) -> None:
    """Have what this transaction does written down when it commits, as the last that it writes or locks.

    From then until it has committed nobody else can record anything. Whoever took another lock after that could wait
    for somebody who waits here: a deadlock.
    """
    session.info.setdefault(_PENDING, []).extend(events)


@listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    if session.in_nested_transaction():  # what a savepoint holds is not committed yet
        return
    if events := session.info.pop(_PENDING, None):
        dialect = dialect_name(session)
        parameters = Rows.parameter(dialect, [event._asdict() for event in events])
        prepared_statements.rows(session, _RECORD[dialect], {**parameters, "now": clock.now_parameter(dialect)})


@listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_PENDING, None)


def since(connection: Connection, sequence: int, limit: int) -> Page:
    """The first `limit` changes after a number. Raises Unknown."""
    newest = select(func.coalesce(func.max(_CHANGES.c.sequence), 0).label("last")).subquery("newest")
    wanted = (_CHANGES.c.sequence, _CHANGES.c.at, _CHANGES.c.kind, _CHANGES.c.product_id)
    after = select(*wanted).where(_CHANGES.c.sequence > sequence).order_by(_CHANGES.c.sequence).limit(limit + 1)
    some = after.subquery("some")
    query = select(newest.c.last, *some.c).select_from(newest.outerjoin(some, true())).order_by(some.c.sequence)
    rows = connection.execute(query).all()
    last = cast(int, rows[0].last)
    if sequence > last:
        raise Unknown(last)
    found = [Change(number, at, kind, product_id) for _, number, at, kind, product_id in rows if number is not None]
    return Page(found[:limit], len(found) > limit, last)


def compact(session: Session, after: int, before: datetime) -> tuple[int, int | None]:
    """Remove what newer changes stand for, of those before a time, among the first thousands after a number.

    That is what is followed by one of the same kind, or by the end, of its product: who comes back after however long
    still hears the newest of each. Those that stay lose their texts. Returns how many it removed, and after which
    number to go on; None: nowhere.
    """
    some = select(_CHANGES.c.sequence, _CHANGES.c.at).where(_CHANGES.c.sequence > after)
    chunk = some.order_by(_CHANGES.c.sequence).limit(_ROWS_AT_ONCE).subquery()
    until, oldest = session.execute(select(func.max(chunk.c.sequence), func.min(chunk.c.at))).one()
    if until is None or oldest >= before:
        return 0, None
    this, later = _CHANGES.c, _CHANGES.alias("later").c
    followed = [
        exists().where(later.product_id == this.product_id, later.kind == kind, later.sequence > this.sequence)
        for kind in (this.kind, "deleted")
    ]
    mine = (this.sequence > after, this.sequence <= until, this.at < before)
    removed: Any = session.execute(delete(_CHANGES).where(*mine, or_(*followed)))
    session.execute(update(_CHANGES).where(*mine, this.search_text.is_not(None)).values(search_text=null()))
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


def _record(dialect: str) -> Executable:
    """SQLite has one writer at a time anyway. On PostgreSQL a number is drawn only by who has the lock, which goes when
    others can see what the transaction did."""
    data = _EVENTS.table(dialect)
    values: dict[str, ColumnElement[Any]] = {column.key: column for column in data.c}
    values["at"] = func.coalesce(data.c.at, clock.now_expression(dialect))
    if dialect == "sqlite":
        return insert(_CHANGES).from_select(list(values), select(*values.values()))
    timeout = func.set_config("idle_in_transaction_session_timeout", _COMMITS_WITHIN, literal(value=True))
    lock = select(func.pg_advisory_xact_lock(_LOCK).label("lock"), timeout.label("timeout")).cte("locked")
    lock = lock.prefix_with("MATERIALIZED")
    # It depends on the lock, so no plan can come to it earlier.
    values["sequence"] = case((lock.c.lock.is_not(None), Sequence("changes_sequence_seq").next_value()))
    return insert(_CHANGES).from_select(list(values), select(*values.values()).select_from(data.join(lock, true())))


_RECORD = {dialect: _record(dialect) for dialect in ("postgresql", "sqlite")}
