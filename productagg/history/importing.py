"""Histories that a user brings along, as the raw steps and roll-ups that an observation would have left.

For `productagg history import`. An import lies wholly before its product's own history, which begins with the UTC day
on which the product was created. The caller's transaction holds all of it; nothing here commits.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from itertools import chain, groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.db.json_rows import Rows
from productagg.db.models import (
    Base,
    HistoryProgress,
    Offer,
    OfferPrice,
    Product,
    ProductPrice,
    ProductPriceDaily,
    ProductPriceWeekly,
)
from productagg.history.again import roll_up
from productagg.history.late import day_of, mark
from productagg.history.lines import LARGEST, Line
from productagg.history.rolling import ROLLUPS
from productagg.history.rollups import OfferStep, ProductStep
from productagg.history.staging import MOST_REPORTED, Staged, StagedProduct
from productagg.history.steps import WEEK, bucket_start, microseconds, moment
from productagg.history.weekly import write_weeks
from productagg.offers.summary import summarise

_BATCH = 5000
_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_RAW_FROM = select(HistoryProgress.raw_from)


class Refused(Exception):
    """Why an import cannot be made."""


class Replay:
    """A product's lines, as the steps that observing such offers would have left; only what changed is one.

    `last` is the last instant before the product's own history. Then at the latest nothing is known any more, and no
    offer is left in stock: its own history says nothing of offers that it never saw, and would go on with them.
    `offers` has, in the end, when each offer was first seen, and its last step.
    """

    def __init__(self, product_id: UUID, last: int) -> None:
        self.offers: dict[UUID, tuple[int, OfferStep]] = {}
        self._product_id = product_id
        self._last = last

    def steps(self, lines: Iterable[Line]) -> Iterator[tuple[UUID | None, ProductStep | OfferStep]]:
        """The steps in order, with their offers' ids. Raises Refused if the items are too many to be counted."""
        in_stock: dict[UUID, tuple[int, int]] = {}
        newest: ProductStep | None = None
        the_end = Line(self._product_id, None, self._last, None, None)
        for at, group in groupby(chain(lines, [the_end]), attrgetter("at")):
            observed = True
            for line in group:
                if line.offer_id is None:
                    observed = observed and not line.is_gap
                    continue
                step = OfferStep(at, line.price or 0, line.items_in_stock or 0)
                if step.items_in_stock:
                    in_stock[line.offer_id] = (step.price, step.items_in_stock)
                else:
                    in_stock.pop(line.offer_id, None)
                if at < self._last or not step.items_in_stock:
                    yield from self._follow(line.offer_id, step)
            if at == self._last:
                for offer_id, (price, _) in in_stock.items():
                    yield from self._follow(offer_id, OfferStep(at, price, 0))
            summary = summarise(in_stock.values() if observed else ())
            if summary.items_in_stock > LARGEST:
                which = f"at {moment(at)} of product {self._product_id}"
                raise Refused(f"more items than can be counted are in stock {which}")
            now = ProductStep(at, *summary, observed)
            if newest is None or newest[1:] != now[1:]:
                newest = now
                yield None, now

    def _follow(self, offer_id: UUID, step: OfferStep) -> Iterator[tuple[UUID, OfferStep]]:
        """The step, if it is one."""
        since, before = self.offers.get(offer_id, (step.at, None))
        if before is None or before[1:] != step[1:]:
            self.offers[offer_id] = since, step
            yield offer_id, step


