"""How the whole installation is doing, at a glance: for `productagg status`.

`read` asks the database, with a constant number of statements, and writes nothing; `as_text` formats its result for
people. The access token itself is never read.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from productagg.db.models import Product, ProductSync, UpstreamToken
from productagg.sync import run_log

_RUNS = 5
_FAILING = 20
_COLUMNS = 100


def read(connection: Connection, account: str, budget_seconds: float, now: datetime) -> dict[str, Any]:
    """The last runs, the backlog, the product due the longest, the failing products, the shared token of `account`."""
    return {
        "at": now,
        "runs": run_log.page(connection, _RUNS, budget_seconds).runs,
        **_products(connection, now),
        "token": _token(connection, account, now),
    }


def _products(connection: Connection, now: datetime) -> dict[str, Any]:
    """A product that is being asked for counts as leased and not as due."""
    sync = ProductSync
    due = and_(sync.next_sync_at <= now, or_(sync.leased_until.is_(None), sync.leased_until <= now))
    count = select(func.count()).select_from(sync)
    counts = select(
        count.scalar_subquery().label("products"),
        count.where(due).scalar_subquery().label("due"),
        count.where(sync.leased_until > now).scalar_subquery().label("leased"),
        count.where(sync.failures > 0).scalar_subquery().label("failing"),
    )
    products = select(Product.id, Product.name).join(sync, sync.product_id == Product.id)
    oldest = products.add_columns(sync.next_sync_at.label("due_since")).where(due).order_by(sync.next_sync_at).limit(1)
    failing = (
        products.add_columns(sync.failures, sync.last_error, sync.last_asked_at, sync.next_sync_at)
        .where(sync.failures > 0)
        .order_by(sync.failures.desc(), Product.id)
        .limit(_FAILING)
    )
    oldest_due = connection.execute(oldest).mappings().one_or_none()
    return {
        "backlog": dict(connection.execute(counts).mappings().one()),
        "oldest_due": None if oldest_due is None else dict(oldest_due),
        "failing": [dict(row) for row in connection.execute(failing).mappings()],
    }


def _token(connection: Connection, account: str, now: datetime) -> dict[str, Any]:
    query = select(
        UpstreamToken.access_token.is_not(None).label("stored"),
        UpstreamToken.expires_at,
        UpstreamToken.refreshing_until,
        UpstreamToken.blocked_until,
        UpstreamToken.blocked_reason,
    ).where(UpstreamToken.account == account)
    row = connection.execute(query).one_or_none()
    if row is None:
        return {"state": "none", "valid_until": None, "blocked_until": None, "blocked_reason": None}
    blocked = row.blocked_until is not None and row.blocked_until > now
    expires_at = row.expires_at if row.stored else None
    return {
        "state": _token_state(expires_at, row.refreshing_until, now),
        "valid_until": expires_at,
        "blocked_until": row.blocked_until if blocked else None,
        "blocked_reason": row.blocked_reason if blocked else None,
    }


def _token_state(expires_at: datetime | None, refreshing_until: datetime | None, now: datetime) -> str:
    """`expires_at` is None if no token is stored."""
    if expires_at is not None and expires_at > now:
        return "valid"
    if refreshing_until is not None and refreshing_until > now:
        return "being refreshed"
    return "none" if expires_at is None else "expired"


def as_text(status: Mapping[str, Any]) -> str:
    """Format the result of `read` in lines of at most 100 columns. Times are in UTC."""
    now = status["at"]
    lines = [
        f"productagg at {_timestamp(now)} UTC",
        "",
        "Sync runs",
        *(_runs(status["runs"]) if status["runs"] else ["  none yet"]),
        "",
        "Backlog",
        *_backlog(status, now),
        "",
        "Failing products",
        *_failures(status["failing"], status["backlog"]["failing"]),
        "",
        "Access token",
        *_token_lines(status["token"], now),
    ]
    return "\n".join(_fit(line) for line in lines)


def _runs(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    row = "  {:19}  {:16}  {:>8}  {:>7}  {:>7}  {:>7}  {:>6}  {:>6}"
    yield row.format("started", "host", "took", "claimed", "fetched", "changed", "closed", "failed")
    for run in runs:
        took = run["state"]
        if run["finished_at"] is not None:
            took = f"{(run['finished_at'] - run['started_at']).total_seconds():.2f} s"
        counts = (run[name] for name in ("claimed", "fetched", "changed", "closed", "failed"))
        yield row.format(_timestamp(run["started_at"]), _cut(run["host"], 16), took, *counts)
        if run["ended_by"] not in (None, "done"):
            yield from _wrapped(f"ended by: {run['ended_by']}")
        if run["failures"]:
            most_first = sorted(run["failures"].items(), key=lambda pair: (-pair[1], pair[0]))
            yield from _wrapped("failed: " + ", ".join(f"{count} × {reason}" for reason, count in most_first))


def _backlog(status: Mapping[str, Any], now: datetime) -> Iterator[str]:
    backlog, oldest = status["backlog"], status["oldest_due"]
    width = len(str(backlog["products"]))
    yield f"  {backlog['products']:>{width}} products"
    yield f"  {backlog['leased']:>{width}} being asked for right now"
    yield f"  {backlog['due']:>{width}} due"
    if oldest is not None:
        since = oldest["due_since"]
        yield f"  due the longest, since {_timestamp(since)} ({_duration(now - since)}):"
        yield f"    {oldest['id']}  {oldest['name']}"


def _failures(failing: Sequence[Mapping[str, Any]], total: int) -> Iterator[str]:
    if not failing:
        yield "  none"
    for product in failing:
        yield f"  {product['id']}  {product['name']}"
        due = _timestamp(product["next_sync_at"])
        yield from _wrapped(f"{product['failures']} in a row, due again {due}: {product['last_error']}")
    if total > len(failing):
        yield f"  and {total - len(failing)} more"


def _token_lines(token: Mapping[str, Any], now: datetime) -> Iterator[str]:
    if token["state"] == "valid":
        until = token["valid_until"]
        yield f"  valid until {_timestamp(until)} (in {_duration(until - now)})"
    elif token["state"] == "expired":
        yield f"  expired at {_timestamp(token['valid_until'])}; the next sync run gets a new one"
    else:
        yield f"  {token['state']}"
    if token["blocked_until"] is not None:
        yield f"  no requests are sent to the Offers service before {_timestamp(token['blocked_until'])}:"
        yield from _wrapped(str(token["blocked_reason"]))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, initial_indent=" " * 4, subsequent_indent=" " * 6)


def _fit(line: str) -> str:
    """Replace characters that could control the terminal: a reason may quote what the Offers service sent."""
    return _cut("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line), _COLUMNS)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _timestamp(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


def _duration(span: timedelta) -> str:
    """The two largest units: '3 min 20 s', '2 d 4 h'."""
    seconds = int(span.total_seconds())
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])
