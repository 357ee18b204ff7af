"""OffersClient: the only module that speaks to the Offers service. It knows no database and remembers no token.

Called by the sync. Every answer is either whole and valid or an UpstreamError that says why not, within one deadline
per exchange: a read time-out alone would let a server that drips bytes hold a worker for ever.
"""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self
from uuid import UUID

import jwt
import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

# The documented life of an access token, for one that does not say its own.
TOKEN_LIFETIME = timedelta(minutes=5)
# Far above any honest list (about 100 bytes an offer), far below what hurts.
MAX_BODY_BYTES = 4 * 1024 * 1024
# For an answer 429 or 503 that does not say how long to wait, and the longest wait that we believe.
_DEFAULT_RETRY_AFTER = timedelta(seconds=60)
_LONGEST_RETRY_AFTER = timedelta(hours=1)
# What a 64-bit column holds; also the bound of a whole list's stock, which is summed up.
_LARGEST_INTEGER = 2**63 - 1
_WATCHDOG_TICK_SECONDS = 0.05


class UpstreamError(Exception):
    """The exchange told us nothing about the offers; the message says why, in one line, without a credential."""


class Unavailable(UpstreamError):
    """No whole answer: refused, unknown host, timed out, cut off, or an error of the server."""


class InvalidAnswer(UpstreamError):
    """An answer outside the contract."""


class Unauthorized(UpstreamError):
    """401: the access token is not accepted."""


class BadRefreshToken(UpstreamError):
    """401 at /auth: our account's credential is not accepted."""


class StillValid(UpstreamError):
    """400 at /auth: an access token given out before is still valid, and there is never a second one."""


class NotRegistered(UpstreamError):
    """404: the service does not know this product."""


class Refused(UpstreamError):
    """422: the service does not accept this product's data."""


class Busy(UpstreamError):
    """429 or 503: nobody should ask this service for anything before `retry_at`."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


@dataclass(frozen=True)
class AccessToken:
    """`expires_at` is the token's own `exp`, or the documented lifetime from when it was asked for."""

    value: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"AccessToken(…, expires_at={self.expires_at!r})"


class OffersClient:
    """The Offers service at `base_url`. Thread-safe: each thread has a session, and so a connection, of its own.

    `timeout_seconds` bounds each exchange as a whole, from connecting to the last byte of the body.
    """

    def __init__(self, base_url: str, refresh_token: str, timeout_seconds: float) -> None:
        self._base_url = base_url
        self._refresh_token = refresh_token
        self._timeout = timeout_seconds
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._watchdog = _Watchdog()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every thread's connection. Only when no exchange is under way."""
        self._watchdog.stop()
        for session in self._sessions:
            session.close()

    def authenticate(self) -> AccessToken:
        """Ask for an access token. Raises StillValid, BadRefreshToken and the general UpstreamErrors."""
        asked_at = datetime.now(UTC)
        status, body = self._exchange("POST", "/auth", self._refresh_token)
        if status == 400:
            raise StillValid("the Offers service says that an earlier access token is still valid")
        if status == 401:
            raise BadRefreshToken("the Offers service does not accept the refresh token (OFFERS_REFRESH_TOKEN)")
        _expect(status, 201)
        answer = _json(body)
        value = answer.get("access_token") if isinstance(answer, dict) else None
        if not (isinstance(value, str) and value and value.isascii() and value.isprintable()):
            raise InvalidAnswer("the answer holds no usable access_token")
        return AccessToken(value, _expiry(value) or asked_at + TOKEN_LIFETIME)

    def register(self, access_token: str, product_id: UUID, name: str, description: str) -> None:
        """Register a product. That it is registered already (409: an earlier answer was lost) is success.

        Raises Refused, Unauthorized and the general UpstreamErrors.
        """
        product = {"id": str(product_id), "name": name, "description": description}
        status, _ = self._exchange("POST", "/products/register", access_token, product)
        if status != 409:
            _expect(status, 201)

    def offers(self, access_token: str, product_id: UUID) -> dict[UUID, tuple[int, int]]:
        """A product's offers: price and items in stock by offer id. A whole, valid list: what is absent is sold out.

        Raises NotRegistered, Refused, Unauthorized and the general UpstreamErrors.
        """
        status, body = self._exchange("GET", f"/products/{product_id}/offers", access_token)
        if status == 404:
            raise NotRegistered("the Offers service does not know this product")
        _expect(status, 200)
        return _offers(_json(body))

    def _exchange(
        self, method: str, path: str, credential: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, bytes]:
        """One request and its whole answer. Raises what concerns every endpoint: Unavailable, Busy, InvalidAnswer."""
        with self._watchdog.deadline(self._timeout) as exchange:
            try:
                response = self._session().request(
                    method,
                    self._base_url + path,
                    headers={"Bearer": credential},
                    json=body,
                    timeout=self._timeout,
                    stream=True,
                    # A redirect could carry the token to another host.
                    allow_redirects=False,
                )
                content = _read(response)
            except (requests.RequestException, OSError) as error:
                if exchange.expired or isinstance(error, requests.Timeout):
                    raise Unavailable(f"no whole answer within {self._timeout:g} s") from error
                raise Unavailable(f"no whole answer: {_root_cause(error)}") from error
        if response.status_code in (429, 503):
            raise Busy(f"the Offers service answered {response.status_code}", _retry_at(response.headers))
        return response.status_code, content

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.mount("http://", _WatchedAdapter())
            session.mount("https://", _WatchedAdapter())
            self._sessions.append(session)
        return session


