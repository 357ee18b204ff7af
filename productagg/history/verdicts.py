"""Whether the current price is a good one, compared with the product's earlier prices. For the API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection

from productagg.history.buckets import is_exact
from productagg.history.price_drops import PriceDrop, price_drop
from productagg.history.queries import StepQueries
from productagg.history.time_weighted import TimeWeighted
from productagg.history.timeline import DAY, PriceStep, bucket_end, moment, state_of
from productagg.history.trends import Extreme, Resolution, add_up, extreme, percent_of, rounded_percent

# With less, confidence is low.
_ENOUGH_DAYS = 30
_ENOUGH_OBSERVED = 0.5
# With less time in stock in the last 365 days there is no rating. A week has each of its days, offers of the weekend
# included; after minutes, any price would be the usual one.
_LEAST_IN_STOCK_US = 7 * DAY
# Share of the time in stock: dearer for so long makes the current price good, cheaper for so long poor.
_MOST_OF_THE_TIME = 0.75

Rating = Literal["good", "fair", "poor", "insufficient_history"]


@dataclass(frozen=True)
class Verdict:
    """The lowest price at the time `at`, and how it compares with earlier prices, in minor units.

    `dearer_percent`/`cheaper_percent`: share of the last 365 days' time in stock at a higher/lower price;
    `dearer_percent_ever`: of the whole history. 'good': dearer for three quarters of it; 'poor': cheaper for as long;
    else 'fair'; None without a price. If it was in stock, as far as observed, for less than 7 of the 365 days, it is
    'insufficient_history' whatever the shares, and `enough_at` is when it will have been for 7 days if it stays in
    stock and observed; else `enough_at` is None. `confidence` is 'low' if there are `reasons`.

    The figures of 365 days are exact if `resolution` is 'raw', those of the whole history if `resolution_ever` is. With
    'day', lows are exact for whole days, and a summarised day counts for the shares as if it had only its lowest and
    its highest price. The figures of 30 days are always exact.
    """

    at: datetime
    currency: str
    state: str
    resolution: Resolution
    resolution_ever: Resolution
    price: int | None
    verdict: Rating | None
    enough_at: datetime | None
    confidence: Literal["high", "low"]
    reasons: list[str]
    all_time_low: Extreme | None
    low_365_days: Extreme | None
    low_30_days: Extreme | None
    dearer_percent_ever: float | None
    dearer_percent: float | None
    cheaper_percent: float | None
    price_drop: PriceDrop | None


def verdict(connection: Connection, product_id: UUID, *, now: datetime, observed_for: timedelta) -> Verdict:
    """The verdict on a product's price now. `observed_for`: see StepQueries. Raises UnknownProduct."""
    queries = StepQueries(connection, product_id, now, observed_for)
    currency, steps = queries.price_steps(0, queries.now)
    steps = steps or [PriceStep(queries.now, None, observed=False)]
    begins = (steps[0].at, _year_begin(steps, queries.now), queries.now - 30 * DAY)
    windows = [add_up(steps, begin, queries.now, queries.now) for begin in begins]
    ever, year, month = (window.statistics for window in windows)
    state = state_of(steps[-1].price, steps[-1].observed)
    price = steps[-1].known_price
    reasons = _reasons(state, ever, month)
    return Verdict(
        at=moment(queries.now),
        currency=currency,
        state=state,
        resolution=windows[1].resolution,
        resolution_ever=windows[0].resolution,
        price=price,
        verdict=_rating(year, price),
        enough_at=_enough_at(year, price, queries.now),
        confidence="low" if reasons else "high",
        reasons=reasons,
        all_time_low=extreme(ever.lowest),
        low_365_days=extreme(year.lowest),
        low_30_days=extreme(month.lowest),
        dearer_percent_ever=_percent(ever, ever.dearer_us, price),
        dearer_percent=_percent(year, year.dearer_us, price),
        cheaper_percent=_percent(year, year.cheaper_us, price),
        price_drop=price_drop(steps, price) if price is not None else None,
    )


def _year_begin(steps: Sequence[PriceStep], now: int) -> int:
    """The start of the last 365 days: that of a whole day if some are summarised, so that no older price counts."""
    begin = now - 365 * DAY
    return begin if is_exact(steps, begin, now) else bucket_end(begin, DAY)


def _rating(year: TimeWeighted, price: int | None) -> Rating | None:
    if price is None:
        return None
    if year.in_stock_us < _LEAST_IN_STOCK_US:
        return "insufficient_history"
    most_us = _MOST_OF_THE_TIME * year.in_stock_us
    if year.dearer_us(price) >= most_us:
        return "good"
    return "poor" if year.cheaper_us(price) >= most_us else "fair"


def _enough_at(year: TimeWeighted, price: int | None, now: int) -> datetime | None:
    missing_us = _LEAST_IN_STOCK_US - year.in_stock_us
    return moment(now + missing_us) if price is not None and missing_us > 0 else None


def _percent(statistics: TimeWeighted, time_of: Callable[[int], int], price: int | None) -> float | None:
    return percent_of(time_of(price), statistics.in_stock_us) if price is not None else None


def _reasons(state: str, ever: TimeWeighted, month: TimeWeighted) -> list[str]:
    """Why the verdict may be wrong, in sentences."""
    of_state = {
        "in_stock": [],
        "sold_out": ["it is currently sold out"],
        "not_observed": ["its current price is unknown"],
    }
    reasons = of_state[state]
    if ever.observed_us < _ENOUGH_DAYS * DAY:
        days = ever.observed_us / DAY
        reasons.append(f"its price has been observed for {days:.1f} days in all, which is less than {_ENOUGH_DAYS}")
    elif month.observed_us < _ENOUGH_OBSERVED * 30 * DAY:
        share = rounded_percent(month.observed_us, 30 * DAY)
        reasons.append(f"in the last 30 days it was observed for {share} % of the time")
    return reasons
