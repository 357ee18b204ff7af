"""The server's loop over its sockets, and its orderly shutdown: accepted requests are answered within SHUTDOWN_SECONDS.

Told to stop (SIGTERM, SIGINT), the service reports at /health/ready that it is no longer ready. For
SHUTDOWN_DELAY_SECONDS nothing else changes, so that a load balancer can notice. Then it lets no new connection begin,
accepts those that have begun, stops listening, answers with `Connection: close` and closes unused connections. The loop
ends when all connections are closed or the time is up.
"""

import logging
import math
import time
from collections.abc import MutableMapping
from select import select
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer

from productagg.server.dispatcher import Dispatcher
from productagg.server.syn_filter import drop_new_connections

log = logging.getLogger(__name__)

# How long a connection must be silent to count as unused: a client may be about to send its next request.
_SILENT_SECONDS = 1
# How long a connection that has begun takes to complete: its last packet is on the way.
_HANDSHAKE_SECONDS = 0.1
# How long one of several processes goes on accepting connections, unless it learns that the whole service stops.
_HANDOVER_SECONDS = 1
# How long before the end waiting writes are refused, so that they get an answer.
_REFUSAL_SECONDS = 1
# How often connections are checked during shutdown.
_CHECK_SECONDS = 0.05


class Loop:
    """Serves until it is told to stop, and then until all requests are answered or SHUTDOWN_SECONDS have passed.

    `watched` holds what waitress watches, by file number; `registry` is the application's. `parent_pipe` is the end of
    a pipe that closes when the supervising process stops; None if this is the only process.
    """

    def __init__(
        self, watched: MutableMapping[int, Any], dispatcher: Dispatcher, registry: Any, parent_pipe: int | None
    ) -> None:
        self._watched = watched
        self._dispatcher = dispatcher
        self._registry = registry
        (self._listener, *_) = self._listeners()
        self._adj = self._listener.adj
        settings = registry.services.settings
        self._shutdown_seconds: float = settings.shutdown_seconds
        self._delay_seconds: float = settings.shutdown_delay_seconds
        self._stopped_at: float | None = None
        self._filtered_after: float | None = None
        self._others_accept = parent_pipe is not None
        if parent_pipe is not None:
            _ParentPipe(parent_pipe, watched, self)

    def begin_shutdown(self, *_: object) -> None:
        """Begin to shut down. A signal handler; a second call does nothing."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._registry.services.readiness.is_ending = True
            self._listener.pull_trigger()

    def begin_shutdown_with_parent(self) -> None:
        """Begin to shut down because the whole service does: the other processes will not accept for us."""
        self._others_accept = False
        self.begin_shutdown()

    def run(self) -> None:
        """Serve, and return when the shutdown is complete."""
        interval, checked_at = self._adj.asyncore_loop_timeout, 0.0
        while not self._has_ended():
            if self._stopped_at is not None:
                interval = _CHECK_SECONDS
            wasyncore.loop(interval, self._adj.asyncore_use_poll, self._watched, count=1)
            if time.monotonic() >= checked_at + interval:
                checked_at = time.monotonic()
                is_late = self._elapsed() >= self._shutdown_seconds - _REFUSAL_SECONDS
                self._dispatcher.refuse_overdue(all_writes=is_late)

    def _elapsed(self) -> float:
        """Return the seconds since the shutdown began; minus infinity if it has not."""
        return -math.inf if self._stopped_at is None else time.monotonic() - self._stopped_at

    def _has_ended(self) -> bool:
        """Take the next step of a shutdown that has begun. Returns whether it is complete, or its time is up."""
        elapsed = self._elapsed()
        if elapsed >= self._shutdown_seconds:
            self._end_now()
            return True
        if elapsed < self._delay_seconds:
            return False
        if self._may_stop_listening(elapsed):
            self._stop_listening()
        self._close_unused_channels()
        return self._is_done()

    def _end_now(self) -> None:
        """Let the requests go that could not be answered in time."""
        self._stop_listening()
        self._close_unused_channels()
        if not self._is_done():
            log.warning("ended after %g seconds with unanswered requests", self._shutdown_seconds)

    def _is_done(self) -> bool:
        return not self._channels() and not self._listeners() and self._dispatcher.is_idle

    def _may_stop_listening(self, elapsed: float) -> bool:
        """Whether all connections that had begun have completed, or the other processes accept them."""
        if self._others_accept:
            return elapsed >= _HANDOVER_SECONDS
        if self._filtered_after is None:
            self._filtered_after = elapsed
            for listener in self._listeners():
                drop_new_connections(listener.socket)
        return elapsed >= self._filtered_after + _HANDSHAKE_SECONDS

    def _listeners(self) -> list[Any]:
        return [watched for watched in self._watched.values() if isinstance(watched, BaseWSGIServer)]

    def _stop_listening(self) -> None:
        for listener in self._listeners():
            if self._accept_completed(listener):
                # Not the listener's own `close`: threads pull its trigger until the end.
                wasyncore.dispatcher.close(listener)

    def _accept_completed(self, listener: Any) -> bool:
        """Accept the connections that the kernel has completed. Returns whether there are no more."""
        while select([listener.socket], [], [], 0)[0]:
            before = len(self._watched)
            listener.handle_accept()
            if len(self._watched) == before or len(self._watched) > self._adj.connection_limit:
                return False
        return True

    def _channels(self) -> list[Any]:
        return [watched for watched in self._watched.values() if isinstance(watched, HTTPChannel)]

    def _close_unused_channels(self) -> None:
        """Have every connection closed: at once if it is unused, else after its last response."""
        for channel in self._channels():
            channel.is_ending = True
            if channel.is_unused and time.time() - channel.last_activity >= _SILENT_SECONDS:
                channel.will_close = True


class _ParentPipe(wasyncore.file_dispatcher):  # type: ignore[misc]  # waitress is untyped
    """Notices that the supervising process stops: it never writes to the pipe, only closes it."""

    def __init__(self, pipe: int, watched: MutableMapping[int, Any], loop: Loop) -> None:
        super().__init__(pipe, map=watched)
        self._loop = loop

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.handle_close()

    def handle_close(self) -> None:
        self.close()
        self._loop.begin_shutdown_with_parent()
