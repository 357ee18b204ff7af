"""The web service's threads that sync new products at once, in the same way as a sync run.

`POST /products` submits a product after its commit. Nothing depends on these threads: a product that they do not reach
(a full backlog, a process that dies) is due in the next run, or in the first run after its abandoned lease.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeAlias
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from productagg.db.errors import driver_message, is_unavailable
from productagg.logs import request_id
from productagg.sync.run import SyncedProducts, Synchronizer

log = logging.getLogger(__name__)

# A product, with the id of the request that it came from, for the log.
Submission: TypeAlias = tuple[UUID, str]

_THREADS = 2
BACKLOG = 100
# The most waiting products that are synced together. For a single product, leasing and storing take ten times as long
# as fetching.
_BATCH = 20
# After a batch, a thread rests this many times as long as it worked, to leave the processor to the requests.
REST_FACTOR = 9


class Background:
    """A few threads that sync products."""

    def __init__(self, synchronizer: Synchronizer) -> None:
        self._synchronizer = synchronizer
        # None tells a thread to end.
        self._waiting: queue.Queue[Submission | None] = queue.Queue(BACKLOG)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def submit(self, product_id: UUID) -> None:
        """Sync this product soon, if it is due. Call it after the commit that made it due. Returns at once."""
        with suppress(queue.Full):
            self._waiting.put_nowait((product_id, request_id.get()))
        with self._lock:
            if not self._threads:
                self._start_threads()

    def _start_threads(self) -> None:
        # Daemons: a process that ends does not wait for the Offers service.
        self._threads = [
            threading.Thread(target=self._work, name=f"background-{number}", daemon=True) for number in range(_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until all submitted products have been synced, or have failed."""
        self._waiting.join()

    def close(self) -> None:
        """Sync all submitted products and end the threads. For a process that outlives them, such as a test's."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            submissions, is_last = self._take()
            cpu_seconds = self._sync(dict(submissions)) if submissions else 0.0
            self._mark_done(len(submissions) + is_last)
            if is_last:
                return
            time.sleep(REST_FACTOR * cpu_seconds)

    def _mark_done(self, count: int) -> None:
        for _ in range(count):
            self._waiting.task_done()

    def _take(self) -> tuple[list[Submission], bool]:
        """Wait for submissions and take at most a batch of them; also return whether the thread must end then."""
        submissions: list[Submission] = []
        submission = self._waiting.get()
        with suppress(queue.Empty):
            while submission is not None:
                submissions.append(submission)
                if len(submissions) == _BATCH:
                    break
                submission = self._waiting.get_nowait()
        return submissions, submission is None

    def _sync(self, request_ids: Mapping[UUID, str]) -> float:
        """Sync the products, log which ones must wait, and return the processor time that was used, in seconds."""

        def use_request_id(product_id: UUID) -> None:
            request_id.set(request_ids[product_id])

        # Log lines about several products carry the request id of the first one.
        use_request_id(next(iter(request_ids)))
        try:
            synced = self._synchronizer.sync_products(list(request_ids), use_request_id)
        except Exception as error:
            _log_failure(request_ids, error)
            return 0.0
        if synced.result.ended_by != "done":
            _log_waiting(request_ids, synced)
        return synced.cpu_seconds


def _log_waiting(request_ids: Mapping[UUID, str], synced: SyncedProducts) -> None:
    for product_id, came_from in request_ids.items():
        if product_id not in synced.fetched:
            request_id.set(came_from)
            log.warning("product %s waits for the next sync run: %s", product_id, synced.result.ended_by)


def _log_failure(request_ids: Mapping[UUID, str], error: Exception) -> None:
    """Log the error once, and a line for every product."""
    traceback: Exception | None = error
    if isinstance(error, DBAPIError) and is_unavailable(error):
        log.warning("the database cannot be used: %s", driver_message(error))
        traceback = None
    for product_id, came_from in request_ids.items():
        request_id.set(came_from)
        log.error("product %s waits for the next sync run", product_id, exc_info=traceback)
        traceback = None
