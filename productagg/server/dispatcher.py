"""Decides which requests the threads answer: every read at once, but only a limited number of writes.

A write may wait for a lock that another client holds, or for a slow commit. If all threads waited that way, nothing
could be read. Requests beyond the limit wait in a queue, without a thread, and are refused after some seconds.
"""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Literal, Protocol

from waitress.task import ThreadedTaskDispatcher

from productagg.server import memory

# A large request is a write with a large body (see body_limits.py): it needs a multiple of its size in memory.
Kind = Literal["read", "write", "large"]

# Seconds that a request waits for a thread before it is refused. A large request takes some seconds itself.
_MAX_WAIT_SECONDS: Mapping[Kind, float] = {"read": math.inf, "write": 10, "large": 30}


class QueuedTask(Protocol):
    """A connection whose first request waits for an answer: `connections.Channel`."""

    waiting_since: float

    @property
    def kind(self) -> Kind: ...

    def service(self) -> None: ...

    def refuse(self) -> None: ...


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress is untyped
    """Threads that answer requests in the order of arrival. Writes occupy at most half of the threads."""

    queue: deque[QueuedTask]
    lock: threading.Lock
    queue_cv: threading.Condition

    def __init__(self, threads: int, max_wait_seconds: Mapping[Kind, float] = _MAX_WAIT_SECONDS) -> None:
        super().__init__()
        self._max_writes = max(1, threads // 2)
        self._max_wait_seconds = max_wait_seconds
        self._running: Counter[Kind] = Counter()
        self.set_thread_count(threads)

    @property
    def is_idle(self) -> bool:
        """Whether no request waits and none is being answered."""
        with self.lock:
            return not self.queue and not self._running.total()

    def add_task(self, task: QueuedTask) -> None:
        """Have the first request of a connection answered. Returns at once."""
        task.waiting_since = time.monotonic()
        with self.lock:
            self.queue.append(task)
            self.queue_cv.notify()

    def refuse_overdue(self, *, all_writes: bool = False) -> None:
        """Refuse the requests that have waited too long; any thread may send the refusal. Call it about every second.

        With `all_writes`, refuse every write that still waits.
        """
        with self.lock:
            overdue = [task for task in self.queue if self._is_overdue(task, all_writes)]
            for task in overdue:
                task.refuse()
            self.queue_cv.notify(len(overdue))

    def _is_overdue(self, task: QueuedTask, all_writes: bool) -> bool:
        waited = time.monotonic() - task.waiting_since
        return waited > self._max_wait_seconds[task.kind] or (all_writes and task.kind != "read")

    def handler_thread(self, thread_no: int) -> None:
        """Answer requests for as long as the process lives. Every thread of the dispatcher runs this."""
        while True:
            self._answer(*self._wait_for_task())

    def _wait_for_task(self) -> tuple[QueuedTask, Kind]:
        with self.lock:
            while (taken := self._take()) is None:
                self.queue_cv.wait()
            return taken

    def _answer(self, task: QueuedTask, kind: Kind) -> None:
        try:
            task.service()
        except BaseException:
            self.logger.exception("Exception when servicing %r", task)
        finally:
            if kind == "large":
                memory.return_free_memory()
            with self.lock:
                self._running[kind] -= 1

    def _take(self) -> tuple[QueuedTask, Kind] | None:
        """Take the first task that may run now. The queue holds a few hundred tasks at most, and most may run."""
        for position, task in enumerate(self.queue):
            kind = task.kind
            if self._may_run(kind):
                del self.queue[position]
                self._running[kind] += 1
                return task, kind
        return None

    def _may_run(self, kind: Kind) -> bool:
        if kind == "read":
            return True
        if kind == "large" and self._running["large"]:
            return False
        return self._running["write"] + self._running["large"] < self._max_writes
