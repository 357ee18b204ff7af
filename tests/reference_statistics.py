"""What is true of a price history, found the slow and obvious way. The tests hold productagg.history against it.

It cuts the window at every row, looks up by a scan of all rows what was in force in each piece, and adds fractions. It
shares no line with productagg and knows no buckets and no summaries: a bucket is a window like any other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID


class Row(NamedTuple):
    """A raw row of one price: from `at` on it was `price` (None: sold out), or, if not `observed`, nobody knows."""

    at: datetime
    price: int | None
    observed: bool = True


class OfferRow(NamedTuple):
    """A raw row of one offer. Without `items_in_stock` it is in stock, and nobody said how many."""

    id: UUID
    at: datetime
    price: int
    items_in_stock: int | None


class OfferAt(NamedTuple):
    """An offer in stock at some time, and since when it has been exactly this."""

    id: UUID
    price: int
    items_in_stock: int | None
    since: datetime


class _Dated(Protocol):
    @property
    def at(self) -> datetime: ...


_AnyRow = TypeVar("_AnyRow", bound=_Dated)


@dataclass(frozen=True)
class Facts:
    """What a price did in [begin, end). Durations are in seconds; nothing is rounded.

    `state` is the one in which the window ends, `open` and `close` are the first and the last price in stock, `changes`
    are those in [begin, end). Not so the start and the end price, which are as of begin and as of end, and `moves`, the
    changes that led from the one to the other: those in (begin, end].
    """

    state: str
    start_price: int | None
    end_price: int | None
    open: int | None
    close: int | None
    minimum: tuple[int, datetime] | None
    maximum: tuple[int, datetime] | None
    mean: Fraction | None
    median: Fraction | None
    in_stock: Fraction
    sold_out: Fraction
    window: Fraction
    longest_gap: Fraction
    changes: int
    moves: int

    @property
    def observed(self) -> Fraction:
        return self.in_stock + self.sold_out

    @property
    def out_of_stock_percent(self) -> Fraction | None:
        return 100 * self.sold_out / self.observed if self.observed else None

    @property
    def observed_percent(self) -> Fraction:
        return 100 * self.observed / self.window

    @property
    def change(self) -> int | None:
        return None if self.start_price is None or self.end_price is None else self.end_price - self.start_price

    @property
    def change_percent(self) -> Fraction | None:
        return Fraction(100 * self.change, self.start_price) if self.change is not None and self.start_price else None

    @property
    def direction(self) -> str | None:
        if self.change is None:
            return None
        return {True: "up", False: "down"}[self.change > 0] if self.change else "unchanged"


class _Piece(NamedTuple):
    """A part of a window in which nothing happened."""

    begin: datetime
    length: Fraction
    state: str
    price: int | None


def facts(rows: Iterable[Row], begin: datetime, end: datetime) -> Facts:
    """What is true of a window."""
    history = sorted((row._replace(at=row.at.astimezone(UTC)) for row in rows), key=lambda row: row.at)
    begin, end = begin.astimezone(UTC), end.astimezone(UTC)
    pieces = _pieces(history, begin, end)
    priced = [(piece.price, piece.begin, piece.length) for piece in pieces if piece.price is not None]
    in_stock = sum((length for _, _, length in priced), Fraction())
    lowest, highest = (pick((price for price, _, _ in priced), default=None) for pick in (min, max))
    return Facts(
        state=pieces[-1].state,
        start_price=pieces[0].price,
        end_price=_state(in_force(history, end))[1],
        open=priced[0][0] if priced else None,
        close=priced[-1][0] if priced else None,
        minimum=next(((price, at) for price, at, _ in priced if price == lowest), None),
        maximum=next(((price, at) for price, at, _ in priced if price == highest), None),
        mean=sum(price * length for price, _, length in priced) / in_stock if priced else None,
        median=_median([(price, length) for price, _, length in priced]),
        in_stock=in_stock,
        sold_out=sum((piece.length for piece in pieces if piece.state == "sold_out"), Fraction()),
        window=_seconds(begin, end),
        longest_gap=_longest_gap(history, pieces),
        changes=sum(begin <= at < end for at in _changes(history)),
        moves=sum(begin < at <= end for at in _changes(history)),
    )


def time_at(rows: Iterable[Row], begin: datetime, end: datetime, wanted: Callable[[int], bool]) -> Fraction:
    """How many seconds of a window it was in stock at a wanted price."""
    return sum(
        (piece.length for piece in _pieces(rows, begin, end) if piece.price is not None and wanted(piece.price)),
        Fraction(),
    )


def first_fall(rows: Iterable[Row], now: datetime, oldest: datetime | None = None) -> datetime | None:
    """When the price, which has only fallen since it rose last, first fell; None if it rose last, or never changed.

    What follows 30 days without any price in stock is no fall, and nor is what is as old as `oldest`.
    """
    history = list(rows)
    prices = [(row.at, row.price) for row in history if row.observed and row.price is not None and row.at <= now]
    first = None
    for (_, before), (at, after) in reversed(list(pairwise(prices))):
        if after > before or facts(history, at - timedelta(days=30), at).minimum is None:
            break
        if oldest is not None and at <= oldest:
            break
        if after < before:
            first = at
    return first


def in_force(rows: Iterable[_AnyRow], at: datetime) -> _AnyRow | None:
    """The row that says what was so at this time: the last one up to and at it. None: that was before all of them."""
    until = at.astimezone(UTC)
    found = None
    for row in rows:
        if row.at.astimezone(UTC) <= until and (found is None or row.at > found.at):
            found = row
    return found


def offers_at(rows: Iterable[OfferRow], at: datetime) -> list[OfferAt]:
    """The offers in stock at this time, cheapest first, of the same price by their ids."""
    history = list(rows)
    found = []
    for offer_id in {row.id for row in history}:
        row = in_force([row for row in history if row.id == offer_id], at)
        if row is not None and row.items_in_stock != 0:
            found.append(OfferAt(row.id, row.price, row.items_in_stock, row.at))
    return sorted(found, key=lambda offer: (offer.price, offer.id))


def offer_history(rows: Iterable[OfferRow], product: Iterable[Row], offer_id: UUID) -> list[Row]:
    """One offer's price as a history of its own, with the gaps of its product: while that lasts, nobody knows."""
    product = list(product)
    mine = [row for row in rows if row.id == offer_id]
    history = []
    for at in sorted({row.at for row in product} | {row.at for row in mine}):
        own, whole = in_force(mine, at), in_force(product, at)
        observed = whole is None or whole.observed
        if own is not None:
            history.append(Row(at, own.price if own.items_in_stock != 0 and observed else None, observed))
    return history


