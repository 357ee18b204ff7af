"""Reads a product's steps, or those of one of its offers, with one statement, and so as of one moment.

For the other modules of this package. A step is either in the table of steps or in that of compacted steps (see
models.ProductPriceDay), and both are read at once. Rows travel as JSON, a list for each column (see
json_rows.aggregate_columns). Statements are built once: building one takes as long as running it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import repeat
from operator import add, itemgetter
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    Uuid,
    bindparam,
    cast,
    extract,
    func,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from productagg.db import prepared_statements
from productagg.db.json_rows import aggregate_columns, zip_columns
from productagg.db.models import (
    LAST_OBSERVED_AT,
    Base,
    Catalogue,
    Offer,
    OfferPrice,
    OfferPriceDay,
    Product,
    ProductPrice,
    ProductPriceDay,
    ProductSource,
    Source,
    UtcDateTime,
)
from productagg.history import UnknownOffer, UnknownProduct
from productagg.history.buckets import summary_of_average
from productagg.history.timeline import (
    INSTANT,
    INTERVALS_OBSERVED,
    SECOND,
    OfferStep,
    PriceStep,
    ProductStep,
    as_steps,
    in_window,
    microseconds,
    moment,
    with_gaps,
    with_open_gap,
)

Metric = Literal["lowest", "average"]

# A table of steps with the table of its compacted steps.
PRODUCT_TABLES: tuple[type[Base], ...] = (ProductPrice, ProductPriceDay)
OFFER_TABLES: tuple[type[Base], ...] = (OfferPrice, OfferPriceDay)

_PRODUCT, _OFFER = (bindparam(name, type_=Uuid) for name in ("product_id", "offer_id"))
_BEGIN, _END = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))

_Row = tuple[Any, ...]
_COLUMNS = ("lowest", "average", "offers", "items_in_stock", "observed", "summary")
_NO_AVERAGE = (None,)
_NEVER = 2**63 - 1  # after every window


_Step = TypeVar("_Step", ProductStep, OfferStep, PriceStep)


class Steps(NamedTuple, Generic[_Step]):
    """Steps in the order of their times, and the currency of their prices: the catalogue's, or the offer's."""

    currency: str
    steps: Sequence[_Step]


class StepQueries:
    """Reads one product's steps as of `now`; `observed_for` is how long an observation counts at least (see Schedule).

    One of a source with a longer interval of its own counts longer: see counts_until.

    Windows are in microseconds since the epoch. The steps of a window are the step in force at its start, if any, and
    those after it up to its end. An open gap counts as a step. All raise UnknownProduct.
    """

    def __init__(self, connection: Connection, product_id: UUID, now: datetime, observed_for: timedelta) -> None:
        self.connection = connection
        self.product_id = product_id
        self.now = microseconds(now)
        self._observed_for = observed_for

    def window(self, begin: datetime, end: datetime) -> tuple[int, int]:
        """A window as microseconds, its end clamped to now."""
        return microseconds(begin), min(microseconds(end), self.now)

    def product_steps(self, begin: int, end: int) -> Steps[ProductStep]:
        statement = _product_steps(self._dialect, *_COLUMNS)
        currency, gap_from, (rows,) = self._read(statement, begin, end, (7,))
        gap = ProductStep(gap_from, None, None, 0, 0, observed=False)
        return Steps(currency, with_open_gap(as_steps(ProductStep, rows), gap, begin, end))

    def price_steps(self, begin: int, end: int, metric: Metric = "lowest") -> Steps[PriceStep]:
        """The steps of one of the product's prices."""
        statement = _product_steps(self._dialect, metric, *_COLUMNS[-2:])
        currency, gap_from, (rows,) = self._read(statement, begin, end, (4,))
        prices = rows if metric == "lowest" else map(_of_average, rows)
        steps = as_steps(PriceStep, map(add, prices, repeat(_NO_AVERAGE)))
        return Steps(currency, with_open_gap(steps, PriceStep(gap_from, None, observed=False), begin, end))

    def offer_steps(self, offer_id: UUID, begin: int, end: int) -> Steps[OfferStep]:
        """The steps of one of the product's offers, with the product's gaps. Raises UnknownOffer as well."""
        statement = _offer_steps(self._dialect)
        currency, gap_from, (rows, turns) = self._read(statement, begin, end, (4, 2), offer_id=offer_id)
        if currency is None:
            raise UnknownOffer(offer_id)
        gaps = with_open_gap([(at, observed) for at, observed in turns], (gap_from, False), begin, end)
        offers = [OfferStep(at, price, items, summary=summary) for at, price, items, summary in rows]
        return Steps(currency, in_window(with_gaps(offers, gaps), begin, end))

    def first_observed(self) -> int | None:
        """When the product was first observed; None if never, or if it does not exist."""
        times = self.connection.execute(_FIRST, {"product_id": self.product_id}).one()
        return min((microseconds(time) for time in times if time is not None), default=None)

    @property
    def _dialect(self) -> str:
        return self.connection.dialect.name

    def _read(
        self, statement: Select[Any], begin: int, end: int, sizes: Iterable[int], **more: UUID
    ) -> tuple[Any, int, list[Sequence[_Row]]]:
        """The currency; the start of the open gap; one list of rows, sorted by time, for each number in `sizes`.

        `sizes` are numbers of columns. The currency is None if there is no such offer.
        """
        parameters = {"product_id": self.product_id, "begin": moment(begin), "end": moment(end), **more}
        found = prepared_statements.row(self.connection, statement, parameters)
        if found is None:
            raise UnknownProduct(self.product_id)
        last_synced_at, counts_until, currency, *texts = found
        lists = iter(texts)
        tables = (zip_columns([next(lists) for _ in range(size)]) for size in sizes)
        rows = [in_window(sorted(table, key=_time), begin, end) for table in tables]
        return currency, open_gap_from(last_synced_at, counts_until, self.now, self._observed_for), rows


