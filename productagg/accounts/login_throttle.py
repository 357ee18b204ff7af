"""How many logins may fail: of one account from one address, from one address, and of one account from everywhere.

With IPv6, a subscriber has many addresses: those of a /64 are one, and a /48 may fail as often as one address.

Called by the API's login. `limits` decides, by fixed windows that begin with their first failure; what it counts is in
the database, so that all processes and hosts count together. A login is counted before its password is verified and
given back if it succeeds: however many try at once, no more than the limit get through. The transactions are short ones
of its own, for that of a request is rolled back when its login fails.

Why nobody can be locked out with it: docs/decisions/0008-login-throttling.md.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, TypeVar

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from sqlalchemy import Connection, case, delete, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from productagg.db import clock
from productagg.db.models import LoginCounter, UtcDateTime
from productagg.settings import Settings

_T = TypeVar("_T")

log = logging.getLogger(__name__)

# How long an address counts as one of an account's own after a login from there.
_OWN_ADDRESS_SECONDS = 30 * 86400
# Counting a login adds four rows at most, a success one; each count removes so many that are over.
_TIDIED_AT_ONCE = 100


class TooManyLogins(Exception):
    """Too many have failed. After `retry_after` seconds another try is possible."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many failed; the next try is possible in {retry_after} s")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Attempt:
    """A login that was counted: by which limits, for whom; and the key under which a success is remembered."""

    counted: Sequence[tuple[RateLimitItem, str]]
    own_address: str


class LoginThrottle:
    """Counts the logins that fail. Any number of threads may use one."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        seconds = settings.login_window_seconds
        self._per_pair = RateLimitItemPerSecond(settings.login_attempts, seconds, "pair")
        self._per_address = RateLimitItemPerSecond(settings.login_attempts_per_address, seconds, "address")
        self._per_site = RateLimitItemPerSecond(settings.login_attempts_per_address, seconds, "site")
        self._per_account = RateLimitItemPerSecond(settings.login_attempts_per_account, seconds, "account")
        # Fingerprints have a key, for some people type their password where their name belongs.
        self._key = hashlib.blake2b(settings.jwt_secret.reveal().encode(), person=b"login throttle").digest()

    def count(self, connection: Connection, username: str, address: str) -> Attempt:
        """Count a login that is about to be tried from an IP address; raises TooManyLogins, and then counts nothing.

        `connection` is one to read with.
        """
        network, site = _network(address), _network(address, 48)
        account, place = self._fingerprint(username), self._fingerprint(network)
        limits = [
            (self._per_pair, f"{account}/{place}"),
            (self._per_address, place),
            (self._per_account, account),
        ]
        if site != network:
            limits.insert(2, (self._per_site, self._fingerprint(site)))
        own_address = f"own/{account}/{place}"
        try:
            # What comes in a flood is refused here, without writing.
            _apply(_Counters(connection), limits, own_address, FixedWindowRateLimiter.test)
            with self._sessions.begin() as session:
                counters = _Counters(session.connection())
                counted = _apply(counters, limits, own_address, FixedWindowRateLimiter.hit)
                counters.tidy()
        except TooManyLogins as refused:
            log.warning("a login from %s is refused: %s", network, refused)
            raise
        return Attempt(counted, own_address)

    def succeeded(self, attempt: Attempt) -> None:
        """It was the right password: give back what was counted, forget the pair's failures, remember the address."""
        (pair, who), *wider = attempt.counted
        with self._sessions.begin() as session:
            counters = _Counters(session.connection())
            counters.clear(pair.key_for(who))
            for limit, whose in wider:
                counters.give_back(limit.key_for(whose))
            counters.remember(attempt.own_address, _OWN_ADDRESS_SECONDS)

    def _fingerprint(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=16).hexdigest()


