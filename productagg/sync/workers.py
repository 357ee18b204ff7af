"""WorkerPool: the threads that fetch leased products during a sync run. They touch no database."""

import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Self

from productagg.sync.leases import Lease
from productagg.sync.outcomes import Outcome


class WorkerPool:
    """Threads that turn leases into outcomes. They are daemons: a run that must end does not wait for a hung thread.

    Without workers, `add` fetches in the calling thread, which may have an open connection to the Offers service.
    """

    def __init__(self, fetch: Callable[[Lease], Outcome], workers: int) -> None:
        self._fetch = fetch
        self._todo: queue.SimpleQueue[Lease | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._failure: BaseException | None = None
        self._awaited = 1
        self._enough = threading.Event()
        self._abandoned = False
        # The leases whose outcomes have not been collected yet.
        self.outstanding: set[Lease] = set()
        # The processor time that the threads took for fetching.
        self.cpu_seconds = 0.0
        self._threads = [
            # In a copy of the context, which has what log lines name.
            threading.Thread(target=copy_context().run, args=(self._work,), name=f"fetch-{number}", daemon=True)
            for number in range(workers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._todo.put(None)
        if not self.outstanding and not self._abandoned:
            for thread in self._threads:
                thread.join()

    def add(self, leases: Iterable[Lease]) -> None:
        """Give leases to the threads."""
        for lease in leases:
            self.outstanding.add(lease)
            if self._threads:
                self._todo.put(lease)
            else:
                self._outcomes.append(self._fetch(lease))

    def wait(self, count: int, seconds: float) -> bool:
        """Wait until `count` outcomes have come in; return whether they have. Raises an error that ended a thread."""
        with self._lock:
            self._awaited = count
            self._enough.clear()
            self._signal()
        is_enough = self._enough.wait(seconds)
        if self._failure is not None:
            raise self._failure
        return is_enough

    def collect(self) -> list[Outcome]:
        """Return the outcomes that have come in since the last call."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, []
        self.outstanding.difference_update(outcome.lease for outcome in outcomes)
        return outcomes

    def abandon(self) -> list[Outcome]:
        """Return the outcomes that have come in, and empty outcomes for all other leases: none is outstanding then.

        Threads that are still fetching end when they can; their outcomes are dropped.
        """
        outcomes = self.collect()
        abandoned, self.outstanding = self.outstanding, set()
        self._abandoned = self._abandoned or bool(abandoned)
        return [*outcomes, *(Outcome(lease, lease.registered) for lease in abandoned)]

    def _work(self) -> None:
        while (lease := self._todo.get()) is not None:
            outcome = failure = None
            started_at = time.thread_time()
            try:
                outcome = self._fetch(lease)
            except BaseException as error:
                failure = error
            self._add_outcome(outcome, failure, time.thread_time() - started_at)

    def _add_outcome(self, outcome: Outcome | None, failure: BaseException | None, cpu_seconds: float) -> None:
        with self._lock:
            if outcome is not None:
                self._outcomes.append(outcome)
            self.cpu_seconds += cpu_seconds
            self._failure = self._failure or failure
            self._signal()

    def _signal(self) -> None:
        """Wake `wait` if enough outcomes have come in or a thread has failed. The caller holds the lock."""
        if self._failure is not None or len(self._outcomes) >= self._awaited:
            self._enough.set()
