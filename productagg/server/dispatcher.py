"""Which requests the threads answer: all that only read, but only some at a time of those that write.

What writes may wait for a lock that somebody else holds, or for a slow commit. If all threads waited so, nothing could
be read. Requests beyond the limit wait outside the threads, for some seconds at most.
"""

import math
import threading
import time
from collections import Counter, deque
from typing import Any, Literal

from waitress.task import ThreadedTaskDispatcher

from productagg.server import memory

Kind = Literal["read", "write", "large"]

# Requests with a body of more than so many bytes are large. They write, and need a multiple of that in memory.
LARGE_BYTES = 1024 * 1024
# How long a request waits for a thread before it is refused. A large one takes some seconds itself.
_LONGEST_SECONDS: dict[Kind, float] = {"read": math.inf, "write": 10, "large": 30}


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress is untyped
    """Threads that answer requests in the order of their arrival; those that write leave half of the threads free.

    What it is given has `kind`, `waiting_since`, `service` and `refuse`, as `connections.Channel` has.
    """

    queue: deque[Any]
    lock: threading.Lock
    queue_cv: threading.Condition

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._most_writing = max(1, threads // 2)
        self._running: Counter[Kind] = Counter()
        self.set_thread_count(threads)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being answered."""
        with self.lock:
            return not self.queue and not self._running.total()

    def add_task(self, task: Any) -> None:
        """Have the first request of a channel answered. Returns at once."""
        task.waiting_since = time.monotonic()
        with self.lock:
            self.queue.append(task)
            self.queue_cv.notify()

    def refuse_late(self, *, all_that_write: bool = False) -> None:
        """Refuse what has waited for too long; any thread may answer that. Call it about every second."""
        now = time.monotonic()
        with self.lock:
            late = [
                each
                for each in self.queue
                if now - each.waiting_since > _LONGEST_SECONDS[each.kind] or (all_that_write and each.kind != "read")
            ]
            for each in late:
                each.refuse()
            if late:
                self.queue_cv.notify_all()

    def handler_thread(self, thread_no: int) -> None:
        """What a thread does, as long as the process lives."""
        while True:
            with self.lock:
                while (taken := self._take()) is None:
                    self.queue_cv.wait()
            task, kind = taken
            try:
                task.service()
            except BaseException:
                self.logger.exception("Exception when servicing %r", task)
            finally:
                if kind == "large":
                    memory.give_back()
                with self.lock:
                    self._running[kind] -= 1

    def _take(self) -> tuple[Any, Kind] | None:
        """The first task that may run now. There are a few hundred at most, and hardly ever one that may not."""
        for position, task in enumerate(self.queue):
            kind: Kind = task.kind
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
        return self._running["write"] + self._running["large"] < self._most_writing