def _apply(
    counters: "_Counters",
    limits: Sequence[tuple[RateLimitItem, str]],
    own_address: str,
    decide: Callable[[FixedWindowRateLimiter, RateLimitItem, str], bool],
) -> Sequence[tuple[RateLimitItem, str]]:
    """Those of the limits that hold here, if they all allow it. Raises TooManyLogins."""
    limiter = FixedWindowRateLimiter(counters)
    if counters.get(own_address):
        # Whoever fails elsewhere shall not keep the account's owner out.
        limits = limits[:-1]
    # Always in this order, which keeps the rows' locks from crossing.
    exceeded = [each for each in limits if not decide(limiter, *each)]
    if exceeded:
        free_at = max(limiter.get_window_stats(*each).reset_time for each in exceeded)
        raise TooManyLogins(max(1, math.ceil(free_at - counters.now.timestamp())))
    return limits


class _Counters(Storage):
    """What `limits` counts with: rows of login_counters, in the transaction (if any) of the connection given."""

    STORAGE_SCHEME = None

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self.now = clock.now(connection)

    @property
    def base_exceptions(self) -> type[Exception]:
        return SQLAlchemyError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count in the key's window, or begin one of `expiry` seconds; returns the count."""
        is_over = LoginCounter.expires_at <= self.now
        end = literal(self.now + timedelta(seconds=expiry), UtcDateTime())
        return self._put(
            {"key": key, "count": amount, "expires_at": end},
            count=case((is_over, amount), else_=LoginCounter.count + amount),
            expires_at=case((is_over, end), else_=LoginCounter.expires_at),
        )

    def remember(self, key: str, expiry: int) -> None:
        """Have the key for `expiry` seconds from now on."""
        end = self.now + timedelta(seconds=expiry)
        self._put({"key": key, "count": 1, "expires_at": end}, expires_at=end)

    def give_back(self, key: str) -> None:
        still_counts = LoginCounter.key == key, LoginCounter.expires_at > self.now, LoginCounter.count > 0
        self._connection.execute(update(LoginCounter).where(*still_counts).values(count=LoginCounter.count - 1))

    def get(self, key: str) -> int:
        return self._running(LoginCounter.count, key) or 0

    def get_expiry(self, key: str) -> float:
        return (self._running(LoginCounter.expires_at, key) or self.now).timestamp()

    def clear(self, key: str) -> None:
        self._connection.execute(delete(LoginCounter).where(LoginCounter.key == key))

    def tidy(self) -> None:
        """Remove some of the rows that are over. The last thing in a transaction: it waits for nobody's locks."""
        over = select(LoginCounter.key).where(LoginCounter.expires_at <= self.now).order_by(LoginCounter.expires_at)
        some = over.limit(_TIDIED_AT_ONCE).with_for_update(skip_locked=True)
        self._connection.execute(delete(LoginCounter).where(LoginCounter.key.in_(some)))

    def check(self) -> bool:
        return self._connection.execute(select(1)).scalar() == 1

    def reset(self) -> None:
        self._connection.execute(delete(LoginCounter))

    def _running(self, column: InstrumentedAttribute[_T], key: str) -> _T | None:
        running = LoginCounter.key == key, LoginCounter.expires_at > self.now
        return self._connection.execute(select(column).where(*running)).scalar_one_or_none()

    def _put(self, new: Mapping[str, Any], **instead: Any) -> int:
        """Add a row, or change the one that is there; returns its count."""
        insert = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        put = insert(LoginCounter).values(new).on_conflict_do_update(index_elements=["key"], set_=instead)
        count: int = self._connection.execute(put.returning(LoginCounter.count)).scalar_one()
        return count


def _network(address: str, bits: int = 64) -> str:
    """Whom an address stands for: itself, or with IPv6 its network of so many bits. One host has all of a /64."""
    try:
        ip = ip_address(address)
    except ValueError:  # a Unix socket
        return address
    return str(ip_network((ip, bits), strict=False) if isinstance(ip, IPv6Address) else ip)
