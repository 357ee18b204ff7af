"""OffersClient: the only module that speaks to the Offers service. It knows no database and remembers no token.

Called by the sync. Every answer is either whole and valid or an UpstreamError that says why not, within one deadline
per exchange: a read time-out alone would let a server that drips bytes hold a worker for ever.
"""

import re
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, NamedTuple, Self
from uuid import UUID
from weakref import WeakSet

import jwt
import orjson
import requests
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from productagg.sources.transport import Exchanges

# Far above any honest list (about 100 bytes an offer), far below what hurts.
MAX_BODY_BYTES = 4 * 1024 * 1024
# For an answer 429 or 503 that does not say how long to wait, and the longest wait that we believe.
_DEFAULT_RETRY_AFTER = timedelta(seconds=60)
_LONGEST_RETRY_AFTER = timedelta(hours=1)
# What a 64-bit column holds; also the bound of a whole list's stock, which is summed up.
_LARGEST_INTEGER = 2**63 - 1
# What the value of a header can hold (RFC 9110, 5.5); spaces at its ends are not part of it.
_HEADER_VALUE = re.compile(r"[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?")


class UpstreamError(Exception):
    """The exchange told us nothing about the offers; the message says why, in one line, without a credential.

    `reason` is the same in a word, to be counted by.
    """

    reason = "error"

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.reason


class Unavailable(UpstreamError):
    """No whole answer: refused, unknown host, timed out, cut off, or an error of the server."""

    reason = "no_answer"


class InvalidAnswer(UpstreamError):
    """An answer outside the contract."""

    reason = "invalid_answer"


class Unauthorized(UpstreamError):
    """401: the access token is not accepted."""

    reason = "unauthorized"


class BadRefreshToken(UpstreamError):
    """401 at /auth: our account's credential is not accepted."""

    reason = "bad_refresh_token"


class StillValid(UpstreamError):
    """400 at /auth: an access token given out before is still valid, and there is never a second one."""

    reason = "token_still_valid"


class NotRegistered(UpstreamError):
    """404: the service does not know this product."""

    reason = "not_registered"


class Refused(UpstreamError):
    """422: the service does not accept this product's data."""

    reason = "refused"


