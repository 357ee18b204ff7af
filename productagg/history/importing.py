"""Imports price histories collected elsewhere, as the steps that our own observations would have written.

For `productagg history import`. An import lies wholly before its product's own history, which begins with the UTC day
on which the product was created. The caller's transaction holds all of it; nothing here commits. Steps of any age are
written as they are: the next compaction moves the old ones.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, or_, select, update
from sqlalchemy.orm import Session

from productagg.db import clock
from productagg.db.models import (
    OFFERS_SOURCE,
    Base,
    Catalogue,
    Offer,
    OfferPrice,
    OfferPriceDay,
    Product,
    ProductPrice,
    ProductPriceDay,
    ProductSummary,
)
from productagg.history.lines import LARGEST, Line
from productagg.history.row_writer import insert_rows
from productagg.history.staging import MOST_REPORTED, Staged, StagedProduct
from productagg.history.timeline import OfferStep, ProductStep, moment
from productagg.offers.summary import summarise
from productagg.times import format_time

ROWS_PER_INSERT = 5000


class ImportRefused(Exception):
    """Why the import is refused."""


class Replay:
    """A product's lines as steps, one only where something changed.

    The product's own steps are of the offers in the catalogue's `currency`, which is that of lines that name none.
    `known` has the currencies of offers that exist already, which never change. `last` is the last instant before the
    own history. All offers close there and a gap begins: the own history would never close offers that it did not see.
    Afterwards `offers` says when each offer was first seen, and has its last step, and `currencies` has its currency.
    """

    def __init__(self, product_id: UUID, last: int, currency: str, known: Mapping[UUID, str]) -> None:
        self.offers: dict[UUID, tuple[int, OfferStep]] = {}
        self.currencies: dict[UUID, str] = {}
        self._known = known
        self._product_id = product_id
        self._last = last
        self._currency = currency
        # The price and the items of every offer in stock.
        self._in_stock: dict[UUID, tuple[int, int | None]] = {}

    def steps(self, lines: Iterable[Line]) -> Iterator[tuple[UUID | None, ProductStep | OfferStep]]:
        """The steps by time, with an offer's id or None for the product.

        Raises ImportRefused for too many items, and for an offer with lines in several currencies, or in another one
        than it has.
        """
        newest: ProductStep | None = None
        final_gap = Line(self._product_id, None, self._last, None, None)
        for at, group in groupby(chain(lines, [final_gap]), attrgetter("at")):
            observed = True
            for line in group:
                observed = observed and not line.is_gap
                yield from self._offer_steps(line)
            if at == self._last:
                yield from self._closing_steps()
            step = self._product_step(at, observed=observed)
            if newest is None or newest[1:] != step[1:]:
                newest = step
                yield None, step

    def _offer_steps(self, line: Line) -> Iterator[tuple[UUID, OfferStep]]:
        offer_id = line.offer_id
        if offer_id is None:
            return
        self._check_currency(offer_id, line.currency or self._currency)
        step = OfferStep(line.at, line.price or 0, line.items_in_stock)
        if step.items_in_stock == 0:
            self._in_stock.pop(offer_id, None)
        else:
            self._in_stock[offer_id] = (step.price, step.items_in_stock)
        # At the last instant, offers in stock are closed at once.
        if step.at < self._last or step.items_in_stock == 0:
            yield from self._new_step(offer_id, step)

    def _check_currency(self, offer_id: UUID, currency: str) -> None:
        known = self._known.get(offer_id, currency)
        first = self.currencies.setdefault(offer_id, currency)
        if currency == known == first:
            return
        offer = f"offer {offer_id} of product {self._product_id}"
        if known != currency:
            raise ImportRefused(f"{offer} has lines in {currency}, but its prices are in {known}")
        raise ImportRefused(f"{offer} has lines in {first} and {currency}")

    def _closing_steps(self) -> Iterator[tuple[UUID, OfferStep]]:
        for offer_id, (price, _) in self._in_stock.items():
            yield from self._new_step(offer_id, OfferStep(self._last, price, 0))

    def _new_step(self, offer_id: UUID, step: OfferStep) -> Iterator[tuple[UUID, OfferStep]]:
        """The step, if it changes the offer."""
        since, before = self.offers.get(offer_id, (step.at, None))
        if before is None or before[1:] != step[1:]:
            self.offers[offer_id] = since, step
            yield offer_id, step

    def _product_step(self, at: int, *, observed: bool) -> ProductStep:
        in_stock = self._in_stock.items() if observed else ()
        summary = summarise(state for id_, state in in_stock if self.currencies[id_] == self._currency)
        if summary.items_in_stock > LARGEST:
            time = format_time(moment(at))
            raise ImportRefused(f"product {self._product_id} has more items in stock at {time} than 64 bits hold")
        return ProductStep(at, *summary, observed)


def import_(
    session: Session, staged: Staged, *, replace: bool = False, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the steps of the staged lines; `progress` is called with the lines done and all lines.

    Raises ImportRefused, and then the caller rolls back: if a product already has imported history and `replace` is not
    set, if a product was deleted after its lines were checked, or if an offer's lines are in another currency than the
    offer.
    """
    products = staged.products()
    # Lock products first, as everywhere. A sync run may continue: it writes later times.
    _lock_products(session, products)
    _compare_again(session, products)
    present = [product for product in products if _has_imported(session, product)]
    if present and not replace:
        has = "has" if len(present) == 1 else "have"
        raise ImportRefused(f"{_listed(present)} already {has} imported history; --replace replaces it")
    for product in present:
        _remove_imported(session, product)
    currency = session.execute(select(Catalogue.currency)).scalar_one()
    _insert_all(session, _rows(session, staged, products, currency, progress))


