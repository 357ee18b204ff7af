"""The largest moves of the catalogue, from summaries that the sync keeps with `refresh`; the API asks for `movers`.

A summary says what a product costs now, and what it cost a day, a week and a month ago. Nobody searches histories for
all products at once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Executable,
    Integer,
    bindparam,
    case,
    cast,
    exists,
    select,
    update,
)
from sqlalchemy.orm import Session

from productagg.db.models import (
    Base,
    HistoryProgress,
    Product,
    ProductPrice,
    ProductPriceDaily,
    ProductSummary,
    ProductSync,
    UtcDateTime,
)

PERIODS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}

# How old what a summary says about the past may get, while the product's price changes at all.
REFRESHED_EVERY = timedelta(minutes=15)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Mover:
    """A product whose lowest price moved. `start_price` was in force at `start_at`, `end_price` is since `end_at`.

    `change_percent` is 100 * (end - start) / start, rounded to two decimals.
    """

    product_id: UUID
    name: str
    start_price: int
    start_at: datetime
    end_price: int
    end_at: datetime
    change: int
    change_percent: float


def movers(
    connection: Connection, period: str, direction: Literal["up", "down"], limit: int, observed_since: datetime
) -> list[Mover]:
    """The largest relative moves over one of PERIODS, of products in stock and observed since a time."""
    now, start = ProductSummary.lowest, getattr(ProductSummary, f"lowest_{period}")
    moved = now > start if direction == "up" else now < start
    relative = cast(now, Double) / start
    query = (
        select(Product.id, Product.name, start, ProductSummary.compared_at, now, ProductSummary.observed_at)
        .join_from(ProductSummary, ProductSync, ProductSync.product_id == ProductSummary.product_id)
        .join(Product, Product.id == ProductSummary.product_id)
        .where(moved, start > 0, ProductSync.last_synced_at >= observed_since)
        .order_by(relative.desc() if direction == "up" else relative, Product.id)
        .limit(limit)
    )
    return [
        Mover(
            product_id=product_id,
            name=name,
            start_price=before,
            start_at=compared_at - PERIODS[period],
            end_price=after,
            end_at=observed_at,
            change=after - before,
            change_percent=round(100 * (after - before) / before, 2),
        )
        for product_id, name, before, compared_at, after, observed_at in connection.execute(query)
    ]


def refresh(session: Session, now: datetime, limit: int) -> int:
    """Look up again what up to `limit` products cost a day, a week and a month ago. Returns how many were due.

    A product that has not changed for a month costs what it did then, and is left alone until it does.
    """
    starts = {f"at_{period}": now - length for period, length in PERIODS.items()}
    days = {f"day_{period}": now - length - _DAY for period, length in PERIODS.items()}
    times = {**starts, **days, "now": now, "again_at": now + REFRESHED_EVERY}
    return len(session.execute(_REFRESH, {**times, "limit": limit}).all())


_SUMMARIES = Base.metadata.tables[ProductSummary.__tablename__]


def _time(name: str) -> ColumnElement[datetime]:
    return bindparam(name, type_=UtcDateTime)


def _price_then(period: str) -> ColumnElement[int | None]:
    """The lowest price in force at a time; where the raw rows begin later, that at the end of the newest day before."""
    raw, daily = ProductPrice.__table__.c, ProductPriceDaily.__table__.c
    then = (raw.product_id == _SUMMARIES.c.product_id, raw.observed_at <= _time(f"at_{period}"))
    # A gap's prices are NULL. Where raw rows are kept, roll-ups may be late.
    newest = select(raw.lowest).where(*then).order_by(raw.observed_at.desc()).limit(1)
    rolled = (
        select(case((daily.state == "in_stock", daily.close)))
        .where(
            daily.product_id == _SUMMARIES.c.product_id,
            daily.at <= _time(f"day_{period}"),
            daily.at < select(HistoryProgress.raw_from).scalar_subquery(),
        )
        .order_by(daily.at.desc())
        .limit(1)
    )
    known = exists(select(1).where(*then))
    return cast(
        case(
            (known, newest.correlate(_SUMMARIES).scalar_subquery()),
            else_=rolled.correlate(_SUMMARIES).scalar_subquery(),
        ),
        BigInteger,
    )


def _refresh() -> Executable:
    due = (
        select(_SUMMARIES.c.product_id)
        .where(_SUMMARIES.c.compare_at <= _time("now"))
        .order_by(_SUMMARIES.c.compare_at)
        .limit(bindparam("limit", type_=Integer))
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    changes = _SUMMARIES.c.observed_at > _time(f"at_{max(PERIODS, key=lambda name: PERIODS[name])}")
    return (
        update(_SUMMARIES)
        .where(_SUMMARIES.c.product_id == due.c.product_id)
        .values(
            compared_at=_time("now"),
            compare_at=case((changes, _time("again_at"))),
            **{f"lowest_{period}": _price_then(period) for period in PERIODS},
        )
        .returning(_SUMMARIES.c.product_id)
    )


_REFRESH = _refresh()
