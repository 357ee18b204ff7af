"""What was answered under an Idempotency-Key, so that a request that is sent again does not happen again.

For the API. A key is claimed before the work, with a lease, in a short transaction of its own; `answered` belongs into
the transaction of the work, so that both are kept or neither. Takes a session and plain values; never commits.
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

KEPT = timedelta(hours=24)
# Far more than a request takes. One that takes longer loses nothing unless it is sent again meanwhile.
LEASE = timedelta(seconds=60)
# More than one, so that what is over does not pile up; few, so that nobody waits for it.
_REMOVED_AT_ONCE = 10


class UsedOtherwise(Exception):
    """The key stands for another request."""


class InProgress(Exception):
    """The same request is being worked on; or, of a lease: somebody else took the work over."""


@dataclass(frozen=True)
class Claim:
    """A key that is ours to answer under. `leased_until` is the proof: a later claim writes a later time."""

    user_id: UUID
    key: str
    leased_until: datetime


@dataclass(frozen=True)
class Answer:
    """An answer as it was sent."""

    status: int
    headers: Sequence[Sequence[str]]
    body: bytes


def claim(session: Session, user_id: UUID, key: str, fingerprint: str) -> Claim | Answer:
    """Take the key for a request with this fingerprint, or find what was answered. Raises UsedOtherwise, InProgress."""
    dialect = dialect_name(session)
    now = clock.now_parameter(dialect)
    times = {name: now and now + later for name, later in _TIMES.items()}
    wanted = {"user_id": user_id, "key": key, "fingerprint": fingerprint}
    leased_until = session.execute(_CLAIM[dialect], wanted | times).scalar()
    if leased_until is not None:
        session.execute(_REMOVE_SOME[dialect], {"over": times["over"]})
        return Claim(user_id, key, leased_until)
    # It is locked by the attempt, so it is there.
    found = session.execute(_FOUND, {"user_id": user_id, "key": key}).one()
    if found.fingerprint != fingerprint:
        raise UsedOtherwise(key)
    if found.leased_until is not None:
        raise InProgress(key)
    return Answer(found.status, found.headers, found.body)


def answered(session: Session, claim: Claim, answer: Answer) -> None:
    """Keep the answer. Raises InProgress if the claim is not ours any more: then nothing of this may be committed."""
    values = {"status": answer.status, "headers": answer.headers, "body": answer.body, "leased_until": None}
    kept = update(_KEYS).where(_held(claim)).values(values).returning(_KEYS.c.key)
    if session.execute(kept).first() is None:
        raise InProgress(claim.key)


def release(session: Session, claim: Claim) -> None:
    """Forget the key, if it is still ours, for nothing came of it."""
    session.execute(delete(_KEYS).where(_held(claim)))


def _claiming(make_insert: Any, dialect: str) -> Executable:
    """Insert the key, or take it over if it is over, or abandoned: the end of its lease. Nothing if it is neither."""
    times = {name: _time(dialect, name) for name in ("created_at", "leased_until")}
    insert = make_insert(_KEYS).values({name: bindparam(name) for name in _CLAIMED} | times)
    abandoned = and_(
        # Its process was killed, or is so slow that its answer will be refused.
        _KEYS.c.leased_until <= insert.excluded.created_at,
        _KEYS.c.fingerprint == insert.excluded.fingerprint,
    )
    anew = {name: insert.excluded[name] for name in _CLAIMED} | dict.fromkeys(("status", "headers", "body"), null())
    taken = insert.on_conflict_do_update(
        index_elements=["user_id", "key"], set_=anew, where=or_(_KEYS.c.created_at <= _time(dialect, "over"), abandoned)
    )
    return taken.returning(_KEYS.c.leased_until)  # type: ignore[no-any-return]


def _removing(dialect: str) -> Executable:
    """Remove the oldest, which the index finds, of those that are over. What another claim removes is left to it."""
    oldest = (
        select(_KEYS.c.user_id, _KEYS.c.key)
        .where(_KEYS.c.created_at <= _time(dialect, "over"))
        .order_by(_KEYS.c.created_at)
        .limit(_REMOVED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    return delete(_KEYS).where(tuple_(_KEYS.c.user_id, _KEYS.c.key).in_(oldest))


def _time(dialect: str, name: str) -> ColumnElement[datetime]:
    return clock.now_expression(dialect, name, _TIMES[name])


_KEYS = Base.metadata.tables[IdempotencyKey.__tablename__]
_CLAIMED = ("user_id", "key", "fingerprint", "created_at", "leased_until")
# The statements' times, from now. Keys created before `over` count no more.
_TIMES = {"created_at": timedelta(0), "leased_until": LEASE, "over": -KEPT}
_CLAIM = {
    "postgresql": _claiming(postgresql.insert, "postgresql"),
    "sqlite": _claiming(sqlite.insert, "sqlite"),
}
_REMOVE_SOME = {dialect: _removing(dialect) for dialect in _CLAIM}
_FOUND = select(_KEYS).where(
    _KEYS.c.user_id == bindparam("user_id", type_=Uuid), _KEYS.c.key == bindparam("key", type_=Text)
)


def _held(claim: Claim) -> Any:
    return and_(_KEYS.c.user_id == claim.user_id, _KEYS.c.key == claim.key, _KEYS.c.leased_until == claim.leased_until)
