"""robots.txt (RFC 9309): which pages of a site its owner lets us ask for, and how often. Thread-safe."""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from protego import Protego

from productagg.sources.web import WebError, WebResponse
from productagg.sources.web.urls import Url

# The name by which a robots.txt speaks to us.
PRODUCT = "productagg"
# The least that must be understood (RFC 9309, 2.5); what follows is not read.
MAX_ROBOTS_BYTES = 500 * 1024
# How long what a site said holds: as its max-age says, within these bounds. A day is the most that RFC 9309 permits.
_SHORTEST, _LONGEST = 300.0, 86_400.0
# If robots.txt cannot be read, and the site does not say when it can be.
_RETRY = timedelta(minutes=5)
# A shop is one site; redirects may lead to any number of them.
_MAX_SITES = 500
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})", re.IGNORECASE)
# Errors of this fetch, which say nothing about the site's rules.
_NOT_THE_SITES = {"paced", "timeout", "address_refused"}

Get = Callable[[str], WebResponse]


@dataclass
class _Site:
    """What is known of one origin. The lock is held by the thread that asks it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    rules: Protego | WebError | None = None
    """The error says why nothing is permitted now. None: not asked yet."""
    expires: float = 0.0
    """By the clock of `Robots`."""


class Robots:
    """What the robots.txt files of the sites that this process visits say. `now` is a clock in seconds, for tests."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._sites: dict[str, _Site] = {}

    def crawl_delay(self, url: Url, get: Get, seconds_left: float) -> float:
        """The seconds between two visits that the site asks for; 0 if it asks for none. `get` fetches its robots.txt.

        Raises WebError, with the code `robots` if the site does not permit us to ask for `url`.
        """
        rules = self._rules(url.origin, get, seconds_left)
        if isinstance(rules, WebError):
            raise WebError(rules.reason, rules.code, rules.retry_at)
        if not rules.can_fetch(str(url), PRODUCT):
            raise WebError(f"the robots.txt of {url.host} does not permit {url.target}", "robots")
        return min(rules.crawl_delay(PRODUCT) or 0.0, _LONGEST)

    def _rules(self, origin: str, get: Get, seconds_left: float) -> Protego | WebError:
        site = self._site(origin)
        # One thread asks, the others wait for it: otherwise as many workers would ask as a shop has products due.
        if not site.lock.acquire(timeout=max(0.0, seconds_left)):
            raise WebError(f"no robots.txt from {origin} in time", "timeout")
        try:
            if site.rules is None or self._now() >= site.expires:
                site.rules, lifetime = _ask(origin, get)
                site.expires = self._now() + lifetime
            return site.rules
        finally:
            site.lock.release()

    def _site(self, origin: str) -> _Site:
        with self._lock:
            site = self._sites.pop(origin, None) or _Site()
            while len(self._sites) >= _MAX_SITES:
                del self._sites[next(iter(self._sites))]  # the one whose last visit is longest ago
            self._sites[origin] = site
            return site


def _ask(origin: str, get: Get) -> tuple[Protego | WebError, float]:
    """The rules of a site, and for how many seconds they hold. Raises WebError if there was no time to ask for them."""
    try:
        with get(f"{origin}/robots.txt") as response:
            body = _read_start(response)
            return Protego.parse(body.decode("utf-8-sig", errors="replace")), _lifetime(response.headers)
    except WebError as error:
        if error.code in _NOT_THE_SITES:
            raise
        if error.code.startswith("status_") and not _is_unavailable(error.code):
            return Protego.parse(""), _LONGEST
        now = datetime.now(UTC)
        retry_at = error.retry_at or now + _RETRY
        refusal = WebError(f"robots.txt cannot be read, so no page may be: {error.reason}", error.code, retry_at)
        return refusal, max(0.0, (retry_at - now).total_seconds())


def _is_unavailable(code: str) -> bool:
    """Whether a status means that the site has rules, but cannot say them now."""
    # RFC 9309 lets 429 count as 'there are none', like every 4xx. But who says it wants fewer requests, not more.
    return code == "status_429" or code.startswith("status_5")


def _read_start(response: WebResponse) -> bytes:
    """The beginning of a robots.txt, without the line in which the limit cuts it."""
    body = bytearray()
    while len(body) < MAX_ROBOTS_BYTES and (piece := response.read(MAX_ROBOTS_BYTES - len(body))):
        body += piece
    if len(body) == MAX_ROBOTS_BYTES:
        del body[body.rfind(b"\n") + 1 :]
    return bytes(body)


def _lifetime(headers: Mapping[str, str]) -> float:
    stated = _MAX_AGE.search(headers.get("cache-control", ""))
    return max(_SHORTEST, min(float(stated[1]), _LONGEST)) if stated else _LONGEST
