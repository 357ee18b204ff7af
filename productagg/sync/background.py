"""The web service's threads that sync new products at once, in the same way as a sync run.

`POST /products` submits after its commit. Nothing depends on these threads: a product that they do not get to (a full
backlog, a process that dies) is due in the next run, or in the first run after an abandoned lease.
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
from productagg.sync.run import Synchronizer

log = logging.getLogger(__name__)

# A product, with the id of the request that it came from, for the log.
Submission: TypeAlias = tuple[UUID, str]

_THREADS = 2
BACKLOG = 100
# At most this many waiting products are synced together. Leasing and storing a single product takes ten times as long
# as asking for it.
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
                # Daemons: a process that ends does not wait for the Offers service.
                self._threads = [
                    threading.Thread(target=self._work, name=f"background-{number}", daemon=True)
                    for number in range(_THREADS)
                ]
                for thread in self._threads:
                    thread.start()

    def wait(self) -> None:
        """Return when all submitted products have been dealt with."""
        self._waiting.join()

    def close(self) -> None:
        """Deal with all submitted products and end the threads; for a process that outlives them, like a test's."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            submissions, is_last = self._take()
            cpu_seconds = self._sync(dict(submissions)) if submissions else 0.0
            for _ in range(len(submissions) + is_last):
                self._waiting.task_done()
            if is_last:
                return
            time.sleep(REST_FACTOR * cpu_seconds)

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
        """Sync the products, log those that must wait, and return the processor time that it took, in seconds."""
        product_ids = list(request_ids)

        def use_request_id(product_id: UUID) -> None:
            request_id.set(request_ids[product_id])

        # Log lines about several products carry the request id of the first one.
        use_request_id(product_ids[0])
        try:
            synced = self._synchronizer.sync_products(product_ids, use_request_id)
        except Exception as error:
            _log_failure(request_ids, error)
            return 0.0
        if synced.result.ended_by != "done":
            for product_id in product_ids:
                if product_id not in synced.fetched:
                    use_request_id(product_id)
                    log.warning("product %s waits for the next sync run: %s", product_id, synced.result.ended_by)
        return synced.cpu_seconds


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
