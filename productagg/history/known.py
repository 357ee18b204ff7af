"""What is known of one product's past: its raw steps, its roll-ups, and where one takes over from the other.

For the readers of this room. Who knows beforehand what it will ask for has it brought, in one statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Executable, Select, bindparam, func, select, true, union_all

from productagg.db import prepared_statements
from productagg.db.models import (
    HistoryLate,
    HistoryProgress,
    OfferPrice,
    OfferPriceDaily,
    OfferPriceHourly,
    ProductPrice,
    ProductPriceDaily,
    ProductPriceHourly,
    ProductPriceWeekly,
    ProductSync,
    UtcDateTime,
)
from productagg.history.reading import PRODUCT, Part, Row, lists, parameters, read, side_by_side, unpack
from productagg.history.rollups import OfferBucket, OfferStep, ProductBucket, ProductStep
from productagg.history.steps import DAY, HOUR, INSTANT, WEEK, Bucket, Step, bucket_start, microseconds, moment
from productagg.settings import LEAST_RAW_DAYS

_AnyStep = TypeVar("_AnyStep", bound=Sequence[Any])


@dataclass(frozen=True)
class Known:
    """How much of a product's past is there, as of `now`. All in microseconds since the epoch.

    `gap_from` is when the gap that has not ended yet began: nothing is known from then on; None if there is none.
    Before `rolled_until` the roll-ups can be relied on, from `raw_from` on the raw steps are there: 0 where nothing is
    rolled up, or dropped.
    """

    product_id: UUID
    now: int
    gap_from: int | None
    rolled_until: int
    raw_from: int
    brought: Mapping[Part, list[Row]] = field(default_factory=dict, compare=False, repr=False)

    def rows(self, connection: Connection, part: Part) -> list[Row]:
        """The rows of a part, in order; each begins with its time."""
        found = self.brought.get(part)
        return read(connection, self.product_id, [part])[0] if found is None else found

    def bring(self, connection: Connection, parts: Sequence[Part]) -> "Known":
        """The same, with what is about to be asked for."""
        if not parts:
            return self
        found = dict(zip(parts, read(connection, self.product_id, parts), strict=True))
        return replace(self, brought={**self.brought, **found})


def is_raw(begin: datetime, now: datetime) -> bool:
    """Whether the raw steps of a window that begins then are there, however long they are kept."""
    return begin >= now - timedelta(days=LEAST_RAW_DAYS)


def known(
    connection: Connection,
    product_id: UUID,
    observed_for: timedelta,
    now: datetime,
    bring: Part | None = None,
) -> Known | None:
    """None: there is no such product. `observed_for` is how long an observation counts (see Schedule).

    `bring` is what will be asked for, of a window that `is_raw`: then the answer is about that window's steps only.
    """
    brought = _recent(connection, product_id, observed_for, now, bring) if bring is not None else None
    if brought is not None:
        return brought
    row = prepared_statements.row(connection, _KNOWN, parameters(product_id, ()))
    if row is None:
        return None
    last_synced_at, *progress, late_since = row
    rolled_until, raw_from = (microseconds(time) if time else 0 for time in progress)
    if late_since is not None:
        rolled_until = min(rolled_until, max(raw_from, microseconds(late_since)))
    gap_from = _gap_from(last_synced_at, observed_for, now)
    if gap_from is not None:
        # Days that were rolled up since then took the product for observed.
        rolled_until = min(rolled_until, max(raw_from, bucket_start(gap_from, DAY)))
    return Known(product_id, microseconds(now), gap_from, rolled_until, raw_from)


def _recent(
    connection: Connection, product_id: UUID, observed_for: timedelta, now: datetime, part: Part
) -> Known | None:
    """What is known of a window, with its raw steps; None: they do not say it all."""
    row = prepared_statements.row(
        connection, _recent_steps(connection.dialect.name, part.shape), parameters(product_id, [part])
    )
    if row is None:
        return None
    (rows,) = unpack(row[1:], [part])
    # As many as that are summed up to buckets, which begin before the window; a gap that goes on is one more step.
    if not rows or rows[0][0] > part.begin or (part.limit is not None and len(rows) >= part.limit - 1):
        return None
    return Known(product_id, microseconds(now), _gap_from(row[0], observed_for, now), 0, part.begin, {part: rows})


def _gap_from(last_synced_at: datetime | None, observed_for: timedelta, now: datetime) -> int | None:
    if last_synced_at is None or now - last_synced_at <= observed_for:
        return None
    return microseconds(last_synced_at + INSTANT)


def product_part(begin: int, end: int, limit: int | None = None) -> Part:
    """What `product_steps` asks for."""
    return Part(ProductPrice, ("lowest", "average", "offers", "items_in_stock", "observed"), begin, end, limit=limit)


def product_tail_part(begin: int, end: int) -> Part:
    """What `product_tail` asks for."""
    return replace(product_part(begin - 1, end), with_before=False)


def price_tail_part(begin: int, end: int, metric: str) -> Part:
    """What `price_tail` asks for."""
    return replace(price_part(begin - 1, end, metric), with_before=False)


def price_part(begin: int, end: int, metric: str) -> Part:
    """What `price_steps` asks for."""
    return Part(ProductPrice, (metric, "observed"), begin, end)


def rolled_price_part(begin: int, end: int, length: int, metric: str, *, first: bool = True) -> Part:
    """What `rolled_prices` asks for."""
    prefix = "average_" if metric == "average" else ""
    columns = (*_DURATIONS, *(prefix + name for name in _PRICES))
    return Part(_PRODUCT_ROLLUPS[length], columns, begin, end, with_before=first)


def rolled_product_part(begin: int, end: int, length: int, *, first: bool = True) -> Part:
    """What `rolled_product` asks for."""
    averages = ("average_close", "average_mean", "average_remainder")
    columns = (*_DURATIONS, *_PRICES, *averages, "offers", "items_in_stock")
    return Part(_PRODUCT_ROLLUPS[length], columns, begin, end, with_before=first)


def offer_part(offer_id: UUID, begin: int, end: int, limit: int | None = None) -> Part:
    """What `offer_steps` asks for."""
    return Part(OfferPrice, ("price", "items_in_stock"), begin, end, offer_id, limit)


def rolled_offer_part(offer_id: UUID, begin: int, end: int, length: int) -> Part:
    """What `rolled_offer` asks for."""
    model = OfferPriceHourly if length == HOUR else OfferPriceDaily
    return Part(model, (*_DURATIONS, *_PRICES, "items_in_stock"), begin, end, offer_id)


def product_rows(connection: Connection, known: Known, begin: int, end: int, limit: int | None = None) -> Sequence[Row]:
    """The step in force at `begin`, if there was one, and those up to `end`, in order; not before `known.raw_from`.

    The gap that has not ended yet is a step too. `limit` is for the steps after `begin`: no more than so many. Rows
    have the values of a ProductStep.
    """
    return _completed(connection, known, known.rows(connection, product_part(begin, end, limit)), begin, end)


def product_steps(connection: Connection, known: Known, begin: int, end: int) -> list[ProductStep]:
    """The same as steps."""
    return list(map(ProductStep._make, product_rows(connection, known, begin, end)))


def price_steps(connection: Connection, known: Known, begin: int, end: int, metric: str) -> Sequence[Sequence[Any]]:
    """The same of one of its prices, 'lowest' or 'average', as a Step has it: time, price, observed."""
    found: Sequence[Sequence[Any]] = known.rows(connection, price_part(begin, end, metric))
    if not (found and found[0][0] <= begin):
        found = [*(each.of(metric) for each in _before_raw(connection, known)), *found]
    if known.gap_from is not None:
        return _until_gap(known.gap_from, found, begin, end, Step(known.gap_from, None, observed=False))
    return found


def product_tail(
    connection: Connection, known: Known, carried: ProductStep | None, begin: int, end: int
) -> list[ProductStep]:
    """What was in force before `begin`, as roll-ups say, and the steps from then up to `end`, with the open gap."""
    found = map(ProductStep._make, known.rows(connection, product_tail_part(begin, end)))
    steps = [*found] if carried is None else [carried, *found]
    if known.gap_from is None:
        return steps
    gap = ProductStep(known.gap_from, None, None, 0, 0, observed=False)
    return list(_until_gap(known.gap_from, steps, begin - 1, end, gap))


def price_tail(
    connection: Connection, known: Known, carried: Step | None, begin: int, end: int, metric: str
) -> Sequence[Sequence[Any]]:
    """The same of one of its prices."""
    found = known.rows(connection, price_tail_part(begin, end, metric))
    steps = found if carried is None else [carried, *found]
    if known.gap_from is None:
        return steps
    return _until_gap(known.gap_from, steps, begin - 1, end, Step(known.gap_from, None, observed=False))


def offer_steps(
    connection: Connection, known: Known, offer_id: UUID, begin: int, end: int, limit: int | None = None
) -> list[OfferStep]:
    """The same of one offer, without gaps: those are its product's (see rollups.with_gaps)."""
    steps = [OfferStep(*row) for row in known.rows(connection, offer_part(offer_id, begin, end, limit))]
    if known.raw_from and not (steps and steps[0].at <= begin):
        part = Part(OfferPriceDaily, ("close", "items_in_stock"), known.raw_from, known.raw_from, offer_id)
        for at, close, items in known.rows(connection, part):
            steps.insert(0, OfferStep(at, close or 0, items))
    return steps


