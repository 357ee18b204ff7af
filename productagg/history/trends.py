"""A price's trend in a window: its ends, the change between them, and the statistics. For the API.

Windows whose raw steps are still there are answered exactly; older ones from roll-ups, whose resolution the answer
states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection

from productagg.history.known import (
    Known,
    is_raw,
    price_part,
    price_steps,
    price_tail,
    price_tail_part,
    rolled_price_part,
    rolled_prices,
)
from productagg.history.reading import Part
from productagg.history.steps import DAY, HOUR, SECOND, WEEK, Bucket, Step, bucket_start, microseconds, moment
from productagg.history.tally import Tally

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
    window is aligned to it, and so are the times; the median is that of the buckets' means, the longest gap at most so
    long, and changes are those within [begin, end).
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
    """What was added up: in microseconds since the epoch, and from which resolution.

    `start_price` and `end_price` are as of its ends: None for sold out, or nobody knows.
    """

    tally: Tally
    begin: int
    end: int
    resolution: str
    start_price: int | None
    end_price: int | None


def raw_part(begin: datetime, end: datetime, now: datetime, metric: str) -> Part | None:
    """What a trend is made of if it is surely 'raw'; the end is not in the future."""
    return price_part(microseconds(begin), microseconds(end), metric) if is_raw(begin, now) else None


def trend(connection: Connection, known: Known, begin: datetime, end: datetime, metric: str = "lowest") -> Trend:
    """The trend of [begin, end). Begin lies before end, and before now, to which the end is clamped."""
    window = add_up(connection, known, microseconds(begin), microseconds(end), metric)
    tally, start, finish = window.tally, window.start_price, window.end_price
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
        steps = price_steps(connection, known, begin, end, metric)
        tally.steps(steps, begin, end)
        start = Step._make(steps[0]).known_price if steps and steps[0][0] <= begin else None
        return Window(tally, begin, end, "raw", start, _newest_price(steps))
    length, resolution = next(
        (length, name) for name, length, longest in _RESOLUTIONS if longest is None or end - begin <= longest
    )
    begin = bucket_start(begin, length)
    if end <= known.rolled_until:
        end = min(bucket_start(end - 1, length) + length, known.now)
    windows = []
    at = begin
    for each in (length, DAY):
        stop = bucket_start(min(end, known.rolled_until), each)
        if at < stop:
            windows.append((at, stop, each))
            at = stop
    parts = [rolled_price_part(*window, metric, first=window[0] == begin) for window in windows]
    known = known.bring(connection, [*parts, price_tail_part(at, end, metric)] if at < end else parts)
    start = carried = None
    for at_, stop, each in windows:
        first = at_ == begin
        before, buckets = rolled_prices(connection, known, at_, stop, each, metric, first=first)
        if first:
            start = _opening(connection, known, begin, metric, before, buckets, each)
        carried = tally.buckets(before if first else carried, buckets, at_, stop, each)
    if at < end:
        steps = price_tail(connection, known, carried, at, end, metric)
        tally.steps(steps, at, end)
        finish = _newest_price(steps)
    else:
        finish = _price_at(connection, known, end, metric)
    return Window(tally, begin, end, resolution, start, finish)


def _newest_price(steps: Sequence[Sequence[Any]]) -> int | None:
    return Step._make(steps[-1]).known_price if steps else None


def _price_at(connection: Connection, known: Known, at: int, metric: str) -> int | None:
    """The price as of a whole hour."""
    if at >= known.raw_from:
        return _newest_price(price_steps(connection, known, at, at, metric))
    before, hours = rolled_prices(connection, known, at, at + HOUR, HOUR, metric)
    return _opening(connection, known, at, metric, before, hours, HOUR)


def _opening(
    connection: Connection,
    known: Known,
    at: int,
    metric: str,
    before: Step | None,
    buckets: Sequence[Bucket],
    length: int,
) -> int | None:
    """The price as of `at`, which may be that of a change at this very moment, as the bucket that begins then tells."""
    carried = before.known_price if before is not None else None
    if not buckets or buckets[0].at > at:
        return carried
    first = buckets[0]
    if first.in_stock_us in (0, length) or first.open == carried:
        return first.open
    if length > HOUR:
        return _price_at(connection, known, at, metric)
    # It was in stock for a part of the hour: for the first one, rather than to begin with a change to sold out.
    return first.open if carried is not None else None


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)
