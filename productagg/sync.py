"""One pass: claim what is due, fetch its offers, reconcile, reschedule, report.

Cron, the web service's background threads and the tests all come through `Synchronizer`. Leases in the database let any
number of passes run side by side, on any number of hosts, and free the products of one that was killed. No transaction
is open while the network is waited for, and only a whole, valid list ever changes an offer.
"""

import logging
import math
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from uuid_utils.compat import uuid7

from productagg.credentials import Issued, NoToken, TokenKeeper, account_key
from productagg.models import Product, ProductSync, SyncRun
from productagg.offers import Observation, State, reconcile
from productagg.settings import Settings
from productagg.upstream import Busy, NotRegistered, OffersClient, Refused, StillValid, Unauthorized, UpstreamError

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Products claimed and settled together, per worker: enough for cheap transactions, few enough for a short lease.
_BATCH_PER_WORKER = 4
# The most exchanges that one product can need: authenticate, fetch, register, fetch again, each with a second try.
_EXCHANGES_PER_PRODUCT = 6
_LEASE_MARGIN = timedelta(seconds=30)
# Due a little early rather than a cron tick late: this, but at most a tenth of the interval.
_TICK_TOLERANCE = timedelta(seconds=5)
_LONGEST_BACKOFF = timedelta(hours=1)


@dataclass(frozen=True)
class Claim:
    """A product that is ours to work on until `leased_until`."""

    product_id: UUID
    name: str
    description: str
    registered: bool
    leased_until: datetime


@dataclass(frozen=True)
class Outcome:
    """What came of a claim: `offers`, a whole, valid list, or `error`, why there is none. Neither: it was not asked."""

    claim: Claim
    registered: bool
    offers: dict[UUID, State] | None = None
    error: UpstreamError | None = None


