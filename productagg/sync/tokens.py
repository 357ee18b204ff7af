"""SharedToken: the one access token for the Offers service that all processes and threads share.

The Offers service issues no second token while one is valid. So the token is stored in the database, and only the
holder of the refresh lease may request a new one. The sync uses it. It opens short transactions of its own, and none is
open while it waits for the network.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Row, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, sessionmaker

from productagg.db import clock
from productagg.db.engines import dialect_name
from productagg.db.models import UpstreamToken
from productagg.sources.offers_service.parsing import AccessToken

log = logging.getLogger(__name__)

# The documented lifetime, for a token that states no expiry.
_TOKEN_LIFETIME = timedelta(minutes=5)
# How long no process requests a token after a 400, which says that an earlier token is still valid.
_RETRY_AFTER_STILL_VALID = timedelta(seconds=15)
# How much longer to use a token that has expired by the database's clock but not by the Offers service's, which is
# behind.
_CLOCK_SKEW_GRACE = timedelta(seconds=10)
_POLL_SECONDS = 0.05
_LOST = (
    "the Offers service says that an access token is still valid, but none is stored: a process died while "
    "fetching it, or another installation uses the same refresh token; it expires within 5 minutes"
)


class NoAccessToken(Exception):
    """There is no access token, and none should be requested before `until`, if given. The message says why."""

    def __init__(self, reason: str, until: datetime | None = None) -> None:
        super().__init__(reason if until is None else f"{reason}; no requests are sent before {until:%H:%M:%S} UTC")


class _CachedToken(NamedTuple):
    """A token in use, and its expiry on this process's monotonic clock: see clock.deadline."""

    value: str
    deadline: float

    def is_valid(self) -> bool:
        return clock.seconds_left(self.deadline) > 0


def account_key(base_url: str, refresh_token: str) -> str:
    """Return the key of an account's stored token: a fingerprint, so that the refresh token itself is not stored."""
    return hashlib.sha256(f"{base_url}\n{refresh_token}".encode()).hexdigest()[:32]


