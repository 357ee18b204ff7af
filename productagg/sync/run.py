"""One pass: claim what is due, fetch its offers, reconcile, reschedule, report.

Cron, the web service's background threads and the tests all come through `Synchronizer`. Leases in the database let any
number of passes run side by side, on any number of hosts, and free the products of one that was killed. No transaction
is open while the network is waited for, and only a whole, valid list ever changes an offer.
"""

import logging
import math
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Self, TypeVar
from uuid import UUID

import uuid_utils
from sqlalchemy import ColumnElement, and_, delete, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from productagg.db import clock
from productagg.db.errors import driver_message, is_unavailable
from productagg.db.models import ProductSync, SyncRun
from productagg.history import movers
from productagg.settings import Settings
from productagg.sources.offers_service.client import Busy, OffersClient, StillValid, UpstreamError
from productagg.sync import leases
from productagg.sync.leases import Claim, Outcome
from productagg.sync.schedule import Schedule
from productagg.sync.tokens import Issued, NoToken, TokenKeeper, account_key
from productagg.sync.workers import EXCHANGES_PER_PRODUCT, Crew, Fetcher, Times

log = logging.getLogger(__name__)

Result = TypeVar("Result")
# Which products are to be claimed, at a time by the database's clock.
_Wanted = Callable[[datetime], ColumnElement[bool]]

# Claims per worker to begin with; from then on as many as are fetched in two seconds, but no more than these, which are
# settled in halves: few transactions, little memory, and little to be fetched again if the pass is killed.
_FIRST_CLAIMS_PER_WORKER = 4
_MOST_CLAIMS = 1000
_CLAIM_AHEAD_SECONDS = 2.0
# What has come in is settled this often at least, and whether to stop is looked at this often.
_SETTLE_SECONDS = 1.0
_LOOK_SECONDS = 0.25
_SUMMARIES_AT_ONCE = 500
# How much of a pass's time is for them at most.
_SUMMARIES_SHARE = 0.1
# How long a claim may wait for a free worker, on top of what one product can take at worst.
_LEASE_MARGIN = timedelta(seconds=30)
_LONGEST_WAIT_FOR_DATABASE = 30.0
_RUNS_KEPT = timedelta(days=90)


@dataclass
class Report:
    """What a pass did.

    `claimed` counts products taken, `fetched` whole, valid lists, `changed` products with changed offers, `closed`
    offers that vanished, `failed` products without a list, by reason in `failures`. `ended_by` is 'done', 'budget' (its
    time was up), 'interrupted', 'crashed', or why the pass could not go on.
    """

    started_at: datetime
    finished_at: datetime
    claimed: int = 0
    fetched: int = 0
    changed: int = 0
    closed: int = 0
    failed: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    bytes: int = 0
    longest_wait_seconds: float = 0.0
    ended_by: str = "done"

    def count(self, found: Sequence[Claim], now: datetime) -> None:
        """Count what was claimed at a time, the longest due first."""
        self.claimed += len(found)
        if found:
            self.longest_wait_seconds = max(self.longest_wait_seconds, (now - found[0].due_at).total_seconds())

    @property
    def asked(self) -> int:
        return self.fetched + self.failed

    @property
    def exit_code(self) -> int:
        """0: all well; 1: some products failed; 2: the pass could not run, or not to its end."""
        if self.ended_by not in ("done", "budget"):
            return 2
        return 1 if self.failed else 0

    def __str__(self) -> str:
        seconds = (self.finished_at - self.started_at).total_seconds()
        return (
            f"{self.asked} products asked, {self.changed} changed, {self.closed} offers closed, {self.failed} failed, "
            f"in {seconds:.2f} s: {self.ended_by}"
        )


