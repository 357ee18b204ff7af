"""The state of the whole installation at a glance: for `productagg status`.

`read` asks the database, with a constant number of statements, and writes nothing; `as_text` formats its result for
people. The access token itself is never read.
"""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypedDict, cast
from uuid import UUID

from sqlalchemy import Connection, case, func, select

from productagg.db.models import OFFERS_SOURCE, Product, ProductSource, Source, UpstreamToken
from productagg.sync import backlog, run_log
from productagg.sync.backlog import SourceBacklog
from productagg.sync.run_log import RecordedRun

_RUNS = 5
_FAILING = 20
_COLUMNS = 100


class Backlog(TypedDict):
    """The number of products, and how many are due, being fetched (leased) and failing, once for each of their sources.

    A whole document counts as one.
    """

    products: int
    due: int
    leased: int
    failing: int


class DueProduct(TypedDict):
    id: UUID
    name: str
    due_since: datetime
    source: str


class FailingProduct(TypedDict):
    id: UUID
    name: str
    source: str
    failures: int
    last_error: str | None
    last_asked_at: datetime | None
    next_sync_at: datetime


class TokenStatus(TypedDict):
    """`state`: 'valid', 'expired', 'being refreshed' or 'none'."""

    state: str
    valid_until: datetime | None
    blocked_until: datetime | None
    blocked_reason: str | None


class Status(TypedDict):
    """The last runs, the sources, the backlog, the product due the longest, the failing ones, and the access token."""

    at: datetime
    runs: Sequence[RecordedRun]
    sources: Sequence[SourceBacklog]
    backlog: Backlog
    oldest_due: DueProduct | None
    failing: Sequence[FailingProduct]
    token: TokenStatus


def read(connection: Connection, account: str, now: datetime) -> Status:
    """Read the status as of `now`. `account` is the key of the shared token."""
    token = _token(connection, account, now)
    sources = [_with_block(source, token) for source in backlog.read(connection, now)]
    return {
        "at": now,
        "runs": run_log.page(connection, _RUNS).runs,
        "sources": sources,
        "backlog": _backlog(connection, sources),
        "oldest_due": _oldest_due(connection, sources, now),
        "failing": _failing(connection),
        "token": token,
    }


def _with_block(source: SourceBacklog, token: TokenStatus) -> SourceBacklog:
    """The Offers service is blocked with its access token."""
    if source["id"] == OFFERS_SOURCE:
        source["blocked_until"], source["blocked_reason"] = token["blocked_until"], token["blocked_reason"]
    return source


def _backlog(connection: Connection, sources: Sequence[SourceBacklog]) -> Backlog:
    return {
        "products": connection.scalar(select(func.count()).select_from(Product)) or 0,
        "due": sum(source["due"] for source in sources),
        "leased": sum(source["leased"] for source in sources),
        "failing": sum(source["failing"] for source in sources),
    }


