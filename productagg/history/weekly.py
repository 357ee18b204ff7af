"""The weekly roll-ups of products, which are made of the daily ones: so that answers about years read few rows.

For whoever writes daily roll-ups, in the same transaction, and for verification. A week's row is whole: what the last
step says is in force until its end; when another day of the week is rolled up, the row is made anew.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Executable, Text, bindparam, cast, func, select
from sqlalchemy.orm import Session

from productagg.db.json_rows import Rows
from productagg.db.models import Product, ProductPriceDaily, ProductPriceWeekly, UtcDateTime
from productagg.history.reading import as_microseconds
from productagg.history.rolling import is_one_of, upsert
from productagg.history.rollups import ProductBucket, bucket_of, product_row
from productagg.history.steps import DAY, WEEK, bucket_start, fill, merge, moment


def write_weeks(session: Session, product_ids: Iterable[UUID], begin: int, end: int) -> int:
    """Write the weeks of [begin, end) of these products, which are locked. Returns how many rows."""
    rows = list(weekly_rows(session, session.get_bind().dialect.name, product_ids, begin, end))
    upsert(session, ProductPriceWeekly, rows)
    return len(rows)


def weekly_rows(
    connection: Connection | Session, dialect: str, product_ids: Iterable[UUID], begin: int, end: int
) -> Iterator[dict[str, Any]]:
    """What the rows of all weeks that touch [begin, end), in microseconds, should be: those with a day in them."""
    begin, end = bucket_start(begin, WEEK), bucket_start(end - 1, WEEK) + WEEK
    chosen = Rows.parameter(dialect, [{"product_id": each} for each in product_ids])
    found = connection.execute(_daily(dialect), {**chosen, "begin": moment(begin), "end": moment(end)}).mappings()
    for product_id, rows in groupby(found, lambda row: row["product_id"]):
        days = [_bucket(dict(row)) for row in rows]
        before = days.pop(0) if days[0].lowest.at < begin else None
        last_days = {bucket_start(day.lowest.at, WEEK): day for day in days}
        start = min(last_days, default=end)
        weeks = (
            merge(fill(before and prices(before).end_step, map(prices, days), start, end, DAY), WEEK)
            for prices in (attrgetter("lowest"), attrgetter("average"))
        )
        for lowest, average in zip(*weeks, strict=True):
            day = last_days.get(lowest.at)
            if day is not None:
                bucket = ProductBucket(lowest, average, day.offers, day.items_in_stock)
                yield {"product_id": product_id, "at": moment(lowest.at), **product_row(bucket)}


def _bucket(row: dict[str, Any]) -> ProductBucket:
    lowest, average = (bucket_of(row["us"], row, prefix) for prefix in ("", "average_"))
    return ProductBucket(lowest, average, row["offers"], row["items_in_stock"])


@cache
def _daily(dialect: str) -> Executable:
    """The days of [begin, end), and of each product the newest before them."""
    daily, earlier = ProductPriceDaily.__table__, ProductPriceDaily.__table__.alias()
    begin, end = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
    newest = select(func.max(earlier.c.at)).where(earlier.c.product_id == Product.id, earlier.c.at < begin)
    since = func.coalesce(newest.correlate(Product).scalar_subquery(), begin)
    values = [each for each in daily.columns if not each.primary_key]
    return (
        select(cast(Product.id, Text).label("product_id"), as_microseconds(dialect, daily.c.at).label("us"), *values)
        .join(daily, (daily.c.product_id == Product.id) & (daily.c.at >= since) & (daily.c.at < end))
        .where(is_one_of(dialect, Product.id))
        .order_by(Product.id, daily.c.at)
    )
