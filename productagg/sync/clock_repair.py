"""Recovery from a database clock that was ahead and was set back: for `productagg repair-clock`.

A time that lies further in the future than a correct clock could have put it was written while the clock was ahead.
`repair` sets these times back to now, in the caller's transaction; a caller that rolls back learns what it would do.
"""

from collections.abc import Iterable, Iterator
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
    OfferPriceDay,
    Product,
    ProductChange,
    ProductPrice,
    ProductPriceDay,
    ProductSource,
    ProductSummary,
    Source,
    SyncRun,
    UpstreamToken,
    UtcDateTime,
)
from productagg.history.movers import REFRESHED_EVERY
from productagg.history.queries import counts_until
from productagg.history.timeline import DAY, bucket_start, microseconds, moment
from productagg.settings import Settings
from productagg.sync.adapter_fetcher import LONGEST_WAIT
from productagg.sync.documents import LEASE as DOCUMENT_LEASE
from productagg.sync.run import longest_lease
from productagg.sync.schedule import LONGEST_BACKOFF, Schedule

# The longest Retry-After that we believe.
_LONGEST_BLOCK = timedelta(hours=1)

_PRODUCTS, _SOURCES, _SYNC, _OFFERS, _SUMMARIES, _CHANGES, _RUNS, _TOKENS, _KEYS, _COUNTERS, _PROGRESS = (
    Base.metadata.tables[model.__tablename__]
    for model in (
        Product,
        Source,
        ProductSource,
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
_OFFER_STEPS, _OFFER_DAYS, _PRODUCT_STEPS, _PRODUCT_DAYS = (
    Base.metadata.tables[model.__tablename__] for model in (OfferPrice, OfferPriceDay, ProductPrice, ProductPriceDay)
)
# A table of steps with the table of its compacted days, and the columns that identify a history.
_HISTORIES = (
    ((_OFFER_STEPS, _OFFER_DAYS), ("product_id", "offer_id")),
    ((_PRODUCT_STEPS, _PRODUCT_DAYS), ("product_id",)),
)


class Repair(NamedTuple):
    """The number of repaired rows, and what was done to them."""

    rows: int
    description: str


def repair(session: Session, settings: Settings) -> list[Repair]:
    """Set times in the future back to now, and return the repairs: none if the clock has not been ahead.

    Products with steps in the future keep the newest step, which begins now. The true times of the others are lost.
    """
    if dialect_name(session) == "postgresql":  # in a large catalogue, a statement may take longer than in a request
        session.execute(select(func.set_config("statement_timeout", "0", literal(value=True))))
    now = clock.now(session)
    repairs = [
        *_catalogue(session, now),
        *_leases(session, now, settings),
        *_gaps(session, now, settings),
        *_histories(session, now),
        *_summaries(session, now),
        *_sync(session, now, settings),
        *_others(session, now, settings),
        *_compaction(session, now),
    ]
    return [repair for repair in repairs if repair.rows]


def _catalogue(session: Session, now: datetime) -> Iterator[Repair]:
    # The products come first, the order in which all transactions lock.
    yield Repair(_back_to(session, _PRODUCTS, now, "created_at", "updated_at"), "products' times are set to now")
    yield Repair(_back_to(session, _CHANGES, now, "at"), "changes in the feed are set to now")


def _leases(session: Session, now: datetime, settings: Settings) -> Iterator[Repair]:
    """End leases that lie in the future or belong to products observed there: their holders would write there again."""
    sync, observed = _SYNC.c, _SYNC.c.last_synced_at > now
    leased = and_(sync.leased_until.is_not(None), or_(sync.leased_until > now + longest_lease(settings), observed))
    yield Repair(_count(session, update(_SYNC).where(leased).values(leased_until=None)), "leases are ended")
    documents = _SOURCES.c.leased_until > now + DOCUMENT_LEASE
    ended = update(_SOURCES).where(documents).values(leased_until=None)
    yield Repair(_count(session, ended), "leases of documents are ended")
    # This locks them before their histories are repaired, so that no sync run writes in between.
    session.execute(update(_SYNC).where(observed).values(leased_until=None))


def _gaps(session: Session, now: datetime, settings: Settings) -> Iterator[Repair]:
    """Replace gaps that a compaction recorded too early, while the last observation still counted, by the newest price.

    The rows are not removed: the step of that price may be part of a summary.
    """
    too_late = now - Schedule.of(settings).observed_for
    tables = (_PRODUCT_STEPS, _PRODUCT_DAYS)
    for table in tables:
        is_last = ~or_(*(_has_later(table, other, ("product_id",)) for other in tables))
        newest = {
            name: select(_SUMMARIES.c[name]).where(_SUMMARIES.c.product_id == table.c.product_id).scalar_subquery()
            for name in ("lowest", "average", "offers", "items_in_stock")
        }
        still_counts = exists().where(
            ProductSource.product_id == table.c.product_id,
            Source.id == ProductSource.source_id,
            counts_until(dialect_name(session)) >= microseconds(now),
        )
        replaced = update(table).where(~table.c.observed, or_(table.c.observed_at > too_late, still_counts), is_last)
        yield Repair(
            _count(session, replaced.values(observed=True, **newest)), f"gaps in {table.name} have not begun yet"
        )


def _histories(session: Session, now: datetime) -> Iterator[Repair]:
    """Repair the products observed in the future: their rows in product_sources still tell which ones they are."""
    observed = select(_SYNC.c.product_id).where(_SYNC.c.last_synced_at > now)
    times = ("first_seen_at", "changed_at", "closed_at")
    mine = _OFFERS.c.product_id.in_(observed)
    yield Repair(_back_to(session, _OFFERS, now, *times, which=mine), "offers' times are set to now")
    for tables, key in _HISTORIES:
        for table in tables:
            superseded = or_(*(_has_later(table, other, key) for other in tables))
            ahead = and_(table.c.observed_at > now, table.c.product_id.in_(observed))
            removed = _count(session, delete(table).where(ahead, superseded))
            yield Repair(removed, f"superseded rows of {table.name} are removed")
        for table in tables:
            ahead = and_(table.c.observed_at > now, table.c.product_id.in_(observed))
            moved = _count(session, update(table).where(ahead).values(observed_at=now))
            yield Repair(moved, f"newest rows of {table.name} are set to now")


def _summaries(session: Session, now: datetime) -> Iterator[Repair]:
    summary = _SUMMARIES.c
    ahead = or_(summary.observed_at > now, summary.compared_at > now, summary.compare_at > now + REFRESHED_EVERY)
    times_of_summary = {name: _not_after(summary[name], now) for name in ("observed_at", "compared_at")}
    repaired = update(_SUMMARIES).where(ahead).values(**times_of_summary, compare_at=now)
    yield Repair(_count(session, repaired), "summaries are due to be refreshed")


def _has_later(table: Table, other: Table, key: Iterable[str]) -> ColumnElement[bool]:
    """Whether the other table, which may be the same one, has a later row of the same history."""
    later = other.alias("later")
    same = [later.c[name] == table.c[name] for name in key]
    return exists().where(*same, later.c.observed_at > table.c.observed_at)


def _sync(session: Session, now: datetime, settings: Settings) -> Iterator[Repair]:
    sync, lease = _SYNC.c, longest_lease(settings)
    # A source may state a longer interval than the settings do.
    stated = timedelta(seconds=session.scalar(select(func.max(Source.interval_seconds))) or 0)
    longest = max(Schedule.of(settings).longest, LONGEST_BACKOFF, stated)
    scheduled = or_(
        sync.last_asked_at > now,
        and_(sync.last_asked_at.is_(None), sync.next_sync_at > now),
        sync.next_sync_at > now + longest,
    )
    yield Repair(_count(session, update(_SYNC).where(scheduled).values(next_sync_at=now)), "products are due now")
    times = ("registered_at", "last_asked_at", "last_synced_at", "last_changed_at")
    yield Repair(_back_to(session, _SYNC, now, *times), "products' sync times are set to now")
    yield from _sources(session, now, longest)
    token = _TOKENS.c
    freed = {
        "blocked_until": (token.blocked_until > now + _LONGEST_BLOCK, "waits for the Offers service are ended"),
        "refreshing_until": (token.refreshing_until > now + lease, "refreshes of the access token are given up"),
    }
    for name, (ahead, description) in freed.items():
        yield Repair(_count(session, update(_TOKENS).where(ahead).values({name: None})), description)
    yield Repair(_count(session, delete(_RUNS).where(_RUNS.c.started_at > now)), "sync runs are removed")


def _sources(session: Session, now: datetime, longest: timedelta) -> Iterator[Repair]:
    source = _SOURCES.c
    scheduled = or_(source.last_asked_at > now, source.next_sync_at > now + longest)
    due = update(_SOURCES).where(source.next_sync_at.is_not(None), scheduled).values(next_sync_at=now)
    yield Repair(_count(session, due), "documents are due now")
    times = ("last_asked_at", "last_synced_at", "created_at", "updated_at")
    yield Repair(_back_to(session, _SOURCES, now, *times), "sources' times are set to now")
    unblocked = update(_SOURCES).where(source.blocked_until > now + LONGEST_WAIT)
    yield Repair(_count(session, unblocked.values(blocked_until=None)), "waits for sources are ended")


def _others(session: Session, now: datetime, settings: Settings) -> Iterator[Repair]:
    leased = _KEYS.c.leased_until > now + idempotency_keys.LEASE
    yield Repair(_count(session, delete(_KEYS).where(leased)), "idempotency keys without an answer are removed")
    yield Repair(_back_to(session, _KEYS, now, "created_at"), "idempotency keys are set to now")
    window = timedelta(seconds=settings.login_window_seconds)
    counting = and_(_COUNTERS.c.expires_at > now + window, _COUNTERS.c.key.not_like("own/%"))
    yield Repair(_count(session, delete(_COUNTERS).where(counting)), "counters of failed logins are removed")


def _compaction(session: Session, now: datetime) -> Iterator[Repair]:
    """Undo the summaries of days that were summarised before they were over. Later days have no rows any more."""
    today = moment(bucket_start(microseconds(now), DAY))
    for table in (_PRODUCT_DAYS, _OFFER_DAYS):
        too_early = update(table).where(table.c.observed_at >= today, table.c.summary.is_not(None))
        removed = _count(session, too_early.values(summary=None))
        yield Repair(removed, f"summaries in {table.name} of a day that is not over are removed")
    tomorrow = today + timedelta(days=1)
    set_back = update(_PROGRESS).where(_PROGRESS.c.raw_from > tomorrow).values(raw_from=tomorrow)
    yield Repair(_count(session, set_back), f"compaction watermark is set back to {tomorrow:%Y-%m-%d}")


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
    """Execute the statement, and return the number of rows that it touched."""
    result: Any = session.execute(statement)
    rows: int = result.rowcount
    return rows
