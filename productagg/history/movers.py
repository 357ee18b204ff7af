"""The largest moves of the catalogue, from summaries: the sync keeps them up to date, the API reads them.

A summary has a product's current price and those of a day, a week and a month ago, so that no request has to search
the histories of all products.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Executable,
    Integer,
    bindparam,
    case,
    cast,
    exists,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session

from productagg.db.models import (
    LAST_OBSERVED_AT,
    Base,
    Catalogue,
    Product,
    ProductPrice,
    ProductPriceDay,
    ProductSource,
    ProductSummary,
    Source,
    UtcDateTime,
)
from productagg.history.queries import counts_until
from productagg.history.timeline import microseconds

PERIODS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}

# How stale a summary's past prices may get while the price changes.
REFRESHED_EVERY = timedelta(minutes=15)


@dataclass(frozen=True)
class Mover:
    """A product whose lowest price, in the catalogue's `currency`, moved.

    `start_price` was in force at `start_at`; `end_price` has been since `end_at`. `change_percent` is
    100 * (end - start) / start, rounded to two decimals.
    """

    product_id: UUID
    name: str
    currency: str
    start_price: int
    start_at: datetime
    end_price: int
    end_at: datetime
    change: int
    change_percent: float


def movers(
    connection: Connection,
    period: str,
    direction: Literal["up", "down"],
    limit: int,
    *,
    at: datetime,
    observed_for: timedelta,
) -> list[Mover]:
    """The largest relative moves over one of PERIODS, of products in stock and observed at a time.

    `observed_for`: see StepQueries.
    """
    now, start = ProductSummary.lowest, getattr(ProductSummary, f"lowest_{period}")
    moved = now > start if direction == "up" else now < start
    relative = cast(now, Double) / start
    mine = ProductSource.product_id == ProductSummary.product_id
    is_source = Source.id == ProductSource.source_id
    counts = counts_until(connection.dialect.name) >= microseconds(at)
    observed = exists().where(mine, is_source, or_(at - observed_for <= LAST_OBSERVED_AT, counts))
    query = (
        select(
            Product.id,
            Product.name,
            select(Catalogue.currency).scalar_subquery(),
            start,
            ProductSummary.compared_at,
            now,
            ProductSummary.observed_at,
        )
        .join_from(ProductSummary, Product, Product.id == ProductSummary.product_id)
        .where(moved, start > 0, observed)
        .order_by(relative.desc() if direction == "up" else relative, Product.id)
        .limit(limit)
    )
    return [
        Mover(
            product_id=product_id,
            name=name,
            currency=currency,
            start_price=before,
            start_at=compared_at - PERIODS[period],
            end_price=after,
            end_at=observed_at,
            change=after - before,
            change_percent=round(100 * (after - before) / before, 2),
        )
        for product_id, name, currency, before, compared_at, after, observed_at in connection.execute(query)
    ]


def refresh(session: Session, now: datetime, limit: int) -> int:
    """Look up the prices of up to `limit` products a day, a week and a month ago. Returns how many were due.

    A product that has not changed for a month has the same price as then, and is not due until it changes.
    """
    starts = {f"at_{period}": now - length for period, length in PERIODS.items()}
    times = {**starts, "now": now, "refresh_at": now + REFRESHED_EVERY}
    return len(session.execute(_REFRESH, {**times, "limit": limit}).all())


_SUMMARIES = Base.metadata.tables[ProductSummary.__tablename__]


def _time(name: str) -> ColumnElement[datetime]:
    return bindparam(name, type_=UtcDateTime)


def _price_then(period: str) -> ColumnElement[int | None]:
    """The lowest price in force at a time: that of the newest step, which may be compacted. A gap's price is NULL."""
    newest = []
    for model in (ProductPrice, ProductPriceDay):
        step = model.__table__.c
        then = (step.product_id == _SUMMARIES.c.product_id, step.observed_at <= _time(f"at_{period}"))
        steps = select(step.observed_at, step.lowest).where(*then).correlate(_SUMMARIES)
        newest.append(select(steps.order_by(step.observed_at.desc()).limit(1).subquery()))
    either = union_all(*newest).subquery()
    return select(either.c.lowest).order_by(either.c.observed_at.desc()).limit(1).scalar_subquery()


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
            compare_at=case((changes, _time("refresh_at"))),
            **{f"lowest_{period}": _price_then(period) for period in PERIODS},
        )
        .returning(_SUMMARIES.c.product_id)
    )


_REFRESH = _refresh()
