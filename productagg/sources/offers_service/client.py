"""OffersClient: the only module that speaks to the Offers service. It knows no database and stores no token.

The sync calls it. Every exchange ends within one deadline, with a complete, valid response or with an UpstreamError
that says what was wrong.
"""

import sys
import threading
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import NamedTuple, Self
from uuid import UUID
from weakref import WeakSet

import orjson
import requests
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from productagg.sources.offers_service.errors import (
    BadRefreshToken,
    Busy,
    InvalidResponse,
    NotRegistered,
    TokenStillValid,
    Unavailable,
)
from productagg.sources.offers_service.parsing import (
    AccessToken,
    ListedOffer,
    check_status,
    parse_offers,
    parse_token,
)
from productagg.sources.retry_after import parse_retry_after
from productagg.sources.transport import ServerConnection

# Far above any honest list (about 100 bytes an offer), and far below a size that exhausts memory.
MAX_BODY_BYTES = 4 * 1024 * 1024


class Traffic(NamedTuple):
    """Requests sent, including repeated ones, and bytes of response bodies, decompressed."""

    requests: int
    bytes: int


class OffersClient:
    """The Offers service at `base_url`. Thread-safe: every thread has its own connection.

    `timeout_seconds` bounds an exchange as a whole, from connecting to the last byte of the body. The look-up of the
    host's name comes before that; the system's resolver bounds it.
    """

    def __init__(self, base_url: str, refresh_token: str, timeout_seconds: float) -> None:
        self._base_url = base_url
        self._refresh_token = refresh_token
        self._timeout = timeout_seconds
        self._local = threading.local()
        # Weak references: a connection closes when its thread ends.
        self._connections: WeakSet[ServerConnection] = WeakSet()
        self._traffic_lock = threading.Lock()
        self._traffic = Traffic(0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every thread's connection. Call it only when no exchange is under way."""
        for connection in self._connections:
            connection.close()

    @property
    def traffic(self) -> Traffic:
        """All threads' traffic since this client was created."""
        return self._traffic

    def authenticate(self) -> AccessToken:
        """Request an access token. Raises TokenStillValid, BadRefreshToken and the general UpstreamErrors."""
        # Never repeated: if the first response is lost, there is no second token while the first one is valid.
        status, body = self._exchange("POST", "/auth", self._refresh_token, repeatable=False)
        if status == 400:
            raise TokenStillValid("the Offers service says that an earlier access token is still valid")
        if status == 401:
            raise BadRefreshToken("the Offers service does not accept the refresh token (OFFERS_REFRESH_TOKEN)")
        check_status(status, 201)
        return parse_token(body)

    def register(self, access_token: str, product_id: UUID, name: str, description: str) -> None:
        """Register a product. A product that is registered already (409: an earlier response was lost) is a success.

        Raises Refused, Unauthorized and the general UpstreamErrors.
        """
        product = {"id": str(product_id), "name": name, "description": description}
        status, _ = self._exchange("POST", "/products/register", access_token, product)
        if status != 409:
            check_status(status, 201)

    def offers(self, access_token: str, product_id: UUID) -> dict[UUID, ListedOffer]:
        """A product's offers by id. The list is complete and valid: an offer that is absent is sold out.

        Raises NotRegistered, Refused, Unauthorized and the general UpstreamErrors.
        """
        status, body = self._exchange("GET", f"/products/{product_id}/offers", access_token)
        if status == 404:
            raise NotRegistered("the Offers service does not know this product")
        check_status(status, 200)
        return parse_offers(body)

    def _exchange(
        self,
        method: str,
        path: str,
        credential: str,
        body: Mapping[str, str] | None = None,
        *,
        repeatable: bool = True,
    ) -> tuple[int, bytes]:
        """Send one request and read the whole response: its status and body.

        Raises the general UpstreamErrors, those of every endpoint: Unavailable, Busy, InvalidResponse.
        """
        handled = sys.exception()
        deadline = time.monotonic() + self._timeout
        headers, content = {"Bearer": credential}, None
        if body is not None:
            headers["Content-Type"], content = "application/json", orjson.dumps(body)
        received = bytearray()
        try:
            connection = self._connection()
            response = connection.request(method, path, headers, content, deadline=deadline, repeatable=repeatable)
            if response.status in (429, 503):
                # The head is enough. A body that is broken as well must not hide it.
                response.close()
                raise Busy(f"the Offers service answered {response.status}", parse_retry_after(response.headers))
            _read_body(response, received)
            return response.status, bytes(received)
        except (requests.RequestException, HTTPError, OSError) as error:
            if time.monotonic() >= deadline:
                late = f"no complete response within {self._timeout:g} s from {self._base_url}"
                raise Unavailable(late, "timeout") from error
            # An error may quote the server's bytes, and those may quote our credential.
            cause = _root_cause(error, handled).replace(credential, "…")
            raise Unavailable(f"no complete response: {cause[:200]} ({self._base_url})") from error
        finally:
            self._count(received=len(received))

    def _connection(self) -> ServerConnection:
        connection: ServerConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = ServerConnection(self._base_url, lambda: self._count(sent=1))
            self._connections.add(connection)
        return connection

    def _count(self, sent: int = 0, received: int = 0) -> None:
        with self._traffic_lock:
            self._traffic = Traffic(self._traffic.requests + sent, self._traffic.bytes + received)


def _read_body(response: BaseHTTPResponse, body: bytearray) -> None:
    """Append the decoded body. If it is too large, raise InvalidResponse and give the connection up."""
    for chunk in response.stream(65536, decode_content=True):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            response.close()
            raise InvalidResponse(f"the response is larger than {MAX_BODY_BYTES} bytes", "too_large")


def _root_cause(error: BaseException, handled: BaseException | None) -> str:
    """The innermost network error ('Connection refused'), which is the informative one, on one line.

    `handled` is the exception that the caller was handling before the exchange: it did not cause this error.
    """
    inner: BaseException | None = error
    while isinstance(inner, (OSError, HTTPException, HTTPError)) and inner is not handled:
        error = inner
        inner = error.__cause__ or error.__context__
    return _one_line(f"{type(error).__name__}: {error}")


def _one_line(text: str) -> str:
    """The text without control characters and superfluous spaces."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
