"""When a product is due again: pure arithmetic on times. The sync calls it; it knows no database and no network.

Nothing here is random. Products are spread over time by their ids, so that every process, also after a restart,
computes the same times.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID
from zlib import crc32

from productagg.history.timeline import INTERVALS_OBSERVED
from productagg.settings import Settings

# A product is due this much early, but at most a tenth of the interval: otherwise it could miss a cron tick.
_TICK_TOLERANCE = timedelta(seconds=5)
LONGEST_BACKOFF = timedelta(hours=1)
# A product may go without a request for a tenth of the time since its last change, like the heuristic freshness of
# RFC 9111 (4.2.2), and moves towards its slot by at most a tenth of an interval at a time.
_TENTH = 10
_BACKOFF_JITTER = 0.25
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Schedule:
    """`interval` is for products whose offers change; the others are due less often, up to every `longest`."""

    interval: timedelta
    longest: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Self:
        interval = timedelta(seconds=settings.sync_interval_seconds)
        return cls(interval, timedelta(seconds=settings.sync_max_interval_seconds or settings.sync_interval_seconds))

    def at_source(self, interval_seconds: int | None) -> Self:
        """The schedule of a source that states its interval, or does not."""
        if interval_seconds is None:
            return self
        interval = timedelta(seconds=interval_seconds)
        return replace(self, interval=interval, longest=max(self.longest, interval))

    @property
    def observed_for(self) -> timedelta:
        """How long a product counts as observed, at least, after a complete, valid list. Then its history has a gap.

        After a list of a source that states a longer interval, it does so for longer: see history.queries.counts_until.
        """
        return self.longest * INTERVALS_OBSERVED

    def after_success(
        self, product_id: UUID, run_started_at: datetime, now: datetime, unchanged_since: datetime | None
    ) -> datetime:
        """Return when a product is due again after a complete, valid list in the run that began at `run_started_at`.

        That is less than an interval after the run's start, so that cron's tick an interval later finds it due.
        """
        interval = self.interval
        if unchanged_since is not None:
            interval = min(max(interval, (now - unchanged_since) / _TENTH), self.longest)
        earlier = self._tolerance + self._towards_slot(product_id, run_started_at, interval)
        return max(now, run_started_at + interval - earlier)

    def after_failure(self, product_id: UUID, run_started_at: datetime, now: datetime, failures: int) -> datetime:
        """Return when a product is due again after its nth failure in a row.

        After the first one it is due in the next run; then about 1, 3, 7 … intervals later, at most an hour. It is due
        up to a quarter earlier, differently for every product: products that failed together do not come back together.
        """
        backoff = min(self.interval * ((1 << min(failures - 1, 20)) - 1), LONGEST_BACKOFF)
        jitter = _BACKOFF_JITTER * _fraction(product_id.bytes + failures.to_bytes(8, "big"))
        return max(now, run_started_at + backoff * (1 - jitter) - self._tolerance)

    @property
    def _tolerance(self) -> timedelta:
        return min(_TICK_TOLERANCE, self.interval / _TENTH)

    def _towards_slot(self, product_id: UUID, run_started_at: datetime, interval: timedelta) -> timedelta:
        """Return how much earlier a product is due, so that products do not stay bunched.

        Every product has its own slot in the interval. A product that comes after its slot comes up to a tenth of the
        interval earlier each time until it is there, and then stays: products that were due all at once are spread
        after ten rounds.
        """
        after_slot = (run_started_at - _EPOCH - interval * _fraction(product_id.bytes)) % interval
        if after_slot > interval - 2 * self._tolerance:  # in its slot, but early by the tolerance
            return timedelta(0)
        return min(after_slot, interval / _TENTH)


def _fraction(data: bytes) -> float:
    """Return a number in [0, 1), evenly distributed."""
    return crc32(data) / 2**32
