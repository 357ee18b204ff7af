"""The responses stored under Idempotency-Keys, so that a repeated request is not done again.

For the API. A key is leased before the work, in a short transaction of its own; `store_response` belongs in the
transaction of the work, so that both are committed or neither. Takes a session and plain values; never commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, Text, Uuid, and_, bindparam, delete, null, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.db import clock
from productagg.db.engines import dialect_name
from productagg.db.models import Base, IdempotencyKey

RETENTION = timedelta(hours=24)
# Far longer than a request takes. A slower request loses nothing unless it is repeated meanwhile.
LEASE = timedelta(seconds=60)
# More than one, so that expired keys do not pile up; few, so that no request waits for the removal.
_REMOVED_AT_ONCE = 10


class KeyReused(Exception):
    """The key belongs to another request."""


class InProgress(Exception):
    """The same request is being processed; or another request has taken the key over from ours."""


@dataclass(frozen=True)
class KeyLease:
    """A key under which we may store a response. `leased_until` proves it: a later lease has a later time."""

    user_id: UUID
    key: str
    leased_until: datetime


@dataclass(frozen=True)
class StoredResponse:
    """A response as it was sent."""

    status: int
    headers: Sequence[Sequence[str]]
    body: bytes


def acquire(session: Session, user_id: UUID, key: str, fingerprint: str) -> KeyLease | StoredResponse:
    """Lease the key for the request with this fingerprint, or find its response. Raises KeyReused, InProgress."""
    dialect = dialect_name(session)
    now = clock.now_parameter(dialect)
    times = {name: now and now + offset for name, offset in _OFFSETS.items()}
    values = {"user_id": user_id, "key": key, "fingerprint": fingerprint}
    leased_until = session.execute(_ACQUIRE[dialect], values | times).scalar()
    if leased_until is not None:
        session.execute(_REMOVE_EXPIRED[dialect], {"expired": times["expired"]})
        return KeyLease(user_id, key, leased_until)
    # The attempt to insert it has locked the row, so it exists.
    row = session.execute(_FIND, {"user_id": user_id, "key": key}).one()
    if row.fingerprint != fingerprint:
        raise KeyReused(key)
    if row.leased_until is not None:
        raise InProgress(key)
    return StoredResponse(row.status, row.headers, row.body)


def store_response(session: Session, lease: KeyLease, response: StoredResponse) -> None:
    """Store the response. Raises InProgress if the lease is lost: then the transaction must not be committed."""
    values = {"status": response.status, "headers": response.headers, "body": response.body, "leased_until": None}
    stored = update(_KEYS).where(_is_held(lease)).values(values).returning(_KEYS.c.key)
    if session.execute(stored).first() is None:
        raise InProgress(lease.key)


def release(session: Session, lease: KeyLease) -> None:
    """Forget the key if the lease is still ours: the request was not done."""
    session.execute(delete(_KEYS).where(_is_held(lease)))


def _acquire_statement(make_insert: Any, dialect: str) -> Executable:
    """Insert the key, or take it over if it has expired or was abandoned. Returns the end of the lease, or no row."""
    times = {name: _time(dialect, name) for name in ("created_at", "leased_until")}
    insert = make_insert(_KEYS).values({name: bindparam(name) for name in _LEASED_COLUMNS} | times)
    is_abandoned = and_(
        # The process was killed, or is so slow that its response will be refused.
        _KEYS.c.leased_until <= insert.excluded.created_at,
        _KEYS.c.fingerprint == insert.excluded.fingerprint,
    )
    is_expired = _KEYS.c.created_at <= _time(dialect, "expired")
    no_response = dict.fromkeys(("status", "headers", "body"), null())
    upsert = insert.on_conflict_do_update(
        index_elements=["user_id", "key"],
        set_={name: insert.excluded[name] for name in _LEASED_COLUMNS} | no_response,
        where=or_(is_expired, is_abandoned),
    )
    return upsert.returning(_KEYS.c.leased_until)  # type: ignore[no-any-return]


def _remove_expired_statement(dialect: str) -> Executable:
    """Remove the oldest expired keys, which the index finds, but not the keys that another request is removing."""
    oldest = (
        select(_KEYS.c.user_id, _KEYS.c.key)
        .where(_KEYS.c.created_at <= _time(dialect, "expired"))
        .order_by(_KEYS.c.created_at)
        .limit(_REMOVED_AT_ONCE)
        .with_for_update(skip_locked=True)
        # PostgreSQL reads a CTE once; a subquery, it may read again for each row, without those that it has removed.
        .cte("oldest")
    )
    return delete(_KEYS).where(tuple_(_KEYS.c.user_id, _KEYS.c.key).in_(select(*oldest.c)))


def _time(dialect: str, name: str) -> ColumnElement[datetime]:
    return clock.now_expression(dialect, name, _OFFSETS[name])


_KEYS = Base.metadata.tables[IdempotencyKey.__tablename__]
_LEASED_COLUMNS = ("user_id", "key", "fingerprint", "created_at", "leased_until")
# The statements' times, relative to now. Keys that were created before `expired` no longer count.
_OFFSETS = {"created_at": timedelta(0), "leased_until": LEASE, "expired": -RETENTION}
_ACQUIRE = {
    "postgresql": _acquire_statement(postgresql.insert, "postgresql"),
    "sqlite": _acquire_statement(sqlite.insert, "sqlite"),
}
_REMOVE_EXPIRED = {dialect: _remove_expired_statement(dialect) for dialect in _ACQUIRE}
_FIND = select(_KEYS).where(
    _KEYS.c.user_id == bindparam("user_id", type_=Uuid), _KEYS.c.key == bindparam("key", type_=Text)
)


def _is_held(lease: KeyLease) -> ColumnElement[bool]:
    return and_(_KEYS.c.user_id == lease.user_id, _KEYS.c.key == lease.key, _KEYS.c.leased_until == lease.leased_until)
