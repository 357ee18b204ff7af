"""What the sync has done and will do, to be read: its passes, and how each product stands with it.

Called by the API and `productagg status`. It takes a connection and plain values, returns plain values, and writes
nothing: the passes write their own rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, select

from productagg.db import clock
from productagg.db.models import ProductSync, SyncRun, UpstreamToken

# What a pass may need beyond its time budget to say how it ended, on a bad day.
_GRACE = timedelta(minutes=1)

_RUN = select(SyncRun.__table__)

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


@dataclass(frozen=True)
class Page:
    """`runs`, newest first; `following` is the id to ask for those before it, None on the last page."""

    runs: Sequence[dict[str, Any]]
    following: UUID | None


def page(connection: Connection, limit: int, budget_seconds: float, before: UUID | None = None) -> Page:
    """The `limit` newest passes, or those that started before the one with the id `before`. For the rest see `get`."""
    query = _RUN.order_by(SyncRun.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(SyncRun.id < before)
    rows = connection.execute(query).mappings().all()
    now = clock.now(connection)
    runs = [_with_state(row, budget_seconds, now) for row in rows[:limit]]
    return Page(runs, runs[-1]["id"] if len(rows) > limit else None)


def get(connection: Connection, run_id: UUID, budget_seconds: float) -> dict[str, Any] | None:
    """One pass, or None. `budget_seconds` is how long a pass may last; who has not ended by then is `lost`."""
    row = connection.execute(_RUN.where(SyncRun.id == run_id)).mappings().one_or_none()
    return None if row is None else _with_state(row, budget_seconds, clock.now(connection))


def product(connection: Connection, product_id: UUID, interval_seconds: float, account: str) -> dict[str, Any] | None:
    """How a product stands with the sync, and when and why it will be asked next; None if there is no such product.

    `account` is the key of the Offers service's account in `upstream_tokens`.
    """
    row = connection.execute(_PRODUCT.where(ProductSync.product_id == product_id)).mappings().one_or_none()
    if row is None:
        return None
    found, now = dict(row), clock.now(connection)
    found["next_sync_reason"] = reason(found, timedelta(seconds=interval_seconds), now)
    block = connection.execute(
        _BLOCK.where(UpstreamToken.account == account, UpstreamToken.blocked_until > now)
    ).first()
    if block is not None:
        found["next_sync_reason"] += f"; nothing is asked before {_moment(block.blocked_until)}: {block.blocked_reason}"
    del found["registration"]  # everybody sees it, with the product
    return found


def reason(sync: Mapping[str, Any], interval: timedelta, now: datetime) -> str:
    """Why a product will be asked when `next_sync_at` says. `interval` is the one of products that keep changing."""
    if sync["leased_until"] is not None and sync["leased_until"] > now:
        return f"being asked right now, until {_moment(sync['leased_until'])} at the latest"
    if sync["failures"]:
        return f"failed {_times(sync['failures'])}: {sync['last_error']}"
    if sync["last_asked_at"] is None:
        return "never asked yet"
    if sync["registration"] == "pending":
        return "changed since the Offers service refused it"
    unchanged_since = sync["last_changed_at"] or sync["registered_at"]
    if unchanged_since is not None and sync["next_sync_at"] - sync["last_asked_at"] > interval:
        return f"unchanged since {_moment(unchanged_since)}, so asked less often"
    return "its regular turn"


def _with_state(row: RowMapping, budget_seconds: float, now: datetime) -> dict[str, Any]:
    if row["finished_at"] is not None:
        state = "finished"
    elif now - row["started_at"] <= timedelta(seconds=budget_seconds) + _GRACE:
        state = "running"
    else:
        state = "lost"
    # SQLAlchemy's names may be of a subclass of str, which orjson does not take for a key.
    return {**{str(name): value for name, value in row.items()}, "state": state}


def _times(failures: int) -> str:
    return "once" if failures == 1 else f"{failures} times in a row"


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"
