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
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, sessionmaker

from productagg.models import UpstreamToken

log = logging.getLogger(__name__)

# The documented life of an access token, for one that does not say its own.
_TOKEN_LIFETIME = timedelta(minutes=5)
# How long a 400 ('one is still valid') keeps everybody from asking for a token again.
_RETRY_REFUSED_TOKEN = timedelta(seconds=15)
# How much longer a token is used that we hold for expired and the Offers service does not: its clock is behind ours.
_CLOCK_SKEW_GRACE = timedelta(seconds=10)
_POLL_SECONDS = 0.05
# The farthest end of a block that is believed: a later one was written by a clock that has been set back since.
_LONGEST_BLOCK = timedelta(hours=1, minutes=1)
# The same for somebody else's refresh.
_LONGEST_REFRESH = timedelta(minutes=10)
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
    """An access token, and until when it is used."""

    value: str
    expires_at: datetime


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
        if known is not None and known.expires_at > _now():
            return known.value
        with self._lock:  # one thread of ours at a time; the others find its result
            if self._known is None or self._known.expires_at <= _now():
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
        until = _now() + retry_after
        with self._sessions.begin() as session:
            _ensure_row(session, self._account)
            session.execute(
                update(UpstreamToken)
                .where(
                    UpstreamToken.account == self._account,
                    or_(
                        UpstreamToken.blocked_until.is_(None),
                        UpstreamToken.blocked_until < until,
                        UpstreamToken.blocked_until > _now() + _LONGEST_BLOCK,
                    ),
                )
                .values(blocked_until=until, blocked_reason=reason)
            )

    def blocked(self, session: Session) -> NoToken | None:
        """Why and until when nothing is to be asked; None if all is well."""
        row = session.execute(
            select(UpstreamToken.blocked_until, UpstreamToken.blocked_reason).where(
                UpstreamToken.account == self._account
            )
        ).first()
        return None if row is None else _block(*row, _now())

    def _shared_token(self) -> _Known:
        """The stored token, or a new one if it falls to us to ask for it, else the one that somebody else gets."""
        give_up_at = _now() + self._patience
        while True:
            stored, ours = self._read_or_claim()
            if stored is not None:
                return stored
            if ours:
                return self._refresh()
            if _now() >= give_up_at:
                raise NoToken("somebody else is fetching an access token and does not finish")
            time.sleep(_POLL_SECONDS)

    def _read_or_claim(self) -> tuple[_Known | None, bool]:
        """The stored token if it is good; else whether the lease to refresh it is ours now. Raises NoToken."""
        now = _now()
        with self._sessions.begin() as session:
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
                return _Known(row.access_token, row.expires_at), False
            block = _block(row.blocked_until, row.blocked_reason, now)
            if block is not None:
                raise block
            claimed = session.execute(
                update(UpstreamToken)
                .where(
                    UpstreamToken.account == self._account,
                    or_(
                        UpstreamToken.refreshing_until.is_(None),
                        UpstreamToken.refreshing_until <= now,
                        # Left behind by a clock that has been set back.
                        UpstreamToken.refreshing_until > now + _LONGEST_REFRESH,
                    ),
                    or_(UpstreamToken.expires_at.is_(None), UpstreamToken.expires_at <= now),
                )
                .values(refreshing_until=now + self._patience)
                .returning(UpstreamToken.account)
            ).first()
            return None, claimed is not None

    def _refresh(self) -> _Known:
        asked_at = _now()
        try:
            issued = self._ask()
        except BaseException:
            with self._sessions.begin() as session:
                self._row(session).refreshing_until = None
            raise
        with self._sessions.begin() as session:
            row = self._row(session)
            row.refreshing_until = None
            known = None
            if issued is not None:
                known = _Known(issued.value, issued.expires_at or asked_at + _TOKEN_LIFETIME)
            elif row.access_token is not None:
                # It says that one is valid, and nobody has refused ours: the two clocks differ.
                known = _Known(row.access_token, _now() + _CLOCK_SKEW_GRACE)
            if known is not None:
                row.access_token, row.expires_at = known
                return known
            row.blocked_until, row.blocked_reason = _now() + _RETRY_REFUSED_TOKEN, _LOST
            refused = NoToken(_LOST, row.blocked_until)
        log.warning("%s", refused)
        raise refused

    def _row(self, session: Session) -> UpstreamToken:
        return session.get_one(UpstreamToken, self._account, with_for_update=True)


def _block(until: datetime | None, reason: str | None, now: datetime) -> NoToken | None:
    if until is None or not now < until <= now + _LONGEST_BLOCK:
        return None
    return NoToken(reason or "blocked", until)


def _ensure_row(session: Session, account: str) -> None:
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(UpstreamToken).values(account=account).on_conflict_do_nothing())


def _now() -> datetime:
    # The wall clock, as the tokens' exp is: a monotonic one is not shared between processes.
    return datetime.now(UTC)
