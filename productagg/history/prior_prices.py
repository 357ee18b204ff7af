"""The prior prices of many offers, which may be of different products, with three statements. For the API.

`prior_price` has the definitions. Histories travel as one JSON text for each offer, and are read one after another: as
texts, a thousand of them fit into memory. Steps that change nothing but the stock stay in the database.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    func,
    null,
    or_,
    select,
    type_coerce,
    union_all,
)

from productagg.db.json_rows import Rows, aggregate_rows
from productagg.db.models import LAST_OBSERVED_AT, Offer, Product, ProductSource, Source, UtcDateTime
from productagg.history import UnknownOffer, UnknownProduct
from productagg.history.prior_price import LOOK_BACK, PriorPrice, prior_price
from productagg.history.queries import OFFER_TABLES, PRODUCT_TABLES, as_microseconds, counts_until, open_gap_from
from productagg.history.timeline import (
    OfferStep,
    PriceStep,
    in_window,
    microseconds,
    moment,
    with_gaps,
    with_open_gap,
)

_BEGIN, _END = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
_at = itemgetter(0)
Found = PriorPrice | UnknownProduct | UnknownOffer
_Texts = dict[tuple[UUID, ...], str | None]


class OfferKey(NamedTuple):
    """The ids of a product and of one of its offers."""

    product_id: UUID
    offer_id: UUID


class _Facts(NamedTuple):
    """What is known of an offer besides its steps. `currency` is None if there is no such offer."""

    has_product: bool
    currency: str | None
    is_closed: bool
    last_observed_at: datetime | None
    counts_until: int | None


def prior_prices(
    connection: Connection, keys: Iterable[OfferKey], *, now: datetime, observed_for: timedelta
) -> dict[OfferKey, Found]:
    """The prior price of each offer now, or why there is none. `observed_for`: see StepQueries."""
    dialect, end = connection.dialect.name, microseconds(now)
    begin = end - LOOK_BACK
    asked = [key._asdict() for key in dict.fromkeys(keys)]
    values = {**Rows.parameter(dialect, asked), "begin": moment(begin), "end": now}
    facts = connection.execute(_facts(dialect), values).all()
    turns = _texts(connection, _gap_turns(dialect), values)
    histories = _texts(connection, _price_changes(dialect), values)

    def answer(key: OfferKey, offer: _Facts) -> Found:
        if not offer.has_product:
            return UnknownProduct(key.product_id)
        if offer.currency is None:
            return UnknownOffer(key.offer_id)
        gap_from = open_gap_from(offer.last_observed_at, offer.counts_until, end, observed_for)
        gaps = [(at, bool(observed)) for at, observed in _rows(turns, key.product_id)]
        gaps = list(with_open_gap(gaps, (gap_from, False), begin, end))
        steps = in_window(_with_gaps(_rows(histories, *key), gaps), begin, end)
        return prior_price(steps, end, offer.currency, is_closed=offer.is_closed)

    offers = ((OfferKey(product_id, offer_id), _Facts(*rest)) for product_id, offer_id, *rest in facts)
    return {key: answer(key, offer) for key, offer in offers}


def _with_gaps(rows: Iterable[Sequence[Any]], gaps: Sequence[tuple[int, bool]]) -> list[PriceStep]:
    """The steps of an offer's price, from rows of time, price in stock and summary, with the gaps of its product."""
    if all(observed for _, observed in gaps):
        return [PriceStep(at, price, summary=summary) for at, price, summary in rows]
    steps = [OfferStep(at, price or 0, 0 if price is None else None, summary=summary) for at, price, summary in rows]
    return [PriceStep(step.at, step.price_in_stock, step.observed, step.summary) for step in with_gaps(steps, gaps)]


def _texts(connection: Connection, statement: Select[Any], values: Mapping[str, Any]) -> _Texts:
    """The JSON text of each key, by the ids of the product, or of the product and the offer."""
    return {tuple(ids): text for *ids, text in connection.execute(statement, values)}


def _rows(texts: _Texts, *ids: UUID) -> list[Sequence[Any]]:
    # Without rows, a list is NULL on PostgreSQL.
    return sorted(orjson.loads(texts[ids] or "[]"), key=_at)


