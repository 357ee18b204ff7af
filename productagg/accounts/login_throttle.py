"""Limits failed logins: per account and address, per address, and per account from all addresses together.

With IPv6, a subscriber has many addresses: all addresses of a /64 count as one address, and a /48 (a site) may fail as
often as one address.

Called by the API's login. The package `limits` decides, by fixed windows that begin with their first failure. Its
counters are in the database, so that all processes and hosts count together. A login is counted before its password is
verified, and the count is given back if the login succeeds: concurrent attempts cannot exceed a limit. The throttle
uses short transactions of its own, because the request's transaction is rolled back if the login fails.

Why nobody can use it to lock out other users: docs/decisions/0008-login-throttling.md.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple, TypeVar

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from sqlalchemy import Connection, case, delete, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from productagg.db import clock
from productagg.db.engines import dialect_name
from productagg.db.models import LoginCounter, UtcDateTime
from productagg.settings import Settings

_T = TypeVar("_T")

log = logging.getLogger(__name__)

# How long an address counts as the account owner's after a login from it.
_OWN_ADDRESS_SECONDS = 30 * 86400
# An attempt adds at most four rows, a success one. Each attempt removes up to this many expired rows.
_REMOVED_AT_ONCE = 100


class TooManyLogins(Exception):
    """Too many logins failed. Another attempt is possible after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many failed; the next try is possible in {retry_after} s")
        self.retry_after = retry_after


class _Limit(NamedTuple):
    """A limit, applied to a pair of account and address, to an address, to a site or to an account."""

    item: RateLimitItem
    identifier: str

    @property
    def key(self) -> str:
        return self.item.key_for(self.identifier)


@dataclass(frozen=True)
class Attempt:
    """A counted login: the limits that counted it, and the key under which a success is remembered."""

    limits: Sequence[_Limit]
    own_address_key: str


class LoginThrottle:
    """Counts failed logins. Thread-safe."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        seconds = settings.login_window_seconds
        self._per_pair = RateLimitItemPerSecond(settings.login_attempts, seconds, "pair")
        self._per_address = RateLimitItemPerSecond(settings.login_attempts_per_address, seconds, "address")
        self._per_site = RateLimitItemPerSecond(settings.login_attempts_per_address, seconds, "site")
        self._per_account = RateLimitItemPerSecond(settings.login_attempts_per_account, seconds, "account")
        # Keyed hash: users sometimes type their password as the user name.
        self._hash_key = hashlib.blake2b(settings.jwt_secret.reveal().encode(), person=b"login throttle").digest()

    def count_attempt(self, connection: Connection, username: str, address: str) -> Attempt:
        """Count a login from an IP address, before its password is verified. `connection` is a reader's.

        Raises TooManyLogins; then nothing is counted.
        """
        limits, own_address_key = self._limits(username, address)
        try:
            # Without writing, so that a flood of attempts is refused cheaply.
            _check(_Counters(connection), limits, own_address_key, FixedWindowRateLimiter.test)
            with self._sessions.begin() as session:
                counters = _Counters(session.connection())
                counted = _check(counters, limits, own_address_key, FixedWindowRateLimiter.hit)
                counters.remove_expired()
        except TooManyLogins as refusal:
            log.warning("a login from %s is refused: %s", _network(address), refusal)
            raise
        return Attempt(counted, own_address_key)

    def record_success(self, attempt: Attempt) -> None:
        """Give back the counts of a successful login, forget the pair's failures, and remember the address."""
        pair, *others = attempt.limits
        with self._sessions.begin() as session:
            counters = _Counters(session.connection())
            counters.clear(pair.key)
            for limit in others:
                counters.give_back(limit.key)
            counters.remember(attempt.own_address_key, _OWN_ADDRESS_SECONDS)

    def _limits(self, username: str, address: str) -> tuple[list[_Limit], str]:
        """Return the limits on a login, the pair's first and the account's last, and the key of an own address."""
        network, site = _network(address), _network(address, 48)
        account_hash, network_hash = self._keyed_hash(username), self._keyed_hash(network)
        limits = [_Limit(self._per_pair, f"{account_hash}/{network_hash}"), _Limit(self._per_address, network_hash)]
        if site != network:
            limits.append(_Limit(self._per_site, self._keyed_hash(site)))
        limits.append(_Limit(self._per_account, account_hash))
        return limits, f"own/{account_hash}/{network_hash}"

    def _keyed_hash(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), key=self._hash_key, digest_size=16).hexdigest()


