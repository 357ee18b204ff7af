"""The one upstream access token that all processes and threads share.

The Offers service gives out no second token while one is valid, so the token is shared state in the database, and only
whoever holds the refresh lease may ask for a new one. `TokenKeeper` is what a sync pass uses; it opens short
transactions of its own and has none open while it waits for the network.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, sessionmaker

from productagg.db import clock
from productagg.db.engines import dialect_name
from productagg.db.models import UpstreamToken

log = logging.getLogger(__name__)

# The documented life of an access token, for one that does not say its own.
_TOKEN_LIFETIME = timedelta(minutes=5)
# How long a 400 ('one is still valid') keeps everybody from asking for a token again.
_RETRY_REFUSED_TOKEN = timedelta(seconds=15)
# How much longer a token is used that we hold for expired and the Offers service does not: its clock is behind the
# database's.
_CLOCK_SKEW_GRACE = timedelta(seconds=10)
_POLL_SECONDS = 0.05
_LOST = (
    "the Offers service says that an access token is still valid, but none is stored: a process died while "
    "fetching it, or another installation uses the same refresh token; it expires within 5 minutes"
)


class NoToken(Exception):
    """There is no access token to be had, not before `until` if that is known; the message says why."""

    def __init__(self, reason: str, until: datetime | None = None) -> None:
        super().__init__(reason if until is None else f"{reason}; nothing is asked before {until:%H:%M:%S} UTC")


class Issued(NamedTuple):
    """An access token as the Offers service gave it out; `expires_at` None: it does not say when it ends."""

    value: str
    expires_at: datetime | None


class _Known(NamedTuple):
    """A token in use, and when it ends by this process's monotonic clock: see clock.seconds_left."""

    value: str
    deadline: float


def account_key(base_url: str, refresh_token: str) -> str:
    """What an account's token is stored under: a fingerprint, not the refresh token itself."""
    return hashlib.sha256(f"{base_url}\n{refresh_token}".encode()).hexdigest()[:32]


