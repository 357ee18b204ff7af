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
from datetime import UTC, datetime, timedelta
from typing import Self, TypeVar
from uuid import UUID

import uuid_utils
from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from productagg import claims
from productagg.claims import Claim, Outcome
from productagg.credentials import Issued, NoToken, TokenKeeper, account_key
from productagg.db import is_out_of_reach, reason
from productagg.fetching import EXCHANGES_PER_PRODUCT, Crew, Fetcher
from productagg.history import movers
from productagg.models import ProductSync, SyncRun
from productagg.schedule import Schedule
from productagg.settings import Settings
from productagg.upstream import Busy, OffersClient, StillValid, UpstreamError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Claims per worker to begin with; from then on as many as are fetched in two seconds, but no more than these, which are
# settled in halves: few transactions, little memory, and little to be fetched again if the pass is killed.
_FIRST_CLAIMS_PER_WORKER = 4
_MOST_CLAIMS = 1000
_CLAIM_AHEAD_SECONDS = 2.0
# What has come in is settled this often at least, and whether to stop is looked at this often.
_SETTLE_SECONDS = 1.0
_LOOK_SECONDS = 0.25
_SUMMARIES_AT_ONCE = 500
# How long a claim may wait for a free worker, on top of what one product can take at worst.
_LEASE_MARGIN = timedelta(seconds=30)
# Before its time is up, a pass needs some for what is under way and for settling; half of it for each.
_RESERVE_SECONDS = 2.0
_GRACE_AFTER_INTERRUPT_SECONDS = 3.0
_LONGEST_WAIT_FOR_DATABASE_SECONDS = 30.0
_CLOCK_SKEW = timedelta(minutes=1)
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
        now = datetime.now(UTC)
        report = Report(started_at=now, finished_at=now)
        # What becomes due after the start is the next pass's work, so this one comes to an end.
        which = claims.not_asked_since(now) if everything or products is not None else claims.due(now)
        if products is not None:
            which = and_(which, ProductSync.product_id.in_(products))
        before = self._client.traffic
        run_id = UUID(int=uuid_utils.uuid7(nanoseconds=int(now.timestamp() * 1e6) * 1000).int)
        self._transaction(lambda session: _begin(session, run_id, now))
        patience = 0.0
        try:
            self._pass(which, report, progress)
            patience = _LONGEST_WAIT_FOR_DATABASE_SECONDS
        except BaseException:
            report.ended_by = "crashed"
            raise
        finally:
            report.finished_at = datetime.now(UTC)
            after = self._client.traffic
            report.requests, report.bytes = after.requests - before.requests, after.bytes - before.bytes
            self._transaction(lambda session: _finish(session, run_id, report), patience)
        return report

    def sync_products(
        self, product_ids: Sequence[UUID], beginning: Callable[[UUID], object] = lambda _product_id: None
    ) -> tuple[Report, set[UUID], float]:
        """Register products and fetch their offers: those that are due and nobody is at, if anything may be asked.

        Returns what became of it, which were fetched, and how many seconds of processor it took. `beginning` is told of
        each, in the thread that asks for it.
        """
        now = datetime.now(UTC)
        report = Report(started_at=now, finished_at=now)
        fetcher = self._fetcher()
        spent = [-time.thread_time()]

        def fetch(claim: Claim) -> Outcome:
            began = time.thread_time()
            beginning(claim.product_id)
            outcome = fetcher.fetch(claim)
            spent.append(time.thread_time() - began)
            return outcome

        due = and_(ProductSync.product_id.in_(product_ids), claims.due(now))
        found = self._claim(due, len(product_ids), fetcher, report)
        outcomes: list[Outcome] = []
        if len(found) == 1:  # in this thread, which has a connection to the Offers service
            beginning(found[0].product_id)
            outcomes = [fetcher.fetch(found[0])]
            self._settle(outcomes, report)
        elif found:
            with Crew(fetch, min(len(found), self._workers)) as crew:
                crew.add(found)
                while crew.outstanding:
                    # None waits for one that takes its time.
                    crew.wait(len(crew.outstanding), _SETTLE_SECONDS)
                    if landed := crew.collect():
                        self._settle(landed, report)
                        outcomes += landed
        report.ended_by = fetcher.stopped_by or report.ended_by
        report.finished_at = datetime.now(UTC)
        fetched = {each.claim.product_id for each in outcomes if each.offers is not None}
        return report, fetched, sum(spent) + time.thread_time()

    def _pass(self, which: ColumnElement[bool], report: Report, progress: Callable[[int, int], None] | None) -> None:
        times = _Times(self._budget)
        fetcher = self._fetcher()
        total = self._transaction(lambda session: claims.count(session, which)) if progress else 0
        room, more = self._workers * _FIRST_CLAIMS_PER_WORKER, True
        with Crew(fetcher.fetch, self._workers) as crew:
            while True:
                began_at = time.monotonic()
                if more and fetcher.stopped_by is None and (missing := room - len(crew.outstanding)) > 0:
                    found = self._claim(which, missing, fetcher, report, times.left())
                    more = len(found) == missing
                    crew.add(found)
                if not crew.outstanding:
                    break
                # Half of it while there is more, so that the threads go on with the other half meanwhile.
                self._wait(crew, math.ceil(len(crew.outstanding) / (2 if more else 1)), fetcher, times)
                outcomes = crew.abandon() if times.is_up() else crew.collect()
                if outcomes:
                    self._settle(outcomes, report, times.left())
                # What was given back unasked (its lease too short by now, the database away) is due as before.
                more = more or any(each.offers is None and each.error is None for each in outcomes)
                if progress:
                    progress(report.asked, total)
                rate = len(outcomes) / (time.monotonic() - began_at)
                room = min(max(int(rate * _CLAIM_AHEAD_SECONDS), 2 * self._workers), _MOST_CLAIMS)
                if times.is_up():
                    break
        report.ended_by = fetcher.stopped_by or "done"
        self._refresh_summaries(times)

    def _refresh_summaries(self, times: "_Times") -> None:
        """With the time that is left, look up what prices were a while ago, where that is due."""
        due = _SUMMARIES_AT_ONCE
        while due == _SUMMARIES_AT_ONCE and not self._interrupted and not times.is_up():
            due = self._transaction(
                lambda session: movers.refresh(session, datetime.now(UTC), _SUMMARIES_AT_ONCE), times.left()
            )

    def _wait(self, crew: Crew, wanted: int, fetcher: Fetcher, times: "_Times") -> None:
        """Return when enough has come in to settle it, when that has been long enough, or when it is time to leave."""
        settle_at = time.monotonic() + _SETTLE_SECONDS
        while not crew.wait(wanted, min(_LOOK_SECONDS, max(0.0, times.leave_at - time.monotonic()))):
            if self._interrupted:
                fetcher.stop("interrupted")
                times.hurry()
            now = time.monotonic()
            if now >= times.stop_at:
                fetcher.stop("budget")
            if now >= min(settle_at, times.leave_at):
                return

    def _claim(
        self, which: ColumnElement[bool], limit: int, fetcher: Fetcher, report: Report, patience: float = 0.0
    ) -> list[Claim]:
        def work(session: Session) -> list[Claim]:
            blocked = self._tokens.blocked(session)
            if blocked is not None:
                fetcher.stop(str(blocked))
                return []
            return claims.claim(session, which, limit, self._lease)

        found = self._transaction(work, patience)
        report.claimed += len(found)
        if found:
            waited = (datetime.now(UTC) - found[0].due_at).total_seconds()
            report.longest_wait_seconds = max(report.longest_wait_seconds, waited)
        return found

    def _settle(self, outcomes: Sequence[Outcome], report: Report, patience: float = 0.0) -> None:
        changes = self._transaction(
            lambda session: claims.settle(session, outcomes, self._schedule, report.started_at), patience
        )
        report.fetched += sum(each.offers is not None for each in outcomes)
        report.changed += len(changes)
        report.closed += sum(len(change.difference.closed) for change in changes)
        for each in outcomes:
            if each.error is not None:
                report.failed += 1
                report.failures[each.error.reason] += 1

    def _transaction(self, work: Callable[[Session], Result], patience: float = 0.0) -> Result:
        """Do `work` in a transaction; again, for `patience` seconds, while the database is out of reach."""
        give_up_at = time.monotonic() + min(patience, _LONGEST_WAIT_FOR_DATABASE_SECONDS)
        warned = False
        while True:
            try:
                with self._sessions.begin() as session:
                    return work(session)
            except DBAPIError as error:
                if not is_out_of_reach(error) or self._interrupted or time.monotonic() >= give_up_at:
                    raise
                if not warned:
                    warned = True
                    log.warning("the database is out of reach, trying again: %s", reason(error))
            time.sleep(_LOOK_SECONDS)

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


