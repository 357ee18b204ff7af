"""DocumentLane: a run's work on a source that is a whole document. It is fetched once for all of its products.

A thread reads the document through its adapter while the lane writes what has been read, so memory does not grow with
the document. A document may take longer than the run's other work: it has a time of its own.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import copy_context
from datetime import timedelta
from itertools import starmap
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy.orm import Session

from productagg.sources.base import Adapter, Failure, NotModified, Outcome, Request, Snapshot, SourceOffer
from productagg.sources.web import Validators, Web
from productagg.sync import document_rows, sources, unmatched_items
from productagg.sync.adapter_fetcher import BUSY, BUSY_FOR, retry_after
from productagg.sync.document_offers import Chunk, SeenOffers, close_vanished, write_chunk
from productagg.sync.document_rows import DocumentLease, LeaseLost
from productagg.sync.lane import InTransaction, Selection
from productagg.sync.run_log import RunResult
from productagg.sync.schedule import Schedule
from productagg.sync.sources import ActiveSource, NoSecret
from productagg.sync.time_budget import TimeBudget
from productagg.sync.unmatched_items import UnmatchedItem

log = logging.getLogger(__name__)

FETCH_SECONDS = 600.0
# On top of fetching: for writing what was read, and for closing what was not there.
LEASE = timedelta(seconds=FETCH_SECONDS) + timedelta(minutes=5)
OFFERS_AT_ONCE = 1000
# Snapshots that are read ahead, and how often the lane looks whether it is to end.
_READ_AHEAD = 2
_POLL_SECONDS = 0.25


# What an adapter yields; None after that.
_Answers: TypeAlias = queue.Queue[Outcome | None]


class _Interrupted(Exception):
    """The run is to end."""


class _Content:
    """What has been read of a document so far."""

    def __init__(self) -> None:
        self.seen = SeenOffers()
        self.items = self.unmatched = 0
        self.first_unmatched: list[UnmatchedItem] = []

    def add(self, items: int, written: Chunk) -> None:
        self.seen.add(written.offers)
        self.items += items
        self.unmatched += len(written.unmatched)
        room = unmatched_items.KEPT - len(self.first_unmatched)
        self.first_unmatched += starmap(unmatched_items.as_stated, written.unmatched[:room])


class DocumentLane:
    """Like Lane, for one document. In its result, the document counts as one product.

    `begin` makes the `Web` of the fetch. `configuration` is as the adapter's schema deserialized it. For
    `quarantine_factor` see plan_updates.
    """

    def __init__(
        self,
        source: ActiveSource,
        adapter: Adapter,
        configuration: Mapping[str, Any],
        begin: Callable[[float], Web],
        schedule: Schedule,
        observed_for: timedelta,
        in_transaction: InTransaction,
        interrupted: Callable[[], bool],
        result: RunResult,
        quarantine_factor: float,
    ) -> None:
        self.source_id, self.name, self.result = source.id, source.name, result
        self._source = source
        self._adapter = adapter
        self._configuration = configuration
        self._begin = begin
        self._schedule = schedule
        self._observed_for = observed_for
        self._in_transaction = in_transaction
        self._interrupted = interrupted
        self._quarantine_factor = quarantine_factor
        # Whether the document has prices that it must list again before they are taken.
        self._holds_back = False

    def work(self, selected: Selection, budget: TimeBudget, progress: Callable[[], object]) -> None:
        """Fetch the document if it is selected, whichever products are."""
        own_budget = TimeBudget(LEASE.total_seconds(), self._interrupted)
        try:
            secret = self._source.secret()
        except NoSecret as error:
            self.result.ended_by = str(error)
            return
        lease = self._in_transaction(lambda session: self._acquire(session, selected), own_budget)
        if lease is not None:
            self.result.leased += 1
            self._sync(lease, secret, own_budget)
            progress()

    def _acquire(self, session: Session, selected: Selection) -> DocumentLease | None:
        now, blocked = sources.blocked(session, self.source_id)
        if blocked is not None:
            self.result.ended_by = blocked
            return None
        return document_rows.acquire(session, self.source_id, selected.documents(now), LEASE, now)

    def _sync(self, lease: DocumentLease, secret: str | None, budget: TimeBudget) -> None:
        content = _Content()
        last: Outcome = Failure("the adapter did not answer", "no_answer")
        try:
            for last in self._read(lease, secret, budget):
                if isinstance(last, Snapshot):
                    self._write(lease, last.offers, content, budget)
            if isinstance(last, Snapshot) and last.complete:
                self._complete(lease, last.validators, content, budget)
            elif isinstance(last, NotModified):
                self._succeed(lease, budget)
            else:
                self._failed(lease, last, budget)
        except _Interrupted:
            self.result.ended_by = "interrupted"
            self._in_transaction(lambda session: document_rows.give_back(session, lease), budget)
        except LeaseLost:
            self.result.ended_by = "another run has the document now"

    def _read(self, lease: DocumentLease, secret: str | None, budget: TimeBudget) -> Iterator[Outcome]:
        """What the adapter yields, read by a thread. Raises _Interrupted when the run is to end.

        An adapter that answers no more is given up when the time is up: the run would never end.
        """
        answers: _Answers = queue.Queue(_READ_AHEAD)
        is_over = threading.Event()
        arguments = (self._read_all, lease, secret, answers, is_over)
        read = threading.Thread(target=copy_context().run, args=arguments, daemon=True)
        read.start()
        try:
            while True:
                if self._interrupted():
                    raise _Interrupted
                if budget.must_abandon():
                    yield Failure("the document was not read in time", "timeout")
                    return
                try:
                    answer = answers.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    continue
                if answer is None:
                    return
                yield answer
        finally:
            is_over.set()

    def _read_all(self, lease: DocumentLease, secret: str | None, answers: _Answers, is_over: threading.Event) -> None:
        try:
            request = Request(
                configuration=self._configuration,
                source_name=self.name,
                # None are given: looking a document's items up is cheaper than knowing all products.
                locators=(),
                web=self._begin(FETCH_SECONDS),
                secret=secret,
                validators=lease.validators,
            )
            for answer in self._adapter.fetch(request):
                if not _put(answers, answer, is_over):
                    return
        except Exception as error:
            log.exception("reading the document")
            _put(answers, Failure(f"a fault in productagg: {type(error).__name__}", "fault"), is_over)
        _put(answers, None, is_over)

    def _write(
        self, lease: DocumentLease, offers: Sequence[SourceOffer], content: _Content, budget: TimeBudget
    ) -> None:
        """Write a snapshot's offers, and add it to what is known of the document."""
        for start in range(0, len(offers), OFFERS_AT_ONCE):
            chunk = offers[start : start + OFFERS_AT_ONCE]

            def write(session, chunk=chunk):  # type: ignore[no-untyped-def]
                document_rows.check(session, lease)
                return write_chunk(
                    session,
                    self.source_id,
                    chunk,
                    self._observed_for,
                    creates_products=self._source.creates_products,
                    quarantine_factor=self._quarantine_factor,
                )

            written = self._in_transaction(write, budget)
            content.add(len(chunk), written)
            self.result.changed += len(written.updates)
            self._holds_back = self._holds_back or any(update.difference.holds_back for update in written.updates)

    def _complete(self, lease: DocumentLease, validators: Validators, content: _Content, budget: TimeBudget) -> None:
        if lease.holds_back(content.items):
            started_at = self.result.started_at
            reason = self._in_transaction(
                lambda session: document_rows.hold_back(session, lease, self._schedule, started_at, content.items),
                budget,
            )
            self._count_failure(reason, "incomplete")
            return
        self._close_vanished(lease, content.seen, budget)
        facts = {
            # 'Not modified' would not confirm the prices that are held back, nor take them back.
            "validators": None if self._holds_back else list(validators),
            "item_count": content.items,
            "fewer_item_count": None,
            "unmatched_count": content.unmatched,
        }

        self._succeed(lease, budget, content.first_unmatched, **facts)

    def _close_vanished(self, lease: DocumentLease, seen: SeenOffers, budget: TimeBudget) -> None:
        after: UUID | None = UUID(int=0)
        while after is not None:
            if self._interrupted():
                raise _Interrupted

            def close(session, after=after):  # type: ignore[no-untyped-def]
                document_rows.check(session, lease)
                return close_vanished(session, self.source_id, seen, after, self._observed_for)

            updates, after = self._in_transaction(close, budget)
            self.result.changed += len(updates)
            self.result.closed += sum(len(update.difference.closed) for update in updates)

    def _succeed(
        self,
        lease: DocumentLease,
        budget: TimeBudget,
        unmatched: Sequence[UnmatchedItem] | None = None,
        **facts: Any,
    ) -> None:
        """The document was read, or is the same as before: then its items of no product stay, too."""

        def succeed(session: Session) -> None:
            if unmatched is not None:
                document_rows.check(session, lease)
                unmatched_items.replace(session, self.source_id, unmatched)
            document_rows.succeed(session, lease, self._schedule, self.result.started_at, **facts)

        self._in_transaction(succeed, budget)
        self.result.fetched += 1

    def _failed(self, lease: DocumentLease, last: Outcome, budget: TimeBudget) -> None:
        failure = last if isinstance(last, Failure) else Failure(_doubt_of(last), "incomplete")
        wait = retry_after(failure)

        def fail(session):  # type: ignore[no-untyped-def]
            document_rows.fail(session, lease, self._schedule, self.result.started_at, failure.reason, wait)
            if failure.code in BUSY:
                sources.block(session, self.source_id, wait or BUSY_FOR, failure.reason)

        self._in_transaction(fail, budget)
        self._count_failure(failure.reason, failure.code)

    def _count_failure(self, reason: str, code: str) -> None:
        log.warning("the document: %s", reason)
        self.result.failed += 1
        self.result.failures[code] += 1


def _doubt_of(last: Outcome) -> str:
    doubt = last.incomplete_because if isinstance(last, Snapshot) else None
    return doubt or "the document may not be complete"


def _put(answers: _Answers, answer: Outcome | None, is_over: threading.Event) -> bool:
    """Put an answer as soon as there is room; returns whether anybody still waits for it."""
    while not is_over.is_set():
        try:
            answers.put(answer, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False
