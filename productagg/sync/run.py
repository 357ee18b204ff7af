"""A sync run: lease the products that are due, fetch their offers, apply the outcomes, and record what happened.

Cron, the web service's background threads and the tests all call `Synchronizer`. Leases in the database let any number
of runs work side by side, on any number of hosts, and free the products of a run that was killed. No transaction is
open while a run waits for the network, and only a complete, valid list ever changes an offer.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple, Self, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, and_
from sqlalchemy.orm import Session, sessionmaker

from productagg.db import clock
from productagg.db.models import OFFERS_SOURCE, ProductSource
from productagg.history import movers
from productagg.settings import Settings
from productagg.sources.offers_service.client import OffersClient
from productagg.sources.offers_service.errors import Busy, TokenStillValid, UpstreamError
from productagg.sources.offers_service.parsing import AccessToken
from productagg.sync import leases, run_log
from productagg.sync.documents import LEASE as DOCUMENT_LEASE
from productagg.sync.fetcher import EXCHANGES_PER_PRODUCT, OffersFetcher
from productagg.sync.lane import Lane, Selection
from productagg.sync.lanes import FETCH_SECONDS, AdapterLanes, Work, log_results, work_in, work_side_by_side
from productagg.sync.leases import Lease
from productagg.sync.outcomes import Outcome
from productagg.sync.run_log import RunResult
from productagg.sync.schedule import Schedule
from productagg.sync.sources import (
    IS_OFFERS_SERVICE_ENABLED,
    ActiveSource,
    enabled,
    is_document_due,
    is_document_not_asked_since,
)
from productagg.sync.time_budget import TimeBudget
from productagg.sync.tokens import NoAccessToken, SharedToken, account_key
from productagg.sync.transactions import LONGEST_WAIT_SECONDS, run_in_transaction
from productagg.sync.workers import WorkerPool

Result = TypeVar("Result")

SUMMARIES_PER_BATCH = 500
# The share of a run's time that refreshing summaries may take.
_SUMMARIES_SHARE = 0.1
# How long a lease may wait for a free worker, on top of the worst case for one product.
_LEASE_MARGIN = timedelta(seconds=30)
_NOT_BEGUN = datetime.max.replace(tzinfo=UTC)


class SyncedProducts(NamedTuple):
    """The result of `sync_products`, the products whose offers it fetched, and the processor time that it took."""

    result: RunResult
    fetched: set[UUID]
    cpu_seconds: float


class Synchronizer:
    """Syncs one database with its sources, in sync runs; single products with the Offers service. Thread-safe."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._schedule = Schedule.of(settings)
        self._workers = settings.sync_workers
        self._requests_per_second = settings.sync_max_requests_per_second
        self._budget_seconds = settings.sync_budget_seconds
        # At most half of the run, so that an exchange that begins with the run always comes to an end.
        timeout = min(settings.offers_timeout_seconds, self._budget_seconds / 2)
        self._longest_fetch = timedelta(seconds=EXCHANGES_PER_PRODUCT * timeout)
        refresh_token = settings.offers_refresh_token.reveal()
        self._client = OffersClient(settings.offers_base_url, refresh_token, timeout)
        self._quarantine_factor = settings.quarantine_factor
        self._currency = settings.offers_currency or settings.currency
        self._token = SharedToken(
            sessions,
            account_key(settings.offers_base_url, refresh_token),
            self._request_token,
            patience_seconds=timeout + 5,
        )
        self._adapters = AdapterLanes(settings, self._schedule, self._in_transaction, lambda: self._interrupted)
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
        sources: Collection[UUID] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> RunResult:
        """Sync the products that are due now; or `products`, or everything, due or not. With `sources`, only there.

        A failure is recorded in the product's row and does not stop the run. `progress` is called with the number of
        products that are done and their total number.
        """
        budget = self._new_budget(self._budget_seconds)
        traffic_before = self._client.traffic
        run_id, started_at, selected, active = self._in_transaction(
            lambda session: self._begin(session, products, everything=everything, sources=sources)
        )
        result = RunResult(started_at=started_at, finished_at=started_at, ended_by="crashed")
        recording: TimeBudget | None = None
        try:
            self._refresh_summaries(started_at, budget)
            self._sync_selected(active, selected, result, budget, progress)
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
        """Register the products that are due and not leased, and fetch their offers.

        Unless requests are blocked, or the Offers service is disabled.

        `on_fetch` is called for every product, in the thread that fetches it.
        """
        budget = self._new_budget(self._budget_seconds)
        cpu_started_at = time.thread_time()
        lane = self._offers_lane(RunResult(_NOT_BEGUN, _NOT_BEGUN), self._schedule.observed_for)

        def fetch(lease: Lease) -> Outcome:
            on_fetch(lease.product_id)
            return lane.fetcher.fetch(lease)

        def selected(now: datetime) -> ColumnElement[bool]:
            return and_(ProductSource.product_id.in_(product_ids), leases.is_due(now), IS_OFFERS_SERVICE_ENABLED)

        now, acquired = lane.acquire(selected, len(product_ids))
        lane.result.started_at = now
        fetched: set[UUID] = set()
        # A single product is fetched in this thread, which may have a connection to the Offers service.
        workers = min(len(acquired), self._workers) if len(acquired) > 1 else 0
        with WorkerPool(fetch, workers) as pool:
            pool.add(acquired)
            for outcomes in lane.batches(pool, budget):
                fetched |= _fetched_products(outcomes)
        lane.result.ended_by = lane.fetcher.stopped_by or "done"
        lane.result.finished_at = now + budget.elapsed()
        return SyncedProducts(lane.result, fetched, pool.cpu_seconds + time.thread_time() - cpu_started_at)

    def _begin(
        self,
        session: Session,
        products: Sequence[UUID] | None,
        *,
        everything: bool,
        sources: Collection[UUID] | None,
    ) -> tuple[UUID, datetime, Selection, list[ActiveSource]]:
        """Record that a run begins; the time, what it works on, and the sources that it asks."""
        now = clock.now(session)
        selected = _selection(products, everything, now)
        active = enabled(session, selected.products(now), selected.documents(now), now)
        if sources is None:
            active = [source for source in active if source.has_work]
        else:
            # Also if it is blocked: the run then says why nothing was asked.
            active = [source for source in active if source.id in sources]
        longest = timedelta(seconds=self._budget_seconds)
        if any(source.has_document for source in active):
            longest = max(longest, DOCUMENT_LEASE)
        return run_log.record_start(session, now, longest), now, selected, active

    def _sync_selected(
        self,
        active: Sequence[ActiveSource],
        selected: Selection,
        result: RunResult,
        budget: TimeBudget,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Do the work of all sources side by side, and add up their results."""
        lanes = self._lanes(active, result.started_at)
        total = 0
        if progress is not None:
            chosen = selected.products(result.started_at)
            ids = [source.id for source in active]
            total = self._in_transaction(lambda session: leases.count(session, ids, chosen))
            total += sum(source.has_document for source in active)

        def report() -> None:
            if progress is not None:
                progress(sum(lane.result.asked for lane in lanes), total)

        try:
            work_side_by_side([partial(work_in, lane, selected, budget, report) for lane in lanes])
        finally:
            for lane in lanes:
                result.add(lane.source_id, lane.name, lane.result)
        log_results(lanes)
        result.ended_by = _ended_by(lanes)

    def _lanes(self, active: Sequence[ActiveSource], started_at: datetime) -> list[Work]:
        """A lane for each source; that of the Offers service first."""
        observed_for = self._schedule.observed_for
        lanes: list[Work] = []
        for source in active:
            result = RunResult(started_at=started_at, finished_at=started_at)
            if source.id == OFFERS_SOURCE:
                lanes.append(self._offers_lane(result, observed_for, has_neighbours=len(active) > 1))
            else:
                lanes.append(self._adapters.lane(source, result, observed_for))
        return lanes

    def _offers_lane(self, result: RunResult, observed_for: timedelta, *, has_neighbours: bool = False) -> Lane:
        return Lane(
            OFFERS_SOURCE,
            "offers",
            OffersFetcher(
                self._client,
                self._token,
                self._longest_fetch,
                self._requests_per_second,
                lambda: self._interrupted,
                self._currency,
            ),
            self._schedule,
            observed_for,
            self._longest_fetch + _LEASE_MARGIN,
            self._workers,
            self._blocked,
            self._in_transaction,
            result,
            self._quarantine_factor,
            has_neighbours,
        )

    def _blocked(self, session: Session) -> tuple[datetime, str | None]:
        now, blocked = self._token.blocked(session)
        return now, None if blocked is None else str(blocked)

    def _refresh_summaries(self, now: datetime, budget: TimeBudget) -> None:
        """Look up the earlier prices of the summaries that are due, the longest due first, for a share of the time.

        This comes first, because a run may have no time left at its end. Every run refreshes at least one batch.
        """
        while True:
            done = self._in_transaction(lambda session: movers.refresh(session, now, SUMMARIES_PER_BATCH), budget)
            if done < SUMMARIES_PER_BATCH or self._interrupted or budget.used_share() >= _SUMMARIES_SHARE:
                return

    def _in_transaction(self, work: Callable[[Session], Result], budget: TimeBudget | None = None) -> Result:
        return run_in_transaction(self._sessions, work, budget)

    def _new_budget(self, seconds: float) -> TimeBudget:
        return TimeBudget(seconds, lambda: self._interrupted)

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


def _ended_by(lanes: Sequence[Work]) -> str:
    """Why the run ended: 'done', or every other reason, with the name of the source if it is not that of the run."""
    reasons: dict[str, None] = {}
    for lane in lanes:
        reason = lane.result.ended_by
        of_run = reason in ("done", "budget", "interrupted") or lane.source_id == OFFERS_SOURCE
        reasons[reason if of_run else f"{lane.name}: {reason}"] = None
    reasons.pop("done", None)
    return "; ".join(reasons) or "done"


def longest_lease(settings: Settings) -> timedelta:
    """Return the longest duration of a lease, of a product or of the token's refresh."""
    fetch = max(EXCHANGES_PER_PRODUCT * settings.offers_timeout_seconds, FETCH_SECONDS)
    return timedelta(seconds=fetch) + _LEASE_MARGIN


def _selection(products: Sequence[UUID] | None, everything: bool, started_at: datetime) -> Selection:
    if products is None and not everything:
        # What becomes due after the start is left to the next run, so that this one comes to an end.
        return Selection(lambda _now: leases.is_due(started_at), lambda _now: is_document_due(started_at))
    if products is None:
        return Selection(
            lambda now: leases.not_asked_since(started_at, now),
            lambda now: is_document_not_asked_since(started_at, now),
        )
    return Selection(
        lambda now: and_(leases.not_asked_since(started_at, now), ProductSource.product_id.in_(products)),
        lambda _now: is_document_due(started_at),
    )
