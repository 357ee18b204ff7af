"""The reduction that a price now comes from, and the price before it, by the European rule. For verdicts. Pure.

The rule: Article 6a of Directive 98/6/EC, inserted by Directive (EU) 2019/2161 ('Omnibus'): an announced reduction
states the prior price, which is the lowest of at least the 30 days before the reduction, and where a price is reduced
further and further without interruption, before the first of these (the Commission's guidance, OJ C 526 of 29.12.2021,
p. 130). So it is not the lowest of the last 30 days, in which the reduced price itself may lie.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from productagg.history.buckets import is_exact, without_summed_up
from productagg.history.time_weighted import Tally
from productagg.history.timeline import DAY, PriceStep, bucket_end, bucket_start, in_window, moment


@dataclass(frozen=True)
class Reduction:
    """The reduction that the price now comes from, as the Omnibus directive defines it.

    `since` is its first step, or the UTC day of that step if the day is summed up. `reference_price` is the lowest
    price of the 30 days before, in the upstream's unit: of the whole days among them if some are summed up.
    `reduction` is the reference price less the price now, `reduction_percent` the same in percent of the reference
    price, rounded to two decimals, None of a price of 0. Neither is above 0 if the product was as cheap in those days:
    then no reduction may be announced.
    """

    since: datetime
    reference_price: int
    reduction: int
    reduction_percent: float | None


def reduction(steps: Sequence[PriceStep], price: int) -> Reduction | None:
    """The reduction that this price, which is that of the last step, comes from. `steps` are all there ever were.

    None: the price rose last, or never changed, or no price in stock is known of the 30 days before it fell.
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
    """The prices in stock of a step, all of them the same, or of a summed-up day."""

    at: int
    open: int
    close: int
    lowest: int
    highest: int

    @property
    def rose(self) -> bool:
        """Whether the price rose within the day. Whether it fell after that is not known any more."""
        return self.lowest < self.close or self.highest > self.open


def _first_fall(steps: Sequence[PriceStep]) -> int | None:
    """Since when the price has only fallen; None if it has not fallen since it last rose."""
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
    for step in reversed(without_summed_up(steps)):
        price, summary = step.known_price, step.summary
        if summary is not None and summary[3] is not None:
            yield _Piece(bucket_start(step.at, DAY), *summary[3:7])
        elif summary is None and price is not None:
            yield _Piece(step.at, price, price, price, price)


def _lowest(steps: Sequence[PriceStep], begin: int, end: int) -> int | None:
    """The lowest price of a window, of its whole days if one is summed up. It ends where a step or a day begins."""
    if not is_exact(steps, begin, end):
        begin = bucket_end(begin, DAY)
    if begin >= end:
        return None
    lowest = Tally(in_window(steps, begin, end - 1), begin, end).lowest
    return lowest[0] if lowest is not None else None
