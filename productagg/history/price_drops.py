"""How a price fell to what it is now, and the lowest price before it fell. Pure: no database.

For verdicts, about a product, and for prior prices, about one trader's offer (see prior_price).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from productagg.history.buckets import MEAN, OPEN, is_exact, without_summarised
from productagg.history.time_weighted import TimeWeighted
from productagg.history.timeline import DAY, PriceStep, bucket_end, bucket_start, in_window, moment

# The period before a fall whose lowest price counts: that of Article 6a(2) of Directive 98/6/EC.
PERIOD = 30 * DAY


@dataclass(frozen=True)
class PriceDrop:
    """How the lowest price of all offers fell to the current one. It is no trader's reduction (see prior_price).

    `since` is the first fall, or the UTC day of that fall if the day is summarised. `low_30_days_before` is the lowest
    price of the 30 days before, in minor units; if some of these are summarised, of the whole days among them. `drop`
    is this price less the current price, not above 0 if the product was already as cheap then. `drop_percent` is in
    percent of `low_30_days_before`, rounded to two decimals, None of a price of 0.
    """

    since: datetime
    low_30_days_before: int
    drop: int
    drop_percent: float | None


def price_drop(steps: Sequence[PriceStep], price: int) -> PriceDrop | None:
    """The fall to this price, which is that of the last step. `steps` are the whole history.

    None: the price rose last, or never changed, or no price in stock is known of the 30 days before it fell.
    """
    since = first_fall(steps).at
    lowest = lowest_before(steps, since) if since is not None else None
    if since is None or lowest is None:
        return None
    percent = round(100 * (lowest - price) / lowest, 2) if lowest else None
    return PriceDrop(moment(since), lowest, lowest - price, percent)


class Fall(NamedTuple):
    """When a price first fell since it last rose, None if it has not fallen since.

    `hidden`: it last rose on a summarised day, which ended below its highest price. So it may have fallen on that day
    after it rose.
    """

    at: int | None
    hidden: bool


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


def first_fall(steps: Sequence[PriceStep], oldest: int = 0) -> Fall:
    """The first of the falls that led to the last known price, each without a rise since the one before.

    Times without stock and unobserved times between two falls interrupt nothing, unless no price is known of the 30
    days before the later one: then it is no fall. Falls up to `oldest` do not count.
    """
    fell_at: int | None = None
    later: _Piece | None = None
    for piece in _newest_first(steps):
        if later is not None:
            if later.at <= oldest or piece.close < later.open or _is_return(steps, piece, later):
                break
            if piece.close > later.open:
                fell_at = later.at
        if piece.rose:
            return Fall(fell_at, hidden=piece.close < piece.highest)
        if piece.open > piece.close and piece.at > oldest:
            fell_at = piece.at
        later = piece
    return Fall(fell_at, hidden=False)


def _is_return(steps: Sequence[PriceStep], piece: _Piece, later: _Piece) -> bool:
    """Whether the later price came after 30 days without any known price."""
    return later.at - piece.at > PERIOD and lowest_before(steps, later.at) is None


def _newest_first(steps: Sequence[PriceStep]) -> Iterator[_Piece]:
    for step in reversed(without_summarised(steps)):
        price, summary = step.known_price, step.summary
        if summary is not None and summary[OPEN] is not None:
            yield _Piece(bucket_start(step.at, DAY), *summary[OPEN:MEAN])
        elif summary is None and price is not None:
            yield _Piece(step.at, price, price, price, price)


def lowest_before(steps: Sequence[PriceStep], at: int) -> int | None:
    """The lowest price in stock of the 30 days before a time, at which a step or a day begins; None if none is known.

    If some of these days are summarised, it is that of the whole days among them.
    """
    begin = at - PERIOD
    if not is_exact(steps, begin, at):
        begin = bucket_end(begin, DAY)
    if begin >= at:
        return None
    lowest = TimeWeighted(in_window(steps, begin, at - 1), begin, at).lowest
    return lowest[0] if lowest is not None else None
