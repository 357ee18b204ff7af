"""Lane: a run's work on the products of one source. Each source has its own, so that none waits for another.

A lane leases its source's products, has them fetched by threads of its own, and applies the outcomes, in batches.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from productagg.db import clock
from productagg.sync import leases
from productagg.sync.batches import BatchLoop
from productagg.sync.fetcher import Fetcher
from productagg.sync.leases import Lease
from productagg.sync.outcomes import Outcome, apply_outcomes
from productagg.sync.run_log import RunResult
from productagg.sync.schedule import Schedule
from productagg.sync.time_budget import TimeBudget
from productagg.sync.workers import WorkerPool

Result = TypeVar("Result")
# Before a lane looks for products, and looks again for those that neighbours were writing: they take milliseconds. If
# somebody else keeps such a row locked, the product stays due, and does not keep the run from ending.
_PAUSES = (0, 0.05, 0.2, 0.5)
# A function from a time, by the database's clock, to a condition.
Condition = Callable[[datetime], ColumnElement[bool]]


@dataclass(frozen=True)
class Selection:
    """What a run works on: conditions on product_sources, and on sources that are whole documents."""

    products: Condition
    documents: Condition


class InTransaction(Protocol):
    """Does the work in a short transaction, and again if the database was away, while the budget lasts."""

    def __call__(self, work: Callable[[Session], Result], budget: TimeBudget | None = None) -> Result: ...


@dataclass(frozen=True)
class Lane:
    """`blocked` returns the time, and why no request may be sent to the source now, if so.

    A product counts as observed for `observed_for` after a list of any source. `result` counts what the lane does.
    For `quarantine_factor` see plan_updates. `has_neighbours`: other lanes of the run work on the same products.
    """

    source_id: UUID
    name: str
    fetcher: Fetcher
    schedule: Schedule
    observed_for: timedelta
    lease_duration: timedelta
    workers: int
    blocked: Callable[[Session], tuple[datetime, str | None]]
    in_transaction: InTransaction
    result: RunResult
    quarantine_factor: float
    has_neighbours: bool

    def work(self, selected: Selection, budget: TimeBudget, progress: Callable[[], object] = lambda: None) -> None:
        """Sync the selected products. `progress` is called after each batch."""
        with WorkerPool(self.fetcher.fetch, self.workers) as pool:
            for pause in _PAUSES:
                time.sleep(pause)
                for _outcomes in self.batches(
                    pool, budget, lambda limit: self.acquire(selected.products, limit, budget)[1]
                ):
                    progress()
                if not self._is_left(selected.products, budget):
                    break
        self.result.ended_by = self.fetcher.stopped_by or "done"

    def _is_left(self, selected: Condition, budget: TimeBudget) -> bool:
        """Whether a product is left because a neighbour was writing it just when this lane wanted to lease it."""
        if not self.has_neighbours or self.fetcher.stopped_by is not None:
            return False

        def is_left(session: Session) -> bool:
            now = clock.now(session)
            return leases.has_free(session, self.source_id, selected(now), now)

        return self.in_transaction(is_left, budget)

    def acquire(
        self, selected: Condition, limit: int, budget: TimeBudget | None = None
    ) -> tuple[datetime, list[Lease]]:
        """Lease products, and return the time. While the source is blocked, lease none and stop the fetcher."""

        def acquire(session: Session) -> tuple[datetime, list[Lease]]:
            now, blocked = self.blocked(session)
            if blocked is not None:
                self.fetcher.stop(blocked)
                return now, []
            return now, leases.acquire(session, self.source_id, selected(now), limit, self.lease_duration, now)

        now, acquired = self.in_transaction(acquire, budget)
        self.result.count_leases(acquired, now)
        return now, acquired

    def batches(
        self, pool: WorkerPool, budget: TimeBudget, acquire: Callable[[int], Sequence[Lease]] | None = None
    ) -> BatchLoop:
        """The loop over the batches; without `acquire`, over the leases that the pool has."""

        def apply(outcomes: Sequence[Outcome]) -> None:
            updates = self.in_transaction(
                lambda session: apply_outcomes(
                    session,
                    outcomes,
                    self.schedule,
                    self.result.started_at,
                    self.observed_for,
                    self.quarantine_factor,
                ),
                budget,
            )
            self.result.count_outcomes(outcomes, updates)

        return BatchLoop(pool, self.fetcher, budget, acquire, apply, self.workers)