def import_(
    session: Session, staged: Staged, *, replace: bool = False, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write what the staged lines come to; `progress` is told the lines done, and all there are.

    Roll-ups are written only of what is not kept raw: the rest is for the next compaction (see late.py). Raises
    Refused, and then the caller rolls back: if a product has imported history already and that is not to be replaced,
    if a product was deleted after its lines were checked, or if raw rows were dropped meanwhile.
    """
    products = staged.products()
    # The products first, as everywhere. What is observed of them meanwhile may be written: it lies elsewhere.
    _lock_products(session, products)
    raw_from = session.execute(_RAW_FROM).scalar_one()
    first_days = {each.id: staged.first_day(each.id) for each in products}
    present = []
    for product in products:
        imported_from = _imported_from(session, product)
        if imported_from is not None:
            first_days[product.id] = min(first_days[product.id], imported_from)
            present.append(product)
    if present and not replace:
        raise Refused(_listed("there is imported history already, which --replace would replace, of product", present))
    for product in present:
        _remove_imported(session, product, raw_from)
    _insert_all(session, _rows(staged, products, progress))
    if raw_from is not None:
        for product in products:
            _roll_up(session, product, first_days[product.id], raw_from)
    mark(session, {id_: max(day, raw_from or day) for id_, day in first_days.items()})
    # Whoever drops raw rows looks for what is late, and after this cannot before this transaction has ended.
    if session.execute(_RAW_FROM.with_for_update(read=True)).scalar_one() != raw_from:
        raise Refused("a compaction dropped rows meanwhile; try again")


def _lock_products(session: Session, products: Sequence[StagedProduct]) -> None:
    """Keep the products from being removed, and other imports away."""
    for batch in _batches(products):
        own_from = {each.id: each.own_from for each in batch}
        locked = select(Product.id).where(Product.id.in_(own_from)).order_by(Product.id)
        found = set(session.scalars(locked.with_for_update(key_share=True)))
        gone = [each for each in batch if each.id not in found]
        if gone:
            raise Refused(_listed("since the file was read, somebody deleted product", gone))


def _imported_from(session: Session, product: StagedProduct) -> datetime | None:
    """The day with which begins whatever was imported of a product; None: nothing was."""
    before = moment(product.own_from)
    raw = select(func.min(ProductPrice.observed_at)).where(
        ProductPrice.product_id == product.id, ProductPrice.observed_at < before
    )
    rolled = select(func.min(ProductPriceDaily.at)).where(
        ProductPriceDaily.product_id == product.id, ProductPriceDaily.at < before
    )
    found = [time for time in (session.execute(raw).scalar(), session.execute(rolled).scalar()) if time is not None]
    return day_of(min(found)) if found else None


def _remove_imported(session: Session, product: StagedProduct, raw_from: datetime | None) -> None:
    """Remove what was imported, and the roll-ups that came of it; not those that compaction makes again."""
    before, rolled_before = moment(product.own_from), raw_from or moment(0)
    imported = select(Offer.id).where(Offer.product_id == product.id, Offer.closed_at < before)
    for model in (ProductPrice, OfferPrice):
        _delete(session, model, model.product_id == product.id, model.observed_at < before)
    rollups: tuple[type[Base], ...] = (*ROLLUPS, ProductPriceWeekly)
    for rollup in rollups:
        columns = rollup.__table__.c
        which = columns.at < before
        if "offer_id" in columns:  # on its first own day, an offer comes out of the last gap
            which |= columns.offer_id.in_(imported)
        until = _week_of(rolled_before) if rollup is ProductPriceWeekly else rolled_before
        _delete(session, rollup, columns.product_id == product.id, which, columns.at < until)
    _delete(session, Offer, Offer.product_id == product.id, Offer.closed_at < before)


def _delete(session: Session, model: type[Base], *which: ColumnElement[bool]) -> None:
    session.execute(delete(model).where(*which).execution_options(synchronize_session=False))


def _rows(
    staged: Staged, products: Sequence[StagedProduct], progress: Callable[[int, int], None] | None
) -> Iterator[tuple[type[Base], dict[str, Any]]]:
    """The rows of all tables, while the lines are gone through."""
    total = sum(each.lines for each in products)
    counted = _counted((staged.lines(each.id) for each in products), total, progress)
    for product, lines in zip(products, counted, strict=True):
        replay = Replay(product.id, product.own_from - 1)
        key = {"product_id": product.id}
        for offer_id, step in replay.steps(lines):
            row = {**key, **step._asdict(), "observed_at": moment(step.at)}
            yield (ProductPrice, row) if offer_id is None else (OfferPrice, {**row, "offer_id": offer_id})
        # Every offer that there ever was is known as such, as closed if it was never observed.
        for offer_id, (since, last) in replay.offers.items():
            times = {"first_seen_at": moment(since), **dict.fromkeys(("changed_at", "closed_at"), moment(last.at))}
            yield Offer, {**key, "id": offer_id, **last._asdict(), **times}


def _counted(
    lines_of_products: Iterable[Iterable[Line]], total: int, progress: Callable[[int, int], None] | None
) -> Iterator[Iterator[Line]]:
    """The same lines; `progress` is told how many there were, some thousands at a time."""
    done = 0

    def count(lines: Iterable[Line]) -> Iterator[Line]:
        nonlocal done
        for line in lines:
            yield line
            done += 1
            if progress is not None and (done % _BATCH == 0 or done == total):
                progress(done, total)

    return map(count, lines_of_products)


def _roll_up(session: Session, product: StagedProduct, begin: datetime, raw_from: datetime) -> None:
    """What is not kept raw is rolled up, and removed. All that comes after it is left to compaction."""
    until = min(moment(product.own_from), raw_from)
    if begin >= until:
        return
    roll_up(session, [product.id], microseconds(begin), microseconds(until))
    # Up to the first week of the own history, of which the import may have some days, or had, if it is replaced.
    weeks_until = min(moment(product.own_from), _week_of(raw_from))
    if begin < weeks_until:
        write_weeks(session, [product.id], microseconds(begin), microseconds(weeks_until))
    for model in (ProductPrice, OfferPrice):
        _delete(session, model, model.product_id == product.id, model.observed_at < until)


def _week_of(time: datetime) -> datetime:
    return moment(bucket_start(microseconds(time), WEEK))


def _insert_all(session: Session, rows: Iterable[tuple[type[Base], dict[str, Any]]]) -> None:
    """Insert rows, many of a table at a time; of each, what the table has columns for."""
    waiting: dict[type[Base], list[dict[str, Any]]] = {Offer: [], ProductPrice: [], OfferPrice: []}
    dialect = session.get_bind().dialect.name
    for model, row in rows:
        batch = waiting[model]
        batch.append(row)
        if len(batch) >= _BATCH:
            session.execute(_insert(dialect, model), Rows.parameter(dialect, batch))
            batch.clear()
    for model, batch in waiting.items():
        if batch:
            session.execute(_insert(dialect, model), Rows.parameter(dialect, batch))


@cache
def _insert(dialect: str, model: type[Base]) -> Executable:
    table = model.__table__
    assert isinstance(table, Table)
    data = Rows(**{each.name: each.type for each in table.columns}).table(dialect)
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for a join's ON.
    statement = _INSERTS[dialect](table).from_select(
        [each.name for each in table.columns], select(*data.c).where(data.c.product_id.is_not(None))
    )
    # What is known of an offer from observing it is newer.
    done: Executable = statement.on_conflict_do_nothing() if model is Offer else statement
    return done


def _batches(products: Sequence[StagedProduct]) -> Iterator[Sequence[StagedProduct]]:
    return (products[first : first + _BATCH] for first in range(0, len(products), _BATCH))


def _listed(what: str, products: Sequence[StagedProduct]) -> str:
    shown = ", ".join(str(each.id) for each in products[:MOST_REPORTED])
    more = len(products) - MOST_REPORTED
    return f"{what} {shown}{f' and {more} more' if more > 0 else ''}"
