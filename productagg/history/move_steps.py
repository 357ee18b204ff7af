"""Moves the steps of some products from the tables of steps to those of days, in one transaction.

For compaction, which chooses the products and the time. Steps are deleted and their compacted steps inserted at once,
so that a query finds every step in one table or in the other.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Executable, FromClause, Table, Text, and_, cast, delete, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import KeyedColumnElement

from productagg.db.json_rows import Rows
from productagg.db.models import Base, OfferPrice, OfferPriceDay, Product, ProductPrice, ProductPriceDay, UtcDateTime
from productagg.history.day_summaries import compact_offer, compact_product
from productagg.history.queries import as_microseconds
from productagg.history.row_writer import insert_rows
from productagg.history.timeline import OfferStep, ProductStep, Step, gap_turns, moment, timeline_of

# The ids of a product, or of a product and an offer, as the database writes them; they only go back to it.
_Key = tuple[str, ...]
_Row = dict[str, Any]


class Moved(NamedTuple):
    """The products whose steps were moved, the number of steps, and the number of compacted rows."""

    product_ids: Sequence[UUID]
    steps: int
    rows: int


def move_steps(session: Session, product_ids: Sequence[UUID], before: datetime) -> Moved:
    """Compact all steps before a time, the start of a UTC day. Locked and deleted products are left out."""
    # The products first, as everywhere; imports take the same lock.
    lock = select(Product.id).where(Product.id.in_(product_ids)).order_by(Product.id)
    locked = session.scalars(lock.with_for_update(key_share=True, skip_locked=True)).all()
    products = _take(session, ProductPrice, locked, before, _product_step)
    offers = _take(session, OfferPrice, locked, before, _offer_step)
    states = _products_before(session, products, offers)
    product_rows = list(_product_rows(states, products))
    offer_rows = list(_offer_rows(session, states, products, offers))
    insert_rows(session, ProductPriceDay, product_rows)
    insert_rows(session, OfferPriceDay, offer_rows)
    steps = sum(map(len, products.values())) + sum(map(len, offers.values()))
    return Moved(locked, steps, len(product_rows) + len(offer_rows))


def _take(
    session: Session,
    model: type[Base],
    product_ids: Sequence[UUID],
    before: datetime,
    make_step: Callable[[Sequence[Any]], Step],
) -> dict[_Key, list[Step]]:
    """Delete the steps and return them by key, in order, so that the inserts fill pages in order."""
    table = model.__table__
    assert isinstance(table, Table)
    keys, values = _columns(table)
    time = as_microseconds(session.get_bind().dialect.name, table.c.observed_at)
    statement = delete(table).where(table.c.product_id.in_(product_ids), table.c.observed_at < before)
    taken: dict[_Key, list[Sequence[Any]]] = defaultdict(list)
    size = len(keys)
    for row in session.execute(statement.returning(*(cast(key, Text) for key in keys), time, *values)):
        taken[tuple(row[:size])].append(row[size:])
    return {key: list(map(make_step, sorted(taken[key], key=_time))) for key in sorted(taken)}


def _products_before(
    session: Session, products: Mapping[_Key, Sequence[ProductStep]], offers: Mapping[_Key, Sequence[OfferStep]]
) -> dict[_Key, ProductStep]:
    """Each product's last compacted step before these steps."""
    first: dict[_Key, int] = {key: steps[0].at for key, steps in products.items()}
    for (product_id, _), steps in offers.items():
        first[product_id,] = min(steps[0].at, first.get((product_id,), steps[0].at))
    found = _last_before(session, ProductPriceDay, first)
    return {key: _product_step(row) for key, row in found.items()}


def _product_step(row: Sequence[Any]) -> ProductStep:
    *values, observed = row
    return ProductStep._make((*values, bool(observed), None))


def _offer_step(row: Sequence[Any]) -> OfferStep:
    return OfferStep(*row)


def _product_rows(states: Mapping[_Key, ProductStep], products: Mapping[_Key, Sequence[ProductStep]]) -> Iterator[_Row]:
    for key, steps in products.items():
        for step in compact_product(states.get(key), steps):
            at, *values = step
            yield _row(ProductPriceDay, key, at, values)


def _offer_rows(
    session: Session,
    states: Mapping[_Key, ProductStep],
    products: Mapping[_Key, Sequence[ProductStep]],
    offers: Mapping[_Key, Sequence[OfferStep]],
) -> Iterator[_Row]:
    gaps = _gaps(states, products, offers)
    before = _last_before(session, OfferPriceDay, {key: steps[0].at for key, steps in offers.items()})
    for key, steps in offers.items():
        last = before.get(key)
        for step in compact_offer(OfferStep(*last) if last else None, steps, gaps[key[:1]]):
            yield _row(OfferPriceDay, key, step.at, (step.price, step.items_in_stock, step.summary))


def _gaps(
    states: Mapping[_Key, ProductStep],
    products: Mapping[_Key, Sequence[ProductStep]],
    offers: Iterable[_Key],
) -> dict[_Key, list[tuple[int, bool]]]:
    """The gaps of the products that these offers belong to."""
    keys = {key[:1] for key in offers}
    return {key: gap_turns(timeline_of(states.get(key), products.get(key, ()))) for key in keys}


def _row(model: type[Base], key: _Key, at: int, values: Iterable[Any]) -> _Row:
    return dict(zip(model.__table__.c.keys(), (*key, moment(at), *values), strict=True))


def _last_before(session: Session, model: type[Base], first: Mapping[_Key, int]) -> dict[_Key, Sequence[Any]]:
    """The last compacted step before a time, by key: its time in microseconds, then the other columns."""
    dialect = session.get_bind().dialect.name
    names = ("product_id", "offer_id")
    rows = [{**dict(zip(names, key, strict=False)), "first": moment(at)} for key, at in first.items()]
    if not rows:
        return {}
    size = len(next(iter(first)))
    found = session.execute(_last_before_statement(dialect, model), Rows.parameter(dialect, rows))
    return {tuple(row[:size]): row[size:] for row in found}


@cache
def _last_before_statement(dialect: str, model: type[Base]) -> Executable:
    step, earlier = model.__table__.alias(), model.__table__.alias()
    keys, values = _columns(step)
    first = Rows(**{key.name: key.type for key in keys}, first=UtcDateTime()).table(dialect)

    def of(steps: Any) -> Any:
        return [steps.c[key.name] == first.c[key.name] for key in keys]

    last = select(func.max(earlier.c.observed_at)).where(*of(earlier), earlier.c.observed_at < first.c.first)
    is_last = step.c.observed_at == last.correlate(first).scalar_subquery()
    text = (cast(key, Text) for key in keys)
    found = select(*text, as_microseconds(dialect, step.c.observed_at), *values)
    return found.select_from(first.join(step, and_(*of(step), is_last)))


def _columns(table: FromClause) -> tuple[list[KeyedColumnElement[Any]], list[KeyedColumnElement[Any]]]:
    """The columns of a table of steps without the time and the summary: the ids, and the others."""
    keys = [column for column in table.c if column.name in ("product_id", "offer_id")]
    values = [column for column in table.c if column.name not in ("product_id", "offer_id", "observed_at", "summary")]
    return keys, values


_time = itemgetter(0)
