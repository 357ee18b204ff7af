"""The server's loop over its sockets, and how it ends: what was accepted is answered, within SHUTDOWN_SECONDS.

Told to end (SIGTERM, SIGINT), the service says at /health/ready that it is not ready any more. For
SHUTDOWN_DELAY_SECONDS nothing else changes, so that a load balancer can find that out. Then it lets no connection
begin, takes those that have begun, stops listening, answers with `Connection: close` and closes connections that are
not used. When all are closed, or the time is up, the loop ends.
"""

import logging
import math
import time
from collections.abc import Mapping
from select import select
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer

from productagg.server.dispatcher import Dispatcher
from productagg.server.listening import begin_no_connection

log = logging.getLogger(__name__)

# How long a connection may be silent before it counts as unused: clients send their next request meanwhile.
_SILENT_SECONDS = 1
# How long a connection takes to come in that has begun: the packet that completes it is on its way.
_BEGUN_SECONDS = 0.1
# How long one of several processes goes on accepting, unless it hears that the first one ends, and with it the service.
_FIRST_SECONDS = 1
# So long before the time is up, requests that would wait longer for a thread are refused rather than left.
_LAST_SECONDS = 1
# How often the connections are looked through while it ends.
_STEP_SECONDS = 0.05


class Loop:
    """Serves until it is told to end, and then until all is answered or the time for that is up.

    `sockets` are what waitress watches, by their file numbers; `registry` is the application's. `first` is the end of a
    pipe that closes when the first process ends; None: there is only one.
    """

    def __init__(self, sockets: dict[int, Any], dispatcher: Dispatcher, registry: Any, first: int | None) -> None:
        self._sockets = sockets
        self._dispatcher = dispatcher
        self._registry = registry
        (self._listener, *_) = self._listening()
        self._adj = self._listener.adj
        settings = registry.services.settings
        self._seconds, self._delay = settings.shutdown_seconds, settings.shutdown_delay_seconds
        self._told_at: float | None = None
        self._no_more_since: float | None = None
        self._others_go_on = first is not None
        if first is not None:
            _FirstProcess(first, sockets, self)

    def end(self, *_: object) -> None:
        """Begin to end; again, it changes nothing. A signal's handler."""
        if self._told_at is None:
            self._told_at = time.monotonic()
            self._registry.services.readiness.is_ending = True
            self._listener.pull_trigger()

    def end_with_first(self) -> None:
        """The first process ends, or has ended, and listens no more."""
        self._others_go_on = False
        self.end()

    def run(self) -> None:
        """Serve. Returns when it has ended."""
        step, looked_at = self._adj.asyncore_loop_timeout, 0.0
        while not self._has_ended():
            if self._told_at is not None:
                step = _STEP_SECONDS
            wasyncore.loop(step, self._adj.asyncore_use_poll, self._sockets, count=1)
            if time.monotonic() >= looked_at + step:
                looked_at = time.monotonic()
                self._dispatcher.refuse_late(all_that_write=self._passed() >= self._seconds - _LAST_SECONDS)

    def _has_ended(self) -> bool:
        if self._told_at is None:
            return False
        passed = self._passed()
        is_over = passed >= self._seconds
        if passed < self._delay and not is_over:
            return False
        if is_over or self._has_taken_all(passed):
            self._stop_listening()
        channels = [each for each in self._sockets.values() if isinstance(each, HTTPChannel)]
        for channel in channels:
            channel.is_ending = True
            if channel.is_unused and time.time() - channel.last_activity >= _SILENT_SECONDS:
                channel.will_close = True
        is_done = not channels and not self._listening() and self._dispatcher.is_idle
        if is_over and not is_done:
            log.warning("ended after %g seconds, with requests that are not answered", self._seconds)
        return is_done or is_over

    def _passed(self) -> float:
        """Seconds since it was told to end; minus infinity: it was not."""
        return -math.inf if self._told_at is None else time.monotonic() - self._told_at

    def _has_taken_all(self, passed: float) -> bool:
        """Whether the other processes take what still comes in, or nothing does."""
        if self._others_go_on:
            return passed >= _FIRST_SECONDS
        if self._no_more_since is None:
            self._no_more_since = passed
            for listener in self._listening():
                begin_no_connection(listener.socket)
        return passed >= self._no_more_since + _BEGUN_SECONDS

    def _listening(self) -> list[Any]:
        return [each for each in self._sockets.values() if isinstance(each, BaseWSGIServer)]

    def _stop_listening(self) -> None:
        """Take all connections that the kernel has accepted, and close the sockets; if they are too many, not yet."""
        for listener in self._listening():
            while select([listener.socket], [], [], 0)[0]:
                before = len(self._sockets)
                listener.handle_accept()
                if len(self._sockets) == before or len(self._sockets) > self._adj.connection_limit:
                    break
            else:
                # Not its own `close`: threads pull its trigger until the end.
                wasyncore.dispatcher.close(listener)


class _FirstProcess(wasyncore.file_dispatcher):  # type: ignore[misc]  # waitress is untyped
    """Where the other processes see that the first one ends: nothing is written there, it is only closed."""

    def __init__(self, pipe: int, sockets: Mapping[int, Any], loop: Loop) -> None:
        super().__init__(pipe, map=sockets)
        self._loop = loop

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.handle_close()

    def handle_close(self) -> None:
        self.close()
        self._loop.end_with_first()
