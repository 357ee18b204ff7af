"""Rolls late products up again, and only those: their roll-ups from some day on are removed and made anew.

For compaction. Nothing here commits; a transaction holds a few products' rows at most, and everything of each of them.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select
from sqlalchemy.orm import Session

from productagg.history.rolling import ROLLUPS, read, rollups_of, write
from productagg.history.steps import WEEK, bucket_start, microseconds, moment
from productagg.history.weekly import write_weeks
from productagg.models import Base, HistoryLate, HistoryProgress, Product, ProductPriceWeekly

# Of a transaction: products times days. Of what is read at once: about how many raw rows, if that is more than a week.
_PRODUCT_DAYS = 350
_ROWS = 20_000
_WIDER = 4
_ALL: tuple[type[Base], ...] = (*ROLLUPS, ProductPriceWeekly)
_LATE = Base.metadata.tables[HistoryLate.__tablename__]


class Done(NamedTuple):
    """What was rolled up again: products, rows written, raw rows they are made of."""

    products: int
    rows: int
    raw_rows: int


def count_late(connection: Connection | Session) -> int:
    """How many products are to be rolled up again."""
    return connection.scalar(_late(func.count())) or 0


def roll_up_again(session: Session) -> Done | None:
    """Roll up again some products, those that are late since the oldest day; None: there are none that nobody else has.

    They are not late any more then.
    """
    oldest = session.scalar(_late(func.min(HistoryLate.since)))
    if oldest is None:
        return None
    progress: Any = session.execute(select(HistoryProgress.rolled_until, HistoryProgress.raw_from)).one()
    until, raw_from = progress
    oldest = max(oldest, raw_from or oldest)
    found = _lock(session, oldest, limit=max(1, int(_PRODUCT_DAYS / max(1, (until - oldest).days))))
    if not found:
        return None
    # Lowered meanwhile, it may lie before the oldest day that there was.
    first = min(found.values())
    begin, end = microseconds(max(first, raw_from or first)), microseconds(until)
    _remove(session, found, begin, end)
    rows, raw_rows = roll_up(session, list(found), begin, end)
    # Of all days in the weeks, and those that only have days before `begin` were removed as well.
    rows += write_weeks(session, found, begin, end)
    session.execute(delete(_LATE).where(_LATE.c.product_id.in_(found)))
    return Done(len(found), rows, raw_rows)


def roll_up(session: Session, product_ids: Sequence[UUID], begin: int, end: int) -> tuple[int, int]:
    """Roll up whole days of a few products, the days before them are; returns how many rows, from how many raw ones.

    A week at a time, or as many more as have few rows. The weeks are to be written after it.
    """
    rows = raw_rows = 0
    span = WEEK
    while begin < end:
        stop = min(bucket_start(begin, WEEK) + span, end)
        batch = read(session.connection(), product_ids, begin, stop, scattered=True)
        rows += write(session, rollups_of(batch.pasts, begin))
        raw_rows += batch.rows
        span = span * _WIDER if batch.rows * _WIDER <= _ROWS else WEEK
        begin = stop
    return rows, raw_rows


def _late(wanted: ColumnElement[Any]) -> Select[Any]:
    """Of the products that are late before the day up to which all is rolled up."""
    before = HistoryLate.since < HistoryProgress.rolled_until
    return select(wanted).select_from(HistoryLate).join(HistoryProgress, before)


def _lock(session: Session, since: datetime, limit: int) -> dict[UUID, datetime]:
    """Some products that are late since then, or for longer. Nobody is waited for, so the order is of no matter."""
    late = select(HistoryLate.product_id, HistoryLate.since).where(HistoryLate.since <= since)
    late = late.order_by(HistoryLate.product_id).limit(limit).with_for_update(skip_locked=True)
    found: dict[UUID, datetime] = {row.product_id: row.since for row in session.execute(late)}
    there = select(Product.id).where(Product.id.in_(found))
    there = there.with_for_update(read=True, key_share=True, skip_locked=True)
    return {product_id: found[product_id] for product_id in session.scalars(there)}


def _remove(session: Session, product_ids: Collection[UUID], begin: int, end: int) -> None:
    for model in _ALL:
        table = Base.metadata.tables[model.__tablename__]
        first = bucket_start(begin, WEEK) if model is ProductPriceWeekly else begin
        which = (table.c.product_id.in_(product_ids), table.c.at >= moment(first), table.c.at < moment(end))
        session.execute(delete(table).where(*which))
