"""A price's trend in a window: the prices at its ends, the change between them, and the statistics. For the API.

A window whose steps are all kept is answered exactly; a window with summarised days, at the resolution of days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection

from productagg.history.buckets import is_exact
from productagg.history.queries import Metric, StepQueries
from productagg.history.time_weighted import TimeWeighted, longest_gap_us
from productagg.history.timeline import DAY, SECOND, PriceStep, bucket_end, bucket_start, in_window, moment

Resolution = Literal["raw", "day"]
Direction = Literal["up", "down", "unchanged"]
# By the sign of the change.
_DIRECTIONS: dict[int, Direction] = {1: "up", -1: "down", 0: "unchanged"}


@dataclass(frozen=True)
class Extreme:
    """A price and when it first held, at the trend's resolution."""

    price: int
    at: datetime


@dataclass(frozen=True)
class Trend:
    """The trend of a price (`metric`: the lowest or the average of the in-stock offers) in [begin, end).

    Prices are in minor units of `currency`, the catalogue's. `start_price` and `end_price` are those at the window's
    ends; None if sold out or not observed. `change_percent` is 100 * (end - start) / start, None without both prices or
    if the first is 0. `minimum`, `maximum`, `mean` and `median` cover the time in stock; mean and median are weighted
    by how long each price held. `out_of_stock_percent` is of the observed time, `observed_percent` of the window;
    percentages are rounded to two decimals. `changes` within (begin, end] include those to and from sold out.

    With the `resolution` 'raw' all of it is exact. With 'day' the window is aligned to UTC days, the times of the
    extremes are days, the median takes each summarised day as its mean, and changes are those within [begin, end).
    """

    begin: datetime
    end: datetime
    resolution: Resolution
    metric: str
    currency: str
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
class WindowStatistics:
    """The statistics of a window, in microseconds since the epoch, and their resolution."""

    statistics: TimeWeighted
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
    """The trend of [begin, end). `begin` lies before `end` and before now; `end` is clamped to now.

    `observed_for` is how long an observation counts (see Schedule). Raises UnknownProduct.
    """
    queries = StepQueries(connection, product_id, now, observed_for)
    first, last = queries.window(begin, end)
    # Whole days and the step before: only the steps tell whether a day is summarised.
    whole_days = (bucket_start(first, DAY) - 1, min(bucket_end(last, DAY), queries.now))
    currency, steps = queries.price_steps(*whole_days, metric)
    window = add_up(steps, first, last, queries.now)
    return _trend(window, in_window(steps, window.begin, window.end), metric, currency)


def add_up(steps: Sequence[PriceStep], begin: int, end: int, now: int) -> WindowStatistics:
    """The statistics of [begin, end), or of its whole days if one is summarised. `steps` are those of whole days."""
    if is_exact(steps, begin, end):
        return WindowStatistics(TimeWeighted(in_window(steps, begin, end), begin, end), begin, end, "raw")
    begin, end = bucket_start(begin, DAY), min(bucket_end(end, DAY), now)
    return WindowStatistics(TimeWeighted(in_window(steps, begin - 1, end - 1), begin, end), begin, end, "day")


def _trend(window: WindowStatistics, steps: Sequence[PriceStep], metric: Metric, currency: str) -> Trend:
    statistics, begin, end = window.statistics, window.begin, window.end
    start_price, end_price = _end_prices(steps, begin)
    change = end_price - start_price if start_price is not None and end_price is not None else None
    return Trend(
        begin=moment(begin),
        end=moment(end),
        resolution=window.resolution,
        metric=metric,
        currency=currency,
        start_price=start_price,
        end_price=end_price,
        change=change,
        change_percent=percent_of(change, start_price),
        direction=_DIRECTIONS[(change > 0) - (change < 0)] if change is not None else None,
        minimum=extreme(statistics.lowest),
        maximum=extreme(statistics.highest),
        mean=statistics.mean(),
        median=statistics.median(),
        out_of_stock_percent=percent_of(statistics.sold_out_us, statistics.observed_us),
        observed_percent=rounded_percent(statistics.observed_us, end - begin),
        longest_gap_seconds=longest_gap_us(steps, begin, end) / SECOND,
        changes=statistics.changes,
    )


def _end_prices(steps: Sequence[PriceStep], begin: int) -> tuple[int | None, int | None]:
    """The prices in force at the start of a window and at its end."""
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
