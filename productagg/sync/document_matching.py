"""Which products the items of a whole document belong to. For `document_offers`.

An item belongs to the products that have its locator at this source; without any, to those that have its GTIN; and if
the source creates products, to the product that has its name, or to a new one. A product that is found without its
locator gets linked to the source, so that the end of the document can close its offers. A link stays until an admin
removes it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, Integer, Table, Text, Uuid, and_, bindparam, literal, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.db.engines import dialect_name
from productagg.db.json_rows import Rows
from productagg.db.models import LAST_OBSERVED_AT, Base, Product, ProductSource, Source
from productagg.sources.base import NO_FACTS, ProductFacts, SourceOffer
from productagg.sync import new_products
from productagg.sync.new_products import NamedProduct
from productagg.sync.unmatched_items import Reason

_ID_LENGTH = len(str(UUID(int=0)))


class Match(NamedTuple):
    """A product that an item belongs to, when this source last listed it, and the locator that links it to the source.

    The item may have another locator: only one links the product.
    """

    product_id: UUID
    last_observed_at: datetime | None
    linked_by: str | None


class Matching(NamedTuple):
    """The products of items by locator, and why the others have none. Every locator is in one of the two."""

    products: Mapping[str, Sequence[Match]]
    reasons: Mapping[str, Reason]


class _Found(NamedTuple):
    """A product, and its state at the source."""

    product: NamedProduct
    is_linked: bool = False
    linked_by: str | None = None
    last_observed_at: datetime | None = None


def match(session: Session, source_id: UUID, offers: Iterable[SourceOffer], *, creates_products: bool) -> Matching:
    """Find the products of these offers, link those that are not linked yet, and create some if the source does so.

    The number of statements does not depend on the number of offers.
    """
    items: dict[str, ProductFacts] = {}
    for offer in offers:
        items.setdefault(offer.locator, offer.product or NO_FACTS)
    products: dict[str, list[Match]] = _by_locator(session, source_id, items)
    items = {locator: facts for locator, facts in items.items() if locator not in products}
    links: dict[UUID, str] = {}
    for locator, found in _by_gtin(session, source_id, items).items():
        products[locator] = [_match(each, locator, links) for each in found]
    items = {locator: facts for locator, facts in items.items() if locator not in products}
    reasons: dict[str, Reason] = {
        locator: "no_gtin" if facts.gtin is None else "gtin_unknown" for locator, facts in items.items()
    }
    if creates_products and items:
        reasons = _by_name(session, source_id, items, products, links)
    _link(session, source_id, links)
    return Matching(products, reasons)


def _match(found: _Found, locator: str, links: dict[UUID, str]) -> Match:
    """The match of an item that was found without its locator. If its product is not linked yet, it gets the link."""
    linked_by = found.linked_by if found.is_linked else links.setdefault(found.product.id, locator)
    return Match(found.product.id, found.last_observed_at, linked_by)


def _by_locator(session: Session, source_id: UUID, locators: Collection[str]) -> dict[str, list[Match]]:
    matches: list[ColumnElement[bool]] = [ProductSource.locator.in_(locators)]
    own_ids = dict(_as_ids(locators))
    if own_ids:
        matches.append(and_(ProductSource.locator.is_(None), ProductSource.product_id.in_(own_ids)))
    query = (
        select(ProductSource.locator, ProductSource.product_id, LAST_OBSERVED_AT)
        .join_from(ProductSource, Source, Source.id == ProductSource.source_id)
        .where(ProductSource.source_id == source_id, or_(*matches))
    )
    products: dict[str, list[Match]] = {}
    for locator, product_id, last in session.execute(query):
        locator = own_ids[product_id] if locator is None else locator
        products.setdefault(locator, []).append(Match(product_id, last, locator))
    return products


def _as_ids(locators: Iterable[str]) -> Iterable[tuple[UUID, str]]:
    for locator in locators:
        if len(locator) == _ID_LENGTH:  # most are not, and trying takes longer than all else about them
            with suppress(ValueError):
                yield UUID(locator), locator


def _by_gtin(session: Session, source_id: UUID, items: Mapping[str, ProductFacts]) -> Mapping[str, Sequence[_Found]]:
    """The products that have the items' GTINs, by locator: several products may have the same GTIN."""
    gtins = {facts.gtin for facts in items.values() if facts.gtin is not None}
    if not gtins:
        return {}
    by_gtin: dict[str | None, list[_Found]] = {}
    for found in _products(session, source_id, Product.gtin.in_(gtins)):
        by_gtin.setdefault(found.product.gtin, []).append(found)
    return {locator: by_gtin[facts.gtin] for locator, facts in items.items() if facts.gtin in by_gtin}


def _by_name(
    session: Session,
    source_id: UUID,
    items: Mapping[str, ProductFacts],
    products: dict[str, list[Match]],
    links: dict[UUID, str],
) -> dict[str, Reason]:
    """Find or create the products of items by name. Adds to `products` and `links`; returns why others have none."""
    wanted, reasons = new_products.tidy(items)
    found = _products(session, source_id, Product.name.in_({new.name for new in wanted.values()}))
    known = {each.product.name: each for each in found}
    placed, refused = new_products.place(session, wanted, [each.product for each in known.values()])
    for locator, product in placed.items():
        products[locator] = [_match(known.get(product.name) or _Found(product), locator, links)]
    return {**reasons, **refused}


def _products(session: Session, source_id: UUID, condition: ColumnElement[bool]) -> list[_Found]:
    at_source = and_(ProductSource.product_id == Product.id, ProductSource.source_id == source_id)
    columns = (Product.id, Product.name, Product.gtin, Product.brand)
    query = (
        select(*columns, ProductSource.product_id.is_not(None), ProductSource.locator, LAST_OBSERVED_AT)
        .outerjoin_from(Product, ProductSource, at_source)
        .outerjoin(Source, Source.id == ProductSource.source_id)
        .where(condition)
    )
    return [_Found(NamedProduct(*row[:4]), *row[4:]) for row in session.execute(query)]


def _link(session: Session, source_id: UUID, links: Mapping[UUID, str]) -> None:
    """Link products by locators, as far as the products still exist and are not linked meanwhile."""
    if links:
        dialect = dialect_name(session)
        rows = [{"product_id": product_id, "locator": locator} for product_id, locator in links.items()]
        session.execute(_LINK[dialect], {**Rows.parameter(dialect, rows), "source_id": source_id})


_LINKS = Rows(product_id=Uuid, locator=Text)


def _link_statement(make_insert: Callable[[Table], postgresql.Insert | sqlite.Insert], dialect: str) -> Executable:
    new = _LINKS.table(dialect).c
    values = {
        "product_id": Product.id,
        "source_id": bindparam("source_id", type_=Uuid),
        "locator": new.locator,
        "failures": literal(0, Integer),
    }
    # Products are locked in the order of their ids, as everywhere.
    products = select(*values.values()).join_from(Product, new.locator.table, Product.id == new.product_id)
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for the ON of a join.
    ordered = products.where(Product.id.is_not(None)).order_by(Product.id)
    locked = ordered.with_for_update(of=Product, read=True, key_share=True)
    table = Base.metadata.tables[ProductSource.__tablename__]
    return make_insert(table).from_select(list(values), locked).on_conflict_do_nothing()


_LINK = {
    "postgresql": _link_statement(postgresql.insert, "postgresql"),
    "sqlite": _link_statement(sqlite.insert, "sqlite"),
}