class _Times:
    """When a pass begins no further exchange, and when it leaves those that are under way: before its time is up."""

    def __init__(self, budget_seconds: float) -> None:
        self._end_at = time.monotonic() + budget_seconds
        reserve = min(_RESERVE_SECONDS, budget_seconds / 5)
        self.stop_at = self._end_at - reserve
        self.leave_at = self._end_at - reserve / 2

    def hurry(self) -> None:
        """It has been told to stop: those under way get a few seconds more."""
        if self.stop_at > time.monotonic():
            self.stop_at = time.monotonic()
            self.leave_at = min(self.leave_at, self.stop_at + _GRACE_AFTER_INTERRUPT_SECONDS)

    def is_up(self) -> bool:
        return time.monotonic() >= self.leave_at

    def left(self) -> float:
        """Seconds to the end of the pass; not below 0."""
        return max(0.0, self._end_at - time.monotonic())


def _begin(session: Session, run_id: UUID, started_at: datetime) -> None:
    latest = session.execute(select(SyncRun.started_at).order_by(SyncRun.id.desc()).limit(1)).scalar()
    if latest is not None and latest > started_at + _CLOCK_SKEW:
        repaired = claims.repair_after_clock_was_set_back(session, started_at, _CLOCK_SKEW)
        if repaired:
            log.warning("the clock was set back: there was a pass at %s; %d products are due now", latest, repaired)
    session.add(
        SyncRun(
            id=run_id,
            host=socket.gethostname(),
            started_at=started_at,
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


def _finish(session: Session, run_id: UUID, report: Report) -> None:
    values = {each.name: getattr(report, each.name) for each in fields(report)}
    session.execute(update(SyncRun).where(SyncRun.id == run_id).values(values))
    # A UUIDv7 begins with its time in milliseconds.
    oldest = int((report.started_at - _RUNS_KEPT).timestamp() * 1000)
    session.execute(delete(SyncRun).where(SyncRun.id < UUID(int=oldest << 80)))
