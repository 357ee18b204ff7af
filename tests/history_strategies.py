"""Histories and windows to try things on (Hypothesis), around special days and at every distance."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from productagg.history.timeline import OfferStep, PriceStep, ProductStep, microseconds
from tests.reference_statistics import OfferRow, Row, in_force

LARGEST = 2**63 - 1

INSTANT = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

# Whatever counts local days or hours, or days of a month or a year, goes wrong near one of these.
MOMENTS = [
    datetime(2024, 2, 29, tzinfo=UTC),
    datetime(2024, 3, 10, 7, tzinfo=UTC),  # New York's clocks go from 2 to 3
    datetime(2024, 3, 31, 1, tzinfo=UTC),  # Prague's clocks go from 2 to 3
    datetime(2024, 10, 27, 1, tzinfo=UTC),  # Prague's clocks go from 3 to 2
    datetime(2024, 11, 3, 6, tzinfo=UTC),  # New York's clocks go from 2 to 1
    datetime(2024, 12, 30, tzinfo=UTC),  # the Monday of the first ISO week of 2025
    datetime(2025, 1, 1, tzinfo=UTC),
]
ZONES = [UTC, ZoneInfo("Europe/Prague"), ZoneInfo("America/New_York")]

# How long a product counts as observed after its last whole, valid list.
OBSERVED_FOR = 5 * HOUR

_LENGTHS = [INSTANT, SECOND, HOUR - INSTANT, HOUR, 23 * HOUR, DAY, 25 * HOUR, 3 * DAY, 7 * DAY, 40 * DAY]


class ProductRow(NamedTuple):
    """A row of product_prices."""

    at: datetime
    lowest: int | None
    average: int | None
    offers: int
    items_in_stock: int
    observed: bool

    def of(self, metric: str) -> Row:
        return Row(self.at, self.lowest if metric == "lowest" else self.average, self.observed)

    @property
    def step(self) -> ProductStep:
        return ProductStep(microseconds(self.at), *self[1:])


class Past(NamedTuple):
    """A product's rows, its offers', a window, and when it is `now`; the last whole, valid list came at `synced_at`."""

    rows: list[ProductRow]
    begin: datetime
    end: datetime
    now: datetime
    synced_at: datetime | None
    offers: list[OfferRow]

    @property
    def told(self) -> list[ProductRow]:
        """The product's rows, and the gap that has not ended."""
        if self.synced_at is None or self.now - self.synced_at <= OBSERVED_FOR:
            return self.rows
        return [*self.rows, ProductRow(self.synced_at + INSTANT, None, None, 0, 0, observed=False)]

    def of(self, metric: str) -> list[Row]:
        """What they say of one price."""
        return [row.of(metric) for row in self.told]

    @property
    def effective_end(self) -> datetime:
        """No answer reaches into the future."""
        return min(self.end.astimezone(UTC), self.now)


def as_steps(rows: Iterable[Row]) -> list[PriceStep]:
    return [PriceStep(microseconds(row.at), row.price, row.observed) for row in rows]


@cache
def _spans(longest: timedelta) -> st.SearchStrategy[timedelta]:
    """Lengths of time, many of them exactly an hour, a day and the like."""
    anything = st.timedeltas(timedelta(), longest)
    return st.one_of(st.sampled_from([each for each in _LENGTHS if each <= longest]), anything)


@cache
def times(longest: timedelta = 40 * DAY) -> st.SearchStrategy[datetime]:
    """Times around a special one, in a zone of their own."""
    signed = st.builds(lambda sign, span: sign * span, st.sampled_from([-1, 0, 1]), _spans(longest))
    return st.builds(
        lambda moment, span, zone: (moment + span).astimezone(zone),
        st.shared(st.sampled_from(MOMENTS), key="moment"),
        signed,
        st.sampled_from(ZONES),
    )


prices = st.one_of(st.sampled_from([0, 1, 100, 101, LARGEST - 1, LARGEST]), st.integers(0, LARGEST))

_Value = TypeVar("_Value")

_said = st.one_of(st.tuples(prices, st.just(True)), st.just((100, True)), st.just((None, True)), st.just((None, False)))

_in_stock = st.builds(
    lambda two, offers, items: (min(two), max(two), offers, items, True),
    st.tuples(prices, prices),
    st.integers(1, 2**31 - 1),
    st.integers(1, LARGEST),
)
_sold_out = st.just((None, None, 0, 0, True))
_gap = st.just((None, None, 0, 0, False))


