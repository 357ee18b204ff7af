"""Fetcher: asks one source for one leased product, and knows when to stop asking. A run's threads share one.

`OffersFetcher` asks the Offers service, with the shared access token, and AdapterFetcher (adapter_fetcher.py) the
sources that have an adapter. But for the token and for blocking a source, nothing here touches the database.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from productagg.db import clock
from productagg.db.errors import is_unavailable
from productagg.offers.reconcile import OfferState
from productagg.sources.offers_service.client import OffersClient
from productagg.sources.offers_service.errors import Busy, NotRegistered, Unauthorized, UpstreamError
from productagg.sources.offers_service.parsing import ListedOffer
from productagg.sources.vocabulary import Availability
from productagg.sync.leases import Lease
from productagg.sync.outcomes import Outcome
from productagg.sync.tokens import NoAccessToken, SharedToken

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# The most exchanges that one product can need: authenticate, fetch, register, fetch again, each with a second try.
EXCHANGES_PER_PRODUCT = 6


class Stopped(Exception):
    """No further exchange may begin. The fetcher's `stopped_by` says why."""


class Fetcher(ABC):
    """Fetches the offers of a product at one source.

    It does not begin a product whose lease lasts less than `longest_fetch`, the worst case for one product.
    `requests_per_second` spaces requests evenly.
    """

    def __init__(
        self, longest_fetch: timedelta, requests_per_second: float | None, interrupted: Callable[[], bool]
    ) -> None:
        self._longest_fetch = longest_fetch
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._next_request_at = 0.0
        self._interrupted = interrupted
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.stopped_by: str | None = None

    def stop(self, reason: str) -> None:
        """Begin no further exchange. The first reason counts."""
        self.stopped_by = self.stopped_by or reason
        self._stopping.set()

    def fetch(self, lease: Lease) -> Outcome:
        """Fetch a leased product's offers. Raises only faults of our own."""
        if clock.seconds_left(lease.deadline) < self._longest_fetch.total_seconds():
            return Outcome(lease, lease.registered)
        return self._fetch(lease)

    @abstractmethod
    def _fetch(self, lease: Lease) -> Outcome: ...

    def _own_fault(self, lease: Lease, error: Exception) -> UpstreamError:
        """Record a fault of ours as the product's failure, so that it does not stop the run for the other products."""
        if isinstance(error, SQLAlchemyError):
            raise error
        log.error("product %s", lease.product_id, exc_info=error)
        return UpstreamError(f"a fault in productagg: {type(error).__name__}", "fault")

    def _check_stopped(self) -> None:
        if self._interrupted():
            self.stop("interrupted")
        if self.stopped_by is not None:
            raise Stopped

    def _wait_for_turn(self) -> None:
        if not self._interval:
            return
        with self._lock:
            turn = max(time.monotonic(), self._next_request_at)
            self._next_request_at = turn + self._interval
        self._stopping.wait(turn - time.monotonic())


@dataclass
class _Registration:
    done: bool


def _prevents_asking(error: Exception) -> bool:
    return isinstance(error, Stopped) or (isinstance(error, SQLAlchemyError) and is_unavailable(error))


class OffersFetcher(Fetcher):
    """Fetches offers from the Offers service, where it registers products first.

    Requests for an access token and repetitions by `transport` are not paced. `currency` is that of the
    service's prices.
    """

    def __init__(
        self,
        client: OffersClient,
        token: SharedToken,
        longest_fetch: timedelta,
        requests_per_second: float | None,
        interrupted: Callable[[], bool],
        currency: str,
    ) -> None:
        super().__init__(longest_fetch, requests_per_second, interrupted)
        self._client = client
        self._shared_token = token
        self._currency = currency
        self._logged_forgotten = False

    def _fetch(self, lease: Lease) -> Outcome:
        registration = _Registration(lease.registered)
        try:
            listed = self._offers_of_registered(lease, registration)
        except Exception as error:
            return Outcome(lease, registration.done, error=self._failure_of(lease, error))
        offers = {offer_id: self._state(offer) for offer_id, offer in listed.items()}
        return Outcome(lease, registration.done, offers=offers)

    def _state(self, offer: ListedOffer) -> OfferState:
        availability: Availability = "in_stock" if offer.items_in_stock else "out_of_stock"
        return OfferState(offer.price, offer.items_in_stock, self._currency, availability)

    def _offers_of_registered(self, lease: Lease, registration: _Registration) -> dict[UUID, ListedOffer]:
        if not registration.done:
            self._register(lease, registration)
        try:
            return self._offers(lease)
        except NotRegistered:
            self._log_forgotten(lease)
            registration.done = False
            self._register(lease, registration)
            return self._offers(lease)

    def _failure_of(self, lease: Lease, error: Exception) -> UpstreamError | None:
        """Return the product's failure, or None if no request was made for the product."""
        if isinstance(error, Busy):
            # It is this product's failure as well: a product that always gets this response must not come first in
            # every run.
            self._stop_all(error)
            return error
        if isinstance(error, UpstreamError):
            return error
        return None if _prevents_asking(error) else self._own_fault(lease, error)

    def _log_forgotten(self, lease: Lease) -> None:
        # Once per run: a service that was reset has forgotten all products.
        if not self._logged_forgotten:
            self._logged_forgotten = True
            log.warning("product %s: the Offers service forgot it; registering it, and others, again", lease.product_id)

    def _register(self, lease: Lease, registration: _Registration) -> None:
        self._with_token(lambda token: self._client.register(token, lease.product_id, lease.name, lease.description))
        registration.done = True

    def _offers(self, lease: Lease) -> dict[UUID, ListedOffer]:
        return self._with_token(lambda token: self._client.offers(token, lease.product_id))

    def _with_token(self, exchange: Callable[[str], Result]) -> Result:
        """Make an exchange with the shared token; if it is rejected, with the stored one, and then with a new one."""
        for _ in range(2):
            token = self._token()
            try:
                return exchange(token)
            except Unauthorized:
                self._shared_token.reject(token)
        return exchange(self._token())

    def _token(self) -> str:
        """Wait for this exchange's turn and return the shared token. Raises Stopped if no exchange may begin."""
        self._wait_for_turn()
        # One thread at a time, so that an error here also stops the threads that waited for this one.
        with self._lock:
            self._check_stopped()
            try:
                return self._shared_token.get()
            except NoAccessToken as error:
                self.stop(str(error))
                raise Stopped from error
            except Busy as error:
                self._stop_all(error)
                raise Stopped from error

    def _stop_all(self, error: Busy) -> None:
        """Stop this run, and block the requests of all processes if the database can be reached."""
        self.stop(str(error))
        try:
            self._shared_token.block(error.retry_after, str(error))
        except SQLAlchemyError as failure:
            if not is_unavailable(failure):
                raise
            log.warning("%s; the database is out of reach, so other processes do not know it", error)