def _lock_products(session: Session, products: Sequence[StagedProduct]) -> None:
    """Lock the products against removal, other imports and compaction."""
    for first in range(0, len(products), ROWS_PER_INSERT):
        batch = {product.id: product for product in products[first : first + ROWS_PER_INSERT]}
        lock = select(Product.id).where(Product.id.in_(batch)).order_by(Product.id)
        for id_ in session.scalars(lock.with_for_update(key_share=True)):
            del batch[id_]
        if batch:
            was = "was" if len(batch) == 1 else "were"
            raise ImportRefused(f"{_listed(list(batch.values()))} {was} deleted after the file was read")


def _compare_again(session: Session, products: Sequence[StagedProduct]) -> None:
    """Let the next run look up the past prices of the summaries: the imported history may have them."""
    now = clock.now(session)
    for first in range(0, len(products), ROWS_PER_INSERT):
        ids = [product.id for product in products[first : first + ROWS_PER_INSERT]]
        due = update(ProductSummary).where(ProductSummary.product_id.in_(ids)).values(compare_at=now)
        session.execute(due, execution_options={"synchronize_session": False})


def _has_imported(session: Session, product: StagedProduct) -> bool:
    before = moment(product.own_from)
    imported = (
        exists().where(model.product_id == product.id, model.observed_at < before)
        for model in (ProductPrice, ProductPriceDay)
    )
    return bool(session.execute(select(or_(*imported))).scalar_one())


def _remove_imported(session: Session, product: StagedProduct) -> None:
    before = moment(product.own_from)
    no_objects = {"synchronize_session": False}
    for steps in (ProductPrice, ProductPriceDay, OfferPrice, OfferPriceDay):
        old_steps = delete(steps).where(steps.product_id == product.id, steps.observed_at < before)
        session.execute(old_steps, execution_options=no_objects)
    closed_offers = delete(Offer).where(Offer.product_id == product.id, Offer.closed_at < before)
    session.execute(closed_offers, execution_options=no_objects)


def _rows(
    session: Session,
    staged: Staged,
    products: Sequence[StagedProduct],
    currency: str,
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[type[Base], dict[str, Any]]]:
    """The rows of all tables, built as the lines are read."""
    total = sum(product.lines for product in products)
    counted = _counted((staged.lines(product.id) for product in products), total, progress)
    for product, lines in zip(products, counted, strict=True):
        yield from _rows_of_product(product, lines, currency, _currencies(session, product))


def _currencies(session: Session, product: StagedProduct) -> dict[UUID, str]:
    """The currencies of the product's offers, which the sync knows."""
    offers = session.execute(select(Offer.id, Offer.currency).where(Offer.product_id == product.id))
    return {offer.id: offer.currency for offer in offers}


def _rows_of_product(
    product: StagedProduct, lines: Iterable[Line], currency: str, known: Mapping[UUID, str]
) -> Iterator[tuple[type[Base], dict[str, Any]]]:
    replay = Replay(product.id, product.own_from - 1, currency, known)
    key = {"product_id": product.id}
    for offer_id, step in replay.steps(lines):
        row = {**key, **step._asdict(), "observed_at": moment(step.at)}
        yield (ProductPrice, row) if offer_id is None else (OfferPrice, {**row, "offer_id": offer_id})
    # Imported offers become closed offers, unless the sync already knows them.
    for offer_id, (since, last) in replay.offers.items():
        times = {"first_seen_at": moment(since), **dict.fromkeys(("changed_at", "closed_at"), moment(last.at))}
        facts = {"currency": replay.currencies[offer_id], "condition": "unknown", "availability": "out_of_stock"}
        # The first source to observe one of them takes it over.
        yield Offer, {**key, "id": offer_id, "source_id": OFFERS_SOURCE, **last._asdict(), **times, **facts}


def _counted(
    lines_of_products: Iterable[Iterable[Line]], total: int, progress: Callable[[int, int], None] | None
) -> Iterator[Iterator[Line]]:
    """The lines, unchanged; every few thousand lines `progress` is called with their number."""
    done = 0

    def count(lines: Iterable[Line]) -> Iterator[Line]:
        nonlocal done
        for line in lines:
            yield line
            done += 1
            if progress is not None and (done % ROWS_PER_INSERT == 0 or done == total):
                progress(done, total)

    return map(count, lines_of_products)


def _insert_all(session: Session, rows: Iterable[tuple[type[Base], dict[str, Any]]]) -> None:
    """Insert rows, many of a table at a time. Offers that already exist do not change: the sync knows newer states."""
    waiting: dict[type[Base], list[dict[str, Any]]] = {Offer: [], ProductPrice: [], OfferPrice: []}
    for model, row in rows:
        batch = waiting[model]
        batch.append(row)
        if len(batch) >= ROWS_PER_INSERT:
            insert_rows(session, model, batch)
            batch.clear()
    for model, batch in waiting.items():
        insert_rows(session, model, batch)


def _listed(products: Sequence[StagedProduct]) -> str:
    shown = ", ".join(str(product.id) for product in products[:MOST_REPORTED])
    more = len(products) - MOST_REPORTED
    return f"product{'s' if len(products) > 1 else ''} {shown}{f' and {more} more' if more > 0 else ''}"