@cache
def _asked(dialect: str) -> FromClause:
    return Rows(product_id=Uuid(), offer_id=Uuid()).table(dialect)


@cache
def _facts(dialect: str) -> Select[Any]:
    asked = _asked(dialect)
    observed = [
        select(func.max(time))
        .join_from(ProductSource, Source, Source.id == ProductSource.source_id)
        .where(ProductSource.product_id == asked.c.product_id)
        .correlate(asked)
        .scalar_subquery()
        for time in (LAST_OBSERVED_AT, counts_until(dialect))
    ]
    is_offer = (Offer.product_id == asked.c.product_id) & (Offer.id == asked.c.offer_id)
    return select(
        *_ids(asked), Product.id.is_not(None), Offer.currency, Offer.closed_at.is_not(None), *observed
    ).select_from(asked.outerjoin(Product, Product.id == asked.c.product_id).outerjoin(Offer, is_offer))


@cache
def _price_changes(dialect: str) -> Select[Any]:
    """For each offer: time, price in stock (NULL: sold out) and summary of the steps that change the price."""
    asked = _asked(dialect)
    rows: list[Select[Any]] = []
    for model in OFFER_TABLES:
        step = model.__table__.alias()
        price = case((step.c.items_in_stock == 0, null()), else_=step.c.price)
        summary = step.c.summary if "summary" in step.c else cast(null(), JSON)
        rows += _window(step, asked, price.label("value"), summary.label("summary"))
    return _changes(dialect, asked, rows, "summary")


@cache
def _gap_turns(dialect: str) -> Select[Any]:
    """For each product: when observation began (true) and ended (false). Compaction keeps these steps."""
    asked = select(_asked(dialect).c.product_id).distinct().subquery()
    rows: list[Select[Any]] = []
    for model in PRODUCT_TABLES:
        step = model.__table__.alias()
        rows += _window(step, asked, step.c.observed.label("value"))
    return _changes(dialect, asked, rows)


def _window(step: FromClause, asked: FromClause, *values: ColumnElement[Any]) -> Iterator[Select[Any]]:
    """A key's steps in (begin, end], and its newest step at or before `begin`."""
    mine = and_(*(step.c[key.name] == key for key in asked.c))
    rows = select(step.c.observed_at, *values).where(mine).correlate(asked)
    # A subquery: SQLite's grammar has ORDER BY and LIMIT only at the end of a UNION.
    yield select(rows.where(step.c.observed_at <= _BEGIN).order_by(step.c.observed_at.desc()).limit(1).subquery())
    yield rows.where(step.c.observed_at > _BEGIN, step.c.observed_at <= _END)


def _changes(dialect: str, asked: FromClause, rows: Sequence[Select[Any]], *others: str) -> Select[Any]:
    """A JSON list for each key: of the first row, rows with another `value` than before, and rows with `others`.

    A subquery for each key, because PostgreSQL would read the whole table to join all keys at once.
    """
    steps = union_all(*rows).subquery()
    in_turn = select(
        steps,
        func.lag(steps.c.observed_at).over(order_by=steps.c.observed_at).label("time_before"),
        func.lag(steps.c.value).over(order_by=steps.c.observed_at).label("value_before"),
    ).subquery()
    is_change = in_turn.c.time_before.is_(None) | in_turn.c.value.is_distinct_from(in_turn.c.value_before)
    more = [in_turn.c[name] for name in others]
    # On SQLite, an aggregate would treat the summaries as texts.
    shown = [func.json(column) if dialect == "sqlite" else column for column in more]
    row = aggregate_rows(dialect, as_microseconds(dialect, in_turn.c.observed_at), in_turn.c.value, *shown)
    changes = select(row).where(or_(is_change, *(column.is_not(None) for column in more)))
    return select(*_ids(asked), changes.scalar_subquery())


def _ids(asked: FromClause) -> list[ColumnElement[Any]]:
    """The ids as UUIDs. On SQLite, the rows of the parameter are texts."""
    return [type_coerce(key, Uuid()) for key in asked.c]
