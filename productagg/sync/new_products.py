"""Makes products of a document's items. For `document_matching`."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

import colander
from sqlalchemy.orm import Session

from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.product_schema import NEW_PRODUCT
from productagg.catalog.search_text import filter_key
from productagg.db.models import DESCRIPTION_MAX_LENGTH
from productagg.sources.base import ProductFacts
from productagg.sync.unmatched_items import Reason


class NamedProduct(NamedTuple):
    """A product, as far as it tells whether an item of its name is the same thing."""

    id: UUID
    name: str
    gtin: str | None
    brand: str | None


def tidy(items: Mapping[str, ProductFacts]) -> tuple[dict[str, NewProduct], dict[str, Reason]]:
    """The products that the items could become, by locator, and why the others cannot."""
    wanted: dict[str, NewProduct] = {}
    reasons: dict[str, Reason] = {}
    for locator, facts in items.items():
        if not (facts.name or "").strip():
            reasons[locator] = "no_name"
        elif (new := _as_product(facts)) is None:
            reasons[locator] = "name_refused"
        else:
            wanted[locator] = new
    return wanted, reasons


def _as_product(facts: ProductFacts) -> NewProduct | None:
    """The product, without the facts that a product cannot have; None if it cannot have the name."""
    values: dict[str, str | None] = facts._asdict()
    values["name"] = " ".join((facts.name or "").split())
    values["description"] = (facts.description or "")[:DESCRIPTION_MAX_LENGTH]
    try:
        return NewProduct(**NEW_PRODUCT.deserialize(values))
    except colander.Invalid as error:
        refused = error.asdict()
    if "name" in refused:
        return None
    values |= {member: "" if member == "description" else None for member in refused}
    return NewProduct(**NEW_PRODUCT.deserialize(values))


def place(
    session: Session, wanted: Mapping[str, NewProduct], existing: Iterable[NamedProduct]
) -> tuple[dict[str, NamedProduct], dict[str, Reason]]:
    """Give each item a product: the one with its name, or a new one. `existing` are those that have an item's name.

    Items of one GTIN become one product, whatever their names. An item that contradicts the product of its name is
    refused: names of products are unique.
    """
    by_name: dict[str, NewProduct | NamedProduct] = {product.name: product for product in existing}
    by_gtin: dict[str, str] = {}
    names: dict[str, str] = {}
    for locator, item in wanted.items():
        name = by_gtin.get(item.gtin or "")
        if name is None and not _contradict(by_name.setdefault(item.name, item), item):
            name = item.name
        if name is not None:
            names[locator] = name
            if item.gtin is not None:
                by_gtin.setdefault(item.gtin, name)
    known = _create(session, by_name)
    placed = {locator: known[name] for locator, name in names.items() if name in known}
    return placed, dict.fromkeys(wanted.keys() - placed.keys(), "name_taken")


def _create(session: Session, by_name: Mapping[str, NewProduct | NamedProduct]) -> dict[str, NamedProduct]:
    """Create the new ones. Those whose names another transaction has taken meanwhile are left out."""
    known = {name: product for name, product in by_name.items() if isinstance(product, NamedProduct)}
    new = [product for product in by_name.values() if isinstance(product, NewProduct)]
    if new:
        for product, id_ in zip(new, create_many(session, new), strict=True):
            if id_ is not None:
                known[product.name] = NamedProduct(id_, product.name, product.gtin, product.brand)
    return known


def _contradict(one: NewProduct | NamedProduct, other: NewProduct) -> bool:
    """Whether both state a GTIN, and not the same; or both a brand."""
    if one.gtin and other.gtin:
        return one.gtin != other.gtin
    return bool(one.brand and other.brand and filter_key(one.brand) != filter_key(other.brand))
