"""A price's trend in a window: its ends, the change between them, and the statistics. For the API.

Windows whose raw steps are still there are added up by the database, exactly; older ones from roll-ups, whose
resolution the answer states.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Literal

from sqlalchemy import BigInteger, Connection, Executable, Uuid, and_, bindparam, case, func, select, union_all

from productagg.bulk import columns, rows_of
from productagg.history.known import Known, as_microseconds, product_steps, rolled_prices
from productagg.history.steps import DAY, HOUR, SECOND, WEEK, bucket_start, microseconds, moment
from productagg.history.tally import Tally
from productagg.models import ProductPrice, UtcDateTime

# Which buckets a window is made of that is up to this long: a few hundred of them, for however many years.
_RESOLUTIONS = (
    ("hour", HOUR, 32 * DAY),
    ("day", DAY, 2 * 366 * DAY),
    ("week", WEEK, None),
)

Direction = Literal["up", "down", "unchanged"]


@dataclass(frozen=True)
class Extreme:
    """A price, and since when it was asked; within the trend's resolution."""

    price: int
    at: datetime


@dataclass(frozen=True)
class Trend:
    """What a price (`metric`: the lowest or the average of the in-stock offers) did in [begin, end).

    Prices are in the upstream's unit. `start_price` and `end_price` are as of the window's ends; None: sold out, or not
    observed. `change_percent` is 100 * (end - start) / start, None without both prices or if the first is 0. `minimum`,
    `maximum`, `mean` and `median` are of the time in stock, the last two weighted by how long each price held; half as
    cheap or cheaper, half as dear or dearer is the median. `out_of_stock_percent` is of the observed time,
    `observed_percent` of the window; percentages are rounded to two decimals. `changes` counts new prices, sold out
    among them, within (begin, end]. `resolution` is 'raw' for an exact answer, else the roll-up that it is from: the
    window is aligned to it, and so are the times; the median is that of the buckets' means.
    """

    begin: datetime
    end: datetime
    resolution: str
    metric: str
    start_price: int | None
    end_price: int | None
    change: int | None
    change_percent: float | None
    direction: Direction | None
    minimum: Extreme | None
    maximum: Extreme | None
    mean: float | None
    median: float | None
    out_of_stock_percent: float | None
    observed_percent: float
    longest_gap_seconds: float
    changes: int


@dataclass(frozen=True)
class Window:
    """What was added up: in microseconds since the epoch, and from which resolution."""

    tally: Tally
    begin: int
    end: int
    resolution: str


def trend(connection: Connection, known: Known, begin: datetime, end: datetime, metric: str = "lowest") -> Trend:
    """The trend of [begin, end). Begin lies before end, and before now, to which the end is clamped."""
    window = add_up(connection, known, microseconds(begin), microseconds(end), metric)
    tally = window.tally
    start, finish = tally.start_price, tally.end_price
    change = percent = None
    direction: Direction | None = None
    if start is not None and finish is not None:
        change = finish - start
        direction = "up" if change > 0 else "down" if change < 0 else "unchanged"
        percent = _percent(change, start) if start else None
    return Trend(
        begin=moment(window.begin),
        end=moment(window.end),
        resolution=window.resolution,
        metric=metric,
        start_price=start,
        end_price=finish,
        change=change,
        change_percent=percent,
        direction=direction,
        minimum=Extreme(tally.lowest[0], moment(tally.lowest[1])) if tally.lowest else None,
        maximum=Extreme(tally.highest[0], moment(tally.highest[1])) if tally.highest else None,
        mean=tally.weighted / tally.in_stock_us if tally.in_stock_us else None,
        median=tally.median(),
        out_of_stock_percent=_percent(tally.sold_out_us, tally.observed_us) if tally.observed_us else None,
        observed_percent=_percent(tally.observed_us, window.end - window.begin),
        longest_gap_seconds=tally.longest_gap_us / SECOND,
        changes=tally.changes,
    )