def product_gaps(connection: Connection, known: Known, begin: int, end: int) -> list[ProductStep]:
    """Of the same product's steps, only those at which being observed begins or ends (see rollups.with_gaps)."""
    parameters = {"product_id": known.product_id, "begin": moment(begin), "end": moment(end)}
    steps = [(microseconds(at), None, None, 0, 0, observed) for at, observed in connection.execute(_GAPS, parameters)]
    return list(map(ProductStep._make, _completed(connection, known, steps, begin, end)))


def rolled_prices(
    connection: Connection, known: Known, begin: int, end: int, length: int, metric: str, *, first: bool = True
) -> tuple[Step | None, list[Bucket]]:
    """One of a product's prices in stored buckets: those of [begin, end), and what was in force before the `first`."""
    part = rolled_price_part(begin, end, length, metric, first=first)
    found = [_bucket(*row) for row in known.rows(connection, part)]
    before = found.pop(0).end_step if found and found[0].at < begin else None
    return before, found


def rolled_product(
    connection: Connection, known: Known, begin: int, end: int, length: int, *, first: bool = True
) -> tuple[ProductBucket | None, list[ProductBucket]]:
    """A product's buckets of [begin, end), and the newest before the `first`. Of the average, only what points show."""
    part = rolled_product_part(begin, end, length, first=first)
    found = [product_bucket(row) for row in known.rows(connection, part)]
    before = found.pop(0) if found and found[0].lowest.at < begin else None
    return before, found