class SharedToken:
    """Hands out the shared access token. Only one caller refreshes it at a time.

    `request_token` asks the Offers service for a new token and returns None if an earlier one is still valid. It may
    raise any exception, which ends that attempt. `patience_seconds` is how long to wait for another caller's refresh.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        account: str,
        request_token: Callable[[], AccessToken | None],
        patience_seconds: float,
    ) -> None:
        self._sessions = sessions
        self._account = account
        self._request_token = request_token
        self._patience = timedelta(seconds=patience_seconds)
        self._lock = threading.Lock()
        self._cached: _CachedToken | None = None

    def get(self) -> str:
        """Return a token that we believe to be valid. Raises NoAccessToken and the exceptions of `request_token`."""
        valid = self._valid_cached()
        if valid is None:
            with self._lock:  # one thread of this process at a time; the others use its result
                valid = self._cached = self._valid_cached() or self._stored_or_new()
        return valid.value

    def _valid_cached(self) -> _CachedToken | None:
        cached = self._cached
        return cached if cached is not None and cached.is_valid() else None

    def reject(self, value: str) -> None:
        """The Offers service did not accept this token: no process may use it again."""
        with self._sessions.begin() as session:
            session.execute(
                update(UpstreamToken)
                .where(UpstreamToken.account == self._account, UpstreamToken.access_token == value)
                .values(access_token=None, expires_at=None)
            )
        # After the commit: a thread that finds no cached token reads the database, and must not find the token there.
        with self._lock:
            if self._cached is not None and self._cached.value == value:
                self._cached = None

    def block(self, retry_after: timedelta, reason: str) -> None:
        """Keep all processes from sending requests for this long; a block that ends later stays."""
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

    def blocked(self, session: Session) -> tuple[datetime, NoAccessToken | None]:
        """Return the time, and why and until when no requests may be sent, or None if they may."""
        dialect = dialect_name(session)
        now = select(clock.now_expression(dialect).label("now")).subquery()
        own_account = UpstreamToken.account == self._account
        # The clock's row is always there, so reading the time needs no statement of its own.
        query = select(now.c.now, UpstreamToken.blocked_until, UpstreamToken.blocked_reason)
        query = query.select_from(now.outerjoin(UpstreamToken, own_account))
        row = session.execute(query, {"now": clock.now_parameter(dialect)}).one()
        return row.now, _block(row.blocked_until, row.blocked_reason, row.now)

    def _stored_or_new(self) -> _CachedToken:
        """Return the stored token, or a new one, requested by us or by the holder of the refresh lease."""
        give_up_at = time.monotonic() + self._patience.total_seconds()
        while True:
            stored, leased_at = self._read_or_lease()
            if stored is not None:
                return stored
            if leased_at is not None:
                return self._refresh(leased_at)
            if time.monotonic() >= give_up_at:
                raise NoAccessToken("another process is fetching an access token and does not finish")
            time.sleep(_POLL_SECONDS)

    def _read_or_lease(self) -> tuple[_CachedToken | None, datetime | None]:
        """Return the stored token if it is valid; otherwise the time, if we now hold the refresh lease.

        Raises NoAccessToken.
        """
        with self._sessions.begin() as session:
            now = clock.now(session)
            _ensure_row(session, self._account)
            row = self._read(session)
            stored = _cached(row.access_token, row.expires_at, now)
            if stored is not None and stored.is_valid():
                return stored, None
            block = _block(row.blocked_until, row.blocked_reason, now)
            if block is not None:
                raise block
            return None, now if self._acquire_lease(session, now) else None

    def _read(self, session: Session) -> Row[str | None, datetime | None, datetime | None, str | None]:
        return session.execute(
            select(
                UpstreamToken.access_token,
                UpstreamToken.expires_at,
                UpstreamToken.blocked_until,
                UpstreamToken.blocked_reason,
            ).where(UpstreamToken.account == self._account)
        ).one()

    def _acquire_lease(self, session: Session, now: datetime) -> bool:
        """Take the refresh lease, unless another caller holds it or has just stored a valid token."""
        leased = session.execute(
            update(UpstreamToken)
            .where(
                UpstreamToken.account == self._account,
                or_(UpstreamToken.refreshing_until.is_(None), UpstreamToken.refreshing_until <= now),
                or_(UpstreamToken.expires_at.is_(None), UpstreamToken.expires_at <= now),
            )
            .values(refreshing_until=now + self._patience)
            .returning(UpstreamToken.account)
        ).first()
        return leased is not None

    def _refresh(self, leased_at: datetime) -> _CachedToken:
        """Request a new token and store it; the refresh lease ends in any case."""
        try:
            issued = self._request_token()
        except BaseException:
            self._end_lease()
            raise
        with self._sessions.begin() as session:
            now = clock.now(session)
            row = self._locked_row(session)
            row.refreshing_until = None
            _store(row, issued, leased_at, now)
            refreshed = _cached(row.access_token, row.expires_at, now)
            if refreshed is not None:
                return refreshed
            row.blocked_until, row.blocked_reason = now + _RETRY_AFTER_STILL_VALID, _LOST
            lost = NoAccessToken(_LOST, row.blocked_until)
        log.warning("%s", lost)
        raise lost

    def _end_lease(self) -> None:
        with self._sessions.begin() as session:
            self._locked_row(session).refreshing_until = None

    def _locked_row(self, session: Session) -> UpstreamToken:
        return session.get_one(UpstreamToken, self._account, with_for_update=True)


def _store(row: UpstreamToken, issued: AccessToken | None, leased_at: datetime, now: datetime) -> None:
    """Store a new token, requested at `leased_at`; without a new token, keep the stored one a little longer."""
    if issued is not None:
        row.access_token = issued.value
        row.expires_at = issued.expires_at or leased_at + _TOKEN_LIFETIME
    elif row.access_token is not None:
        # The service says that a token is valid, and has not rejected ours: the two clocks differ.
        row.expires_at = now + _CLOCK_SKEW_GRACE


def _cached(value: str | None, expires_at: datetime | None, now: datetime) -> _CachedToken | None:
    if value is None or expires_at is None:
        return None
    return _CachedToken(value, clock.deadline(expires_at, now))


def _block(until: datetime | None, reason: str | None, now: datetime) -> NoAccessToken | None:
    if until is None or until <= now:
        return None
    return NoAccessToken(reason or "blocked", until)


def _ensure_row(session: Session, account: str) -> None:
    insert = postgresql.insert if dialect_name(session) == "postgresql" else sqlite.insert
    session.execute(insert(UpstreamToken).values(account=account).on_conflict_do_nothing())
