"""The reduction that led to the current price, and its prior price under EU law. For verdicts. Pure: no database.

Article 6a of Directive 98/6/EC, inserted by Directive (EU) 2019/2161 ('Omnibus'): an announced reduction states the
prior price. The prior price is the lowest of the 30 days before the reduction, or before the first of successive
reductions (the Commission's guidance, OJ C 526 of 29.12.2021, p. 130). It is not the lowest of the last 30 days, which
may include the reduced price itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from productagg.history.buckets import MEAN, OPEN, is_exact, without_summarised
from productagg.history.time_weighted import TimeWeighted
from productagg.history.timeline import DAY, PriceStep, bucket_end, bucket_start, in_window, moment


@dataclass(frozen=True)
class Reduction:
    """The reduction that led to the current price, as the Omnibus directive defines it.

    `since` is its first step, or the UTC day of that step if the day is summarised. `reference_price` is the lowest
    price of the 30 days before, in minor units; if some of these are summarised, of the whole days among them.
    `reduction` is the reference price less the current price; `reduction_percent` is in percent of the reference price,
    rounded to two decimals, None of a price of 0. Not above 0 if the product was already as cheap then; no reduction
    may be announced.
    """

    since: datetime
    reference_price: int
    reduction: int
    reduction_percent: float | None


def reduction(steps: Sequence[PriceStep], price: int) -> Reduction | None:
    """The reduction that led to this price, which is that of the last step. `steps` are the whole history.

    None: the price rose last, or never changed, or no price in stock is known of the 30 days before the reduction.
    """
    since = _first_fall(steps)
    if since is None:
        return None
    reference = _lowest(steps, since - 30 * DAY, since)
    if reference is None:
        return None
    reduced = reference - price
    percent = round(100 * reduced / reference, 2) if reference else None
    return Reduction(moment(since), reference, reduced, percent)


class _Piece(NamedTuple):
    """The price of a step in stock, or the prices of a summarised day."""

    at: int
    open: int
    close: int
    lowest: int
    highest: int

    @property
    def rose(self) -> bool:
        """Whether the price rose within the day. Whether it fell after that is not known."""
        return self.lowest < self.close or self.highest > self.open


def _first_fall(steps: Sequence[PriceStep]) -> int | None:
    """When the price first fell since it last rose; None if it has not fallen since."""
    fell_at = None
    later: _Piece | None = None
    for piece in _newest_first(steps):
        if later is not None and piece.close < later.open:
            break
        if later is not None and piece.close > later.open:
            fell_at = later.at
        if piece.rose:
            break
        if piece.open > piece.close:
            fell_at = piece.at
        later = piece
    return fell_at


def _newest_first(steps: Sequence[PriceStep]) -> Iterator[_Piece]:
    for step in reversed(without_summarised(steps)):
        price, summary = step.known_price, step.summary
        if summary is not None and summary[OPEN] is not None:
            yield _Piece(bucket_start(step.at, DAY), *summary[OPEN:MEAN])
        elif summary is None and price is not None:
            yield _Piece(step.at, price, price, price, price)


def _lowest(steps: Sequence[PriceStep], begin: int, end: int) -> int | None:
    """The lowest price of a window, or of its whole days if one is summarised. It ends where a step or a day begins."""
    if not is_exact(steps, begin, end):
        begin = bucket_end(begin, DAY)
    if begin >= end:
        return None
    lowest = TimeWeighted(in_window(steps, begin, end - 1), begin, end).lowest
    return lowest[0] if lowest is not None else None
