"""Histories that a user brings along, as the raw steps and roll-ups that an observation would have left.

For `productagg history import`. An import lies wholly before its product's own history, which begins with the UTC day
on which the product was created. The caller's transaction holds all of it; nothing here commits.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, Table, delete, exists, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.bulk import Rows
from productagg.history.lines import LARGEST, Line
from productagg.history.progress import roll_up_again
from productagg.history.rolling import ROLLUPS, OfferPast, Past, rollups_of, write
from productagg.history.rollups import OfferStep, ProductStep
from productagg.history.staging import MOST_REPORTED, Staged, StagedProduct
from productagg.history.steps import DAY, bucket_start, microseconds, moment
from productagg.history.weekly import write_weeks
from productagg.models import (
    Base,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDaily,
    OfferPriceHourly,
    Product,
    ProductPrice,
    ProductPriceDaily,
    ProductPriceWeekly,
)
from productagg.prices import summarise

_BATCH = 5000
_HISTORIES: tuple[type[Base], ...] = (ProductPrice, OfferPrice, *ROLLUPS, ProductPriceWeekly)
_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


class Refused(Exception):
    """Why an import cannot be made."""


def replay(product_id: UUID, lines: Iterable[Line], last: int) -> Past:
    """The steps that observing such offers would have left; only what changed is one.

    `last` is the last instant before the product's own history. Then at the latest nothing is known any more, and no
    offer is left in stock: its own history says nothing of offers that it never saw, and would go on with them.
    Raises Refused if a product's items are too many to be counted.
    """
    products: list[ProductStep] = []
    offers: dict[UUID, list[OfferStep]] = {}
    in_stock: dict[UUID, tuple[int, int]] = {}
    the_end = Line(product_id, None, last, None, None)
    for at, group in groupby(chain(lines, [the_end]), attrgetter("at")):
        observed = True
        for line in group:
            if line.offer_id is None:
                observed = observed and not line.is_gap
                continue
            _follow(offers.setdefault(line.offer_id, []), OfferStep(at, line.price or 0, line.items_in_stock or 0))
            if line.items_in_stock:
                in_stock[line.offer_id] = (line.price or 0, line.items_in_stock)
            else:
                in_stock.pop(line.offer_id, None)
        if at == last:
            for offer_id, (price, _) in in_stock.items():
                _follow(offers[offer_id], OfferStep(at, price, 0))
        summary = summarise(in_stock.values() if observed else ())
        if summary.items_in_stock > LARGEST:
            raise Refused(f"more items than can be counted are in stock at {moment(at)} of product {product_id}")
        step = ProductStep(at, *summary, observed)
        if not products or products[-1][1:] != step[1:]:
            products.append(step)
    return Past(str(product_id), None, products, {str(id_): OfferPast(None, steps) for id_, steps in offers.items()})


def _follow(steps: list[OfferStep], step: OfferStep) -> None:
    """Append a step if it is one."""
    if steps and steps[-1].at == step.at:
        steps.pop()
    if not steps or steps[-1][1:] != step[1:]:
        steps.append(step)


def import_(
    session: Session, staged: Staged, *, replace: bool = False, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write what the staged lines come to; `progress` is told the lines done, and all there are.

    Raises Refused, and then the caller rolls back: if a product has imported history already and that is not to be
    replaced, or if a product was deleted after its lines were checked.
    """
    products = staged.products()
    # The products first, as everywhere. What is observed of them meanwhile may be written: it lies elsewhere.
    _lock_products(session, products)
    rolled_until, raw_from = _lock_progress(session)
    present = [each for each in products if _has_imported(session, each)]
    if present and not replace:
        raise Refused(_listed("there is imported history already, which --replace would replace, of product", present))
    own_days = {each.id: _first_own_day(session, each, raw_from) for each in products}
    for product in present:
        _remove_imported(session, product, own_days[product.id])
    done, total = 0, sum(each.lines for each in products)
    batch: list[Past] = []
    waiting = 0
    for product in products:
        batch.append(replay(product.id, staged.lines(product.id), product.own_from - 1))
        waiting += product.lines
        if waiting >= _BATCH or product is products[-1]:
            _write_offers(session, batch)
            _write_raw(session, batch, raw_from)
            _write_rollups(session, batch, rolled_until, staged.own_from)
            batch.clear()
            done, waiting = done + waiting, 0
            if progress is not None:
                progress(done, total)
    # Whoever is rolling up has not seen these rows; and on its first own day, an offer comes out of the last gap.
    days = (day for day in own_days.values() if day is not None)
    roll_up_again(session, moment(min(days, default=rolled_until)))


def _lock_products(session: Session, products: Sequence[StagedProduct]) -> None:
    """Keep the products from being removed, and other imports away."""
    for batch in _batches(products):
        own_from = {each.id: each.own_from for each in batch}
        locked = select(Product.id).where(Product.id.in_(own_from)).order_by(Product.id)
        found = set(session.scalars(locked.with_for_update(key_share=True)))
        gone = [each for each in batch if each.id not in found]
        if gone:
            raise Refused(_listed("since the file was read, somebody deleted product", gone))