def product_bucket(row: Row) -> ProductBucket:
    """What a row of `rolled_product_part` says."""
    at, state, us, observed_us, *lowest, close, mean, remainder, offers, items = row
    average = Bucket(at, state, us, observed_us, None, close, None, None, mean * us + remainder, 0)
    return ProductBucket(_bucket(at, state, us, observed_us, *lowest), average, offers, items)


def rolled_offer(
    connection: Connection, known: Known, offer_id: UUID, begin: int, end: int, length: int
) -> tuple[OfferBucket | None, list[OfferBucket]]:
    """An offer's stored buckets of [begin, end), and the newest before them."""
    found = [offer_bucket(row) for row in known.rows(connection, rolled_offer_part(offer_id, begin, end, length))]
    before = found.pop(0) if found and found[0].price.at < begin else None
    return before, found


def offer_bucket(row: Row) -> OfferBucket:
    """What a row of `rolled_offer_part` says."""
    *bucket, items = row
    return OfferBucket(_bucket(*bucket), items)


def first_observed(connection: Connection, known: Known) -> int | None:
    """When the product was first observed; of what is no longer kept raw, the UTC day. None: never."""
    found = connection.execute(_FIRST, {"product_id": known.product_id}).one()
    return min((microseconds(time) for time in found if time is not None), default=None)


