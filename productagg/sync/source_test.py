"""SourceTester: asks a source once, to show what would be understood of it. It writes nothing.

Called by the API and the command line. A test is over in TEST_SECONDS, and a process has one at a time: it may download
a large document.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from productagg.db.models import OFFERS_SOURCE
from productagg.sources.base import Adapter, Failure, NotModified, Outcome, Remark, Request, Snapshot, SourceOffer
from productagg.sources.registry import AdapterError, InvalidConfiguration, load, validate
from productagg.sources.web import Web
from productagg.sources.web.client import WebClient
from productagg.sync.source_admin import FromSettings, InvalidLocator, checked_locator
from productagg.sync.source_status import SourceStatus
from productagg.sync.sources import NoSecret, secret_value

log = logging.getLogger(__name__)

TEST_SECONDS = 20.0
# For all requests; the rest is for reading what they brought.
_FETCH_SECONDS = 15.0
# How many offers, rejected items and remarks a result lists.
SHOWN = 20


class TesterBusy(Exception):
    """This process is testing another source."""


@dataclass
class SourceReport:
    """What was understood. `offer_count`, `rejected_count` and `remark_count` count what the lists show the first of.

    With a locator, a document's offers are those of this locator only. `reason` says why the offers may not be all or
    why there are none, `code` the same as a word.
    """

    outcome: Literal["complete", "incomplete", "not_modified", "failed"] = "failed"
    reason: str | None = None
    code: str | None = None
    retry_at: datetime | None = None
    duration_seconds: float = 0.0
    offer_count: int = 0
    offers: list[SourceOffer] = field(default_factory=list)
    rejected_count: int = 0
    rejected: list[Remark] = field(default_factory=list)
    remark_count: int = 0
    remarks: list[Remark] = field(default_factory=list)

    def add(self, answer: Outcome, locator: str | None) -> None:
        """Take what an adapter yielded into account; the last one decides about the outcome."""
        if isinstance(answer, Snapshot):
            self._add_snapshot(answer, locator)
        elif isinstance(answer, NotModified):
            self._end("not_modified")
        else:
            self._end("failed", answer.reason, answer.code, answer.retry_at)

    def _add_snapshot(self, snapshot: Snapshot, locator: str | None) -> None:
        offers = [offer for offer in snapshot.offers if locator is None or offer.locator == locator]
        self.offer_count += _show(self.offers, offers)
        self.rejected_count += _show(self.rejected, snapshot.rejected)
        self.remark_count += _show(self.remarks, snapshot.remarks)
        if snapshot.complete:
            self._end("complete")
        else:
            self._end("incomplete", snapshot.incomplete_because or "the offers may not be all", "incomplete")

    def _end(
        self,
        outcome: Literal["complete", "incomplete", "not_modified", "failed"],
        reason: str | None = None,
        code: str | None = None,
        retry_at: datetime | None = None,
    ) -> None:
        self.outcome, self.reason, self.code, self.retry_at = outcome, reason, code, retry_at


class SourceTester:
    """Tests sources, one at a time. Thread-safe.

    `contact_url` tells the owners of sites who asks. With `allow_private_networks`, every address may be asked. `begin`
    replaces the requests, for the tests.
    """

    def __init__(
        self,
        *,
        allow_private_networks: bool,
        contact_url: str | None = None,
        begin: Callable[[float], Web] | None = None,
    ) -> None:
        self._allow_private_networks = allow_private_networks
        self._contact_url = contact_url
        self._begin = begin
        self._running = threading.Lock()

    @cached_property
    def _client(self) -> WebClient:
        return WebClient(contact_url=self._contact_url, allow_private_networks=self._allow_private_networks)

    def test(self, source: SourceStatus, locator: str | None = None, seconds: float = TEST_SECONDS) -> SourceReport:
        """Ask the source for the product of this locator, or for its document; enabled or not.

        Raises FromSettings for the Offers service, InvalidLocator, also without a locator that is needed, and
        TesterBusy. Whatever else is wrong is in the result.
        """
        if source.id == OFFERS_SOURCE:
            raise FromSettings
        try:
            adapter = load(source.kind)
            configuration = validate(adapter, dict(source.configuration))
            secret = secret_value(source.secret_variable)
        except (AdapterError, InvalidConfiguration) as error:
            return SourceReport(reason=str(error), code="unusable")
        except NoSecret as error:
            return SourceReport(reason=str(error), code="no_secret")
        locator = _locator(adapter, locator)
        if source.blocked_until is not None:
            reason = f"{source.blocked_reason}; no requests are sent before then"
            return SourceReport(reason=reason, code="blocked", retry_at=source.blocked_until)
        return self._run(adapter, configuration, source.name, secret, locator, seconds)

    def _run(
        self,
        adapter: Adapter,
        configuration: Mapping[str, Any],
        name: str,
        secret: str | None,
        locator: str | None,
        seconds: float,
    ) -> SourceReport:
        if not self._running.acquire(blocking=False):
            raise TesterBusy
        began_at = time.monotonic()
        test = _Test(adapter, locator, name)

        def request() -> Request:
            web = (self._begin or self._client.begin)(min(_FETCH_SECONDS, seconds))
            locators = () if locator is None or adapter.whole_document else (locator,)
            return Request(configuration, name, locators, web, secret)

        def run() -> None:
            try:
                test.run(request)
            finally:
                # Not before: a test that is given up may go on for a while.
                self._running.release()

        thread = threading.Thread(target=run, name="source-test", daemon=True)
        thread.start()
        thread.join(seconds)
        result = test.result_so_far(is_over=not thread.is_alive(), seconds=seconds)
        result.duration_seconds = round(time.monotonic() - began_at, 3)
        return result


class _Test:
    """A test that is under way. Another thread may give it up."""

    def __init__(self, adapter: Adapter, locator: str | None, name: str) -> None:
        self._adapter = adapter
        self._locator = locator
        self._name = name
        self._lock = threading.Lock()
        self._given_up = False
        self._result = SourceReport(reason="the adapter did not answer", code="no_answer")

    def run(self, request: Callable[[], Request]) -> None:
        """Ask, until the test is given up."""
        try:
            for answer in self._adapter.fetch(request()):
                if not self._take(answer):
                    return
        except Exception as error:
            # Whatever a foreign module does, and certificates that cannot be read.
            log.exception("source %s", self._name)
            self._take(Failure(f"a fault in productagg: {type(error).__name__}", "fault"))

    def _take(self, answer: Outcome) -> bool:
        with self._lock:
            if not self._given_up:
                self._result.add(answer, self._locator)
            return not self._given_up

    def result_so_far(self, *, is_over: bool, seconds: float) -> SourceReport:
        """The result; if the test is not over, it is given up."""
        with self._lock:
            self._given_up = True
            if not is_over:
                self._result.add(Failure(f"the test was not over after {seconds:g} s", "timeout"), None)
            return self._result


def _locator(adapter: Adapter, locator: str | None) -> str | None:
    if locator is not None:
        return checked_locator(adapter, locator)
    if not adapter.whole_document:
        raise InvalidLocator(f"is required: {adapter.locator}")
    return None


def _show(shown: list[Any], more: Sequence[Any]) -> int:
    """Add what there is room for, and return how many there are."""
    shown.extend(more[: max(SHOWN - len(shown), 0)])
    return len(more)
