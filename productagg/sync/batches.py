"""A sync run's loop: lease products, wait for their outcomes, apply these, until none is left or the time is up."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

from productagg.sync.fetcher import Fetcher
from productagg.sync.leases import Lease
from productagg.sync.outcomes import Outcome
from productagg.sync.time_budget import TimeBudget
from productagg.sync.transactions import POLL_SECONDS
from productagg.sync.workers import WorkerPool

# A run begins with this many leases per worker. Then it holds as many as are fetched in two seconds, within limits, and
# applies half of them at a time: few transactions, little memory, and little to fetch again if the run is killed.
_FIRST_LEASES_PER_WORKER = 4
_FEWEST_LEASES_PER_WORKER = 2
_MOST_LEASES = 1000
_LEASE_AHEAD_SECONDS = 2.0
# Outcomes that have come in are applied at least this often.
_APPLY_SECONDS = 1.0


class BatchLoop:
    """Iterate over it to work through a run's products; it yields the outcomes of a batch when they are applied.

    `acquire` leases up to a number of products; without it, the loop works through the leases that the pool has
    already. The loop never ends while a lease is outstanding: leases that are left when the time is up are abandoned,
    and `apply` gives them back.
    """

    def __init__(
        self,
        pool: WorkerPool,
        fetcher: Fetcher,
        budget: TimeBudget,
        acquire: Callable[[int], Sequence[Lease]] | None,
        apply: Callable[[Sequence[Outcome]], object],
        workers: int,
    ) -> None:
        self._pool = pool
        self._fetcher = fetcher
        self._budget = budget
        self._acquire = acquire
        self._apply = apply
        self._fewest = workers * _FEWEST_LEASES_PER_WORKER
        self._capacity = workers * _FIRST_LEASES_PER_WORKER
        # Whether there may be more products to lease.
        self._more = acquire is not None

    def __iter__(self) -> Iterator[Sequence[Outcome]]:
        while True:
            started_at = time.monotonic()
            self._stop_in_time()
            self._fill()
            if not self._pool.outstanding:
                return
            self._wait()
            outcomes = self._collect()
            if outcomes:
                self._apply(outcomes)
                yield outcomes
            self._adapt(outcomes, time.monotonic() - started_at)

    def _collect(self) -> Sequence[Outcome]:
        return self._pool.abandon() if self._budget.must_abandon() else self._pool.collect()

    def _adapt(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """Adapt the capacity after a batch with these outcomes, which took this many seconds."""
        # A product for which no request was made (its lease was too short, or the database was away) is still due.
        self._more = self._more or not all(outcome.was_asked for outcome in outcomes)
        rate = len(outcomes) / seconds
        self._capacity = min(max(int(rate * _LEASE_AHEAD_SECONDS), self._fewest), _MOST_LEASES)

    def _stop_in_time(self) -> None:
        if reason := self._budget.stop_reason():
            self._fetcher.stop(reason)

    def _fill(self) -> None:
        """Lease products until the pool has as many as its capacity."""
        missing = self._missing()
        if self._acquire is None or missing <= 0:
            return
        leases = self._acquire(missing)
        self._more = len(leases) == missing
        self._stop_in_time()  # acquiring may have taken long
        self._pool.add(leases)

    def _missing(self) -> int:
        if not self._more or self._fetcher.stopped_by is not None:
            return 0
        return self._capacity - len(self._pool.outstanding)

    def _wait(self) -> None:
        """Wait for enough outcomes, but not beyond the time to apply fewer or the time to abandon."""
        # While there are more products, half of the outcomes are enough: the threads go on with the other half.
        enough = math.ceil(len(self._pool.outstanding) / (2 if self._more else 1))
        abandon_at = self._budget.abandon_at
        apply_at = time.monotonic() + _APPLY_SECONDS
        while not self._pool.wait(enough, min(POLL_SECONDS, max(0.0, abandon_at - time.monotonic()))):
            self._stop_in_time()
            abandon_at = self._budget.abandon_at  # an interrupt brings it forward
            if time.monotonic() >= min(apply_at, abandon_at):
                return
