"""How the whole installation is doing, at a glance: for `productagg status`, which prints it.

`read` asks the database, with a constant number of statements, and writes nothing; `as_text` makes a page for people
from its result. The access token itself is never read.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from productagg.db.models import Product, ProductSync, UpstreamToken
from productagg.sync import runs

_RUNS = 5
_FAILING = 20
_COLUMNS = 100


def read(connection: Connection, account: str, budget_seconds: float, now: datetime) -> dict[str, Any]:
    """The last passes, the backlog, what waits the longest, what fails, the shared token of `account`."""
    return {
        "at": now,
        "runs": runs.page(connection, _RUNS, budget_seconds).runs,
        **_products(connection, now),
        "token": _token(connection, account, now),
    }


def _products(connection: Connection, now: datetime) -> dict[str, Any]:
    """A product that is being asked counts as leased and not as due."""
    sync = ProductSync
    due = and_(sync.next_sync_at <= now, or_(sync.leased_until.is_(None), sync.leased_until <= now))
    count = select(func.count()).select_from(sync)
    counts = select(
        count.scalar_subquery().label("products"),
        count.where(due).scalar_subquery().label("due"),
        count.where(sync.leased_until > now).scalar_subquery().label("leased"),
        count.where(sync.failures > 0).scalar_subquery().label("failing"),
    )
    named = select(Product.id, Product.name).join(sync, sync.product_id == Product.id)
    oldest = named.add_columns(sync.next_sync_at.label("due_since")).where(due).order_by(sync.next_sync_at).limit(1)
    failing = (
        named.add_columns(sync.failures, sync.last_error, sync.last_asked_at, sync.next_sync_at)
        .where(sync.failures > 0)
        .order_by(sync.failures.desc(), Product.id)
        .limit(_FAILING)
    )
    longest = connection.execute(oldest).mappings().one_or_none()
    return {
        "backlog": dict(connection.execute(counts).mappings().one()),
        "oldest_due": None if longest is None else dict(longest),
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
    state = "none"
    if row.stored and row.expires_at is not None:
        state = "valid" if row.expires_at > now else "expired"
    if state != "valid" and row.refreshing_until is not None and row.refreshing_until > now:
        state = "being refreshed"
    blocked = row.blocked_until is not None and row.blocked_until > now
    return {
        "state": state,
        "valid_until": row.expires_at if row.stored else None,
        "blocked_until": row.blocked_until if blocked else None,
        "blocked_reason": row.blocked_reason if blocked else None,
    }


def as_text(status: Mapping[str, Any]) -> str:
    """`read`'s result as lines of at most 100 columns. Times are in UTC."""
    now = status["at"]
    lines = [
        f"productagg at {_moment(now)} UTC",
        "",
        "Passes",
        *(_passes(status["runs"]) if status["runs"] else ["  none yet"]),
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


def _passes(passes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    row = "  {:19}  {:16}  {:>8}  {:>7}  {:>7}  {:>7}  {:>6}  {:>6}"
    yield row.format("started", "host", "took", "claimed", "fetched", "changed", "closed", "failed")
    for each in passes:
        took = each["state"]
        if each["finished_at"] is not None:
            took = f"{(each['finished_at'] - each['started_at']).total_seconds():.2f} s"
        counts = (each[name] for name in ("claimed", "fetched", "changed", "closed", "failed"))
        yield row.format(_moment(each["started_at"]), _cut(each["host"], 16), took, *counts)
        if each["ended_by"] not in (None, "done"):
            yield from _wrapped(f"ended by: {each['ended_by']}")
        if each["failures"]:
            most_first = sorted(each["failures"].items(), key=lambda pair: (-pair[1], pair[0]))
            yield from _wrapped("failed: " + ", ".join(f"{count} × {why}" for why, count in most_first))


def _backlog(status: Mapping[str, Any], now: datetime) -> Iterator[str]:
    backlog, oldest = status["backlog"], status["oldest_due"]
    width = len(str(backlog["products"]))
    yield f"  {backlog['products']:>{width}} products"
    yield f"  {backlog['leased']:>{width}} being asked right now"
    yield f"  {backlog['due']:>{width}} due"
    if oldest is not None:
        since = oldest["due_since"]
        yield f"  due the longest, since {_moment(since)} ({_duration(now - since)}):"
        yield f"    {oldest['id']}  {oldest['name']}"


def _failures(failing: Sequence[Mapping[str, Any]], total: int) -> Iterator[str]:
    if not failing:
        yield "  none"
    for each in failing:
        yield f"  {each['id']}  {each['name']}"
        yield from _wrapped(f"{each['failures']} in a row, next {_moment(each['next_sync_at'])}: {each['last_error']}")
    if total > len(failing):
        yield f"  and {total - len(failing)} more"


def _token_lines(token: Mapping[str, Any], now: datetime) -> Iterator[str]:
    if token["state"] == "valid":
        until = token["valid_until"]
        yield f"  valid until {_moment(until)} ({_duration(until - now)} more)"
    elif token["state"] == "expired":
        yield f"  expired at {_moment(token['valid_until'])}; the next pass gets a new one"
    else:
        yield f"  {token['state']}"
    if token["blocked_until"] is not None:
        yield f"  the Offers service is not asked for anything before {_moment(token['blocked_until'])}:"
        yield from _wrapped(str(token["blocked_reason"]))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, initial_indent=" " * 4, subsequent_indent=" " * 6)


def _fit(line: str) -> str:
    """The line without what could play tricks on a terminal: a reason may quote what the Offers service sent."""
    return _cut("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line), _COLUMNS)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}"


def _duration(span: timedelta) -> str:
    """The two largest units: '3 min 20 s', '2 d 4 h'."""
    seconds = int(span.total_seconds())
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])
