"""Is the price now a good one? Compared with what the product cost before. For the API."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from productagg.history.known import Known, first_observed, price_steps
from productagg.history.reductions import Reduction, reduction
from productagg.history.steps import DAY, Step, bucket_start, moment, state_of
from productagg.history.tally import Tally
from productagg.history.trends import Extreme, add_up

# What makes a history short, or full of holes.
_ENOUGH_DAYS = 30
_ENOUGH_OBSERVED = 0.5
# Of the time in stock: so much of it dearer is a good price, so much of it cheaper a poor one.
_MOST_OF_THE_TIME = 0.75


@dataclass(frozen=True)
class Verdict:
    """The lowest price `at` this moment, and how it compares. Prices in the upstream's unit, of the time in stock.

    `dearer_percent` and `cheaper_percent` are the shares of the observed time in stock, of the last 365 days, in which
    it was dearer or cheaper than now; `dearer_percent_ever` is of all that is known. `verdict` is 'good' if it was
    dearer for three quarters of that time in 365 days or more, 'poor' if it was cheaper for as long, else 'fair'; None
    without a price. `confidence` is 'low' for the `reasons`.

    What is of 365 days is exact if `resolution` is 'raw', and so is with `resolution_ever` what is of all times. With
    'hour', 'day' or 'week' lows are exact for whole ones, and each of them counts for the shares as if it had only its
    lowest and its highest price. What is of 30 days is always exact.
    """

    at: datetime
    state: str
    resolution: str
    resolution_ever: str
    price: int | None
    verdict: Literal["good", "fair", "poor"] | None
    confidence: Literal["high", "low"]
    reasons: list[str]
    all_time_low: Extreme | None
    low_365_days: Extreme | None
    low_30_days: Extreme | None
    dearer_percent_ever: float | None
    dearer_percent: float | None
    cheaper_percent: float | None
    reduction: Reduction | None


def verdict(connection: Connection, known: Known) -> Verdict:
    """The verdict on a product's price now."""
    begins = (first_observed(connection, known) or 0, _year_ago(known), known.now - 30 * DAY)
    windows = [add_up(connection, known, begin, known.now) for begin in begins]
    ever, year, month = (window.tally for window in windows)
    steps = price_steps(connection, known, known.now, known.now, "lowest")
    now = Step._make(steps[-1]) if steps else None
    price = now.known_price if now is not None else None
    dearer = cheaper = dearer_ever = None
    if price is not None:
        dearer, cheaper, dearer_ever = year.dearer_us(price), year.cheaper_us(price), ever.dearer_us(price)
    reasons = _doubts(state_of(now), ever, month)
    return Verdict(
        at=moment(known.now),
        state=state_of(now),
        resolution=windows[1].resolution,
        resolution_ever=windows[0].resolution,
        price=price,
        verdict=_word(dearer, cheaper, year.in_stock_us),
        confidence="low" if reasons else "high",
        reasons=reasons,
        all_time_low=_extreme(ever),
        low_365_days=_extreme(year),
        low_30_days=_extreme(month),
        dearer_percent_ever=_percent(dearer_ever, ever.in_stock_us),
        dearer_percent=_percent(dearer, year.in_stock_us),
        cheaper_percent=_percent(cheaper, year.in_stock_us),
        reduction=reduction(connection, known, price) if price is not None else None,
    )


def _year_ago(known: Known) -> int:
    """When 365 days begin; a whole day where there are no raw steps: no older price is among them."""
    begin = known.now - 365 * DAY
    return begin if begin >= known.raw_from else bucket_start(begin + DAY - 1, DAY)


def _word(dearer: int | None, cheaper: int | None, whole: int) -> Literal["good", "fair", "poor"] | None:
    if dearer is None or cheaper is None or not whole:
        return None
    if dearer >= _MOST_OF_THE_TIME * whole:
        return "good"
    return "poor" if cheaper >= _MOST_OF_THE_TIME * whole else "fair"


def _doubts(state: str, ever: Tally, month: Tally) -> list[str]:
    """Why the verdict may be wrong, in words."""
    reasons = {"in_stock": [], "sold_out": ["it is sold out now"], "not_observed": ["nobody knows the price now"]}[
        state
    ]
    if ever.observed_us < _ENOUGH_DAYS * DAY:
        days = ever.observed_us / DAY
        reasons.append(f"its price has been observed for {days:.1f} days in all, which is less than {_ENOUGH_DAYS}")
    elif month.observed_us < _ENOUGH_OBSERVED * 30 * DAY:
        share = _percent(month.observed_us, 30 * DAY)
        reasons.append(f"in the last 30 days it was observed for {share} % of the time")
    return reasons


def _extreme(tally: Tally) -> Extreme | None:
    return Extreme(tally.lowest[0], moment(tally.lowest[1])) if tally.lowest else None


def _percent(part: int | None, whole: int) -> float | None:
    return round(100 * part / whole, 2) if part is not None and whole else None
