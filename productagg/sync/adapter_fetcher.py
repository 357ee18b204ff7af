"""AdapterFetcher: asks a source of single products through its adapter."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from productagg.offers.reconcile import OfferState
from productagg.sources.base import Adapter, Failure, NotModified, Request, Snapshot
from productagg.sources.base import Outcome as Answer
from productagg.sources.offers_service.errors import UpstreamError
from productagg.sources.web import Web
from productagg.sync.fetcher import Fetcher, Stopped
from productagg.sync.leases import Lease
from productagg.sync.outcomes import Outcome
from productagg.sync.source_offers import states
from productagg.sync.sources import ActiveSource, NoSecret

# The failures that concern all products of a source, and how long no process asks it if it does not say.
BUSY = {"status_429", "status_503"}
BUSY_FOR = timedelta(minutes=1)
# The longest wait that a source may ask for.
LONGEST_WAIT = timedelta(days=1)


def retry_after(failure: Failure) -> timedelta | None:
    """How long the source wants no request, from now on."""
    if failure.retry_at is None:
        return None
    # The adapter has the time from this host's clock; the database's may be another.
    return min(max(failure.retry_at - datetime.now(UTC), timedelta(0)), LONGEST_WAIT)


class AdapterFetcher(Fetcher):
    """Fetches a product's offers through an adapter.

    `begin` makes the `Web` of one fetch. `block` is called when the source wants no requests, with how long and why.
    `configuration` is as the adapter's schema deserialized it.
    """

    def __init__(
        self,
        source: ActiveSource,
        adapter: Adapter,
        configuration: Mapping[str, Any],
        begin: Callable[[], Web],
        block: Callable[[timedelta, str], object],
        longest_fetch: timedelta,
        interrupted: Callable[[], bool],
    ) -> None:
        super().__init__(longest_fetch, source.requests_per_second, interrupted)
        self._source = source
        self._adapter = adapter
        self._configuration = configuration
        self._begin = begin
        self._block = block

    def _fetch(self, lease: Lease) -> Outcome:
        self._wait_for_turn()
        try:
            self._check_stopped()
            return self._outcome(lease, self._adapter.fetch(self._request(lease)))
        except Stopped:
            return Outcome(lease, lease.registered)
        except NoSecret as error:
            self.stop(str(error))
            return Outcome(lease, lease.registered)
        except Exception as error:
            return Outcome(lease, lease.registered, error=self._own_fault(lease, error))

    def _request(self, lease: Lease) -> Request:
        return Request(
            configuration=self._configuration,
            source_name=self._source.name,
            locators=[lease.locator or str(lease.product_id)],
            web=self._begin(),
            secret=self._source.secret(),
            validators=lease.validators,
        )

    def _outcome(self, lease: Lease, answers: Iterator[Answer]) -> Outcome:
        """What the answers say together; the last one decides."""
        offers: dict[UUID, OfferState] = {}
        last: Answer = Failure("the adapter did not answer", "no_answer")
        for last in answers:
            if isinstance(last, Snapshot):
                offers |= states(self._source.id, last.offers)
        if isinstance(last, Failure):
            return self._failed(lease, offers, last)
        if isinstance(last, NotModified):
            return Outcome(lease, lease.registered, offers={}, is_complete=False)
        if last.complete:
            return Outcome(lease, lease.registered, offers=offers, validators=last.validators)
        reason = last.incomplete_because or "the offers may not be all"
        error = UpstreamError(reason, "incomplete")
        return Outcome(lease, lease.registered, offers=offers or None, error=error, is_complete=False)

    def _failed(self, lease: Lease, offers: Mapping[UUID, OfferState], failure: Failure) -> Outcome:
        wait = retry_after(failure)
        if failure.code in BUSY:
            self.stop(failure.reason)
            self._block(wait or BUSY_FOR, failure.reason)
        return Outcome(
            lease,
            lease.registered,
            # What was read before stays valid.
            offers=offers or None,
            error=UpstreamError(failure.reason, failure.code),
            is_complete=False,
            retry_after=wait,
        )