class Synchronizer:
    """Makes passes, and syncs single products, between one database and one Offers service. Thread-safe."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._schedule = Schedule.of(settings)
        self._workers = settings.sync_workers
        self._per_second = settings.sync_max_requests_per_second
        self._budget = settings.sync_budget_seconds
        # Half of the pass at most, so that an exchange begun at its start always comes to an end.
        timeout = min(settings.offers_timeout_seconds, self._budget / 2)
        self._longest_fetch = timedelta(seconds=EXCHANGES_PER_PRODUCT * timeout)
        self._lease = self._longest_fetch + _LEASE_MARGIN
        refresh_token = settings.offers_refresh_token.reveal()
        self._client = OffersClient(settings.offers_base_url, refresh_token, timeout)
        self._tokens = TokenKeeper(
            sessions,
            account_key(settings.offers_base_url, refresh_token),
            self._ask_for_token,
            patience_seconds=timeout + 5,
        )
        self._interrupted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def interrupt(self) -> None:
        """End the pass within seconds: what is under way is finished or given back. Safe in a signal handler."""
        self._interrupted = True

    def run(
        self,
        *,
        products: Sequence[UUID] | None = None,
        everything: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Report:
        """One pass over what is due now, or over `products`, or over everything, due or not.

        What fails is recorded in its row and stops nothing else. `progress` is called with the number of products that
        are done and the number that there were to do.
        """
        times = self._times(self._budget)
        before = self._client.traffic
        run_id, started_at = self._transaction(_begin)
        report = Report(started_at=started_at, finished_at=started_at)

        def wanted(now: datetime) -> ColumnElement[bool]:
            # What becomes due after the start is the next pass's work, so this one comes to an end.
            if products is None and not everything:
                return leases.due(started_at)
            which = leases.not_asked_since(started_at, now)
            return which if products is None else and_(which, ProductSync.product_id.in_(products))

        crashed = True
        try:
            self._refresh_summaries(started_at, times)
            total = self._transaction(lambda session: leases.count(session, wanted(started_at))) if progress else 0
            fetcher = self._fetcher()
            with Crew(fetcher.fetch, self._workers) as crew:
                self._work(crew, fetcher, times, report, wanted, lambda _: progress and progress(report.asked, total))
            report.ended_by, crashed = fetcher.stopped_by or "done", False
        finally:
            if crashed:
                report.ended_by = "crashed"
            report.finished_at = started_at + times.elapsed()
            after = self._client.traffic
            report.requests, report.bytes = after.requests - before.requests, after.bytes - before.bytes
            # It has its own time: the pass's may be up.
            patience = None if crashed else times if self._interrupted else self._times(_LONGEST_WAIT_FOR_DATABASE)
            self._transaction(lambda session: _finish(session, run_id, report), patience)
        return report

    def sync_products(
        self, product_ids: Sequence[UUID], beginning: Callable[[UUID], object] = lambda _product_id: None
    ) -> tuple[Report, set[UUID], float]:
        """Register products and fetch their offers: those that are due and nobody is at, if anything may be asked.

        Returns what became of it, which were fetched, and how many seconds of processor it took. `beginning` is told of
        each, in the thread that asks for it.
        """
        times = self._times(self._budget)
        fetcher = self._fetcher()
        spent = [-time.thread_time()]

        def fetch(claim: Claim) -> Outcome:
            began = time.thread_time()
            beginning(claim.product_id)
            outcome = fetcher.fetch(claim)
            spent.append(time.thread_time() - began)
            return outcome

        def wanted(now: datetime) -> ColumnElement[bool]:
            return and_(ProductSync.product_id.in_(product_ids), leases.due(now))

        now, found = self._claim(wanted, len(product_ids), fetcher)
        report = Report(started_at=now, finished_at=now)
        report.count(found, now)
        outcomes: list[Outcome] = []
        if len(found) == 1:  # in this thread, which has a connection to the Offers service
            beginning(found[0].product_id)
            outcomes = [fetcher.fetch(found[0])]
            self._settle(outcomes, report, times)
        elif found:
            with Crew(fetch, min(len(found), self._workers)) as crew:
                crew.add(found)
                self._work(crew, fetcher, times, report, None, outcomes.extend)
        report.ended_by = fetcher.stopped_by or "done"
        report.finished_at = now + times.elapsed()
        fetched = {each.claim.product_id for each in outcomes if each.offers is not None}
        return report, fetched, sum(spent) + time.thread_time()

    def _work(
        self,
        crew: Crew,
        fetcher: Fetcher,
        times: Times,
        report: Report,
        wanted: _Wanted | None,
        settled: Callable[[Sequence[Outcome]], object],
    ) -> None:
        """Claim what is `wanted`, fetch and settle it, until there is no more, or it is time to stop.

        It never returns while anything is outstanding: what is left when time is up is given up, which is settled like
        all the rest, and gives the lease back. `settled` is told of what was settled, each time.
        """
        room, more = self._workers * _FIRST_CLAIMS_PER_WORKER, wanted is not None
        while True:
            began_at = time.monotonic()
            times.tell(fetcher)
            missing = room - len(crew.outstanding)
            if wanted is not None and more and fetcher.stopped_by is None and missing > 0:
                now, found = self._claim(wanted, missing, fetcher, times)
                report.count(found, now)
                more = len(found) == missing
                times.tell(fetcher)  # claiming may have taken long
                crew.add(found)
            if not crew.outstanding:
                return
            # Half of it while there is more, so that the threads go on with the other half meanwhile.
            _wait(crew, math.ceil(len(crew.outstanding) / (2 if more else 1)), fetcher, times)
            outcomes = crew.abandon() if times.are_up() else crew.collect()
            if outcomes:
                self._settle(outcomes, report, times)
                settled(outcomes)
            # What was given back unasked (its lease too short by now, the database away) is due as before.
            more = more or any(each.offers is None and each.error is None for each in outcomes)
            rate = len(outcomes) / (time.monotonic() - began_at)
            room = min(max(int(rate * _CLAIM_AHEAD_SECONDS), 2 * self._workers), _MOST_CLAIMS)

    def _refresh_summaries(self, now: datetime, times: Times) -> None:
        """Look up what prices were a while ago, where that is due: the longest due first, for a share of the time.

        Before all else, since a pass may have no time left at its end. At least some are looked up in each.
        """
        while True:
            done = self._transaction(lambda session: movers.refresh(session, now, _SUMMARIES_AT_ONCE), times)
            if done < _SUMMARIES_AT_ONCE or self._interrupted or times.passed() >= _SUMMARIES_SHARE:
                return

    def _claim(
        self, wanted: _Wanted, limit: int, fetcher: Fetcher, times: Times | None = None
    ) -> tuple[datetime, list[Claim]]:
        def work(session: Session) -> tuple[datetime, list[Claim]]:
            now, blocked = self._tokens.blocked(session)
            if blocked is not None:
                fetcher.stop(str(blocked))
                return now, []
            return now, leases.claim(session, wanted(now), limit, self._lease, now)

        return self._transaction(work, times)

    def _settle(self, outcomes: Sequence[Outcome], report: Report, times: Times) -> None:
        changes = self._transaction(
            lambda session: leases.settle(session, outcomes, self._schedule, report.started_at), times
        )
        report.fetched += sum(each.offers is not None for each in outcomes)
        report.changed += len(changes)
        report.closed += sum(len(change.difference.closed) for change in changes)
        for each in outcomes:
            if each.error is not None:
                report.failed += 1
                report.failures[each.error.reason] += 1

    def _transaction(self, work: Callable[[Session], Result], times: Times | None = None) -> Result:
        """Do `work` in a transaction; again, while there is time, if the database is out of reach."""
        give_up_at = time.monotonic() + _LONGEST_WAIT_FOR_DATABASE
        warned = False
        while True:
            try:
                with self._sessions.begin() as session:
                    return work(session)
            except DBAPIError as error:
                if not is_unavailable(error) or times is None:
                    raise
                if times.left() <= 0 or time.monotonic() >= give_up_at:
                    raise
                if not warned:
                    warned = True
                    log.warning("the database is out of reach, trying again: %s", driver_message(error))
            time.sleep(_LOOK_SECONDS)

    def _times(self, seconds: float) -> Times:
        return Times(seconds, lambda: self._interrupted)

    def _fetcher(self) -> Fetcher:
        return Fetcher(self._client, self._tokens, self._longest_fetch, self._per_second, lambda: self._interrupted)

    def _ask_for_token(self) -> Issued | None:
        try:
            token = self._client.authenticate()
        except StillValid:
            return None
        except Busy:
            raise
        except UpstreamError as error:
            # Not one product's failure: without a token nobody can ask for anything.
            raise NoToken(f"no access token: {error}") from error
        return Issued(token.value, token.expires_at)


def longest_lease(settings: Settings) -> timedelta:
    """How long a lease of a product, or of the refresh of the token, lasts at most."""
    return timedelta(seconds=EXCHANGES_PER_PRODUCT * settings.offers_timeout_seconds) + _LEASE_MARGIN


def _wait(crew: Crew, wanted: int, fetcher: Fetcher, times: Times) -> None:
    """Return when enough has come in to settle it, when that has been long enough, or when it is time to leave."""
    settle_at = time.monotonic() + _SETTLE_SECONDS
    while not crew.wait(wanted, min(_LOOK_SECONDS, max(0.0, times.leave_at - time.monotonic()))):
        times.tell(fetcher)
        if time.monotonic() >= min(settle_at, times.leave_at):
            return


def _begin(session: Session) -> tuple[UUID, datetime]:
    """Write down that a pass begins; its id, and when that is."""
    now = clock.now(session)
    run_id = UUID(int=uuid_utils.uuid7(nanoseconds=int(now.timestamp() * 1e6) * 1000).int)
    session.add(
        SyncRun(
            id=run_id,
            host=socket.gethostname(),
            started_at=now,
            claimed=0,
            fetched=0,
            changed=0,
            closed=0,
            failed=0,
            failures={},
            requests=0,
            bytes=0,
            longest_wait_seconds=0.0,
        )
    )
    return run_id, now


def _finish(session: Session, run_id: UUID, report: Report) -> None:
    values = {each.name: getattr(report, each.name) for each in fields(report)}
    session.execute(update(SyncRun).where(SyncRun.id == run_id).values(values))
    # A UUIDv7 begins with its time in milliseconds.
    oldest = int((report.started_at - _RUNS_KEPT).timestamp() * 1000)
    session.execute(delete(SyncRun).where(SyncRun.id < UUID(int=oldest << 80)))
