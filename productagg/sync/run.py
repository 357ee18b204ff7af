"""A sync run: lease the products that are due, fetch their offers, apply the outcomes, and record what happened.

Cron, the web service's background threads and the tests all call `Synchronizer`. Leases in the database let any number
of runs work side by side, on any number of hosts, and free the products of a run that was killed. No transaction is
open while a run waits for the network, and only a complete, valid list ever changes an offer.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Self, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, and_
from sqlalchemy.orm import Session, sessionmaker

from productagg.db.models import ProductSync
from productagg.history import movers
from productagg.settings import Settings
from productagg.sources.offers_service.client import OffersClient
from productagg.sources.offers_service.errors import Busy, TokenStillValid, UpstreamError
from productagg.sources.offers_service.parsing import AccessToken
from productagg.sync import leases, run_log
from productagg.sync.batches import BatchLoop
from productagg.sync.fetcher import EXCHANGES_PER_PRODUCT, Fetcher
from productagg.sync.leases import Lease
from productagg.sync.outcomes import Outcome, apply_outcomes
from productagg.sync.run_log import RunResult
from productagg.sync.schedule import Schedule
from productagg.sync.time_budget import TimeBudget
from productagg.sync.tokens import NoAccessToken, SharedToken, account_key
from productagg.sync.transactions import LONGEST_WAIT_SECONDS, run_in_transaction
from productagg.sync.workers import WorkerPool

Result = TypeVar("Result")
# A function from a time, by the database's clock, to the condition that selects a run's products.
Selection = Callable[[datetime], ColumnElement[bool]]

SUMMARIES_PER_BATCH = 500
# The share of a run's time that refreshing summaries may take.
_SUMMARIES_SHARE = 0.1
# How long a lease may wait for a free worker, on top of the worst case for one product.
_LEASE_MARGIN = timedelta(seconds=30)


class SyncedProducts(NamedTuple):
    """The result of `sync_products`, the products whose offers it fetched, and the processor time that it took."""

    result: RunResult
    fetched: set[UUID]
    cpu_seconds: float


class Synchronizer:
    """Syncs one database with one Offers service, in sync runs or for single products. Thread-safe."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._schedule = Schedule.of(settings)
        self._workers = settings.sync_workers
        self._requests_per_second = settings.sync_max_requests_per_second
        self._budget_seconds = settings.sync_budget_seconds
        # At most half of the run, so that an exchange that begins with the run always comes to an end.
        timeout = min(settings.offers_timeout_seconds, self._budget_seconds / 2)
        self._longest_fetch = timedelta(seconds=EXCHANGES_PER_PRODUCT * timeout)
        self._lease_duration = self._longest_fetch + _LEASE_MARGIN
        refresh_token = settings.offers_refresh_token.reveal()
        self._client = OffersClient(settings.offers_base_url, refresh_token, timeout)
        self._currency = settings.offers_currency or settings.currency
        self._token = SharedToken(
            sessions,
            account_key(settings.offers_base_url, refresh_token),
            self._request_token,
            patience_seconds=timeout + 5,
        )
        self._interrupted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def interrupt(self) -> None:
        """End the run within seconds: finish the exchanges under way, or give their leases back. Signal-safe."""
        self._interrupted = True

    def run(
        self,
        *,
        products: Sequence[UUID] | None = None,
        everything: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> RunResult:
        """Sync the products that are due now; or `products`, or everything, due or not.

        A failure is recorded in the product's row and does not stop the run. `progress` is called with the number of
        products that are done and their total number.
        """
        budget = self._new_budget(self._budget_seconds)
        traffic_before = self._client.traffic
        run_id, started_at = self._in_transaction(run_log.record_start)
        result = RunResult(started_at=started_at, finished_at=started_at, ended_by="crashed")
        recording: TimeBudget | None = None
        try:
            self._refresh_summaries(started_at, budget)
            self._sync_selected(_selection(products, everything, started_at), result, budget, progress)
            # Recording the end has time of its own, because the run's may be up.
            recording = budget if self._interrupted else self._new_budget(LONGEST_WAIT_SECONDS)
        finally:
            result.finished_at = started_at + budget.elapsed()
            traffic = self._client.traffic
            result.requests = traffic.requests - traffic_before.requests
            result.bytes = traffic.bytes - traffic_before.bytes
            self._in_transaction(lambda session: run_log.record_end(session, run_id, result), recording)
        return result

    def sync_products(
        self, product_ids: Sequence[UUID], on_fetch: Callable[[UUID], object] = lambda _product_id: None
    ) -> SyncedProducts:
        """Register the products that are due and not leased, and fetch their offers, unless requests are blocked.

        `on_fetch` is called for every product, in the thread that fetches it.
        """
        budget = self._new_budget(self._budget_seconds)
        cpu_started_at = time.thread_time()
        fetcher = self._new_fetcher()

        def fetch(lease: Lease) -> Outcome:
            on_fetch(lease.product_id)
            return fetcher.fetch(lease)

        def selected(now: datetime) -> ColumnElement[bool]:
            return and_(ProductSync.product_id.in_(product_ids), leases.is_due(now))

        now, acquired = self._acquire(selected, len(product_ids), fetcher)
        result = RunResult(started_at=now, finished_at=now)
        result.count_leases(acquired, now)
        fetched: set[UUID] = set()
        # A single product is fetched in this thread, which may have a connection to the Offers service.
        workers = min(len(acquired), self._workers) if len(acquired) > 1 else 0
        with WorkerPool(fetch, workers) as pool:
            pool.add(acquired)
            for outcomes in self._batches(pool, fetcher, budget, result):
                fetched |= _fetched_products(outcomes)
        result.ended_by = fetcher.stopped_by or "done"
        result.finished_at = now + budget.elapsed()
        return SyncedProducts(result, fetched, pool.cpu_seconds + time.thread_time() - cpu_started_at)

    def _sync_selected(
        self,
        selected: Selection,
        result: RunResult,
        budget: TimeBudget,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        fetcher = self._new_fetcher()

        def acquire(limit: int) -> Sequence[Lease]:
            now, acquired = self._acquire(selected, limit, fetcher, budget)
            result.count_leases(acquired, now)
            return acquired

        total = 0
        if progress is not None:
            total = self._in_transaction(lambda session: leases.count(session, selected(result.started_at)))
        with WorkerPool(fetcher.fetch, self._workers) as pool:
            for _outcomes in self._batches(pool, fetcher, budget, result, acquire):
                if progress is not None:
                    progress(result.asked, total)
        result.ended_by = fetcher.stopped_by or "done"

    def _batches(
        self,
        pool: WorkerPool,
        fetcher: Fetcher,
        budget: TimeBudget,
        result: RunResult,
        acquire: Callable[[int], Sequence[Lease]] | None = None,
    ) -> BatchLoop:
        def apply(outcomes: Sequence[Outcome]) -> None:
            updates = self._in_transaction(
                lambda session: apply_outcomes(session, outcomes, self._schedule, result.started_at), budget
            )
            result.count_outcomes(outcomes, updates)

        return BatchLoop(pool, fetcher, budget, acquire, apply, self._workers)

    def _refresh_summaries(self, now: datetime, budget: TimeBudget) -> None:
        """Look up the earlier prices of the summaries that are due, the longest due first, for a share of the time.

        This comes first, because a run may have no time left at its end. Every run refreshes at least one batch.
        """
        while True:
            done = self._in_transaction(lambda session: movers.refresh(session, now, SUMMARIES_PER_BATCH), budget)
            if done < SUMMARIES_PER_BATCH or self._interrupted or budget.used_share() >= _SUMMARIES_SHARE:
                return

    def _acquire(
        self, selected: Selection, limit: int, fetcher: Fetcher, budget: TimeBudget | None = None
    ) -> tuple[datetime, list[Lease]]:
        """Lease products, and return the time. While requests are blocked, lease none and stop the fetcher."""

        def work(session: Session) -> tuple[datetime, list[Lease]]:
            now, blocked = self._token.blocked(session)
            if blocked is not None:
                fetcher.stop(str(blocked))
                return now, []
            return now, leases.acquire(session, selected(now), limit, self._lease_duration, now)

        return self._in_transaction(work, budget)

    def _in_transaction(self, work: Callable[[Session], Result], budget: TimeBudget | None = None) -> Result:
        return run_in_transaction(self._sessions, work, budget)

    def _new_budget(self, seconds: float) -> TimeBudget:
        return TimeBudget(seconds, lambda: self._interrupted)

    def _new_fetcher(self) -> Fetcher:
        return Fetcher(
            self._client,
            self._token,
            self._longest_fetch,
            self._requests_per_second,
            lambda: self._interrupted,
            self._currency,
        )

    def _request_token(self) -> AccessToken | None:
        try:
            return self._client.authenticate()
        except TokenStillValid:
            return None
        except Busy:
            raise
        except UpstreamError as error:
            # This is not one product's failure: without a token no product's offers can be fetched.
            raise NoAccessToken(f"no access token: {error}") from error


def _fetched_products(outcomes: Sequence[Outcome]) -> set[UUID]:
    return {outcome.lease.product_id for outcome in outcomes if outcome.offers is not None}


def longest_lease(settings: Settings) -> timedelta:
    """Return the longest duration of a lease, of a product or of the token's refresh."""
    return timedelta(seconds=EXCHANGES_PER_PRODUCT * settings.offers_timeout_seconds) + _LEASE_MARGIN


def _selection(products: Sequence[UUID] | None, everything: bool, started_at: datetime) -> Selection:
    if products is None and not everything:
        # Products that become due after the start are left to the next run, so that this one comes to an end.
        return lambda _now: leases.is_due(started_at)
    if products is None:
        return lambda now: leases.not_asked_since(started_at, now)
    return lambda now: and_(leases.not_asked_since(started_at, now), ProductSync.product_id.in_(products))