def _pieces(rows: Iterable[Row], begin: datetime, end: datetime) -> list[_Piece]:
    history = list(rows)
    cuts = [begin, *(row.at for row in history if begin < row.at < end), end]
    return [_Piece(cut, _seconds(cut, following), *_state(in_force(history, cut))) for cut, following in pairwise(cuts)]


def _changes(history: Sequence[Row]) -> list[datetime]:
    """When the price was another than just before. What lies across a gap is no change."""
    return [
        later.at
        for earlier, later in pairwise(history)
        if earlier.observed and later.observed and earlier.price != later.price
    ]


def _median(weighted: list[tuple[int, Fraction]]) -> Fraction | None:
    """Lay the prices side by side, cheapest first, each as wide as it is long, and look at the middle."""
    laid = sorted(weighted)
    half = sum((length for _, length in laid), Fraction()) / 2
    reached = Fraction()
    for number, (price, length) in enumerate(laid):
        reached += length
        if reached == half:
            return Fraction(price + laid[number + 1][0], 2)
        if reached > half:
            return Fraction(price)
    return None


def _longest_gap(history: Sequence[Row], pieces: Sequence[_Piece]) -> Fraction:
    """The longest time, without a break, that nobody knows of. Before the first row nothing is missing."""
    longest = running = Fraction()
    for piece in pieces:
        known_once = any(row.at <= piece.begin for row in history)
        running = running + piece.length if piece.state == "not_observed" and known_once else Fraction()
        longest = max(longest, running)
    return longest


def _state(row: Row | None) -> tuple[str, int | None]:
    if row is None or not row.observed:
        return "not_observed", None
    return ("sold_out", None) if row.price is None else ("in_stock", row.price)


def _seconds(begin: datetime, end: datetime) -> Fraction:
    length = end - begin
    return Fraction(length.days * 86_400 + length.seconds) + Fraction(length.microseconds, 10**6)
