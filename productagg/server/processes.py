"""Runs several processes that serve at the same sockets, and can keep a process on one processor.

The first process loads the application once and then only supervises the others, which share its memory.
"""

import logging
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

# Pause before a process is replaced: a process that fails at its start must not use up a processor.
_RESTART_SECONDS = 1
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve_in_processes(count: int, sockets: Sequence[socket.socket], serve: Callable[[int, int], int]) -> int:
    """Run `serve(number, parent_pipe)` in `count` processes, and replace processes that end, until SIGTERM or SIGINT.

    The processes serve at `sockets`. Told to stop, this process closes the sockets and then its end of a pipe. The
    other end is `parent_pipe`: when it closes, the children know that the whole service stops and that only they still
    listen. They notice in the same way if this process is killed. Call it before other threads run or connections
    open. Returns the exit code, in the child processes as well.
    """
    parent_pipe, own_end = os.pipe()
    supervisor = _Supervisor(sockets, own_end)
    handle_stop_signals(supervisor.stop)
    to_start = list(range(count))
    while True:
        while to_start:
            number = to_start.pop()
            if supervisor.fork(number):
                return serve(number, parent_pipe)
        if not supervisor.children:
            return 0
        to_start += supervisor.wait()


def handle_stop_signals(handler: Callable[..., None] | signal.Handlers) -> None:
    """Have SIGTERM and SIGINT handled.

    By default Python ends at once on SIGTERM, and ignores it as process number 1 of a container.
    """
    for stop_signal in _STOP_SIGNALS:
        signal.signal(stop_signal, handler)


class _Supervisor:
    """Starts and replaces the child processes. `children` holds their numbers by process id."""

    def __init__(self, sockets: Sequence[socket.socket], own_end: int) -> None:
        self.children: dict[int, int] = {}
        self._sockets = sockets
        self._own_end = own_end
        self._is_stopping = False

    def stop(self, *_: object) -> None:
        """Stop listening and tell the children. A signal handler; a second call does nothing."""
        if not self._is_stopping:
            self._is_stopping = True
            for listener in self._sockets:
                listener.close()
            os.close(self._own_end)

    def fork(self, number: int) -> bool:
        """Start a child, unless stopping. Returns whether this is the child."""
        # A stop signal must not arrive before it is certain which of the two processes handles it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            # A signal may have come just before: then the sockets are closed.
            if self._is_stopping:
                return False
            pid = os.fork()
            if pid == 0:
                handle_stop_signals(signal.SIG_DFL)
                os.close(self._own_end)
            else:
                self.children[pid] = number
            return pid == 0
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    def wait(self) -> list[int]:
        """Wait until a process ends. Returns the number of the child to replace, if there is one."""
        pid, status = os.wait()
        if pid not in self.children:  # process number 1 of a container also inherits other processes' orphans
            return []
        number = self.children.pop(pid)
        if self._is_stopping:
            return []
        log.error("process %d ended with %d; another one starts", pid, os.waitstatus_to_exitcode(status))
        time.sleep(_RESTART_SECONDS)
        return [number]


def pin_to_processor(number: int | None) -> None:
    """Keep this process on one of the processors that it may use: the one with this number, or a random one if None.

    Python uses one processor at a time: moving to another, or waking threads there, costs more than it gains.
    """
    if not hasattr(os, "sched_setaffinity"):  # as on macOS
        return
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {random.choice(usable) if number is None else usable[number % len(usable)]})  # noqa: S311