_KNOWN = (
    select(ProductSync.last_synced_at, HistoryProgress.rolled_until, HistoryProgress.raw_from, HistoryLate.since)
    .select_from(ProductSync)
    .outerjoin(HistoryProgress, true())
    .outerjoin(HistoryLate, HistoryLate.product_id == ProductSync.product_id)
    .where(ProductSync.product_id == PRODUCT)
)


@cache
def _recent_steps(dialect: str, shape: Any) -> Select[*tuple[Any, ...]]:
    product = select(ProductSync.last_synced_at).where(ProductSync.product_id == PRODUCT).subquery()
    return side_by_side([product, *lists(dialect, [shape])])


# Where raw rows are kept, roll-ups may be late.
_FIRST = select(
    select(func.min(ProductPrice.observed_at)).where(ProductPrice.product_id == PRODUCT).scalar_subquery(),
    select(func.min(ProductPriceDaily.at))
    .where(ProductPriceDaily.product_id == PRODUCT, ProductPriceDaily.at < HistoryProgress.raw_from)
    .scalar_subquery(),
)


def _gaps() -> Executable:
    price = ProductPrice.__table__.c
    begin, end = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
    which = price.product_id == PRODUCT
    wanted = (price.observed_at, price.observed)
    before = select(*wanted).where(which, price.observed_at <= begin).order_by(price.observed_at.desc()).limit(1)
    within = select(*wanted).where(which, price.observed_at > begin, price.observed_at <= end)
    steps = union_all(select(before.subquery()), within).subquery()
    observed_before = func.lag(steps.c.observed).over(order_by=steps.c.observed_at)
    in_turn = select(steps, observed_before.label("before")).subquery()
    turns = in_turn.c.observed.is_distinct_from(in_turn.c.before)
    return select(in_turn.c.observed_at, in_turn.c.observed).where(turns).order_by(in_turn.c.observed_at)


_GAPS = _gaps()
_PRODUCT_ROLLUPS = {HOUR: ProductPriceHourly, DAY: ProductPriceDaily, WEEK: ProductPriceWeekly}
_DURATIONS = ("state", "in_stock_us", "observed_us")
_PRICES = ("open", "close", "lowest", "highest", "mean", "remainder", "changes")


def _completed(connection: Connection, known: Known, steps: Sequence[Row], begin: int, end: int) -> Sequence[Row]:
    """The steps with what the raw ones cannot say: what was in force before they begin, and the gap that goes on."""
    if not (steps and steps[0][0] <= begin):
        steps = [*_before_raw(connection, known), *steps]
    if known.gap_from is not None:
        return _until_gap(known.gap_from, steps, begin, end, (known.gap_from, None, None, 0, 0, False))
    return steps


def _before_raw(connection: Connection, known: Known) -> list[ProductStep]:
    """The step in force where the raw ones begin, as the newest day before says; none if nothing has been dropped."""
    if not known.raw_from:
        return []
    columns = ("state", "close", "average_close", "offers", "items_in_stock")
    found = known.rows(connection, Part(ProductPriceDaily, columns, known.raw_from, known.raw_from))
    return [
        ProductStep._make(
            (at, *(closes if state == "in_stock" else (None, None)), offers, items, state != "not_observed")
        )
        for at, state, *closes, offers, items in found
    ]


def _until_gap(gap_from: int, steps: Sequence[_AnyStep], begin: int, end: int, gap: _AnyStep) -> Sequence[_AnyStep]:
    """The steps with the gap that goes on, if the window reaches it: from then on there is nothing else."""
    if gap_from > end:
        return steps
    return [*(each for each in steps if each[0] < gap_from), gap] if begin < gap_from else [gap]


def _bucket(
    at: int,
    state: str,
    in_stock_us: int,
    observed_us: int,
    opening: int | None,
    closing: int | None,
    lowest: int | None,
    highest: int | None,
    mean: int,
    remainder: int,
    changes: int,
) -> Bucket:
    weighted = mean * in_stock_us + remainder
    return Bucket(at, state, in_stock_us, observed_us, opening, closing, lowest, highest, weighted, changes)
