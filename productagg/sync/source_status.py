"""Sources and links as they are: their values, counts and what became of the last attempts. For `source_admin`.

It takes a connection and plain values, and writes nothing.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, case, func, select
from sqlalchemy.orm import Session

from productagg import text_rules
from productagg.catalog import products
from productagg.db import clock
from productagg.db.models import LAST_OBSERVED_AT, Offer, ProductSource, Source


class SourceNotFound(Exception):
    """There is no such source."""


@dataclass(frozen=True)
class SourceStatus:
    """A source. `next_sync_at`, `item_count` and `unmatched_count` are of a whole document; None for other sources.

    `blocked_until` is None unless it lies in the future. The block of the Offers service is in `status.TokenStatus`.
    """

    id: UUID
    kind: str
    name: str
    configuration: Mapping[str, Any]
    secret_variable: str | None
    interval_seconds: int | None
    requests_per_second: float | None
    enabled: bool
    creates_products: bool
    products: int
    failing_products: int
    open_offers: int
    item_count: int | None
    unmatched_count: int | None
    last_asked_at: datetime | None
    last_synced_at: datetime | None
    next_sync_at: datetime | None
    failures: int
    last_error: str | None
    blocked_until: datetime | None
    blocked_reason: str | None
    version: int
    created_at: datetime
    updated_at: datetime


class Link(NamedTuple):
    """A product's state at one of its sources. `locator` None: our own id of the product.

    `next_sync_at`, `failures` and `last_error` are those of the document if the source is one.
    """

    source_id: UUID
    source: str
    kind: str
    enabled: bool
    locator: str | None
    last_asked_at: datetime | None
    last_synced_at: datetime | None
    last_changed_at: datetime | None
    next_sync_at: datetime | None
    failures: int
    last_error: str | None


_COUNTS = ("products", "failing_products", "open_offers")


def get(connection: Connection | Session, source_id: UUID) -> SourceStatus:
    """A source. Raises SourceNotFound."""
    found = _read(connection, Source.id == source_id)
    if not found:
        raise SourceNotFound(source_id)
    return found[0]


def listing(connection: Connection | Session) -> list[SourceStatus]:
    """All sources, by name."""
    return _read(connection)


def find(connection: Connection | Session, name_or_id: str) -> SourceStatus:
    """The source with this id, or else with this name. Raises SourceNotFound."""
    found: list[SourceStatus] = []
    with suppress(ValueError):
        found = _read(connection, Source.id == UUID(name_or_id))
    found = found or _read(connection, Source.name == text_rules.normalize_name(name_or_id))
    if not found:
        raise SourceNotFound(name_or_id)
    return found[0]


def links(connection: Connection | Session, product_id: UUID) -> list[Link]:
    """The product's state at each of its sources, by their names. Raises products.NotFound."""
    found = connection.execute(_LINKS.where(ProductSource.product_id == product_id)).all()
    if not found and products.missing_ids(connection, [product_id]):
        raise products.NotFound(product_id)
    return [Link._make(row) for row in found]


def _read(connection: Connection | Session, *where: ColumnElement[bool]) -> list[SourceStatus]:
    now = clock.now(connection)
    rows = connection.execute(_sources(where)).mappings()
    return [SourceStatus(**{**row, **({} if _is_blocked(row["blocked_until"], now) else _UNBLOCKED)}) for row in rows]


_UNBLOCKED = {"blocked_until": None, "blocked_reason": None}


def _is_blocked(until: datetime | None, now: datetime) -> bool:
    return until is not None and until > now


def _sources(where: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """The selected sources with their counts, which are counted for all of them at once."""
    chosen = select(Source.id).where(*where)
    failing = func.count().filter(ProductSource.failures > 0).label("failing_products")
    linked = select(ProductSource.source_id, func.count().label("products"), failing)
    linked_ = linked.where(ProductSource.source_id.in_(chosen)).group_by(ProductSource.source_id).subquery()
    offers = select(Offer.source_id, func.count().label("open_offers")).where(Offer.closed_at.is_(None))
    offers_ = offers.where(Offer.source_id.in_(chosen)).group_by(Offer.source_id).subquery()
    counts = {**dict(linked_.c), **dict(offers_.c)}
    columns = [
        func.coalesce(counts[name], 0).label(name) if name in _COUNTS else getattr(Source, name)
        for name in SourceStatus.__dataclass_fields__
    ]
    query = select(*columns).outerjoin_from(Source, linked_, linked_.c.source_id == Source.id)
    return query.outerjoin(offers_, offers_.c.source_id == Source.id).where(*where).order_by(Source.name, Source.id)


_LINKS = (
    select(
        ProductSource.source_id,
        Source.name,
        Source.kind,
        Source.enabled,
        ProductSource.locator,
        func.coalesce(ProductSource.last_asked_at, Source.last_asked_at),
        LAST_OBSERVED_AT,
        ProductSource.last_changed_at,
        *(
            # Only a whole document is scheduled itself.
            case((Source.next_sync_at.is_not(None), getattr(Source, name)), else_=getattr(ProductSource, name))
            for name in ("next_sync_at", "failures", "last_error")
        ),
    )
    .join_from(ProductSource, Source, Source.id == ProductSource.source_id)
    .order_by(Source.name, Source.id)
)
