"""Is the price now a good one? Compared with what the product cost before. For the API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection

from productagg.history.buckets import is_exact
from productagg.history.prior_price import Reduction, reduction
from productagg.history.queries import Reader
from productagg.history.time_weighted import Tally
from productagg.history.timeline import DAY, PriceStep, bucket_end, moment, state_of
from productagg.history.trends import Extreme, Resolution, add_up, extreme, percent_of, rounded_percent

# What makes a history short, or full of holes.
_ENOUGH_DAYS = 30
_ENOUGH_OBSERVED = 0.5
# A share of the time in stock: for so long dearer makes a good price, for so long cheaper a poor one.
_MOST_OF_THE_TIME = 0.75

Word = Literal["good", "fair", "poor"]


@dataclass(frozen=True)
class Verdict:
    """The lowest price `at` this moment, and how it compares. Prices in the upstream's unit, of the time in stock.

    `dearer_percent` and `cheaper_percent` are the shares of the observed time in stock, of the last 365 days, in which
    it was dearer or cheaper than now; `dearer_percent_ever` is of all that is known. `verdict` is 'good' if it was
    dearer for three quarters of that time in 365 days or more, 'poor' if it was cheaper for as long, else 'fair'; None
    without a price. `confidence` is 'low' for the `reasons`.

    The figures of 365 days are exact if `resolution` is 'raw', those of all times if `resolution_ever` is. With 'day',
    lows are exact for whole days, and a summed-up day counts for the shares as if it had only its lowest and its
    highest price. The figures of 30 days are always exact.
    """

    at: datetime
    state: str
    resolution: Resolution
    resolution_ever: Resolution
    price: int | None
    verdict: Word | None
    confidence: Literal["high", "low"]
    reasons: list[str]
    all_time_low: Extreme | None
    low_365_days: Extreme | None
    low_30_days: Extreme | None
    dearer_percent_ever: float | None
    dearer_percent: float | None
    cheaper_percent: float | None
    reduction: Reduction | None


def verdict(connection: Connection, product_id: UUID, *, now: datetime, observed_for: timedelta) -> Verdict:
    """The verdict on a product's price now. `observed_for`: see Reader. Raises UnknownProduct."""
    reader = Reader(connection, product_id, now, observed_for)
    steps = reader.price_steps(0, reader.now) or [PriceStep(reader.now, None, observed=False)]
    begins = (steps[0].at, _year_begin(steps, reader.now), reader.now - 30 * DAY)
    windows = [add_up(steps, begin, reader.now, reader.now) for begin in begins]
    ever, year, month = (window.tally for window in windows)
    state = state_of(steps[-1].price, steps[-1].observed)
    price = steps[-1].known_price
    reasons = _doubts(state, ever, month)
    return Verdict(
        at=moment(reader.now),
        state=state,
        resolution=windows[1].resolution,
        resolution_ever=windows[0].resolution,
        price=price,
        verdict=_word(year, price),
        confidence="low" if reasons else "high",
        reasons=reasons,
        all_time_low=extreme(ever.lowest),
        low_365_days=extreme(year.lowest),
        low_30_days=extreme(month.lowest),
        dearer_percent_ever=_percent(ever, ever.dearer_us, price),
        dearer_percent=_percent(year, year.dearer_us, price),
        cheaper_percent=_percent(year, year.cheaper_us, price),
        reduction=reduction(steps, price) if price is not None else None,
    )


def _year_begin(steps: Sequence[PriceStep], now: int) -> int:
    """Where the last 365 days begin: with a whole day if some of them are summed up, so that no older price counts."""
    begin = now - 365 * DAY
    return begin if is_exact(steps, begin, now) else bucket_end(begin, DAY)


def _word(year: Tally, price: int | None) -> Word | None:
    if price is None or not year.in_stock_us:
        return None
    most_us = _MOST_OF_THE_TIME * year.in_stock_us
    if year.dearer_us(price) >= most_us:
        return "good"
    return "poor" if year.cheaper_us(price) >= most_us else "fair"


def _percent(tally: Tally, time_of: Callable[[int], int], price: int | None) -> float | None:
    return percent_of(time_of(price), tally.in_stock_us) if price is not None else None


def _doubts(state: str, ever: Tally, month: Tally) -> list[str]:
    """Why the verdict may be wrong, in words."""
    of_state = {"in_stock": [], "sold_out": ["it is sold out now"], "not_observed": ["its price now is not known"]}
    reasons = of_state[state]
    if ever.observed_us < _ENOUGH_DAYS * DAY:
        days = ever.observed_us / DAY
        reasons.append(f"its price has been observed for {days:.1f} days in all, which is less than {_ENOUGH_DAYS}")
    elif month.observed_us < _ENOUGH_OBSERVED * 30 * DAY:
        share = rounded_percent(month.observed_us, 30 * DAY)
        reasons.append(f"in the last 30 days it was observed for {share} % of the time")
    return reasons
