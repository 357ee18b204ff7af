"""A trader's price reduction and its prior price under EU law. Pure: no database. For prior_prices.

Article 6a of Directive 98/6/EC, inserted by Directive (EU) 2019/2161 ('Omnibus'): whoever announces a price reduction
indicates the prior price, which is the lowest price that this trader applied in at least the 30 days before. So it is a
matter of one offer, not of a product that many traders sell, and not of the last 30 days, which may include the reduced
price itself.

- **The reduction** is computed from the prior price, not from the price just before (CJEU, 26.9.2024, C-330/23, Aldi
  Süd). If the price was as low in those 30 days (raised, then cut), there is none.
- **Further reductions**: the prior price stays that before the first one, as long as they are not interrupted (Article
  6a(5), which states may adopt; the Commission's guidance, OJ C 526 of 29.12.2021, p. 139). A higher price interrupts
  them, and so do 30 days without any known price.
- **Sold out**: neither Article 6a nor a section of the guidance is about times without stock. A price at which nobody
  could buy was not applied, so it counts neither as the lowest nor as a fall or a rise.
- **Less than 30 days on the market**: the period is as long as the offer was seen. States may permit that (Article
  6a(4)); `first_seen_recently` says so.
- **A year back**: falls that are older do not count. A price that has held for a year is the trader's usual price.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from productagg.history.buckets import is_exact
from productagg.history.price_drops import PERIOD, Fall, first_fall, lowest_before
from productagg.history.timeline import DAY, PriceStep, moment, state_of
from productagg.history.trends import Resolution, percent_of

# How far back falls count, and how far back to read: the 30 days before the oldest fall belong to it.
LONGEST_REDUCTION = 365 * DAY
LOOK_BACK = LONGEST_REDUCTION + PERIOD
# Unobserved time, in all, that lowers the confidence. With less, an outage of an hour would make each answer unsure for
# a month.
_MOST_UNOBSERVED = DAY

ReasonCode = Literal[
    "closed",
    "sold_out",
    "not_observed",
    "no_price_before",
    "first_seen_recently",
    "gaps",
    "days_summarised",
]


@dataclass(frozen=True)
class Reason:
    """A reason not to rely on an answer: a code for programs, a sentence for people."""

    code: ReasonCode
    text: str


@dataclass(frozen=True)
class PriorPrice:
    """An offer's price at the time `at`, in minor units of `currency`, and the reduction that led to it.

    `is_reduced` is None if that cannot be told: without a known price now, or of the 30 days before it fell.
    `fell_at` is when the price first fell, or the UTC day of that fall if the day is summarised, and `prior_price` the
    lowest price in stock of the 30 days before. Both are None if it did not fall. They are given as well if it fell to
    a price that is not below the prior price, which is no reduction. `reduction` is the prior price less the price,
    `reduction_percent` in percent of the prior price, rounded to two decimals; both are None unless it is reduced.

    `confidence` is 'low' if there are `reasons`. With the `resolution` 'day', some of the days it is about are
    summarised: their lowest prices are exact, their times are not.
    """

    at: datetime
    currency: str
    state: str
    resolution: Resolution
    is_reduced: bool | None
    price: int | None
    prior_price: int | None
    fell_at: datetime | None
    reduction: int | None
    reduction_percent: float | None
    confidence: Literal["high", "low"]
    reasons: list[Reason]


def prior_price(steps: Sequence[PriceStep], now: int, currency: str, *, is_closed: bool) -> PriorPrice:
    """An offer's prior price now. `steps` are those of the last LOOK_BACK, with the one in force at its start.

    `is_closed`: its source no longer lists it. `now` is in microseconds since the epoch.
    """
    steps = steps or [PriceStep(now, None, observed=False)]
    last, price = steps[-1], steps[-1].known_price
    fall = first_fall(steps, now - LONGEST_REDUCTION) if price is not None else Fall(None, hidden=False)
    prior = lowest_before(steps, fall.at) if fall.at is not None else None
    reduction = _reduction(price, prior)
    is_exactly_known = not fall.hidden and is_exact(steps, _begin(fall, now), now)
    reasons = [*_reasons_of_now(last, is_closed=is_closed), *_reasons_of_past(steps, fall, now)]
    if fall.at is not None and prior is None:
        reasons.append(Reason("no_price_before", "no price in stock is known of the 30 days before it fell"))
    if not is_exactly_known:
        text = "the steps of some days are no longer kept, only their lowest and highest prices"
        reasons.append(Reason("days_summarised", text))
    return PriorPrice(
        at=moment(now),
        currency=currency,
        state=state_of(last.price, last.observed),
        resolution="raw" if is_exactly_known else "day",
        is_reduced=None if price is None or (fall.at is not None and prior is None) else reduction is not None,
        price=price,
        prior_price=prior,
        fell_at=moment(fall.at) if fall.at is not None else None,
        reduction=reduction,
        reduction_percent=percent_of(reduction, prior),
        confidence="low" if reasons else "high",
        reasons=reasons,
    )


def _reduction(price: int | None, prior: int | None) -> int | None:
    return prior - price if price is not None and prior is not None and price < prior else None


def _begin(fall: Fall, now: int) -> int:
    """The start of the time that decides: 30 days before the reduction, or before now if there is none."""
    return (now if fall.at is None else fall.at) - PERIOD


def _reasons_of_now(last: PriceStep, *, is_closed: bool) -> Iterator[Reason]:
    if is_closed:
        yield Reason("closed", "its source no longer lists it")
    elif not last.observed:
        yield Reason("not_observed", "its current price is unknown")
    elif last.price is None:
        yield Reason("sold_out", "it is currently sold out")


def _reasons_of_past(steps: Sequence[PriceStep], fall: Fall, now: int) -> Iterator[Reason]:
    begin, first = _begin(fall, now), steps[0].at
    if first > begin:
        days = f"{(begin + PERIOD - first) / DAY:.1f} days"
        when = f"{days} ago" if fall.at is None else f"{days} before its price fell"
        yield Reason("first_seen_recently", f"it was first seen {when}, which is less than 30")
    unobserved_us = _unobserved_us(steps, begin, now)
    if unobserved_us >= _MOST_UNOBSERVED:
        yield Reason("gaps", f"it was not observed for {unobserved_us / DAY:.1f} days since {_day(max(begin, first))}")


def _unobserved_us(steps: Sequence[PriceStep], begin: int, end: int) -> int:
    """How long it was not observed in a window, from its first step on. Exact in summarised days, too."""
    ends = [*(step.at for step in steps[1:]), end]
    pieces = zip(steps, ends, strict=True)
    return sum(max(0, until - max(step.at, begin)) for step, until in pieces if not step.observed)


def _day(at: int) -> str:
    return moment(at).date().isoformat()