def _oldest_due(connection: Connection, sources: Sequence[SourceBacklog], now: datetime) -> DueProduct | None:
    since = {source["oldest_due_at"]: source for source in sources if source["oldest_due_at"] is not None}
    if not since:
        return None
    source = since[min(since)]
    query = (
        select(Product.id, Product.name, ProductSource.next_sync_at.label("due_since"))
        .join(ProductSource, ProductSource.product_id == Product.id)
        .where(ProductSource.source_id == source["id"], backlog.is_due(now))
        .order_by(ProductSource.next_sync_at)
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else cast(DueProduct, {**row, "source": source["name"]})


def _failing(connection: Connection) -> list[FailingProduct]:
    sync = ProductSource
    state = (sync.failures, sync.last_error, sync.last_asked_at, sync.next_sync_at)
    query = (
        select(Product.id, Product.name, Source.name.label("source"), *state)
        .join(sync, sync.product_id == Product.id)
        .join(Source, Source.id == sync.source_id)
        .where(sync.failures > 0)
        .order_by(sync.failures.desc(), Product.id, Source.id)
        .limit(_FAILING)
    )
    return [cast(FailingProduct, dict(row)) for row in connection.execute(query).mappings()]


def _token(connection: Connection, account: str, now: datetime) -> TokenStatus:
    is_blocked = UpstreamToken.blocked_until > now
    query = select(
        case((UpstreamToken.access_token.is_not(None), UpstreamToken.expires_at)).label("expires_at"),
        UpstreamToken.refreshing_until,
        case((is_blocked, UpstreamToken.blocked_until)).label("blocked_until"),
        case((is_blocked, UpstreamToken.blocked_reason)).label("blocked_reason"),
    ).where(UpstreamToken.account == account)
    row = connection.execute(query).one_or_none()
    if row is None:
        return {"state": "none", "valid_until": None, "blocked_until": None, "blocked_reason": None}
    return {
        "state": _token_state(row.expires_at, row.refreshing_until, now),
        "valid_until": row.expires_at,
        "blocked_until": row.blocked_until,
        "blocked_reason": row.blocked_reason,
    }


def _token_state(expires_at: datetime | None, refreshing_until: datetime | None, now: datetime) -> str:
    """Return the token's state. `expires_at` is None if no token is stored."""
    if _is_later(expires_at, now):
        return "valid"
    if _is_later(refreshing_until, now):
        return "being refreshed"
    return "none" if expires_at is None else "expired"


def _is_later(time: datetime | None, now: datetime) -> bool:
    return time is not None and time > now


def as_text(status: Status) -> str:
    """Format the result of `read` in lines of at most 100 columns. Times are in UTC."""
    now = status["at"]
    lines = [
        f"productagg at {_timestamp(now)} UTC",
        "",
        "Sync runs",
        *(_run_lines(status["runs"]) if status["runs"] else ["  none yet"]),
        "",
        "Sources",
        *_source_lines(status["sources"]),
        "",
        "Backlog",
        *_backlog_lines(status["backlog"], status["oldest_due"], now),
        "",
        "Failing products",
        *_failing_lines(status["failing"], status["sources"]),
        "",
        "Access token",
        *_token_lines(status["token"], now),
    ]
    return "\n".join(_fit(line) for line in lines)


def _run_lines(runs: Sequence[RecordedRun]) -> Iterator[str]:
    row = "  {:19}  {:16}  {:>8}  {:>7}  {:>7}  {:>7}  {:>6}  {:>6}"
    yield row.format("started", "host", "took", "leased", "fetched", "changed", "closed", "failed")
    for run in runs:
        counts = (run["leased"], run["fetched"], run["changed"], run["closed"], run["failed"])
        yield row.format(_timestamp(run["started_at"]), _cut(run["host"], 16), _took(run), *counts)
        yield from _run_details(run)


def _took(run: RecordedRun) -> str:
    """Return how long the run took, or its state if it has no end."""
    if run["finished_at"] is None:
        return run["state"]
    return f"{(run['finished_at'] - run['started_at']).total_seconds():.2f} s"


def _run_details(run: RecordedRun) -> Iterator[str]:
    if run["ended_by"] not in (None, "done"):
        yield from _wrapped(f"ended by: {run['ended_by']}")
    if run["failures"]:
        most_first = sorted(run["failures"].items(), key=lambda pair: (-pair[1], pair[0]))
        yield from _wrapped("failed: " + ", ".join(f"{count} × {reason}" for reason, count in most_first))
    for source in run["sources"] if len(run["sources"]) > 1 else ():
        counts = ", ".join(f"{source[name]} {name}" for name in ("fetched", "changed", "closed", "failed"))
        yield from _wrapped(f"{source['name']}: {counts}, in {source['seconds']:.2f} s: {source['ended_by']}")


def _source_lines(sources: Sequence[SourceBacklog]) -> Iterator[str]:
    row = "  {:30}  {:16}  {:>8}  {:>7}  {:>7}  {:19}"
    yield row.format("name", "kind", "products", "due", "failing", "last success").rstrip()
    for source in sources:
        last = source["last_synced_at"]
        counts = (source["products"], source["due"], source["failing"], "never" if last is None else _timestamp(last))
        yield row.format(_cut(source["name"], 30), _cut(source["kind"], 16), *counts).rstrip()
        yield from _source_details(source)


def _source_details(source: SourceBacklog) -> Iterator[str]:
    if not source["enabled"]:
        yield "    disabled"
    if source["item_count"] is not None:
        yield f"    {source['item_count']} items, {source['unmatched_count']} of them of no product"
    if source["next_sync_at"] is not None and source["enabled"]:
        yield "    being fetched" if source["leased"] else f"    due {_timestamp(source['next_sync_at'])}"
    if source["blocked_until"] is not None:
        yield from _wrapped(f"no requests before {_timestamp(source['blocked_until'])}: {source['blocked_reason']}")
    if source["last_error"] is not None:
        yield from _wrapped(f"last error: {source['last_error']}")


def _backlog_lines(backlog: Backlog, oldest: DueProduct | None, now: datetime) -> Iterator[str]:
    width = len(str(backlog["products"]))
    yield f"  {backlog['products']:>{width}} products"
    yield f"  {backlog['leased']:>{width}} being fetched"
    yield f"  {backlog['due']:>{width}} due"
    if oldest is not None:
        since = oldest["due_since"]
        yield f"  due the longest, since {_timestamp(since)} ({_duration(now - since)}), at {oldest['source']}:"
        yield f"    {oldest['id']}  {oldest['name']}"


def _failing_lines(failing: Sequence[FailingProduct], sources: Sequence[SourceBacklog]) -> Iterator[str]:
    # A failing document is in the lines of its source.
    total = sum(source["failing"] for source in sources if source["next_sync_at"] is None)
    if not failing:
        yield "  none"
    for product in failing:
        yield f"  {product['id']}  {product['name']}"
        due = _timestamp(product["next_sync_at"])
        failures = f"{product['failures']} in a row at {product['source']}"
        yield from _wrapped(f"{failures}, due again {due}: {product['last_error']}")
    if total > len(failing):
        yield f"  and {total - len(failing)} more"


def _token_lines(token: TokenStatus, now: datetime) -> Iterator[str]:
    yield f"  {_token_text(token['state'], token['valid_until'], now)}"
    if token["blocked_until"] is not None:
        yield f"  no requests are sent to the Offers service before {_timestamp(token['blocked_until'])}:"
        yield from _wrapped(str(token["blocked_reason"]))


def _token_text(state: str, valid_until: datetime | None, now: datetime) -> str:
    if valid_until is None or state == "being refreshed":
        return state
    if state == "valid":
        return f"valid until {_timestamp(valid_until)} ({_duration(valid_until - now)} left)"
    return f"expired at {_timestamp(valid_until)}; the next sync run gets a new one"


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
    """Format a duration with its two largest units: '3 min 20 s', '2 d 4 h'."""
    seconds = int(span.total_seconds())
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])
