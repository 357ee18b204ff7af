"""Several processes that serve at the same sockets, each on a processor of its own. Only the server comes here.

The first process loads the application, once for all, and then only looks after the others, which share its memory.
"""

import logging
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

# Between the end of a process and the start of another, so that one that cannot live does not take up all processors.
_RESTART_SECONDS = 1
_TO_END = (signal.SIGTERM, signal.SIGINT)


def serve_with(count: int, sockets: Sequence[socket.socket], serve: Callable[[int, int], int]) -> int:
    """Run `serve(number, first)` in that many processes, and another one whenever one ends, until SIGTERM or SIGINT.

    They serve at `sockets`. Told to end, this process closes these and then a pipe, of which `first` is the other end:
    there the others learn that all end, and that nobody but they listens; they do as well if this process is killed.
    Nothing may run in other threads yet, or be connected to anything. Returns the exit code, in the children as well.
    """
    first, open_end = os.pipe()
    children: dict[int, int] = {}
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        if not ending:
            ending = True
            for each in sockets:
                each.close()
            os.close(open_end)

    for told in _TO_END:
        signal.signal(told, end)
    to_start = list(range(count))
    while True:
        while to_start and not ending:
            number = to_start.pop()
            # Not until it is known which process this is.
            signal.pthread_sigmask(signal.SIG_BLOCK, _TO_END)
            try:
                # Told just before this, there is nothing left to serve at.
                pid = None if ending else os.fork()
                if pid == 0:
                    for told in _TO_END:
                        signal.signal(told, signal.SIG_DFL)
                    os.close(open_end)
                elif pid is not None:
                    children[pid] = number
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_END)
            if pid == 0:
                return serve(number, first)
        if not children:
            return 0
        pid, status = os.wait()
        if pid not in children:  # a container's first process is left with what others have started
            continue
        number = children.pop(pid)
        if not ending:
            log.error("process %d ended with %d; another one starts", pid, os.waitstatus_to_exitcode(status))
            time.sleep(_RESTART_SECONDS)
            to_start.append(number)


def keep_to_one_processor(number: int | None) -> None:
    """Keep this process on a processor of its own: the one with that number of those that it may use, or any.

    Python runs on one at a time: going from one to another, and waking threads there, costs it more than it gains.
    """
    if not hasattr(os, "sched_setaffinity"):  # as on macOS
        return
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {random.choice(usable) if number is None else usable[number % len(usable)]})  # noqa: S311
