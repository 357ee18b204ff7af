"""What is due, being fetched and failing at each source, and what became of the last attempts. For `status`.

It takes a connection to read with and plain values, and writes nothing.
"""

from datetime import datetime
from typing import Any, TypedDict, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Subquery, and_, case, func, or_, select

from productagg.db.models import ProductSource, Source
from productagg.sync.sources import is_document_due, is_document_free


class SourceBacklog(TypedDict):
    """A source. `due`, `leased` (being fetched) and `failing` count its products; of a whole document, the document.

    `last_error` is that of the document, or of the product that failed last; None if nothing fails. `item_count`,
    `unmatched_count` (see models.Source) and `next_sync_at` are of a whole document; None for other sources.
    """

    id: UUID
    name: str
    kind: str
    enabled: bool
    products: int
    due: int
    leased: int
    failing: int
    oldest_due_at: datetime | None
    last_synced_at: datetime | None
    last_error: str | None
    blocked_until: datetime | None
    blocked_reason: str | None
    item_count: int | None
    unmatched_count: int | None
    next_sync_at: datetime | None


def read(connection: Connection, now: datetime) -> list[SourceBacklog]:
    """All sources, by name. The block of the Offers service is not in its row: see tokens."""
    return [cast(SourceBacklog, dict(row)) for row in connection.execute(_sources(now)).mappings()]


def is_due(now: datetime) -> ColumnElement[bool]:
    """Whether a product is due at a source. A product that is being fetched counts as leased and not as due."""
    leased_until = ProductSource.leased_until
    return and_(ProductSource.next_sync_at <= now, or_(leased_until.is_(None), leased_until <= now))


def _sources(now: datetime) -> Select[Any]:
    of_products = _of_products(now)
    is_document = Source.next_sync_at.is_not(None)
    is_blocked = Source.blocked_until > now

    def count(name: str, of_document: ColumnElement[bool]) -> ColumnElement[int]:
        of_all = func.coalesce(of_products.c[name], 0)
        return case((is_document, case((of_document, 1), else_=0)), else_=of_all)

    due = count("due", and_(is_document_due(now), is_document_free(now)))
    columns: dict[str, Any] = {
        "id": Source.id,
        "name": Source.name,
        "kind": Source.kind,
        "enabled": Source.enabled,
        "products": func.coalesce(of_products.c.products, 0),
        # Nobody asks a disabled source.
        "due": case((Source.enabled, due), else_=0),
        "leased": count("leased", Source.leased_until > now),
        "failing": count("failing", Source.failures > 0),
        "oldest_due_at": case((Source.enabled, of_products.c.oldest_due_at)),
        "last_synced_at": func.coalesce(Source.last_synced_at, of_products.c.last_synced_at),
        "last_error": case((is_document, Source.last_error), else_=_last_error()),
        "blocked_until": case((is_blocked, Source.blocked_until)),
        "blocked_reason": case((is_blocked, Source.blocked_reason)),
        "item_count": Source.item_count,
        "unmatched_count": Source.unmatched_count,
        "next_sync_at": Source.next_sync_at,
    }
    query: Select[Any] = select(*(column.label(name) for name, column in columns.items()))
    return query.outerjoin_from(Source, of_products, of_products.c.source_id == Source.id).order_by(Source.name)


def _of_products(now: datetime) -> Subquery:
    due = is_due(now)
    return (
        select(
            ProductSource.source_id,
            func.count().label("products"),
            func.count().filter(due).label("due"),
            func.count().filter(ProductSource.leased_until > now).label("leased"),
            func.count().filter(ProductSource.failures > 0).label("failing"),
            func.min(ProductSource.next_sync_at).filter(due).label("oldest_due_at"),
            func.max(ProductSource.last_synced_at).label("last_synced_at"),
        )
        .group_by(ProductSource.source_id)
        .subquery()
    )


def _last_error() -> ColumnElement[str | None]:
    failing = select(ProductSource.last_error).where(ProductSource.source_id == Source.id, ProductSource.failures > 0)
    return failing.order_by(ProductSource.last_asked_at.desc(), ProductSource.product_id).limit(1).scalar_subquery()
