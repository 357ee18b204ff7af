"""The work of a run for each of its sources: which lane a source has, and how all of them go on side by side."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Protocol
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from productagg import logs
from productagg.db.errors import is_unavailable
from productagg.settings import Settings
from productagg.sources.registry import load, validate
from productagg.sources.web.client import WebClient
from productagg.sync import sources
from productagg.sync.adapter_fetcher import AdapterFetcher
from productagg.sync.documents import DocumentLane
from productagg.sync.lane import InTransaction, Lane, Selection
from productagg.sync.run_log import RunResult
from productagg.sync.schedule import Schedule
from productagg.sync.sources import ActiveSource
from productagg.sync.time_budget import TimeBudget

log = logging.getLogger(__name__)

# For all requests that one product needs.
FETCH_SECONDS = 30.0
_LEASE_MARGIN = timedelta(seconds=30)


class Work(Protocol):
    """A run's work for one source."""

    @property
    def source_id(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def result(self) -> RunResult: ...

    def work(self, selected: Selection, budget: TimeBudget, progress: Callable[[], object]) -> None:
        """Do it. `progress` is called now and then. The result's `ended_by` says why it ended."""


def work_in(lane: Work, selected: Selection, budget: TimeBudget, progress: Callable[[], object]) -> None:
    """Do a lane's work; its log lines name the source."""
    began_at = budget.elapsed()
    with logs.of_source(lane.name):
        try:
            lane.work(selected, budget, progress)
        except BaseException:
            lane.result.ended_by = "crashed"
            raise
        finally:
            lane.result.finished_at = lane.result.started_at + budget.elapsed() - began_at


def log_results(lanes: Sequence[Work]) -> None:
    """Log what was done at each source, if there are several. The caller has the sum."""
    for lane in lanes if len(lanes) > 1 else ():
        if lane.result.leased:
            with logs.of_source(lane.name):
                log.info("%s", lane.result)


def work_side_by_side(works: Sequence[Callable[[], None]]) -> None:
    """Do all of them, each in a thread of its own but the first; raises the first error when all have ended."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works[1:]]
    for thread in threads:
        thread.start()
    for work in works[:1]:
        guarded(work)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class AdapterLanes:
    """Makes the lanes of the sources that have an adapter. All share one WebClient."""

    def __init__(
        self,
        settings: Settings,
        schedule: Schedule,
        in_transaction: InTransaction,
        interrupted: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._schedule = schedule
        self._in_transaction = in_transaction
        self._interrupted = interrupted

    @cached_property
    def _web(self) -> WebClient:
        return WebClient(
            contact_url=self._settings.public_url,
            allow_private_networks=self._settings.sources_allow_private_networks,
        )

    def lane(self, source: ActiveSource, result: RunResult, observed_for: timedelta) -> Work:
        """The lane of a source; if that cannot be asked, one that says why and does nothing."""
        try:
            adapter = load(source.kind)
            configuration = validate(adapter, dict(source.configuration))
        except Exception as error:
            # Whatever a foreign module does, or a configuration that an older version of it took.
            return Unusable(source.id, source.name, result, f"{type(error).__name__}: {error}")
        schedule = self._schedule.at_source(source.interval_seconds)
        if adapter.whole_document:
            return DocumentLane(
                source,
                adapter,
                configuration,
                lambda seconds: self._web.begin(seconds),
                schedule,
                observed_for,
                self._in_transaction,
                self._interrupted,
                result,
                self._settings.quarantine_factor,
            )
        seconds = min(FETCH_SECONDS, self._settings.sync_budget_seconds / 2)
        fetcher = AdapterFetcher(
            source,
            adapter,
            configuration,
            lambda: self._web.begin(seconds),
            lambda wait, reason: self._block(source.id, wait, reason),
            timedelta(seconds=seconds),
            self._interrupted,
        )
        return Lane(
            source.id,
            source.name,
            fetcher,
            schedule,
            observed_for,
            timedelta(seconds=seconds) + _LEASE_MARGIN,
            self._settings.sync_workers,
            lambda session: sources.blocked(session, source.id),
            self._in_transaction,
            result,
            self._settings.quarantine_factor,
            has_neighbours=True,
        )

    def _block(self, source_id: UUID, wait: timedelta, reason: str) -> None:
        try:
            self._in_transaction(lambda session: sources.block(session, source_id, wait, reason))
        except SQLAlchemyError as failure:
            if not is_unavailable(failure):
                raise
            log.warning("%s; the database is out of reach, so other processes do not know it", reason)


class Unusable:
    """The lane of a source that cannot be asked."""

    def __init__(self, source_id: UUID, name: str, result: RunResult, reason: str) -> None:
        self.source_id, self.name, self.result = source_id, name, result
        result.ended_by = reason

    def work(self, selected: Selection, budget: TimeBudget, progress: Callable[[], object]) -> None:
        """Nothing."""