def _check(
    counters: "_Counters",
    limits: Sequence[_Limit],
    own_address_key: str,
    decide: Callable[[FixedWindowRateLimiter, RateLimitItem, str], bool],
) -> Sequence[_Limit]:
    """Return the limits that apply, if all of them allow the login. Raises TooManyLogins."""
    limiter = FixedWindowRateLimiter(counters)
    if counters.get(own_address_key):
        # Failures elsewhere must not lock out the account's owner: leave out the account's limit.
        limits = limits[:-1]
    # Always in this order, so that concurrent transactions cannot deadlock on the rows.
    exceeded = [limit for limit in limits if not decide(limiter, limit.item, limit.identifier)]
    if exceeded:
        reset_time = max(limiter.get_window_stats(limit.item, limit.identifier).reset_time for limit in exceeded)
        raise TooManyLogins(max(1, math.ceil(reset_time - counters.now.timestamp())))
    return limits


class _Counters(Storage):
    """The storage of `limits`: rows of login_counters, in the connection's transaction if it has one."""

    STORAGE_SCHEME = None

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self.now = clock.now(connection)

    @property
    def base_exceptions(self) -> type[Exception]:
        return SQLAlchemyError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count in the key's window, or begin a window of `expiry` seconds. Returns the count."""
        is_expired = LoginCounter.expires_at <= self.now
        end = literal(self.now + timedelta(seconds=expiry), UtcDateTime())
        return self._upsert(
            {"key": key, "count": amount, "expires_at": end},
            count=case((is_expired, amount), else_=LoginCounter.count + amount),
            expires_at=case((is_expired, end), else_=LoginCounter.expires_at),
        )

    def remember(self, key: str, expiry: int) -> None:
        """Store the key for `expiry` seconds from now on."""
        end = self.now + timedelta(seconds=expiry)
        self._upsert({"key": key, "count": 1, "expires_at": end}, expires_at=end)

    def give_back(self, key: str) -> None:
        is_counted = LoginCounter.key == key, LoginCounter.expires_at > self.now, LoginCounter.count > 0
        self._connection.execute(update(LoginCounter).where(*is_counted).values(count=LoginCounter.count - 1))

    def get(self, key: str) -> int:
        return self._value(LoginCounter.count, key) or 0

    def get_expiry(self, key: str) -> float:
        return (self._value(LoginCounter.expires_at, key) or self.now).timestamp()

    def clear(self, key: str) -> None:
        self._connection.execute(delete(LoginCounter).where(LoginCounter.key == key))

    def remove_expired(self) -> None:
        """Remove some expired rows. Call it last in a transaction; it does not wait for locks."""
        expired = select(LoginCounter.key).where(LoginCounter.expires_at <= self.now).order_by(LoginCounter.expires_at)
        # PostgreSQL reads a CTE once; a subquery, it may read again for each row, without those that it has removed.
        unlocked = expired.limit(_REMOVED_AT_ONCE).with_for_update(skip_locked=True).cte("unlocked")
        self._connection.execute(delete(LoginCounter).where(LoginCounter.key.in_(select(unlocked.c.key))))

    def check(self) -> bool:
        return self._connection.execute(select(1)).scalar() == 1

    def reset(self) -> None:
        self._connection.execute(delete(LoginCounter))

    def _value(self, column: InstrumentedAttribute[_T], key: str) -> _T | None:
        is_current = LoginCounter.key == key, LoginCounter.expires_at > self.now
        return self._connection.execute(select(column).where(*is_current)).scalar_one_or_none()

    def _upsert(self, row: Mapping[str, Any], **changes: Any) -> int:
        """Insert a row, or change the existing row of its key. Returns the row's count."""
        insert = postgresql.insert if dialect_name(self._connection) == "postgresql" else sqlite.insert
        upsert = insert(LoginCounter).values(row).on_conflict_do_update(index_elements=["key"], set_=changes)
        count: int = self._connection.execute(upsert.returning(LoginCounter.count)).scalar_one()
        return count


def _network(address: str, bits: int = 64) -> str:
    """Return an IPv4 address as it is, and the network of an IPv6 address: one host has all of a /64."""
    try:
        ip = ip_address(address)
    except ValueError:  # a Unix socket
        return address
    return str(ip_network((ip, bits), strict=False) if isinstance(ip, IPv6Address) else ip)