def _read(response: requests.Response) -> bytes:
    """The decoded body. Raises InvalidAnswer, and gives the connection up, when it is larger than we are ready for."""
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_content(65536):
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            response.close()
            raise InvalidAnswer(f"the answer is larger than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _expect(status: int, expected: int) -> None:
    if status == expected:
        return
    if status == 401:
        raise Unauthorized("the Offers service does not accept the access token")
    if status == 422:
        raise Refused("the Offers service refused the product's data (422)")
    if 300 <= status < 400:
        raise InvalidAnswer(f"the Offers service answered with a redirect ({status}), which is not followed")
    if status >= 500:
        raise Unavailable(f"the Offers service answered {status}")
    raise InvalidAnswer(f"the Offers service answered {status} instead of {expected}")


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidAnswer(f"the answer is not JSON: {error}") from error


def _offers(answer: Any) -> dict[UUID, tuple[int, int]]:
    if not isinstance(answer, list):
        raise InvalidAnswer(f"the offers are not a list but {_kind(answer)}")
    offers: dict[UUID, tuple[int, int]] = {}
    for index, item in enumerate(answer):
        if not isinstance(item, dict):
            raise InvalidAnswer(f"offer {index} is not an object but {_kind(item)}")
        offer_id = _uuid(item.get("id"), index)
        if offer_id in offers:
            raise InvalidAnswer(f"offer {index} has the same id as another one, {offer_id}")
        offers[offer_id] = (_integer(item, "price", index), _integer(item, "items_in_stock", index))
    if sum(items for _, items in offers.values()) > _LARGEST_INTEGER:
        raise InvalidAnswer("the offers' items in stock add up to more than 64 bits hold")
    return offers


def _uuid(value: Any, index: int) -> UUID:
    # UUID() alone would also take braces, 'urn:uuid:' and misplaced hyphens.
    if isinstance(value, str) and len(value) == 36:
        with suppress(ValueError):
            found = UUID(value)
            if str(found) == value.lower():
                return found
    raise InvalidAnswer(f"offer {index} has no id that is a UUID")


def _integer(item: dict[str, Any], field: str, index: int) -> int:
    value = item.get(field)
    if type(value) is not int:  # bool is an int to isinstance
        raise InvalidAnswer(f"offer {index}: {field} is not an integer but {_kind(value)}")
    if not 0 <= value <= _LARGEST_INTEGER:
        raise InvalidAnswer(f"offer {index}: {field} is out of range")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "missing or null"}
    return names.get(type(value), "a number")


def _expiry(token: str) -> datetime | None:
    """When a JWT says that it expires, by the wall clock. Its signature is the Offers service's business."""
    with suppress(jwt.InvalidTokenError, ValueError, OverflowError, OSError, TypeError):
        claims = jwt.decode(token, options={"verify_signature": False})
        return datetime.fromtimestamp(float(claims["exp"]), UTC) if "exp" in claims else None
    return None


def _retry_at(headers: Mapping[str, str]) -> datetime:
    """The time that Retry-After names (RFC 9110, 10.2.3: seconds or an HTTP date), at most an hour ahead."""
    now = datetime.now(UTC)
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return now + min(timedelta(seconds=min(int(text), 10**9)), _LONGEST_RETRY_AFTER)
    with suppress(ValueError):
        named = parsedate_to_datetime(text)
        if named.tzinfo is not None:
            return max(now, min(named.astimezone(UTC), now + _LONGEST_RETRY_AFTER))
    return now + _DEFAULT_RETRY_AFTER


def _root_cause(error: BaseException) -> str:
    """The innermost reason, which is what says something ('Connection refused'), on one line of bounded length."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            return " ".join(f"{type(error).__name__}: {error}".split())[:200]
        error = inner


class _Exchange:
    """One exchange under way. `connection` is the one it uses, known as soon as the request is sent."""

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.connection: HTTPConnection | None = None
        self.expired = False

    def abort(self) -> None:
        self.expired = True
        sock = self.connection.sock if self.connection is not None else None
        if sock is not None:
            # Wakes the thread that reads from it; closing it would not.
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


_current = threading.local()


class _Watchdog:
    """Ends exchanges at their deadline, whatever they are waiting for, from a thread of its own."""

    def __init__(self) -> None:
        self._exchanges: set[_Exchange] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[_Exchange]:
        exchange = _current.exchange = _Exchange(time.monotonic() + seconds)
        with self._lock:
            self._exchanges.add(exchange)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="offers-deadline", daemon=True)
                self._thread.start()
        try:
            yield exchange
        finally:
            with self._lock:
                self._exchanges.discard(exchange)

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(_WATCHDOG_TICK_SECONDS):
            now = time.monotonic()
            with self._lock:
                for exchange in self._exchanges:
                    if exchange.ends_at <= now:
                        exchange.abort()


class _Watched:
    """Tells the current exchange which connection it uses, before anything is sent or awaited on it."""

    def request(self, *args: Any, **options: Any) -> None:
        _current.exchange.connection = self
        super().request(*args, **options)  # type: ignore[misc]  # HTTPConnection's, this is a mixin


class _WatchedHTTPConnection(_Watched, HTTPConnection):
    pass


class _WatchedHTTPSConnection(_Watched, HTTPSConnection):
    pass


class _WatchedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHTTPConnection


class _WatchedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPSConnection


class _WatchedAdapter(HTTPAdapter):
    """One connection, since a session belongs to one thread; no retries, since the sync decides about them."""

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _WatchedHTTPPool, "https": _WatchedHTTPSPool}
