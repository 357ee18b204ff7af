"""How often this process asks a host. Thread-safe; other processes are not known to it."""

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from productagg.sources.web import WebError


class _Times(NamedTuple):
    """By the clock of `Pacing`: of the host's last request, and before which no new visit begins."""

    last: float
    next_visit: float


class Pacing:
    """At least `interval_seconds` between two requests to a host.

    Nobody waits for his turn for more than `longest_wait_seconds`: then the host is asked later (a WebError with
    `retry_at`). Otherwise all workers would soon wait for one slow shop, and no other source would be asked.
    `now` and `sleep` are for tests.
    """

    def __init__(
        self,
        interval_seconds: float = 1.0,
        longest_wait_seconds: float = 10.0,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._interval = interval_seconds
        self._longest_wait = longest_wait_seconds
        self._now, self._sleep = now, sleep
        self._lock = threading.Lock()
        self._hosts: dict[str, _Times] = {}

    def wait(self, host: str, seconds_left: float, *, crawl_delay: float = 0.0, is_same_visit: bool = False) -> None:
        """Return when a request to the host may be sent, within `seconds_left`. Raises WebError.

        A `crawl_delay` in seconds, if it is longer than the interval, is how long after this request the next visit may
        begin. A request that belongs to the visit of the last one, because it follows a redirect, has to keep only the
        interval: with a long delay, a page behind a redirect could never be reached.
        """
        with self._lock:
            now = self._now()
            self._forget_hosts(now)
            last, next_visit = self._hosts.get(host, _Times(-math.inf, -math.inf))
            begin = max(now, last + self._interval if is_same_visit else next_visit)
            if begin - now > min(seconds_left, self._longest_wait):
                retry_at = datetime.now(UTC) + timedelta(seconds=begin - now)
                raise WebError(f"{host} is not to be asked for another {begin - now:.1f} s", "paced", retry_at)
            then = begin + max(self._interval, crawl_delay)
            self._hosts[host] = _Times(begin, max(next_visit, then))
        if begin > now:
            self._sleep(begin - now)

    def _forget_hosts(self, now: float) -> None:
        """Redirects lead to any number of hosts; a host that may be visited is as good as a new one."""
        self._hosts = {host: times for host, times in self._hosts.items() if times.next_visit > now}