@dataclass
class Report:
    """What a pass did. `asked` counts products, `changed` those with changed offers, `closed` the offers that vanished.

    `ended_by` is 'done', 'interrupted', 'crashed', or why the pass could not go on.
    """

    started_at: datetime
    finished_at: datetime
    asked: int = 0
    changed: int = 0
    closed: int = 0
    failed: int = 0
    ended_by: str = "done"

    @property
    def exit_code(self) -> int:
        """0: all well; 1: some products failed; 2: the pass could not run, or not to its end."""
        if self.ended_by != "done":
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
        self._interval = timedelta(seconds=settings.sync_interval_seconds)
        self._workers = settings.sync_workers
        self._longest_fetch = timedelta(seconds=_EXCHANGES_PER_PRODUCT * settings.offers_timeout_seconds)
        refresh_token = settings.offers_refresh_token.reveal()
        self._client = OffersClient(settings.offers_base_url, refresh_token, settings.offers_timeout_seconds)
        self._tokens = TokenKeeper(
            sessions,
            account_key(settings.offers_base_url, refresh_token),
            self._ask_for_token,
            patience_seconds=settings.offers_timeout_seconds + 5,
        )
        self._interrupted = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def interrupt(self) -> None:
        """End the pass soon: what is under way is finished, the rest is given back. Safe in a signal handler."""
        self._interrupted.set()

    def run(self) -> Report:
        """One pass over everything that is due now. What fails is recorded in its row and stops nothing else."""
        now = _now()
        report = Report(started_at=now, finished_at=now)
        run_id = uuid7()
        with self._sessions.begin() as session:
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
        try:
            self._pass(report)
        except BaseException:
            report.ended_by = "crashed"
            raise
        finally:
            report.finished_at = _now()
            with self._sessions.begin() as session:
                run = session.get_one(SyncRun, run_id)
                run.finished_at, run.ended_by = report.finished_at, report.ended_by
                run.claimed, run.changed, run.failed = report.asked, report.changed, report.failed
        return report

    def sync_product(self, product_id: UUID) -> Report:
        """Register one product and fetch its offers, if that is due, nobody is at it, and anything may be asked."""
        now = _now()
        report = Report(started_at=now, finished_at=now)
        if self._may_ask(report):
            fetcher = _Fetcher(self._client, self._tokens, self._interrupted)
            due = and_(ProductSync.product_id == product_id, ProductSync.next_sync_at <= now)
            self._settle([fetcher.fetch(claim) for claim in self._claim(due, limit=1)], report)
            report.ended_by = fetcher.stopped_by or report.ended_by
        report.finished_at = _now()
        return report

    def _pass(self, report: Report) -> None:
        if not self._may_ask(report):
            return
        fetcher = _Fetcher(self._client, self._tokens, self._interrupted)
        # Whatever becomes due after the start is the next pass's work, so this one comes to an end.
        due = ProductSync.next_sync_at <= report.started_at
        with ThreadPoolExecutor(self._workers, thread_name_prefix="fetch") as pool:
            while fetcher.stopped_by is None:
                claims = self._claim(due, limit=self._workers * _BATCH_PER_WORKER)
                if not claims:
                    return
                self._settle(list(pool.map(fetcher.fetch, claims)), report)
        report.ended_by = fetcher.stopped_by

    def _may_ask(self, report: Report) -> bool:
        blocked = self._tokens.blocked()
        if blocked is not None:
            report.ended_by = str(blocked)
        return blocked is None

    def _claim(self, which: ColumnElement[bool], limit: int) -> list[Claim]:
        """Take the leases of up to `limit` products, the longest due first, skipping those that somebody works on."""
        now = _now()
        # As long as the work can take at worst, and no longer: a killed pass's products wait for its end.
        leased_until = now + math.ceil(limit / self._workers) * self._longest_fetch + _LEASE_MARGIN
        due = (
            select(ProductSync.product_id)
            .where(which, or_(ProductSync.leased_until.is_(None), ProductSync.leased_until <= now))
            .order_by(ProductSync.next_sync_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        lease = (
            update(ProductSync)
            .where(ProductSync.product_id == due.c.product_id)
            .values(leased_until=leased_until)
            .returning(ProductSync.product_id)
            .execution_options(synchronize_session=False)
        )
        with self._sessions.begin() as session:
            product_ids = session.scalars(lease).all()
            if not product_ids:
                return []
            rows = session.execute(
                select(Product.id, Product.name, Product.description, ProductSync.registration)
                .join(ProductSync, ProductSync.product_id == Product.id)
                .where(Product.id.in_(product_ids))
                .order_by(ProductSync.next_sync_at, Product.id)
            )
            return [
                Claim(row.id, row.name, row.description, row.registration == "registered", leased_until) for row in rows
            ]

    def _settle(self, outcomes: Sequence[Outcome], report: Report) -> None:
        """Write down what came of a batch, in one short transaction, and give its leases back.

        A product that was deleted meanwhile, or whose lease somebody else took over, is left alone.
        """
        now = _now()
        by_id = {each.claim.product_id: each for each in outcomes}
        with self._sessions.begin() as session:
            # The products first, as whoever removes or changes one does: the other way round is a deadlock.
            kept = select(Product.id).where(Product.id.in_(by_id)).order_by(Product.id)
            session.execute(kept.with_for_update(read=True, key_share=True))
            locked = select(ProductSync).where(ProductSync.product_id.in_(by_id)).order_by(ProductSync.product_id)
            rows = [
                row
                for row in session.scalars(locked.with_for_update())
                if row.leased_until == by_id[row.product_id].claim.leased_until
            ]
            observations = [
                Observation(row.product_id, fetched, first=row.last_synced_at is None)
                for row in rows
                if (fetched := by_id[row.product_id].offers) is not None
            ]
            differences = reconcile(session, observations, now)
            for row in rows:
                row.leased_until = None
                self._record(row, by_id[row.product_id], report.started_at, now)
                if row.product_id in differences:
                    row.last_changed_at = now
        report.asked += sum(each.offers is not None or each.error is not None for each in outcomes)
        report.changed += len(differences)
        report.closed += sum(len(difference.closed) for difference in differences.values())
        report.failed += sum(each.error is not None for each in outcomes)

    def _record(self, row: ProductSync, outcome: Outcome, started_at: datetime, now: datetime) -> None:
        if outcome.registered and row.registration != "registered":
            row.registration, row.registered_at = "registered", now
        if outcome.offers is not None:
            row.last_synced_at, row.failures, row.last_error = now, 0, None
            row.next_sync_at = self._next(started_at, self._interval, now)
        elif outcome.error is not None:
            if row.failures == 0:
                log.warning("product %s: %s", row.product_id, outcome.error)
            if isinstance(outcome.error, Refused) and not outcome.registered:
                row.registration = "failed"
            row.failures += 1
            row.last_error = str(outcome.error)
            row.next_sync_at = self._next(started_at, self._backoff(row.failures), now)

    def _next(self, started_at: datetime, delay: timedelta, now: datetime) -> datetime:
        """`delay` after this pass started: counted from its end, a long pass would make cron's next one too early."""
        return max(now, started_at + delay - min(_TICK_TOLERANCE, self._interval / 10))

    def _backoff(self, failures: int) -> timedelta:
        """The first failure is tried again by the next pass; then 1, 3, 7 … intervals later, at most an hour."""
        return min(self._interval * ((1 << min(failures - 1, 20)) - 1), _LONGEST_BACKOFF)

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


class _Stopped(Exception):
    """Nobody is asked for anything any more; the fetcher knows why."""


class _Fetcher:
    """What one pass's workers share: it fetches one product at a time, and knows when to stop asking altogether."""

    def __init__(self, client: OffersClient, tokens: TokenKeeper, interrupted: threading.Event) -> None:
        self._client = client
        self._tokens = tokens
        self._interrupted = interrupted
        self._lock = threading.Lock()
        self._forgets = False
        self.stopped_by: str | None = None

    def fetch(self, claim: Claim) -> Outcome:
        """Ask for a claimed product's offers, registering it first where needed. Raises only what the database does."""
        registered = claim.registered
        try:
            if not registered:
                self._register(claim)
                registered = True
            try:
                found = self._offers(claim)
            except NotRegistered:
                self._say_that_it_forgets(claim)
                registered = False
                self._register(claim)
                registered = True
                found = self._offers(claim)
        except _Stopped:
            return Outcome(claim, registered)
        except Busy as error:
            # This product's outcome, too: the only one that gets such answers must not be the first one every time.
            self._stop_for(error)
            return Outcome(claim, registered, error=error)
        except UpstreamError as error:
            return Outcome(claim, registered, error=error)
        except SQLAlchemyError:
            raise
        except Exception as error:
            # A fault of ours that this one product brings to light must not stop the others.
            log.exception("product %s", claim.product_id)
            return Outcome(claim, registered, error=UpstreamError(f"a fault in productagg: {type(error).__name__}"))
        return Outcome(claim, registered, {id_: State(*state) for id_, state in found.items()})

    def _say_that_it_forgets(self, claim: Claim) -> None:
        # Once: a service that was reset has forgotten all of them.
        if not self._forgets:
            self._forgets = True
            log.warning("product %s: the Offers service forgot it; registering it, and others, again", claim.product_id)

    def _register(self, claim: Claim) -> None:
        self._with_token(lambda token: self._client.register(token, claim.product_id, claim.name, claim.description))

    def _offers(self, claim: Claim) -> dict[UUID, tuple[int, int]]:
        return self._with_token(lambda token: self._client.offers(token, claim.product_id))

    def _with_token(self, ask: Callable[[str], Answer]) -> Answer:
        """Ask with the shared token; once more with a new one if it is refused."""
        token = self._token()
        try:
            return ask(token)
        except Unauthorized:
            self._tokens.reject(token)
            return ask(self._token())

    def _token(self) -> str:
        """The shared token, before each exchange. Raises _Stopped if there shall be no more."""
        # One worker at a time: what stops it also stops those that waited for it.
        with self._lock:
            if self._interrupted.is_set() and self.stopped_by is None:
                self.stopped_by = "interrupted"
            if self.stopped_by is not None:
                raise _Stopped
            try:
                return self._tokens.get()
            except NoToken as error:
                self.stopped_by = str(error)
                raise _Stopped from error
            except Busy as error:
                self._stop_for(error)
                raise _Stopped from error

    def _stop_for(self, error: Busy) -> None:
        self.stopped_by = str(error)
        self._tokens.block(error.retry_at, str(error))


def _now() -> datetime:
    return datetime.now(UTC)
