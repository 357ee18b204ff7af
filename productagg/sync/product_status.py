"""A product's state at the Offers service: when its offers were last fetched, and when and why that comes next.

Called by the API. It takes a connection and plain values, returns plain values, and writes nothing.
"""

from datetime import datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from sqlalchemy import Connection, Row, select

from productagg.db import clock
from productagg.db.models import AT_OFFERS_SERVICE, ProductSource, UpstreamToken

_PRODUCT = select(
    ProductSource.registration,
    ProductSource.registered_at,
    ProductSource.last_asked_at,
    ProductSource.last_synced_at,
    ProductSource.last_changed_at,
    ProductSource.next_sync_at,
    ProductSource.leased_until,
    ProductSource.failures,
    ProductSource.last_error,
).where(AT_OFFERS_SERVICE)

_BLOCK = select(UpstreamToken.blocked_until, UpstreamToken.blocked_reason)


class ProductStatus(TypedDict):
    """`next_sync_reason` says why the product is due at `next_sync_at`. `failures` counts failures in a row."""

    registered_at: datetime | None
    last_asked_at: datetime | None
    last_synced_at: datetime | None
    last_changed_at: datetime | None
    next_sync_at: datetime
    next_sync_reason: str
    leased_until: datetime | None
    failures: int
    last_error: str | None


def read(connection: Connection, product_id: UUID, interval_seconds: float, account: str) -> ProductStatus | None:
    """Return a product's status, or None if there is no product with this id.

    `interval_seconds` is the sync interval; `account` is the key of the Offers service's account in `upstream_tokens`.
    """
    row = connection.execute(_PRODUCT.where(ProductSource.product_id == product_id)).one_or_none()
    if row is None:
        return None
    now = clock.now(connection)
    reason = _next_sync_reason(row, timedelta(seconds=interval_seconds), now)
    block = connection.execute(
        _BLOCK.where(UpstreamToken.account == account, UpstreamToken.blocked_until > now)
    ).first()
    if block is not None:
        reason += f"; no requests are sent before {_timestamp(block.blocked_until)}: {block.blocked_reason}"
    # The registration is not repeated here: it is public, and the product itself shows it.
    return ProductStatus(
        registered_at=row.registered_at,
        last_asked_at=row.last_asked_at,
        last_synced_at=row.last_synced_at,
        last_changed_at=row.last_changed_at,
        next_sync_at=row.next_sync_at,
        next_sync_reason=reason,
        leased_until=row.leased_until,
        failures=row.failures,
        last_error=row.last_error,
    )


def _next_sync_reason(row: Row[*tuple[Any, ...]], interval: timedelta, now: datetime) -> str:
    """Say why a product is due at `next_sync_at`. `interval` applies to products whose offers keep changing."""
    if row.leased_until is not None and row.leased_until > now:
        return f"being fetched; the lease ends at {_timestamp(row.leased_until)}"
    if row.failures:
        return f"failed {_times(row.failures)}: {row.last_error}"
    if row.last_asked_at is None:
        return "never asked yet"
    if row.registration == "pending":
        return "changed since the Offers service refused it"
    return _interval_reason(row, interval)


def _interval_reason(row: Row[*tuple[Any, ...]], interval: timedelta) -> str:
    unchanged_since = row.last_changed_at or row.registered_at
    if unchanged_since is not None and row.next_sync_at - row.last_asked_at > interval:
        return f"unchanged since {_timestamp(unchanged_since)}, so asked less often"
    return "its regular turn"


def _times(failures: int) -> str:
    return "once" if failures == 1 else f"{failures} times in a row"


def _timestamp(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