def _lock_progress(session: Session) -> tuple[int, int]:
    """How far histories are rolled up, and from when on raw rows are there; it stays so until the transaction ends."""
    session.execute(
        _INSERTS[session.get_bind().dialect.name](HistoryProgress).values(id=1, generation=0).on_conflict_do_nothing()
    )
    found = session.execute(select(HistoryProgress.rolled_until, HistoryProgress.raw_from).with_for_update()).one()
    rolled_until, raw_from = (microseconds(time) if time else 0 for time in found)
    return rolled_until, raw_from


def _has_imported(session: Session, product: StagedProduct) -> bool:
    """There is a step of the product itself in whatever was imported."""
    before = moment(product.own_from)
    raw = exists().where(ProductPrice.product_id == product.id, ProductPrice.observed_at < before)
    rolled = exists().where(ProductPriceDaily.product_id == product.id, ProductPriceDaily.at < before)
    return session.execute(select(or_(raw, rolled))).scalar_one()


def _first_own_day(session: Session, product: StagedProduct, raw_from: int) -> int | None:
    """The day with which the product's own history begins, if there is one and its raw rows are still there."""
    own_from = moment(product.own_from)
    raw = select(func.min(ProductPrice.observed_at)).where(
        ProductPrice.product_id == product.id, ProductPrice.observed_at >= own_from
    )
    dropped = exists().where(
        ProductPriceDaily.product_id == product.id,
        ProductPriceDaily.at >= own_from,
        ProductPriceDaily.at < moment(raw_from),
    )
    first, is_dropped = session.execute(select(raw.scalar_subquery(), dropped)).one()
    return None if first is None or is_dropped else bucket_start(microseconds(first), DAY)


def _remove_imported(session: Session, product: StagedProduct, own_day: int | None) -> None:
    """Remove what was imported, and the roll-ups in the own history that came of it and are made again."""
    before = moment(product.own_from)
    imported = select(Offer.id).where(Offer.product_id == product.id, Offer.closed_at < before)
    for model in _HISTORIES:
        table = model.__table__
        time = table.c.observed_at if "observed_at" in table.c else table.c.at
        which = time < before
        if model in (OfferPriceHourly, OfferPriceDaily):
            which |= table.c.offer_id.in_(imported)
            if own_day is not None:
                which |= time.between(moment(own_day), moment(own_day + DAY - 1))
        _delete(session, model, table.c.product_id == product.id, which)
    _delete(session, Offer, Offer.product_id == product.id, Offer.closed_at < before)


def _delete(session: Session, model: type[Base], *which: ColumnElement[bool]) -> None:
    session.execute(delete(model).where(*which).execution_options(synchronize_session=False))


def _write_offers(session: Session, pasts: Iterable[Past]) -> None:
    """Every offer that there ever was is known as such, as closed if it was never observed."""
    rows = (
        {
            "product_id": past.product_id,
            "id": id_,
            **steps[-1]._asdict(),
            "first_seen_at": moment(steps[0].at),
            "changed_at": moment(steps[-1].at),
            "closed_at": moment(steps[-1].at),
        }
        for past in pasts
        for id_, (_, steps) in past.offers.items()
    )
    _insert_all(session, Offer, rows)


def _write_raw(session: Session, pasts: Iterable[Past], since: int) -> None:
    _insert_all(
        session,
        ProductPrice,
        (
            {"product_id": past.product_id, **step._asdict(), "observed_at": moment(step.at)}
            for past in pasts
            for step in past.steps
            if step.at >= since
        ),
    )
    _insert_all(
        session,
        OfferPrice,
        (
            {"product_id": past.product_id, "offer_id": offer_id, **step._asdict(), "observed_at": moment(step.at)}
            for past in pasts
            for offer_id, offer in past.offers.items()
            for step in offer.steps
            if step.at >= since
        ),
    )


def _write_rollups(session: Session, pasts: Iterable[Past], until: int, own_from: Mapping[UUID, int]) -> None:
    before = [past for past in (_before(each, until) for each in pasts) if past.steps]
    if before:
        write(session, rollups_of(before, bucket_start(min(past.steps[0].at for past in before), DAY)))
    for past in before:
        # Up to the first week of the own history, of which the import may have some days, or had, if it is replaced.
        id_ = UUID(past.product_id)
        write_weeks(session, id_, id_, past.steps[0].at, own_from[id_])


def _before(past: Past, until: int) -> Past:
    """As much of it as lies before a time."""
    offers = {id_: [step for step in offer.steps if step.at < until] for id_, offer in past.offers.items()}
    return past._replace(
        steps=[step for step in past.steps if step.at < until],
        offers={id_: OfferPast(None, steps) for id_, steps in offers.items() if steps},
    )


def _insert_all(session: Session, model: type[Base], rows: Iterator[dict[str, Any]]) -> None:
    """Insert rows, many at a time; of each, what the table has columns for."""
    dialect = session.get_bind().dialect.name
    while batch := list(islice(rows, _BATCH)):
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
