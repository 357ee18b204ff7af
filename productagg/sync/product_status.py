"""How a product stands with the sync: when it was asked for, and when and why it will be asked for next.

Called by the API. It takes a connection and plain values, returns plain values, and writes nothing.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from productagg.db import clock
from productagg.db.models import ProductSync, UpstreamToken

_PRODUCT = select(
    ProductSync.registration,
    ProductSync.registered_at,
    ProductSync.last_asked_at,
    ProductSync.last_synced_at,
    ProductSync.last_changed_at,
    ProductSync.next_sync_at,
    ProductSync.leased_until,
    ProductSync.failures,
    ProductSync.last_error,
)

_BLOCK = select(UpstreamToken.blocked_until, UpstreamToken.blocked_reason)


def read(connection: Connection, product_id: UUID, interval_seconds: float, account: str) -> dict[str, Any] | None:
    """A product's status, or None if there is no such product.

    `interval_seconds` is the sync interval; `account` is the key of the Offers service's account in `upstream_tokens`.
    """
    row = connection.execute(_PRODUCT.where(ProductSync.product_id == product_id)).mappings().one_or_none()
    if row is None:
        return None
    status, now = dict(row), clock.now(connection)
    status["next_sync_reason"] = next_sync_reason(status, timedelta(seconds=interval_seconds), now)
    block = connection.execute(
        _BLOCK.where(UpstreamToken.account == account, UpstreamToken.blocked_until > now)
    ).first()
    if block is not None:
        until = _timestamp(block.blocked_until)
        status["next_sync_reason"] += f"; no requests are sent before {until}: {block.blocked_reason}"
    del status["registration"]  # it is public, so the product itself has it
    return status


def next_sync_reason(row: Mapping[str, Any], interval: timedelta, now: datetime) -> str:
    """Why a product is due at `next_sync_at`. `interval` is that of products whose offers keep changing."""
    if row["leased_until"] is not None and row["leased_until"] > now:
        return f"being asked for right now, until {_timestamp(row['leased_until'])} at the latest"
    if row["failures"]:
        return f"failed {_times(row['failures'])}: {row['last_error']}"
    if row["last_asked_at"] is None:
        return "never asked yet"
    if row["registration"] == "pending":
        return "changed since the Offers service refused it"
    unchanged_since = row["last_changed_at"] or row["registered_at"]
    if unchanged_since is not None and row["next_sync_at"] - row["last_asked_at"] > interval:
        return f"unchanged since {_timestamp(unchanged_since)}, so asked less often"
    return "its regular turn"


def _times(failures: int) -> str:
    return "once" if failures == 1 else f"{failures} times in a row"


def _timestamp(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
