"""WebClient: requests to addresses that a user configured. The sync makes one, and begins a `Web` for each fetch.

- Only to the public internet (`addresses`), by the addresses that were checked, and the same after each redirect.
- Bounded: one deadline for a whole fetch, a size for each body.
- Polite: paced per host (`pacing`), robots.txt for pages (`robots`), and a User-Agent that says who asks.

Each request has a connection of its own: a shop is asked once in a while, and a kept connection would have to be
checked again. Proxies of the environment are not used: a proxy looks up names itself, so no check would hold
(docs/decisions/0023-requests-to-configured-addresses.md). Cookies are not kept.
"""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version

from productagg.sources.retry_after import parse_retry_after
from productagg.sources.transport import DirectExchange, verifying_tls_context
from productagg.sources.web import NO_VALIDATORS, Validators, Web, WebError, WebResponse
from productagg.sources.web.addresses import checked_addresses
from productagg.sources.web.pacing import Pacing
from productagg.sources.web.response import NETWORK_ERRORS, Response, network_error
from productagg.sources.web.robots import MAX_ROBOTS_BYTES, PRODUCT, Robots
from productagg.sources.web.urls import Url, parse, resolve_redirect

MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
# Headers that hold no secret: the only ones of the caller that are sent to another origin.
_HARMLESS = {"accept", "accept-language"}
# Headers that are not the caller's to set.
_RESERVED = {
    *("host", "user-agent", "accept-encoding", "connection", "if-none-match", "if-modified-since"),
    *("content-length", "transfer-encoding"),
}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*")


class WebClient:
    """What all fetches of a process share. Thread-safe.

    `contact_url` tells the owners of sites who asks. With `allow_private_networks`, every address may be asked.
    Raises OSError if the certificates of the authorities that we trust cannot be read.
    """

    def __init__(
        self,
        *,
        contact_url: str | None = None,
        allow_private_networks: bool = False,
        pacing: Pacing | None = None,
        robots: Robots | None = None,
    ) -> None:
        contact = f" (+{contact_url})" if contact_url else ""
        self.user_agent = f"{PRODUCT}/{version('productagg')}{contact}"
        self.allow_private_networks = allow_private_networks
        self.pacing = pacing or Pacing()
        self.robots = robots or Robots()
        self.tls = verifying_tls_context()

    def begin(self, timeout_seconds: float) -> Web:
        """For one fetch, by one thread: all its requests, and reading their bodies, must be over in that time."""
        return _Fetch(self, timeout_seconds)


class _Fetch(Web):
    def __init__(self, client: WebClient, timeout_seconds: float) -> None:
        self._client = client
        self._timeout = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        validators: Validators = NO_VALIDATORS,
        max_bytes: int,
        is_page: bool = False,
    ) -> WebResponse:
        target, visited = parse(url), ""
        headers = _checked(headers or {})
        for _ in range(MAX_REDIRECTS + 1):
            self._wait_for_turn(target, is_page=is_page, is_same_visit=target.host == visited)
            exchange = self._send(target, headers, validators)
            if exchange.status not in _REDIRECTS or "location" not in exchange.headers:
                return self._response(target, exchange, validators, max_bytes)
            exchange.close()
            origin, visited = target.origin, target.host
            target = resolve_redirect(target, exchange.headers["location"])
            if target.origin != origin:
                headers = {name: value for name, value in headers.items() if name.lower() in _HARMLESS}
        raise WebError(f"{visited} redirects once more, after {MAX_REDIRECTS} redirects", "redirect")

    def _seconds_left(self) -> float:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise WebError(f"the fetch has taken more than {self._timeout:g} s", "timeout")
        return seconds

    def _wait_for_turn(self, url: Url, *, is_page: bool, is_same_visit: bool) -> None:
        crawl_delay = self._client.robots.crawl_delay(url, self._get_robots, self._seconds_left()) if is_page else 0.0
        self._client.pacing.wait(url.host, self._seconds_left(), crawl_delay=crawl_delay, is_same_visit=is_same_visit)

    def _get_robots(self, address: str) -> WebResponse:
        return self.get(address, max_bytes=MAX_ROBOTS_BYTES)

    def _send(self, url: Url, headers: Mapping[str, str], validators: Validators) -> DirectExchange:
        addresses = checked_addresses(
            url.host,
            url.port,
            seconds=self._seconds_left(),
            allow_private_networks=self._client.allow_private_networks,
        )
        tls = self._client.tls if url.scheme == "https" else None
        sent = {**self._own_headers(url), **_conditions(validators), **headers}
        try:
            return DirectExchange(url.host, url.port, addresses, tls, url.target, sent, self._deadline)
        except NETWORK_ERRORS as error:
            raise self._network_error(url, error) from error

    def _own_headers(self, url: Url) -> dict[str, str]:
        return {
            "Host": url.authority,
            "User-Agent": self._client.user_agent,
            "Accept-Encoding": "gzip",
            "Connection": "close",
        }

    def _response(self, url: Url, exchange: DirectExchange, validators: Validators, max_bytes: int) -> WebResponse:
        try:
            _check_status(url, exchange, is_conditional=bool(_conditions(validators)))
            return Response(str(url), exchange, max_bytes, lambda error: self._network_error(url, error))
        except BaseException:
            exchange.close()
            raise

    def _network_error(self, url: Url, error: Exception) -> WebError:
        return network_error(error, url.host, self._deadline, self._timeout)


def _check_status(url: Url, exchange: DirectExchange, *, is_conditional: bool) -> None:
    """Raise the WebError that a status stands for, unless it is 200, or 304 to a conditional request."""
    status = exchange.status
    if status == 200 or (status == 304 and is_conditional):
        return
    retry_at = datetime.now(UTC) + parse_retry_after(exchange.headers) if status in (429, 503) else None
    raise WebError(f"{url.host} answered {status}", f"status_{status}", retry_at)


def _conditions(validators: Validators) -> dict[str, str]:
    """The headers that ask only for a version other than the one we know."""
    conditions = {"If-None-Match": validators.etag, "If-Modified-Since": validators.last_modified}
    return {name: value for name, value in conditions.items() if value and _HEADER_VALUE.fullmatch(value)}


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The caller's headers. Raises WebError, which does not show a value: that may be a secret."""
    for name, value in headers.items():
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise WebError("a header of the request has a name or a value that cannot be sent", "bad_header")
        if name.lower() in _RESERVED:
            raise WebError(f"the header {name} cannot be set", "bad_header")
    return headers