class Busy(UpstreamError):
    """429 or 503: nobody should ask this service for anything for as long as `retry_after` says, an hour at most."""

    reason = "busy"

    def __init__(self, message: str, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Traffic(NamedTuple):
    """What was exchanged: requests sent, repeated ones included, and bytes of answers' bodies, decompressed."""

    requests: int
    bytes: int


@dataclass(frozen=True)
class AccessToken:
    """`expires_at` is when the token itself says that it ends, None if it does not say so."""

    value: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"AccessToken(…, expires_at={self.expires_at!r})"


class OffersClient:
    """The Offers service at `base_url`. Thread-safe: each thread has a connection of its own.

    `timeout_seconds` bounds each exchange as a whole, from connecting to the last byte of the body. Looking the host's
    name up comes before that and is bounded by the system's resolver.
    """

    def __init__(self, base_url: str, refresh_token: str, timeout_seconds: float) -> None:
        self._base_url = base_url
        self._refresh_token = refresh_token
        self._timeout = timeout_seconds
        self._local = threading.local()
        # Weak: a connection closes with the thread that it belongs to.
        self._all: WeakSet[Exchanges] = WeakSet()
        self._counting = threading.Lock()
        self._traffic = Traffic(0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every thread's connection. Only when no exchange is under way."""
        for exchanges in self._all:
            exchanges.close()

    @property
    def traffic(self) -> Traffic:
        """Since this client was made, by all threads."""
        return self._traffic

    def authenticate(self) -> AccessToken:
        """Ask for an access token. Raises StillValid, BadRefreshToken and the general UpstreamErrors."""
        # Never repeated: if the answer to the first one is lost, there is no second token while the first is valid.
        status, body = self._exchange("POST", "/auth", self._refresh_token, repeatable=False)
        if status == 400:
            raise StillValid("the Offers service says that an earlier access token is still valid")
        if status == 401:
            raise BadRefreshToken("the Offers service does not accept the refresh token (OFFERS_REFRESH_TOKEN)")
        _expect(status, 201)
        answer = _json(body)
        value = answer.get("access_token") if isinstance(answer, dict) else None
        if not (isinstance(value, str) and _HEADER_VALUE.fullmatch(value)):
            raise InvalidAnswer("the answer holds no usable access_token")
        return AccessToken(value, _expiry(value))

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
        self,
        method: str,
        path: str,
        credential: str,
        body: Mapping[str, Any] | None = None,
        *,
        repeatable: bool = True,
    ) -> tuple[int, bytes]:
        """One request and its whole answer. Raises what concerns every endpoint: Unavailable, Busy, InvalidAnswer."""
        handled = sys.exception()
        ends_at = time.monotonic() + self._timeout
        headers, content = {"Bearer": credential}, None
        if body is not None:
            headers["Content-Type"], content = "application/json", orjson.dumps(body)
        received = bytearray()
        try:
            response = self._exchanges().ask(method, path, headers, content, ends_at=ends_at, repeatable=repeatable)
            if response.status in (429, 503):
                # The head says it all; a body that is broken as well must not hide it.
                response.close()
                raise Busy(f"the Offers service answered {response.status}", _retry_after(response.headers))
            _receive(response, received)
            return response.status, bytes(received)
        except (requests.RequestException, HTTPError, OSError) as error:
            if time.monotonic() >= ends_at:
                late = f"no whole answer within {self._timeout:g} s from {self._base_url}"
                raise Unavailable(late, "timeout") from error
            # What goes wrong may quote what the server sent, and that may quote us.
            reason = _root_cause(error, handled).replace(credential, "…")
            raise Unavailable(f"no whole answer: {reason[:200]} ({self._base_url})") from error
        finally:
            self._count(received=len(received))

    def _exchanges(self) -> Exchanges:
        found: Exchanges | None = getattr(self._local, "exchanges", None)
        if found is None:
            found = self._local.exchanges = Exchanges(self._base_url, lambda: self._count(sent=1))
            self._all.add(found)
        return found

    def _count(self, sent: int = 0, received: int = 0) -> None:
        with self._counting:
            self._traffic = Traffic(self._traffic.requests + sent, self._traffic.bytes + received)


def _receive(response: BaseHTTPResponse, body: bytearray) -> None:
    """Append the decoded body. Raises InvalidAnswer, and gives the connection up, when it is larger than we can use."""
    for chunk in response.stream(65536, decode_content=True):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            response.close()
            raise InvalidAnswer(f"the answer is larger than {MAX_BODY_BYTES} bytes", "too_large")


def _expect(status: int, expected: int) -> None:
    if status == expected:
        return
    if status == 401:
        raise Unauthorized("the Offers service does not accept the access token")
    if status == 422:
        raise Refused("the Offers service refused the data (422)")
    if 300 <= status < 400:
        raise InvalidAnswer(f"the Offers service answered with a redirect ({status}): it is not followed", "redirect")
    if status >= 500:
        raise Unavailable(f"the Offers service answered {status}", f"status_{status}")
    raise InvalidAnswer(f"the Offers service answered {status} instead of {expected}", f"status_{status}")


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
    """When a JWT says that it expires, by the service's clock. Its signature is the Offers service's business."""
    with suppress(jwt.InvalidTokenError):
        claims = jwt.decode(token, options={"verify_signature": False})
        # The standard's claim, and the one that the service has.
        for name in ("exp", "expires"):
            with suppress(KeyError, ValueError, OverflowError, OSError, TypeError):
                expires_at = datetime.fromtimestamp(float(claims[name]), UTC)
                # One that is over as it is given out does not mean that: it may be a number of seconds from now.
                if expires_at > datetime.now(UTC):
                    return expires_at
    return None


def _retry_after(headers: Mapping[str, str]) -> timedelta:
    """How long Retry-After says to wait (RFC 9110, 10.2.3: seconds or an HTTP date), an hour at most."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        # Not int(), which refuses very long numbers.
        return timedelta(seconds=min(float(text), _LONGEST_RETRY_AFTER.total_seconds()))
    named = _http_date(text)
    if named is None:
        return _DEFAULT_RETRY_AFTER
    # By the clock that it was written by, if the answer tells it.
    sent_at = _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(timedelta(0), min(named - sent_at, _LONGEST_RETRY_AFTER))


def _http_date(text: str) -> datetime | None:
    with suppress(ValueError, OverflowError):
        named = parsedate_to_datetime(text)
        if named.tzinfo is None:
            named = named.replace(tzinfo=UTC)  # one of the two old forms, which are in GMT without saying so
        return named.astimezone(UTC)
    return None


def _root_cause(error: BaseException, handled: BaseException | None) -> str:
    """The innermost error of the network, which is what says something ('Connection refused'), on one line.

    `handled` is the exception that was being handled when the exchange began: it is no reason of this one.
    """
    inner: BaseException | None = error
    while isinstance(inner, (OSError, HTTPException, HTTPError)) and inner is not handled:
        error = inner
        inner = error.__cause__ or error.__context__
    text = f"{type(error).__name__}: {error}"
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
