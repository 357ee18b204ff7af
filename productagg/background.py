"""The threads of the web service that sync a new product at once, by what a pass does for every product.

`POST /products` submits after its commit. Nothing depends on these threads: what they do not get to (a full backlog, a
dying process) is due in the next pass, or in the first one after a lease that was left behind.
"""

import logging
import queue
import threading
from contextlib import suppress
from uuid import UUID

from productagg.logs import request_id
from productagg.sync import Synchronizer

log = logging.getLogger(__name__)

_THREADS = 2
_BACKLOG = 100


class Background:
    """A few threads that sync single products."""

    def __init__(self, synchronizer: Synchronizer) -> None:
        self._synchronizer = synchronizer
        # Each with the id of the request that it came from, for the log.
        self._waiting: queue.Queue[tuple[UUID, str]] = queue.Queue(_BACKLOG)
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

    def _run(self) -> None:
        while True:
            product_id, came_from = self._waiting.get()
            request_id.set(came_from)
            try:
                report = self._synchronizer.sync_product(product_id)
                if report.ended_by != "done":
                    log.warning("product %s waits for the next pass: %s", product_id, report.ended_by)
            except Exception:
                log.exception("product %s waits for the next pass", product_id)
            finally:
                self._waiting.task_done()
