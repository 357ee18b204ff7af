"""A price's trend in a window: its ends, the change between them, and the statistics. For the API.

A window whose steps are all kept is answered exactly; one with summed-up days in it, at the resolution of days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection

from productagg.history.buckets import is_exact
from productagg.history.queries import Metric, Reader
from productagg.history.time_weighted import Tally, longest_gap_us
from productagg.history.timeline import DAY, SECOND, PriceStep, bucket_end, bucket_start, in_window, moment

Resolution = Literal["raw", "day"]
Direction = Literal["up", "down", "unchanged"]
# By the sign of the change.
_DIRECTIONS: dict[int, Direction] = {1: "up", -1: "down", 0: "unchanged"}


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
    `maximum`, `mean` and `median` are of the time in stock, the last two weighted by how long each price held: the
    median is the price that was undercut for as long as it was exceeded. `out_of_stock_percent` is of the observed
    time, `observed_percent` of the window; percentages are rounded to two decimals. `changes` counts new prices, sold
    out among them, within (begin, end].

    With the `resolution` 'raw' all of it is exact. With 'day' the window is aligned to UTC days, the times of the
    extremes are days, the median takes each summed-up day as its mean, and changes are those within [begin, end).
    """

    begin: datetime
    end: datetime
    resolution: Resolution
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
    """The tally of a window, in microseconds since the epoch, at a resolution."""

    tally: Tally
    begin: int
    end: int
    resolution: Resolution


def trend(
    connection: Connection,
    product_id: UUID,
    begin: datetime,
    end: datetime,
    metric: Metric = "lowest",
    *,
    now: datetime,
    observed_for: timedelta,
) -> Trend:
    """The trend of [begin, end). Begin lies before end, and before now, to which the end is clamped.

    `observed_for` is how long an observation counts (see Schedule). Raises UnknownProduct.
    """
    reader = Reader(connection, product_id, now, observed_for)
    first, last = reader.window(begin, end)
    # Whole days, with the step before them: whether any of them is summed up remains to be seen.
    steps = reader.price_steps(bucket_start(first, DAY) - 1, min(bucket_end(last, DAY), reader.now), metric)
    window = add_up(steps, first, last, reader.now)
    return _trend(window, in_window(steps, window.begin, window.end), metric)


def add_up(steps: Sequence[PriceStep], begin: int, end: int, now: int) -> Window:
    """Add up [begin, end), or the whole days of it if one of them is summed up. `steps` are those of whole days."""
    if is_exact(steps, begin, end):
        return Window(Tally(in_window(steps, begin, end), begin, end), begin, end, "raw")
    begin, end = bucket_start(begin, DAY), min(bucket_end(end, DAY), now)
    return Window(Tally(in_window(steps, begin - 1, end - 1), begin, end), begin, end, "day")


def _trend(window: Window, steps: Sequence[PriceStep], metric: Metric) -> Trend:
    tally, begin, end = window.tally, window.begin, window.end
    start_price, end_price = _end_prices(steps, begin)
    change = end_price - start_price if start_price is not None and end_price is not None else None
    return Trend(
        begin=moment(begin),
        end=moment(end),
        resolution=window.resolution,
        metric=metric,
        start_price=start_price,
        end_price=end_price,
        change=change,
        change_percent=percent_of(change, start_price),
        direction=_DIRECTIONS[(change > 0) - (change < 0)] if change is not None else None,
        minimum=extreme(tally.lowest),
        maximum=extreme(tally.highest),
        mean=tally.mean(),
        median=tally.median(),
        out_of_stock_percent=percent_of(tally.sold_out_us, tally.observed_us),
        observed_percent=rounded_percent(tally.observed_us, end - begin),
        longest_gap_seconds=longest_gap_us(steps, begin, end) / SECOND,
        changes=tally.changes,
    )


def _end_prices(steps: Sequence[PriceStep], begin: int) -> tuple[int | None, int | None]:
    """The prices in force at the begin of a window and at its end."""
    if not steps:
        return None, None
    return steps[0].known_price if steps[0].at <= begin else None, steps[-1].known_price


def extreme(found: tuple[int, int] | None) -> Extreme | None:
    return Extreme(found[0], moment(found[1])) if found else None


def percent_of(part: int | None, whole: int | None) -> float | None:
    """A share in percent; None if the part is not known, or there is no whole to divide by."""
    return rounded_percent(part, whole) if part is not None and whole else None


def rounded_percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)
