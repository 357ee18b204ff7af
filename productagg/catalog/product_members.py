"""The members of a product in JSON: the columns that hold them, and how a row becomes JSON.

For the listing, `products.get` and the offers, so that products and offers have the same members everywhere. The
database writes the stored members as JSON; only the derived members are computed here.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal, cast
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Numeric, ScalarSelect, Subquery, and_, func, select
from sqlalchemy import cast as numeric_cast
from sqlalchemy.orm import InstrumentedAttribute

from productagg.db.json_rows import aggregate_objects, object_members
from productagg.db.models import (
    AT_OFFERS_SERVICE,
    LAST_OBSERVED_AT,
    Base,
    Catalogue,
    Offer,
    Product,
    ProductSource,
    ProductSummary,
    Source,
)

# The database's own currency, and not the setting: every answer is of one moment, and of one currency.
_CURRENCY = select(Catalogue.currency).scalar_subquery()
_COLUMNS: dict[str, InstrumentedAttribute[Any] | ColumnElement[Any]] = {
    "id": Product.id,
    "name": Product.name,
    "description": Product.description,
    "gtin": Product.gtin,
    "brand": Product.brand,
    "category": Product.category,
    "image_url": Product.image_url,
    "created_at": Product.created_at,
    "updated_at": Product.updated_at,
    "registration": ProductSource.registration,
    "last_synced_at": ProductSource.last_synced_at,
    "last_changed_at": ProductSource.last_changed_at,
    "currency": _CURRENCY,
    "lowest_price": ProductSummary.lowest,
    "offer_count": ProductSummary.offers,
    "items_in_stock": ProductSummary.items_in_stock,
    # Derived from this price and the current one.
    "change_24h": ProductSummary.lowest_24h,
    "change_24h_percent": ProductSummary.lowest_24h,
}
_Derive = Callable[[int | None, int | None], int | float | None]
_DERIVED: dict[str, _Derive] = {
    "change_24h": lambda before, now: None if before is None or now is None else now - before,
    # None for a price that was 0, too: a percentage of it is undefined.
    "change_24h_percent": lambda before, now: (
        None if not before or now is None else round(100 * (now - before) / before, 2)
    ),
}
MEMBERS = tuple(_COLUMNS)
PRODUCT_ID: dict[type[Base], InstrumentedAttribute[UUID]] = {
    Product: Product.id,
    ProductSource: ProductSource.product_id,
    ProductSummary: ProductSummary.product_id,
}
_OTHER_TIMES = (ProductSource.registered_at, ProductSource.last_asked_at, ProductSource.last_changed_at)
PRICE_MEMBERS = frozenset(("lowest_price", "change_24h"))
OFFER_COLUMNS = (
    Offer.id,
    Offer.external_id,
    Offer.seller,
    Offer.url,
    Offer.condition,
    Offer.price,
    Offer.currency,
    (Offer.currency == _CURRENCY).label("comparable"),
    Offer.shipping,
    Offer.availability,
    Offer.items_in_stock,
    Offer.quarantined,
    Offer.first_seen_at,
    Offer.changed_at,
    Offer.closed_at,
)
OfferOrder = Literal["price", "total"]
OFFER_ORDERS: tuple[OfferOrder, ...] = ("price", "total")


def member_models(fields: Sequence[str]) -> set[type[Base]]:
    """The tables that these members come from."""
    columns = (_COLUMNS[field] for field in fields)
    models = {cast("type[Base]", column.class_) for column in columns if isinstance(column, InstrumentedAttribute)}
    return models or {Product}


def joins(model: type[Base], other: type[Base]) -> ColumnElement[bool]:
    """Whether the rows of two tables belong to the same product, and a ProductSource is that at the Offers service."""
    same = PRODUCT_ID[other] == PRODUCT_ID[model]
    return and_(same, AT_OFFERS_SERVICE) if ProductSource in (model, other) else same


def member_columns(dialect: str, fields: tuple[str, ...]) -> list[ColumnElement[Any]]:
    """The columns that a statement over `member_models` selects for `members_json`."""
    stored = [_stored_members(dialect, segment) for derive, segment in _segments(fields) if derive is None]
    if _DERIVED.keys().isdisjoint(fields):
        return stored
    return [ProductSummary.lowest_24h.label("before"), ProductSummary.lowest.label("now"), *stored]


def _stored_members(dialect: str, fields: Sequence[str]) -> ColumnElement[Any]:
    return object_members(dialect, {field: _COLUMNS[field] for field in fields})


def members_json(row: Sequence[Any], fields: tuple[str, ...]) -> str:
    """The members of a product as the inside of a JSON object, from a row that begins with the `member_columns`."""
    segments = _segments(fields)
    if len(segments) == 1 and segments[0][0] is None:
        only: str = row[0]
        return only
    before, now, *stored = row
    parts = []
    for derive, segment in segments:
        if derive is None:
            parts.append(stored.pop(0))
        else:
            parts.append(f'"{segment[0]}":{orjson.dumps(derive(before, now)).decode()}')
    return ",".join(parts)


def current_offers(dialect: str, product_id: ColumnElement[UUID], by: OfferOrder = "price") -> ScalarSelect[str]:
    """The current offers of a product as JSON, cheapest first, by currency: first the catalogue's.

    By the 'total' of price and shipping, offers whose shipping is not known come after the others of their currency.
    An offer of which only a price of 0 is known, and held back, comes last.
    """
    current = select(*OFFER_COLUMNS).where(Offer.product_id == product_id, Offer.closed_at.is_(None)).subquery().c
    # Not as integers, whose sum may exceed 64 bits.
    total = (current.shipping.is_(None), numeric_cast(current.price, Numeric) + func.coalesce(current.shipping, 0))
    keys = total if by == "total" else (current.price,)
    has_no_price = and_(current.price == 0, current.quarantined.is_not(None))
    order = [current.comparable.desc(), current.currency, has_no_price, *keys, current.id]
    return aggregate_objects(dialect, list(current), order)


def sync_times(product_id: ColumnElement[UUID]) -> Subquery:
    """One row: the newest of each time at all of a product's sources, and the first of their next syncs."""
    newest = [
        func.max(LAST_OBSERVED_AT).label("last_synced_at"),
        *(func.max(time).label(time.key) for time in _OTHER_TIMES),
    ]
    next_sync_at = func.min(func.coalesce(ProductSource.next_sync_at, Source.next_sync_at)).label("next_sync_at")
    of_product = ProductSource.product_id == product_id
    sources = select(*newest, next_sync_at).join_from(ProductSource, Source, Source.id == ProductSource.source_id)
    return sources.where(of_product).subquery()


@lru_cache(maxsize=256)
def _segments(fields: tuple[str, ...]) -> list[tuple[_Derive | None, tuple[str, ...]]]:
    """The fields in their order, in segments: stored neighbours, which are one column, or a single derived field."""
    return [(derive, tuple(segment)) for derive, segment in groupby(fields, _DERIVED.get)]