def open_gap_from(last_synced_at: datetime | None, counts_until: int | None, now: int, observed_for: timedelta) -> int:
    """When a product's open gap began; later than every window if it is observed, or never was.

    `counts_until` is the latest of all its sources: see there.
    """
    if last_synced_at is None:
        return _NEVER
    last = microseconds(last_synced_at)
    return last + 1 if now > max(last + observed_for // INSTANT, counts_until or 0) else _NEVER


def as_microseconds(dialect: str, time: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """A time's microseconds since the epoch, exactly."""
    if dialect == "sqlite":  # where it is the text that SQLAlchemy writes: YYYY-MM-DD HH:MM:SS.ffffff
        # Without the fraction: strftime would round it.
        seconds = cast(func.strftime("%s", func.substr(time, 1, 19)), Integer)
        return seconds * SECOND + cast(func.substr(time, 21, 6), Integer)
    return cast(extract("epoch", time) * SECOND, BigInteger)


def counts_until(dialect: str) -> ColumnElement[int]:
    """Until when the last observation by a source counts, by its own interval: microseconds since the epoch, or NULL.

    Of a join of ProductSource and Source. A source without an interval of its own has that of the settings.
    """
    interval = cast(func.coalesce(Source.interval_seconds, 0), BigInteger)
    return as_microseconds(dialect, LAST_OBSERVED_AT) + interval * (INTERVALS_OBSERVED * SECOND)


@cache
def _product_steps(dialect: str, *columns: str) -> Select[Any]:
    return _beside_last_sync(dialect, select(Catalogue.currency), _lists(dialect, _window(PRODUCT_TABLES, columns)))


@cache
def _offer_steps(dialect: str) -> Select[Any]:
    offer = _window(OFFER_TABLES, ("price", "items_in_stock", "summary"))
    currency = select(Offer.currency).where(Offer.product_id == _PRODUCT, Offer.id == _OFFER)
    return _beside_last_sync(dialect, currency, _lists(dialect, offer), _lists(dialect, _gap_turns()))


def _beside_last_sync(dialect: str, currency: Select[str], *lists: Subquery) -> Select[Any]:
    """One row: when any source sent the last complete list, until when one counts, the currency, and the JSON lists.

    No row for an unknown product.
    """
    newest = (
        select(
            func.max(LAST_OBSERVED_AT).label("last_synced_at"), func.max(counts_until(dialect)).label("counts_until")
        )
        .join_from(ProductSource, Source, Source.id == ProductSource.source_id)
        .where(ProductSource.product_id == _PRODUCT)
        .subquery()
    )
    sync = (
        select(newest, currency.scalar_subquery().label("currency"))
        .join_from(Product, newest, true())
        .where(Product.id == _PRODUCT)
        .subquery()
    )
    joined = sync.join(lists[0], true())
    for others in lists[1:]:
        joined = joined.join(others, true())
    return select(sync, *lists).select_from(joined)


def _lists(dialect: str, rows: Subquery) -> Subquery:
    """One row, with a JSON list for each column, the time first."""
    at, *others = rows.c
    # On SQLite, an aggregate would treat the summaries as texts.
    values = (
        func.json(column) if dialect == "sqlite" and isinstance(column.type, JSON) else column for column in others
    )
    return select(*aggregate_columns(dialect, as_microseconds(dialect, at), *values)).subquery()


def _window(tables: Sequence[type[Base]], columns: Sequence[str]) -> Subquery:
    """The rows of both tables in (begin, end], and each table's newest row at or before `begin`."""
    return union_all(*(select(rows) for model in tables for rows in _window_selects(model, columns))).subquery()


def _window_selects(model: type[Base], columns: Sequence[str]) -> Iterator[Subquery]:
    # Each is a subquery: SQLite's grammar has ORDER BY and LIMIT only at the end of a UNION.
    table = model.__table__.c
    which = [table.product_id == _PRODUCT]
    if "offer_id" in table:
        which.append(table.offer_id == _OFFER)
    selected = [table[name] if name in table else cast(null(), JSON).label(name) for name in columns]
    rows = select(table.observed_at, *selected).where(*which)
    yield rows.where(table.observed_at <= _BEGIN).order_by(table.observed_at.desc()).limit(1).subquery()
    yield rows.where(table.observed_at > _BEGIN, table.observed_at <= _END).subquery()


def _gap_turns() -> Subquery:
    """Times in the window at which observation begins or ends, and the first step. Compaction keeps all of them."""
    steps = _window(PRODUCT_TABLES, ("observed",))
    observed_before = func.lag(steps.c.observed).over(order_by=steps.c.observed_at)
    in_turn = select(steps, observed_before.label("before")).subquery()
    turns = in_turn.c.observed.is_distinct_from(in_turn.c.before)
    return select(in_turn.c.observed_at, in_turn.c.observed).where(turns).subquery()


def _of_average(row: _Row) -> _Row:
    """A row whose summary begins with the average price."""
    *step, summary = row
    return (*step, summary and summary_of_average(summary))


_FIRST = select(
    *(
        select(func.min(model.observed_at)).where(model.product_id == _PRODUCT).scalar_subquery()
        for model in (ProductPrice, ProductPriceDay)
    )
)
_time = itemgetter(0)
