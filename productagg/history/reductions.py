"""The reduction that a price now comes from, and the price before it, by the European rule. For verdicts.

The rule: Article 6a of Directive 98/6/EC, inserted by Directive (EU) 2019/2161 ('Omnibus'): an announced reduction
states the prior price, which is the lowest of at least the 30 days before the reduction, and where a price is reduced
further and further without interruption, before the first of these (the Commission's guidance, OJ C 526 of 29.12.2021,
p. 130). So it is not the lowest of the last 30 days, in which the reduced price itself may lie.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection, Executable, Uuid, bindparam, func, or_, select

from productagg.db.models import ProductPrice, UtcDateTime
from productagg.history.known import Known, rolled_prices
from productagg.history.reading import as_microseconds
from productagg.history.steps import DAY, HOUR, Bucket, bucket_start, moment
from productagg.history.trends import add_up

# How far to look back at first, and how many times further if the price has only fallen since.
_FIRST_LOOK = 2 * DAY
_FURTHER = 8
# Of how many days before one the hours are read with its own.
_HOURS_OF = 31 * DAY


@dataclass(frozen=True)
class Reduction:
    """The reduction that the price now comes from, as the Omnibus directive has it.

    `since` is its first step; the UTC hour, if its raw steps are no longer kept. `reference_price` is the lowest price
    of the 30 days before, in the upstream's unit; those are whole hours where raw steps are no longer kept. `reduction`
    is that less the price now, `reduction_percent` is it in percent of the reference price, rounded to two decimals,
    None of a price of 0. Neither is above 0 if the product was as cheap in those days: then nothing may be announced.
    """

    since: datetime
    reference_price: int
    reduction: int
    reduction_percent: float | None


def reduction(connection: Connection, known: Known, price: int) -> Reduction | None:
    """The reduction that this price, which it has now, comes from.

    None: it rose last, it was never another one, or nobody knows of a price in stock in the 30 days before it fell.
    """
    since = _first_fall(connection, known, price)
    if since is None:
        return None
    reference = _lowest(connection, known, since - 30 * DAY, since)
    if reference is None:
        return None
    reduced = reference - price
    percent = round(100 * reduced / reference, 2) if reference else None
    return Reduction(moment(since), reference, reduced, percent)


class _Turns(NamedTuple):
    """What a price in stock did in some time, in microseconds: when it last rose, when it first fell after that."""

    rose_at: int | None
    fell_at: int | None
    first_at: int | None
    first_price: int | None


def _first_fall(connection: Connection, known: Known, price: int) -> int | None:
    """Since when the price has only fallen; None if it has not fallen since it rose last."""
    length = _FIRST_LOOK
    while True:
        begin = max(known.raw_from, known.now - length)
        turns = _turns(connection, known, begin)
        if turns.rose_at is not None:
            return turns.fell_at
        if begin == known.raw_from:
            break
        length *= _FURTHER
    if not known.raw_from:
        return turns.fell_at
    buckets = _dropped(connection, known)
    if turns.first_at is None or turns.first_price is None:
        earlier = _first_fall_in(buckets, price, known.raw_from)
    else:
        earlier = _first_fall_in(buckets, turns.first_price, turns.first_at)
    return turns.fell_at if earlier is None else earlier


def _dropped(connection: Connection, known: Known) -> Iterator[Bucket]:
    """What the price did before the raw steps, the newest first: days, or the hours of those in which it varied."""
    _, days = rolled_prices(connection, known, 0, known.raw_from, DAY, "lowest")
    hours: dict[int, list[Bucket]] = {}
    for day in reversed(days):
        if day.lowest == day.highest and day.in_stock_us in (0, DAY):
            yield day
            continue
        if day.at not in hours:
            _, found = rolled_prices(connection, known, day.at - _HOURS_OF, day.at + DAY, HOUR, "lowest")
            hours = {at: list(of_day) for at, of_day in groupby(found, lambda hour: bucket_start(hour.at, DAY))}
        yield from reversed(hours[day.at])


def _first_fall_in(buckets: Iterable[Bucket], price: int, since: int) -> int | None:
    """Go back through buckets, the newest first, from a price that was in force `since` then."""
    fell_at = None
    for bucket in buckets:
        if bucket.open is None or bucket.close is None or bucket.lowest is None or bucket.highest is None:
            continue
        if bucket.close < price:
            break
        if bucket.close > price:
            fell_at = since
        if bucket.lowest < bucket.close or bucket.highest > bucket.open:
            # It rose within the hour. Whether it fell after that, nobody knows any more.
            break
        if bucket.open > bucket.close:
            fell_at = bucket.at
        price, since = bucket.open, bucket.at
    return fell_at


def _lowest(connection: Connection, known: Known, begin: int, end: int) -> int | None:
    """The lowest price of a window; where the raw steps are no longer there, of its whole hours."""
    if begin < known.raw_from:
        begin = bucket_start(begin + HOUR - 1, HOUR)
    parts = [(begin, min(end, known.raw_from)), (max(begin, known.raw_from), end)]
    lows = [add_up(connection, known, *part).tally.lowest for part in parts if part[0] < part[1]]
    return min((low[0] for low in lows if low is not None), default=None)


def _turns(connection: Connection, known: Known, begin: int) -> _Turns:
    """What the raw steps from `begin` on say."""
    parameters = {"product_id": known.product_id, "begin": moment(begin), "end": moment(known.now)}
    return _Turns._make(connection.execute(_statement(connection.dialect.name), parameters).one())


@cache
def _statement(dialect: str) -> Executable:
    """The database looks for the turns: of a price that seldom changes there may be a great many rows."""
    price = ProductPrice.__table__.c
    begin, end = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
    which = (price.product_id == bindparam("product_id", type_=Uuid), price.observed, price.lowest.is_not(None))
    earlier = func.lag(price.lowest).over(order_by=price.observed_at)
    prices = (
        select(as_microseconds(dialect, price.observed_at).label("at"), price.lowest, earlier.label("earlier"))
        .where(*which, price.observed_at >= begin, price.observed_at <= end)
        .cte("prices")
    )
    rose_at = select(func.max(prices.c.at)).where(prices.c.lowest > prices.c.earlier).scalar_subquery()
    fell_at = (
        select(func.min(prices.c.at))
        .where(prices.c.lowest < prices.c.earlier, or_(rose_at.is_(None), prices.c.at > rose_at))
        .scalar_subquery()
    )
    first_at = select(func.min(prices.c.at)).scalar_subquery()
    first_price = select(prices.c.lowest).where(prices.c.at == first_at).scalar_subquery()
    return select(rose_at, fell_at, first_at, first_price)
