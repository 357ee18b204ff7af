"""Recovery from a database clock that was ahead and was set back: for `productagg repair-clock`.

A time that lies further in the future than a correct clock could have put it was written while the clock was ahead.
`repair` sets these times back to now, in the caller's transaction; a caller that rolls back learns what it would do.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Delete,
    Table,
    Update,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from productagg.db import clock, idempotency_keys
from productagg.db.engines import dialect_name
from productagg.db.models import (
    Base,
    HistoryProgress,
    IdempotencyKey,
    LoginCounter,
    Offer,
    OfferPrice,
    Product,
    ProductChange,
    ProductPrice,
    ProductPriceWeekly,
    ProductSummary,
    ProductSync,
    SyncRun,
    UpstreamToken,
    UtcDateTime,
)
from productagg.history.late import SETTLED, day_of
from productagg.history.movers import REFRESHED_EVERY
from productagg.history.rolling import ROLLUPS, first_day
from productagg.history.steps import moment
from productagg.settings import Settings
from productagg.sync.run import longest_lease
from productagg.sync.schedule import LONGEST_BACKOFF, Schedule

# The longest Retry-After that we believe.
_LONGEST_BLOCK = timedelta(hours=1)

_PRODUCTS, _SYNC, _OFFERS, _SUMMARIES, _CHANGES, _RUNS, _TOKENS, _KEYS, _COUNTERS, _PROGRESS = (
    Base.metadata.tables[model.__tablename__]
    for model in (
        Product,
        ProductSync,
        Offer,
        ProductSummary,
        ProductChange,
        SyncRun,
        UpstreamToken,
        IdempotencyKey,
        LoginCounter,
        HistoryProgress,
    )
)
_HISTORIES = {
    Base.metadata.tables[OfferPrice.__tablename__]: ("product_id", "offer_id"),
    Base.metadata.tables[ProductPrice.__tablename__]: ("product_id",),
}

_ROLLUPS: tuple[type[Base], ...] = (*ROLLUPS, ProductPriceWeekly)


class Repaired(NamedTuple):
    """How many rows were repaired, and how."""

    rows: int
    how: str


def repair(session: Session, settings: Settings) -> list[Repaired]:
    """Bring back to now what lies in the future; what there was. Nothing: the clock has not been ahead.

    Products with steps in the future keep the newest, from now on; what there was between, nobody can date.
    """
    if dialect_name(session) == "postgresql":  # of a large catalogue, any of these may take longer than a request
        session.execute(select(func.set_config("statement_timeout", "0", literal(value=True))))
    now = clock.now(session)
    found = [*_catalogue(session, now), *_leases(session, now, settings), *_histories(session, now)]
    found += [*_sync(session, now, settings), *_others(session, now, settings), *_rollups(session, now)]
    return [each for each in found if each.rows]


def _catalogue(session: Session, now: datetime) -> Iterator[Repaired]:
    # The products come first, the order in which all transactions lock.
    yield Repaired(_back_to(session, _PRODUCTS, now, "created_at", "updated_at"), "products' times are set to now")
    yield Repaired(_back_to(session, _CHANGES, now, "at"), "changes in the feed are set to now")


def _leases(session: Session, now: datetime, settings: Settings) -> Iterator[Repaired]:
    """End leases in the future, and those of products observed in the future: their holders would write there again."""
    sync, observed = _SYNC.c, _SYNC.c.last_synced_at > now
    leased = and_(sync.leased_until.is_not(None), or_(sync.leased_until > now + longest_lease(settings), observed))
    yield Repaired(_count(session, update(_SYNC).where(leased).values(leased_until=None)), "leases are ended")
    # This locks them before their histories are repaired, so that no sync run writes in between.
    session.execute(update(_SYNC).where(observed).values(leased_until=None))


def _histories(session: Session, now: datetime) -> Iterator[Repaired]:
    """Of the products that were observed in the future: their rows in product_sync still say which."""
    observed = select(_SYNC.c.product_id).where(_SYNC.c.last_synced_at > now)
    times = ("first_seen_at", "changed_at", "closed_at")
    mine = _OFFERS.c.product_id.in_(observed)
    yield Repaired(_back_to(session, _OFFERS, now, *times, which=mine), "offers' times are set to now")
    for table, key in _HISTORIES.items():
        ahead = and_(table.c.observed_at > now, table.c.product_id.in_(observed))
        later = table.alias("later")
        same = [later.c[name] == table.c[name] for name in key]
        superseded = exists().where(*same, later.c.observed_at > table.c.observed_at)
        removed = _count(session, delete(table).where(ahead, superseded))
        moved = _count(session, update(table).where(ahead).values(observed_at=now))
        yield Repaired(removed, f"rows of {table.name} before the newest are removed")
        yield Repaired(moved, f"newest rows of {table.name} are set to now")
    summary = _SUMMARIES.c
    ahead = or_(summary.observed_at > now, summary.compared_at > now, summary.compare_at > now + REFRESHED_EVERY)
    times_of_summary = {name: _not_after(summary[name], now) for name in ("observed_at", "compared_at")}
    repaired = update(_SUMMARIES).where(ahead).values(**times_of_summary, compare_at=now)
    yield Repaired(_count(session, repaired), "summaries are due to be refreshed")


def _sync(session: Session, now: datetime, settings: Settings) -> Iterator[Repaired]:
    sync, lease = _SYNC.c, longest_lease(settings)
    longest = max(Schedule.of(settings).longest, LONGEST_BACKOFF)
    scheduled = or_(
        sync.last_asked_at > now,
        and_(sync.last_asked_at.is_(None), sync.next_sync_at > now),
        sync.next_sync_at > now + longest,
    )
    yield Repaired(_count(session, update(_SYNC).where(scheduled).values(next_sync_at=now)), "products are due now")
    times = ("registered_at", "last_asked_at", "last_synced_at", "last_changed_at")
    yield Repaired(_back_to(session, _SYNC, now, *times), "products' sync times are set to now")
    token = _TOKENS.c
    freed = {
        "blocked_until": (token.blocked_until > now + _LONGEST_BLOCK, "waits for the Offers service are ended"),
        "refreshing_until": (token.refreshing_until > now + lease, "refreshes of the access token are given up"),
    }
    for name, (ahead, how) in freed.items():
        yield Repaired(_count(session, update(_TOKENS).where(ahead).values({name: None})), how)
    yield Repaired(_count(session, delete(_RUNS).where(_RUNS.c.started_at > now)), "sync runs are removed")


def _others(session: Session, now: datetime, settings: Settings) -> Iterator[Repaired]:
    leased = _KEYS.c.leased_until > now + idempotency_keys.LEASE
    yield Repaired(_count(session, delete(_KEYS).where(leased)), "idempotency keys without an answer are removed")
    yield Repaired(_back_to(session, _KEYS, now, "created_at"), "idempotency keys are set to now")
    window = timedelta(seconds=settings.login_window_seconds)
    counting = and_(_COUNTERS.c.expires_at > now + window, _COUNTERS.c.key.not_like("own/%"))
    yield Repaired(_count(session, delete(_COUNTERS).where(counting)), "counters of failed logins are removed")


def _rollups(session: Session, now: datetime) -> Iterator[Repaired]:
    """What was rolled up, or dropped, before its time does not count, from the first raw day on.

    Which days had not come to their end then, nobody knows. The next compaction rolls them up again.
    """
    progress: Any = session.execute(select(_PROGRESS.c.rolled_until, _PROGRESS.c.raw_from).with_for_update()).one()
    rolled_until, raw_from = progress
    if rolled_until is None or rolled_until <= day_of(now):
        return
    until = day_of(now - SETTLED)
    back = raw_from
    if back is None or back > until:
        first = first_day(session.connection())
        back = until if first is None else min(until, moment(first))
    session.execute(update(_PROGRESS).values(rolled_until=back, raw_from=raw_from and back))
    removed = 0
    for model in _ROLLUPS:
        table = Base.metadata.tables[model.__tablename__]
        removed += _count(session, delete(table).where(table.c.at > now))
    yield Repaired(1, f"mark of what is rolled up is set back to {back:%Y-%m-%d}")
    yield Repaired(removed, "roll-ups are removed")


def _back_to(
    session: Session, table: Table, now: datetime, *names: str, which: ColumnElement[bool] | None = None
) -> int:
    """Set a table's times with these names back to now where they are later."""
    ahead = or_(*(table.c[name] > now for name in names))
    repaired = update(table).where(ahead if which is None else and_(which, ahead))
    return _count(session, repaired.values({name: _not_after(table.c[name], now) for name in names}))


def _not_after(time: ColumnElement[datetime], now: datetime) -> ColumnElement[datetime]:
    latest = literal(now, UtcDateTime())
    return case((time > latest, latest), else_=time)


def _count(session: Session, statement: Update | Delete) -> int:
    result: Any = session.execute(statement)
    count: int = result.rowcount
    return count