def add_up(connection: Connection, known: Known, begin: int, end: int, metric: str = "lowest") -> Window:
    """Add up [begin, end), in microseconds since the epoch, from what is there. The end is clamped to now."""
    end = min(end, known.now)
    tally = Tally()
    if begin >= known.raw_from:
        _add_raw(tally, connection, known, begin, end, metric)
        return Window(tally, begin, end, "raw")
    length, resolution = next(
        (length, name) for name, length, longest in _RESOLUTIONS if longest is None or end - begin <= longest
    )
    begin = bucket_start(begin, length)
    if end <= known.rolled_until:
        end = min(bucket_start(end - 1, length) + length, known.now)
    at = begin
    for each in (length, DAY):
        stop = bucket_start(min(end, known.rolled_until), each)
        if at < stop:
            carried, found = rolled_prices(connection, known, at, stop, each, metric)
            if at == begin:
                tally.start(carried, found, begin, each)
            tally.buckets(carried, found, at, stop, each)
            at = stop
    if at < end:
        # With the one before, so that a change at this very moment counts.
        steps = product_steps(connection, known, at - 1, end)
        tally.steps([each.of(metric) for each in steps], at, end)
    return Window(tally, begin, end, resolution)


def _add_raw(tally: Tally, connection: Connection, known: Known, begin: int, end: int, metric: str) -> None:
    """Let the database add up what held how long: as few rows come back as there were prices."""
    observed_end = end if known.gap_from is None else min(end, known.gap_from)
    parameters = {"product_id": known.product_id, "begin": moment(begin), "end": moment(observed_end)}
    numbers = {"begin_us": begin, "end_us": observed_end}
    statement = _held(connection.dialect.name, metric)
    held = list(rows_of(connection.execute(statement, {**parameters, **numbers}).one()))
    if observed_end <= begin or (known.raw_from and min((row[3] for row in held), default=end) > begin):
        # A gap all through, or the price in force at the beginning is no longer among the raw steps.
        steps = [each.of(metric) for each in product_steps(connection, known, begin, end)]
        tally.steps(steps, begin, end)
        tally.start_price = steps[0].known_price if steps and steps[0].at <= begin else None
        return
    newest = max((row[4] for row in held), default=begin)
    for observed, price, us, first, last, longest, changes in held:
        if not observed:
            tally.gap(longest)
        elif us:
            tally.hold(price, us, first)
        tally.changes += changes
        if observed and first == begin:
            tally.start_price = price
        if observed and last == newest:
            tally.end_price = price
    if known.gap_from is not None and known.gap_from <= end:
        tally.gap(end - known.gap_from)
        tally.end_price = None


@cache
def _held(dialect: str, metric: str) -> Executable:
    """For each price of the window, and for 'sold out' and 'not observed': how long, since when, how often it came."""
    price = ProductPrice.__table__.c
    begin, end = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
    begin_us, end_us = (bindparam(name, type_=BigInteger) for name in ("begin_us", "end_us"))
    which = price.product_id == bindparam("product_id", type_=Uuid)
    wanted = (price.observed, price[metric].label("price"))
    newest = select(*wanted).where(which, price.observed_at <= begin).order_by(price.observed_at.desc()).limit(1)
    before = newest.subquery()
    steps = union_all(
        select(begin_us.label("at"), before.c.observed, before.c.price),
        select(as_microseconds(dialect, price.observed_at), *wanted).where(
            which, price.observed_at > begin, price.observed_at <= end
        ),
    ).subquery()
    observed_before, price_before, next_at = (
        function.over(order_by=steps.c.at)
        for function in (func.lag(steps.c.observed), func.lag(steps.c.price), func.lead(steps.c.at))
    )
    changed = and_(steps.c.observed, observed_before, steps.c.price.is_distinct_from(price_before))
    spans = select(
        steps.c.at,
        steps.c.observed,
        steps.c.price,
        (func.coalesce(next_at, end_us) - steps.c.at).label("us"),
        case((changed, 1), else_=0).label("changed"),
    ).subquery()
    held = (
        select(
            spans.c.observed,
            spans.c.price,
            func.sum(spans.c.us),
            func.min(spans.c.at),
            func.max(spans.c.at),
            func.max(spans.c.us),
            func.sum(spans.c.changed),
        )
        .group_by(spans.c.observed, spans.c.price)
        .subquery()
    )
    return select(*columns(dialect, *held.c))


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)
