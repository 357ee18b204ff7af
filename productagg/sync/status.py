"""The state of the whole installation at a glance: for `productagg status`.

`read` asks the database, with a constant number of statements, and writes nothing; `as_text` formats its result for
people. The access token itself is never read.
"""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypedDict, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from productagg.db.models import AT_OFFERS_SERVICE, Product, ProductSource, UpstreamToken
from productagg.sync import run_log
from productagg.sync.run_log import RecordedRun

_RUNS = 5
_FAILING = 20
_COLUMNS = 100


class Backlog(TypedDict):
    """The number of products, and how many are due, being fetched (leased) and failing."""

    products: int
    due: int
    leased: int
    failing: int


class DueProduct(TypedDict):
    id: UUID
    name: str
    due_since: datetime


class FailingProduct(TypedDict):
    id: UUID
    name: str
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
    """The last runs, the backlog, the product due the longest, the failing products, and the shared access token."""

    at: datetime
    runs: Sequence[RecordedRun]
    backlog: Backlog
    oldest_due: DueProduct | None
    failing: Sequence[FailingProduct]
    token: TokenStatus


def read(connection: Connection, account: str, budget_seconds: float, now: datetime) -> Status:
    """Read the status as of `now`. `account` is the key of the shared token."""
    return {
        "at": now,
        "runs": run_log.page(connection, _RUNS, budget_seconds).runs,
        "backlog": _backlog(connection, now),
        "oldest_due": _oldest_due(connection, now),
        "failing": _failing(connection),
        "token": _token(connection, account, now),
    }


def _is_due(now: datetime) -> ColumnElement[bool]:
    """Whether a product is due. A product that is being fetched counts as leased and not as due."""
    leased_until = ProductSource.leased_until
    return and_(ProductSource.next_sync_at <= now, or_(leased_until.is_(None), leased_until <= now))


def _backlog(connection: Connection, now: datetime) -> Backlog:
    count = select(func.count()).select_from(ProductSource).where(AT_OFFERS_SERVICE)
    counts = select(
        select(func.count()).select_from(Product).scalar_subquery().label("products"),
        count.where(_is_due(now)).scalar_subquery().label("due"),
        count.where(ProductSource.leased_until > now).scalar_subquery().label("leased"),
        count.where(ProductSource.failures > 0).scalar_subquery().label("failing"),
    )
    return cast(Backlog, dict(connection.execute(counts).mappings().one()))


def _oldest_due(connection: Connection, now: datetime) -> DueProduct | None:
    query = (
        select(Product.id, Product.name, ProductSource.next_sync_at.label("due_since"))
        .join(ProductSource, ProductSource.product_id == Product.id)
        .where(AT_OFFERS_SERVICE, _is_due(now))
        .order_by(ProductSource.next_sync_at)
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else cast(DueProduct, dict(row))


def _failing(connection: Connection) -> list[FailingProduct]:
    sync = ProductSource
    query = (
        select(Product.id, Product.name, sync.failures, sync.last_error, sync.last_asked_at, sync.next_sync_at)
        .join(sync, sync.product_id == Product.id)
        .where(AT_OFFERS_SERVICE, sync.failures > 0)
        .order_by(sync.failures.desc(), Product.id)
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
        "Backlog",
        *_backlog_lines(status["backlog"], status["oldest_due"], now),
        "",
        "Failing products",
        *_failing_lines(status["failing"], status["backlog"]["failing"]),
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


def _backlog_lines(backlog: Backlog, oldest: DueProduct | None, now: datetime) -> Iterator[str]:
    width = len(str(backlog["products"]))
    yield f"  {backlog['products']:>{width}} products"
    yield f"  {backlog['leased']:>{width}} being fetched"
    yield f"  {backlog['due']:>{width}} due"
    if oldest is not None:
        since = oldest["due_since"]
        yield f"  due the longest, since {_timestamp(since)} ({_duration(now - since)}):"
        yield f"    {oldest['id']}  {oldest['name']}"


def _failing_lines(failing: Sequence[FailingProduct], total: int) -> Iterator[str]:
    if not failing:
        yield "  none"
    for product in failing:
        yield f"  {product['id']}  {product['name']}"
        due = _timestamp(product["next_sync_at"])
        yield from _wrapped(f"{product['failures']} in a row, due again {due}: {product['last_error']}")
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
