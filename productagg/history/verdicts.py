"""Is the price now a good one? Compared with what the product cost before, and by the European rule for reductions.

For the API. The rule: Article 6a of Directive 98/6/EC, inserted by Directive (EU) 2019/2161 ('Omnibus'): an announced
reduction states the prior price, which is the lowest of at least the 30 days before the reduction, and where a price is
reduced further and further without interruption, before the first of these (the Commission's guidance, OJ C 526 of
29.12.2021, p. 130). So it is not the lowest of the last 30 days, in which the reduced price itself may lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection

from productagg.history.known import Known, price_steps
from productagg.history.steps import DAY, Step, moment, state_of
from productagg.history.tally import Tally
from productagg.history.trends import Extreme, add_up

# What makes a history short, or full of holes.
_ENOUGH_DAYS = 30
_ENOUGH_OBSERVED = 0.5
# Of the time in stock: so much of it dearer is a good price, so much of it cheaper a poor one.
_MOST_OF_THE_TIME = 0.75


@dataclass(frozen=True)
class Reduction:
    """The reduction that the price now comes from, as the Omnibus directive has it.

    `since` is its first step. `reference_price` is the lowest price of the 30 days before, in the upstream's unit;
    `reduction` is that less the price now, and `reduction_percent` is it in percent of the reference price, rounded to
    two decimals. Neither is above 0 if the product was as cheap in those days: then nothing may be announced.
    """

    since: datetime
    reference_price: int
    reduction: int
    reduction_percent: float | None


@dataclass(frozen=True)
class Verdict:
    """The lowest price `at` this moment, and how it compares. Prices in the upstream's unit, of the time in stock.

    `dearer_percent` and `cheaper_percent` are the shares of the observed time in stock, of the last 365 days, in which
    it was dearer or cheaper than now; `dearer_percent_ever` is of all that is known. `verdict` is 'good' if it was
    dearer for three quarters of that time in 365 days or more, 'poor' if it was cheaper for as long, else 'fair'; None
    without a price. `reduction` is None if the price was raised last, or was never another one in the raw history.
    `confidence` is 'low' for the `reasons`.
    """

    at: datetime
    state: str
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
    ever, year, month = (
        add_up(connection, known, begin, known.now).tally for begin in (0, known.now - 365 * DAY, known.now - 30 * DAY)
    )
    steps = price_steps(connection, known, max(known.raw_from, known.now - 365 * DAY), known.now, "lowest")
    price = ever.end_price
    dearer = cheaper = None
    if price is not None and year.in_stock_us:
        dearer, cheaper = year.dearer_us(price), year.cheaper_us(price)
    reasons = _doubts(steps, ever, month)
    return Verdict(
        at=moment(known.now),
        state=state_of(Step._make(steps[-1])) if steps else "not_observed",
        price=price,
        verdict=_word(dearer, cheaper, year.in_stock_us),
        confidence="low" if reasons else "high",
        reasons=reasons,
        all_time_low=_extreme(ever),
        low_365_days=_extreme(year),
        low_30_days=_extreme(month),
        dearer_percent_ever=_percent(ever.dearer_us(price), ever.in_stock_us) if price is not None else None,
        dearer_percent=_percent(dearer, year.in_stock_us),
        cheaper_percent=_percent(cheaper, year.in_stock_us),
        reduction=_reduction(connection, known, steps) if price is not None else None,
    )


def _word(dearer: int | None, cheaper: int | None, whole: int) -> Literal["good", "fair", "poor"] | None:
    if dearer is None or cheaper is None:
        return None
    if dearer >= _MOST_OF_THE_TIME * whole:
        return "good"
    return "poor" if cheaper >= _MOST_OF_THE_TIME * whole else "fair"


def _doubts(steps: Sequence[Sequence[Any]], ever: Tally, month: Tally) -> list[str]:
    """Why the verdict may be wrong, in words."""
    reasons = []
    if ever.end_price is None:
        unknown = not steps or not steps[-1][2]
        reasons.append("nobody knows the price now" if unknown else "it is sold out now")
    if ever.observed_us < _ENOUGH_DAYS * DAY:
        days = ever.observed_us / DAY
        reasons.append(f"its price has been observed for {days:.1f} days in all, which is less than {_ENOUGH_DAYS}")
    elif month.observed_us < _ENOUGH_OBSERVED * 30 * DAY:
        share = _percent(month.observed_us, 30 * DAY)
        reasons.append(f"in the last 30 days it was observed for {share} % of the time")
    return reasons


def _reduction(connection: Connection, known: Known, steps: Sequence[Sequence[Any]]) -> Reduction | None:
    """Go back from the price now through all prices in stock for as long as each was lower than the one before."""
    prices: list[tuple[int, int]] = []
    for at, price, observed in steps:
        if observed and price is not None and (not prices or prices[-1][1] != price):
            prices.append((at, price))
    first = len(prices) - 1
    while first > 0 and prices[first][1] < prices[first - 1][1]:
        first -= 1
    if first == len(prices) - 1:
        return None
    since, price = prices[first + 1][0], prices[-1][1]
    reference = _lowest(connection, known, since - 30 * DAY, since)
    if reference is None:
        return None
    reduction = reference - price
    return Reduction(moment(since), reference, reduction, _percent(reduction, reference))


def _lowest(connection: Connection, known: Known, begin: int, end: int) -> int | None:
    """The lowest price of a window whose end is among the raw steps; what lies before them is in hours."""
    parts = [(begin, min(end, known.raw_from)), (max(begin, known.raw_from), end)]
    lows = [add_up(connection, known, *part).tally.lowest for part in parts if part[0] < part[1]]
    return min((low[0] for low in lows if low is not None), default=None)


def _extreme(tally: Tally) -> Extreme | None:
    return Extreme(tally.lowest[0], moment(tally.lowest[1])) if tally.lowest else None


def _percent(part: int | None, whole: int) -> float | None:
    return round(100 * part / whole, 2) if part is not None and whole else None
