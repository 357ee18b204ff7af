"""The items of whole documents that belong to no product: stored by the sync, read by the API.

Of each source, the first items of the newest complete document are kept, so that a person can look at them. How many
there are is in the source's row. Nothing here commits.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, delete, exists, insert, select
from sqlalchemy.orm import Session

from productagg.db.models import Base, Product, Source
from productagg.db.models import UnmatchedItem as StoredItem
from productagg.sources.base import NO_FACTS, SourceOffer
from productagg.sync.source_status import SourceNotFound

# The most items of a source that are kept.
KEPT = 1000
_MAX_TEXT_LENGTH = 200
_MAX_URL_LENGTH = 2000

Reason = Literal["no_gtin", "gtin_unknown", "no_name", "name_refused", "name_taken"]

_ITEMS = Base.metadata.tables[StoredItem.__tablename__]


@dataclass(frozen=True)
class UnmatchedItem:
    """An item that belongs to no product, as its source states it. `price` is in minor units of `currency`.

    `reason`: no product has its locator, and 'no_gtin': it states no GTIN; 'gtin_unknown': no product has its GTIN. If
    its source creates products: 'no_name'; 'name_refused': its name cannot be that of a product; 'name_taken': a
    product has its name, and another GTIN or brand.
    """

    locator: str
    name: str | None
    gtin: str | None
    brand: str | None
    price: int
    currency: str
    url: str | None
    reason: Reason


@dataclass(frozen=True)
class UnmatchedPage:
    """`items` in the order of the document. `following` is the `after` of the next page, None on the last page."""

    items: Sequence[UnmatchedItem]
    following: int | None


def as_stated(offer: SourceOffer, reason: Reason) -> UnmatchedItem:
    """The item as its source states it, to be stored: long texts are cut, and a URL that is too long is left out."""
    facts = offer.product or NO_FACTS
    return UnmatchedItem(
        locator=offer.locator,
        name=_cut(facts.name),
        gtin=facts.gtin,
        brand=_cut(facts.brand),
        price=offer.price,
        currency=offer.currency,
        url=offer.url if offer.url and len(offer.url) <= _MAX_URL_LENGTH else None,
        reason=reason,
    )


def _cut(text: str | None) -> str | None:
    return text[:_MAX_TEXT_LENGTH] if text else None


def replace(session: Session, source_id: UUID, items: Sequence[UnmatchedItem]) -> None:
    """Store the items of a source's new document, at most KEPT, instead of those of the one before."""
    if page(session, source_id, KEPT).items == items:
        return
    session.execute(delete(_ITEMS).where(_ITEMS.c.source_id == source_id))
    rows = [{"source_id": source_id, "position": place, **asdict(item)} for place, item in enumerate(items, 1)]
    if rows:
        session.execute(insert(_ITEMS), rows)


def have_products_now(session: Session, source_id: UUID) -> bool:
    """Whether a product has the GTIN of a stored item: it got that after the document was read."""
    items = select(Product.id).where(StoredItem.source_id == source_id, StoredItem.gtin == Product.gtin)
    return session.execute(select(exists(items))).scalar_one()


def page(connection: Connection | Session, source_id: UUID, limit: int, after: int = 0) -> UnmatchedPage:
    """The first `limit` items after a place in the document. Raises SourceNotFound."""
    columns = (StoredItem.position, *(getattr(StoredItem, field.name) for field in fields(UnmatchedItem)))
    query = select(*columns).where(StoredItem.source_id == source_id, StoredItem.position > after)
    rows = connection.execute(query.order_by(StoredItem.position).limit(limit + 1)).all()
    if not rows and connection.execute(select(Source.id).where(Source.id == source_id)).first() is None:
        raise SourceNotFound(source_id)
    items = [UnmatchedItem(*item) for _, *item in rows[:limit]]
    return UnmatchedPage(items, rows[limit - 1].position if len(rows) > limit else None)
