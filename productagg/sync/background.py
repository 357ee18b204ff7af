"""The threads of the web service that sync new products at once, by what a pass does for every product.

`POST /products` submits after its commit. Nothing depends on these threads: what they do not get to (a full backlog, a
dying process) is due in the next pass, or in the first one after a lease that was left behind.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from productagg.db.errors import driver_message, is_unavailable
from productagg.logs import request_id
from productagg.sync.run import Synchronizer

log = logging.getLogger(__name__)

_THREADS = 2
_BACKLOG = 100
# So many that wait are claimed and stored together: for one, that takes ten times as long as to ask.
_AT_ONCE = 20
# So many times as long as that took, a thread then leaves the processor to the requests.
_REST = 9


class Background:
    """A few threads that sync products."""

    def __init__(self, synchronizer: Synchronizer) -> None:
        self._synchronizer = synchronizer
        # Each with the id of the request that it came from, for the log; None tells a thread to end.
        self._waiting: queue.Queue[tuple[UUID, str] | None] = queue.Queue(_BACKLOG)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def submit(self, product_id: UUID) -> None:
        """Sync this product soon, if it is due. Call it after the commit that made it so. Returns at once."""
        with suppress(queue.Full):
            self._waiting.put_nowait((product_id, request_id.get()))
        with self._lock:
            if not self._threads:
                # Daemons: a process that ends does not wait for the Offers service.
                self._threads = [
                    threading.Thread(target=self._run, name=f"background-{number}", daemon=True)
                    for number in range(_THREADS)
                ]
                for thread in self._threads:
                    thread.start()

    def wait(self) -> None:
        """Return when everything submitted has been dealt with."""
        self._waiting.join()

    def close(self) -> None:
        """Deal with everything submitted, and end the threads; for a process that goes on without them, as tests do."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            taken = self._take()
            came_from = dict(each for each in taken if each is not None)
            worked = self._sync(came_from) if came_from else 0.0
            for _ in taken:
                self._waiting.task_done()
            if None in taken:
                return
            time.sleep(_REST * worked)

    def _take(self) -> list[tuple[UUID, str] | None]:
        taken = [self._waiting.get()]
        with suppress(queue.Empty):
            while taken[-1] is not None and len(taken) < _AT_ONCE:
                taken.append(self._waiting.get_nowait())
        return taken

    def _sync(self, came_from: Mapping[UUID, str]) -> float:
        """Sync products, each with the id of the request that it came from. How many seconds of processor it took."""

        def beginning(product_id: UUID) -> None:
            request_id.set(came_from[product_id])

        ids = list(came_from)
        # What is logged of several at once bears the id of the first.
        beginning(ids[0])
        report = fault = None
        fetched: set[UUID] = set()
        worked = 0.0
        try:
            report, fetched, worked = self._synchronizer.sync_products(ids, beginning)
        except Exception as error:
            fault = error
            if isinstance(error, DBAPIError) and is_unavailable(error):
                log.warning("the database cannot be used: %s", driver_message(error))
                fault = None
        for product_id in ids:
            beginning(product_id)
            if report is None:
                log.error("product %s waits for the next pass", product_id, exc_info=fault)
                fault = None  # it is told once
            elif report.ended_by != "done" and product_id not in fetched:
                log.warning("product %s waits for the next pass: %s", product_id, report.ended_by)
        return worked
