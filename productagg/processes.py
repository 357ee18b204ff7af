"""Several processes that serve at the same sockets, each on a processor of its own. Only the server comes here.

The first process loads the application, once for all, and then only looks after the others, which share its memory.
"""

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

# Between the end of a process and the start of another, so that one that cannot live does not take up all processors.
_RESTART_SECONDS = 1
_TO_END = (signal.SIGTERM, signal.SIGINT)


def serve_with(count: int, serve: Callable[[int], int]) -> int:
    """Run `serve(number)` in that many processes, starting another one whenever one ends, until SIGTERM or SIGINT.

    Nothing may run in other threads yet, or be connected to anything. Returns the exit code, in the children as well.
    """
    first = os.getpid()
    children: dict[int, int] = {}
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    for told in _TO_END:
        signal.signal(told, end)
    to_start = list(range(count))
    while True:
        while to_start and not ending:
            number = to_start.pop()
            # Not until it is known which process this is, and which other ones there are.
            signal.pthread_sigmask(signal.SIG_BLOCK, _TO_END)
            try:
                pid = os.fork()
                if pid == 0:
                    for told in _TO_END:
                        signal.signal(told, signal.SIG_DFL)
                else:
                    children[pid] = number
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_END)
            if pid == 0:
                threading.Thread(target=_end_with, args=(first,), name="parent", daemon=True).start()
                return serve(number)
            if ending:  # told just before this one was there
                end()
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


def _end_with(parent: int) -> None:
    """A first process that was killed cannot tell the others to end."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