def _timelines(
    values: st.SearchStrategy[_Value], longest: timedelta
) -> st.SearchStrategy[list[tuple[datetime, _Value]]]:
    """Values at increasing times."""
    at = times(longest).map(lambda time: time.astimezone(UTC))
    return st.dictionaries(at, values, max_size=8).map(lambda said: sorted(said.items(), key=lambda each: each[0]))


@cache
def histories(longest: timedelta = 40 * DAY) -> st.SearchStrategy[list[Row]]:
    """The history of one price, oldest first: in stock, sold out and not observed, some of it for a microsecond."""
    return _timelines(_said, longest).map(lambda rows: [Row(at, *said) for at, said in rows])


@cache
def product_histories(longest: timedelta = 40 * DAY) -> st.SearchStrategy[list[ProductRow]]:
    """The rows of a product, oldest first, with gaps where the sync writes any: between two rows that are observed."""

    def possible(rows: list[ProductRow]) -> list[ProductRow]:
        observed = [False, *(row.observed for row in rows), False]
        around = zip(observed, rows, observed[2:], strict=False)
        return [row for before, row, after in around if row.observed or (before and after)]

    values = st.one_of(_in_stock, _in_stock, _sold_out, _gap)
    return _timelines(values, longest).map(lambda rows: possible([ProductRow(at, *said) for at, said in rows]))


@cache
def offer_histories(count: int, longest: timedelta = 40 * DAY) -> st.SearchStrategy[list[OfferRow]]:
    """The rows of so many offers of a product, oldest first. Their ids begin with UUID(int=1)."""
    ids = st.integers(1, count).map(lambda number: UUID(int=number))
    states = st.dictionaries(ids, st.tuples(prices, st.sampled_from([0, 1, 5, LARGEST, None])), min_size=1)
    return _timelines(states, longest).map(
        lambda rows: [OfferRow(id_, at, *state) for at, said in rows for id_, state in said.items()]
    )


def offer_steps(rows: Iterable[OfferRow], offer_id: UUID) -> list[OfferStep]:
    return [OfferStep(microseconds(row.at), row.price, row.items_in_stock) for row in rows if row.id == offer_id]


@cache
@st.composite
def windows(draw: st.DrawFn, longest: timedelta = 40 * DAY) -> tuple[datetime, datetime]:
    """A window's ends, each in a zone of its own."""
    begin = draw(times(longest))
    length = draw(_spans(longest)) or INSTANT
    return begin, (begin.astimezone(UTC) + length).astimezone(draw(st.sampled_from(ZONES)))


@cache
@st.composite
def pasts(draw: st.DrawFn, longest: timedelta = 40 * DAY) -> Past:
    """A product's rows, a window, and a time to ask at, before which the product may have gone unasked for long."""
    return _past(draw, draw(product_histories(longest)), *draw(windows(longest)), longest)


def _past(
    draw: st.DrawFn,
    rows: list[ProductRow],
    begin: datetime,
    end: datetime,
    longest: timedelta,
    not_before: datetime | None = None,
) -> Past:
    earliest = max([begin.astimezone(UTC) + INSTANT, not_before or begin, *(row.at for row in rows)])
    now = earliest + draw(_spans(longest))
    if not rows:
        return Past(rows, begin, end, now, None, [])
    last = rows[-1].at
    since = st.timedeltas(timedelta(), now - last)
    synced_at = last + draw(st.one_of(st.just(now - last), since, st.just(timedelta())))
    # Offers are seen with their product, and not while nobody looks.
    seen = [(each, in_force(rows, each.at)) for each in draw(offer_histories(3, longest)) if each.at <= synced_at]
    offers = [each for each, product in seen if product is not None and product.observed]
    return Past(rows, begin, end, now, synced_at, offers)


class Compacted(NamedTuple):
    """A past whose days before `raw_from` are compacted."""

    past: Past
    raw_from: datetime

    @property
    def rows(self) -> list[ProductRow]:
        """The product's rows before they are compacted. A gap that goes on since earlier days is recorded by then."""
        told = self.past.told
        return told if told and told[-1].at < self.raw_from else self.past.rows


@cache
@st.composite
def compacted_pasts(draw: st.DrawFn, longest: timedelta = 40 * DAY) -> Compacted:
    """Windows begin before, at and after `raw_from`."""
    begin, end = draw(windows(longest))
    raw_from = midnight(begin) + draw(st.integers(-2, 40)) * DAY
    rows = draw(product_histories(longest))
    now = raw_from + OBSERVED_FOR + DAY
    return Compacted(_past(draw, rows, begin, end, longest, now), raw_from)


def midnight(time: datetime) -> datetime:
    """The beginning of its UTC day."""
    return time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
