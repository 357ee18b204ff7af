"""The network's side of a pass: threads that ask the Offers service for claimed products, and know when to stop.

For the sync only. Apart from the shared token, which `credentials` keeps, nothing here touches the database.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Self, TypeVar
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from productagg.db import clock
from productagg.db.errors import is_unavailable
from productagg.offers.reconcile import State
from productagg.sources.offers_service.client import Busy, NotRegistered, OffersClient, Unauthorized, UpstreamError
from productagg.sync.leases import Claim, Outcome
from productagg.sync.tokens import NoToken, TokenKeeper

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# The most exchanges that one product can need: authenticate, fetch, register, fetch again, each with a second try.
EXCHANGES_PER_PRODUCT = 6
# Before its time is up, a pass needs some for what is under way and for settling; half of it for each.
_RESERVE_SECONDS = 2.0
_GRACE_AFTER_INTERRUPT_SECONDS = 3.0


class _Stopped(Exception):
    """Nobody is asked for anything any more; the fetcher knows why."""


class Fetcher:
    """What one pass's threads share: it fetches one product at a time, and knows when to stop asking altogether.

    `longest` is how long one product can take at worst: whoever has less left of the lease does not begin.
    `per_second` is the most requests to be sent in a second, evenly spaced, apart from those for an access token
    and those that `transport` sends once more.
    """

    def __init__(
        self,
        client: OffersClient,
        tokens: TokenKeeper,
        longest: timedelta,
        per_second: float | None,
        interrupted: Callable[[], bool],
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._longest = longest
        self._gap = 1 / per_second if per_second else 0.0
        self._next_request_at = 0.0
        self._interrupted = interrupted
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._forgets = False
        self.stopped_by: str | None = None

    def stop(self, reason: str) -> None:
        """Begin no further exchange. The first reason counts."""
        self.stopped_by = self.stopped_by or reason
        self._stopping.set()

    def fetch(self, claim: Claim) -> Outcome:
        """Ask for a claimed product's offers, registering it first where needed. Raises only faults of ours."""
        registered = claim.registered
        if clock.seconds_left(claim.deadline) < self._longest.total_seconds():
            return Outcome(claim, registered)
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
        except SQLAlchemyError as error:
            if not is_unavailable(error):
                raise
            return Outcome(claim, registered)
        except Exception as error:
            # A fault of ours that this one product brings to light must not stop the others.
            log.exception("product %s", claim.product_id)
            fault = UpstreamError(f"a fault in productagg: {type(error).__name__}", "fault")
            return Outcome(claim, registered, error=fault)
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
        """Ask with the shared token; if it is refused with the one that is stored, and with a new one at last."""
        for _ in range(2):
            token = self._token()
            try:
                return ask(token)
            except Unauthorized:
                self._tokens.reject(token)
        return ask(self._token())

    def _token(self) -> str:
        """The shared token, when it is this exchange's turn. Raises _Stopped if there shall be no more."""
        if self._gap:
            self._wait_for_turn()
        # One thread at a time: what stops it also stops those that waited for it.
        with self._lock:
            if self._interrupted():
                self.stop("interrupted")
            if self.stopped_by is not None:
                raise _Stopped
            try:
                return self._tokens.get()
            except NoToken as error:
                self.stop(str(error))
                raise _Stopped from error
            except Busy as error:
                self._stop_for(error)
                raise _Stopped from error

    def _wait_for_turn(self) -> None:
        with self._lock:
            turn = max(time.monotonic(), self._next_request_at)
            self._next_request_at = turn + self._gap
        self._stopping.wait(turn - time.monotonic())

    def _stop_for(self, error: Busy) -> None:
        """End this pass, and keep the other processes from asking if the database can be told."""
        self.stop(str(error))
        try:
            self._tokens.block(error.retry_after, str(error))
        except SQLAlchemyError as failure:
            if not is_unavailable(failure):
                raise
            log.warning("%s; the database is out of reach, so other processes do not know it", error)


class Crew:
    """Threads that turn claims into outcomes. They are daemons: a pass that has to end does not wait for a hung one."""

    def __init__(self, fetch: Callable[[Claim], Outcome], workers: int) -> None:
        self._fetch = fetch
        self._todo: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._landed: list[Outcome] = []
        self._failure: BaseException | None = None
        self._wanted = 1
        self._enough = threading.Event()
        self.outstanding: set[Claim] = set()
        self._abandoned = False
        self._threads = [
            threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True) for number in range(workers)
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

    def add(self, claims: Iterable[Claim]) -> None:
        """Hand out work."""
        for claim in claims:
            self.outstanding.add(claim)
            self._todo.put(claim)

    def wait(self, wanted: int, seconds: float) -> bool:
        """Whether `wanted` outcomes have come in; waits for them. Raises what a thread could not handle."""
        with self._lock:
            self._wanted = wanted
            if self._failure is not None or len(self._landed) >= wanted:
                self._enough.set()
            else:
                self._enough.clear()
        enough = self._enough.wait(seconds)
        if self._failure is not None:
            raise self._failure
        return enough

    def collect(self) -> list[Outcome]:
        """What has come in."""
        with self._lock:
            landed, self._landed = self._landed, []
        self.outstanding.difference_update(outcome.claim for outcome in landed)
        return landed

    def abandon(self) -> list[Outcome]:
        """What has come in, and the rest as not asked: nothing is outstanding then.

        The threads that are still at it end when they can; nobody hears of what they get.
        """
        landed = self.collect()
        given_up, self.outstanding = self.outstanding, set()
        self._abandoned = self._abandoned or bool(given_up)
        return [*landed, *(Outcome(claim, claim.registered) for claim in given_up)]

    def _work(self) -> None:
        while (claim := self._todo.get()) is not None:
            outcome = failure = None
            try:
                outcome = self._fetch(claim)
            except BaseException as error:
                failure = error
            with self._lock:
                if outcome is not None:
                    self._landed.append(outcome)
                self._failure = self._failure or failure
                if self._failure is not None or len(self._landed) >= self._wanted:
                    self._enough.set()


class Times:
    """When a pass begins no further exchange, and when it leaves those that are under way: before its time is up.

    All by the monotonic clock. Once it is `interrupted`, there are only a few seconds more for what is under way.
    """

    def __init__(self, seconds: float, interrupted: Callable[[], bool]) -> None:
        self._interrupted = interrupted
        self._seconds = seconds
        self._began_at = time.monotonic()
        self._end_at = self._began_at + seconds
        self._reserve = min(_RESERVE_SECONDS, seconds / 5)
        self._stop_at = self._end_at - self._reserve
        self._hurries = False

    @property
    def leave_at(self) -> float:
        return self._end_at - self._reserve / 2

    def tell(self, fetcher: Fetcher) -> None:
        """Stop the fetcher if it is time to."""
        if self._interrupted():
            self._hurry()
            fetcher.stop("interrupted")
        elif time.monotonic() >= self._stop_at:
            fetcher.stop("budget")

    def are_up(self) -> bool:
        """Whether it is time to leave what is under way."""
        return time.monotonic() >= self.leave_at

    def left(self) -> float:
        """Seconds to the end."""
        if self._interrupted():
            self._hurry()
        return self._end_at - time.monotonic()

    def elapsed(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._began_at)

    def passed(self) -> float:
        """How much of the time has passed, as a share of it."""
        return (time.monotonic() - self._began_at) / self._seconds

    def _hurry(self) -> None:
        if not self._hurries:
            self._hurries = True
            longest = _GRACE_AFTER_INTERRUPT_SECONDS + self._reserve / 2
            self._end_at = min(self._end_at, time.monotonic() + longest)
