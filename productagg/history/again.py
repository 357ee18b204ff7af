"""Rolls late products up again, and only those: their roll-ups from some day on are removed and made anew.

For compaction, and for import, which rolls up what is not kept raw. Nothing here commits.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, delete, func, select, update
from sqlalchemy.orm import Session

from productagg.db.models import Base, HistoryLate, HistoryProgress, Product, ProductPriceWeekly
from productagg.history.rolling import ROLLUPS, read, rollups_of, weeks, write
from productagg.history.steps import DAY, WEEK, bucket_start, microseconds, moment
from productagg.history.weekly import write_weeks

# Of a transaction: products times days.
_PRODUCT_DAYS = 350
_ALL: tuple[type[Base], ...] = (*ROLLUPS, ProductPriceWeekly)
_LATE = Base.metadata.tables[HistoryLate.__tablename__]


class Done(NamedTuple):
    """What was rolled up again: products, a week of each; rows written, raw rows they are made of."""

    products: int
    rows: int
    raw_rows: int


def count_late_weeks(connection: Connection) -> int:
    """How many weeks of products are to be rolled up again."""
    progress = (HistoryProgress.rolled_until, HistoryProgress.raw_from)
    query = _late(func.count(), HistoryLate.since, *progress).group_by(HistoryLate.since, *progress)
    return sum(
        count * len(list(weeks(microseconds(max(since, raw_from or since)), microseconds(until))))
        for count, since, until, raw_from in connection.execute(query)
    )


def roll_up_again(session: Session) -> Done | None:
    """Roll up again a week of some products, those that are late for longest; None: others have all that there are.

    They are late from the end of the week on then, or not any more.
    """
    progress: Any = session.execute(select(HistoryProgress.rolled_until, HistoryProgress.raw_from)).one()
    until, raw_from = progress
    late_since = _lock(session)
    if not late_since:
        return None
    oldest = min(late_since.values())
    begin = microseconds(max(oldest, raw_from or oldest))
    end = min(bucket_start(begin, WEEK) + WEEK, microseconds(until))
    of_the_week = [product_id for product_id, since in late_since.items() if since < moment(end)]
    product_ids = of_the_week[: _PRODUCT_DAYS // max(1, (end - begin) // DAY)]
    _remove(session, product_ids, begin, end)
    rows, raw_rows = roll_up(session, product_ids, begin, end)
    # Of all days in the week: those before `begin` are as they were.
    rows += write_weeks(session, product_ids, begin, end)
    mine = _LATE.c.product_id.in_(product_ids)
    if moment(end) < until:
        session.execute(update(_LATE).where(mine).values(since=moment(end)))
    else:
        session.execute(delete(_LATE).where(mine))
    return Done(len(product_ids), rows, raw_rows)


def roll_up(session: Session, product_ids: Sequence[UUID], begin: int, end: int) -> tuple[int, int]:
    """Roll up whole days of a few products, the days before them are; returns how many rows, from how many raw ones.

    The weeks are to be written after it.
    """
    rows = raw_rows = 0
    for first, last in weeks(begin, end):
        batch = read(session.connection(), product_ids, first, last, scattered=True)
        rows += write(session, rollups_of(batch.pasts, first))
        raw_rows += batch.rows
    return rows, raw_rows


def _late(*wanted: Any) -> Select[Any]:
    """Of the products that are late before the day up to which all is rolled up."""
    before = HistoryLate.since < HistoryProgress.rolled_until
    return select(*wanted).select_from(HistoryLate).join(HistoryProgress, before)


def _lock(session: Session) -> dict[UUID, datetime]:
    """Some late products, and since when. Nobody is waited for, so the order is of no matter."""
    late = _late(HistoryLate.product_id, HistoryLate.since).order_by(HistoryLate.since).limit(_PRODUCT_DAYS)
    late = late.with_for_update(skip_locked=True, of=HistoryLate)
    found = {row.product_id: row.since for row in session.execute(late)}
    there = select(Product.id).where(Product.id.in_(found))
    there = there.with_for_update(read=True, key_share=True, skip_locked=True)
    return {product_id: found[product_id] for product_id in session.scalars(there)}


def _remove(session: Session, product_ids: Collection[UUID], begin: int, end: int) -> None:
    for model in _ALL:
        table = Base.metadata.tables[model.__tablename__]
        first = bucket_start(begin, WEEK) if model is ProductPriceWeekly else begin
        which = (table.c.product_id.in_(product_ids), table.c.at >= moment(first), table.c.at < moment(end))
        session.execute(delete(table).where(*which))
