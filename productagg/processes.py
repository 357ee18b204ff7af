"""Several processes that serve at the same sockets, each on a processor of its own. Only the server comes here.

The first process loads the application, once for all, and then only looks after the others, which share its memory.
"""

import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

# Between the end of a process and the start of another, so that one that cannot live does not take up all processors.
_RESTART_SECONDS = 1


def serve_with(count: int, serve: Callable[[int], int]) -> int:
    """Run `serve(number)` in that many processes, starting another one whenever one ends, until SIGTERM or SIGINT.

    Nothing may run in other threads yet, or be connected to anything. Returns the exit code, in the children as well.
    """
    children: dict[int, int] = {}
    to_start = list(range(count))
    while to_start:
        number = to_start.pop()
        pid = os.fork()
        if pid == 0:
            return _child(number, serve)
        children[pid] = number
        if not to_start:
            to_start = _ended(children)
    return 0


def _ended(children: dict[int, int]) -> list[int]:
    """Wait until a process has ended; its number. Told to end, this one ends the others, and there is none."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        pid, status = os.wait()
        log.error("process %d ended with %d; another one starts", pid, os.waitstatus_to_exitcode(status))
        time.sleep(_RESTART_SECONDS)
    except (SystemExit, KeyboardInterrupt):
        for ignored in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)
        for pid in children:
            os.kill(pid, signal.SIGTERM)
        for pid in children:
            os.waitpid(pid, 0)
        return []
    return [children.pop(pid)]


def keep_to_one_processor(number: int | None) -> None:
    """Keep this process on a processor of its own: the one with that number of those that it may use, or any.

    Python runs on one at a time: going from one to another, and waking threads there, costs it more than it gains.
    """
    if not hasattr(os, "sched_setaffinity"):  # as on macOS
        return
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {random.choice(usable) if number is None else usable[number % len(usable)]})  # noqa: S311


def _child(number: int, serve: Callable[[int], int]) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(os.getppid(),), name="parent", daemon=True).start()
    return serve(number)


def _end_with(parent: int) -> None:
    """A first process that was killed cannot tell the others to end."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