class TokenKeeper:
    """Hands out the shared access token and sees to it that one caller, and only one, refreshes it.

    `ask` asks the Offers service for a new token and returns None if it answers that one is still valid; it may raise
    whatever it likes, which ends that attempt. `patience_seconds` is how long a refresh by somebody else is waited for.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        account: str,
        ask: Callable[[], Issued | None],
        patience_seconds: float,
    ) -> None:
        self._sessions = sessions
        self._account = account
        self._ask = ask
        self._patience = timedelta(seconds=patience_seconds)
        self._lock = threading.Lock()
        self._known: _Known | None = None

    def get(self) -> str:
        """A token that is valid as far as anybody knows. Raises NoToken, and what `ask` raises."""
        known = self._known
        if known is not None and clock.seconds_left(known.deadline) > 0:
            return known.value
        with self._lock:  # one thread of ours at a time; the others find its result
            if self._known is None or clock.seconds_left(self._known.deadline) <= 0:
                self._known = self._shared_token()
            return self._known.value

    def reject(self, value: str) -> None:
        """The Offers service did not accept this token: nobody shall use it again."""
        with self._sessions.begin() as session:
            session.execute(
                update(UpstreamToken)
                .where(UpstreamToken.account == self._account, UpstreamToken.access_token == value)
                .values(access_token=None, expires_at=None)
            )
        # Only now: another thread that finds none here looks there, and must not bring the rejected one back.
        with self._lock:
            if self._known is not None and self._known.value == value:
                self._known = None

    def block(self, retry_after: timedelta, reason: str) -> None:
        """Keep everybody from asking the Offers service for anything for so long, or longer if that is known."""
        with self._sessions.begin() as session:
            until = clock.now(session) + retry_after
            _ensure_row(session, self._account)
            session.execute(
                update(UpstreamToken)
                .where(
                    UpstreamToken.account == self._account,
                    or_(UpstreamToken.blocked_until.is_(None), UpstreamToken.blocked_until < until),
                )
                .values(blocked_until=until, blocked_reason=reason)
            )

    def blocked(self, session: Session) -> tuple[datetime, NoToken | None]:
        """The time, and why and until when nothing is to be asked; None if all is well."""
        dialect = dialect_name(session)
        now = select(clock.now_expression(dialect).label("now")).subquery()
        mine = UpstreamToken.account == self._account
        # A row of the clock's in any case, so that the time costs no statement of its own.
        query = select(now.c.now, UpstreamToken.blocked_until, UpstreamToken.blocked_reason)
        query = query.select_from(now.outerjoin(UpstreamToken, mine))
        row = session.execute(query, {"now": clock.now_parameter(dialect)}).one()
        return row.now, _block(row.blocked_until, row.blocked_reason, row.now)

    def _shared_token(self) -> _Known:
        """The stored token, or a new one if it falls to us to ask for it, else the one that somebody else gets."""
        give_up_at = time.monotonic() + self._patience.total_seconds()
        while True:
            stored, asking_at = self._read_or_claim()
            if stored is not None:
                return stored
            if asking_at is not None:
                return self._refresh(asking_at)
            if time.monotonic() >= give_up_at:
                raise NoToken("somebody else is fetching an access token and does not finish")
            time.sleep(_POLL_SECONDS)

    def _read_or_claim(self) -> tuple[_Known | None, datetime | None]:
        """The stored token if it is good; else the time, if the lease to refresh it is ours now. Raises NoToken."""
        with self._sessions.begin() as session:
            now = clock.now(session)
            _ensure_row(session, self._account)
            row = session.execute(
                select(
                    UpstreamToken.access_token,
                    UpstreamToken.expires_at,
                    UpstreamToken.blocked_until,
                    UpstreamToken.blocked_reason,
                ).where(UpstreamToken.account == self._account)
            ).one()
            if row.access_token is not None and row.expires_at is not None and row.expires_at > now:
                return _Known(row.access_token, clock.deadline(row.expires_at, now)), None
            block = _block(row.blocked_until, row.blocked_reason, now)
            if block is not None:
                raise block
            claimed = session.execute(
                update(UpstreamToken)
                .where(
                    UpstreamToken.account == self._account,
                    or_(UpstreamToken.refreshing_until.is_(None), UpstreamToken.refreshing_until <= now),
                    or_(UpstreamToken.expires_at.is_(None), UpstreamToken.expires_at <= now),
                )
                .values(refreshing_until=now + self._patience)
                .returning(UpstreamToken.account)
            ).first()
            return None, now if claimed is not None else None

    def _refresh(self, asking_at: datetime) -> _Known:
        try:
            issued = self._ask()
        except BaseException:
            with self._sessions.begin() as session:
                self._row(session).refreshing_until = None
            raise
        with self._sessions.begin() as session:
            now = clock.now(session)
            row = self._row(session)
            row.refreshing_until = None
            if issued is not None:
                row.access_token = issued.value
                row.expires_at = issued.expires_at or asking_at + _TOKEN_LIFETIME
            elif row.access_token is not None:
                # It says that one is valid, and nobody has refused ours: the two clocks differ.
                row.expires_at = now + _CLOCK_SKEW_GRACE
            if row.access_token is not None and row.expires_at is not None:
                return _Known(row.access_token, clock.deadline(row.expires_at, now))
            row.blocked_until, row.blocked_reason = now + _RETRY_REFUSED_TOKEN, _LOST
            refused = NoToken(_LOST, row.blocked_until)
        log.warning("%s", refused)
        raise refused

    def _row(self, session: Session) -> UpstreamToken:
        return session.get_one(UpstreamToken, self._account, with_for_update=True)


def _block(until: datetime | None, reason: str | None, now: datetime) -> NoToken | None:
    if until is None or until <= now:
        return None
    return NoToken(reason or "blocked", until)


def _ensure_row(session: Session, account: str) -> None:
    insert = postgresql.insert if dialect_name(session) == "postgresql" else sqlite.insert
    session.execute(insert(UpstreamToken).values(account=account).on_conflict_do_nothing())
