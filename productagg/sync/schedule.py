"""When a product is to be asked next: pure arithmetic on times. The sync calls it; it knows no database and no network.

Nothing here is random: what spreads products over time is taken from their ids, so that it is the same in every process
and after every restart.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID
from zlib import crc32

from productagg.settings import Settings

# Due a little early rather than a cron tick late: this, but at most a tenth of the interval.
_TICK_TOLERANCE = timedelta(seconds=5)
_INTERVALS_OBSERVED = 5
LONGEST_BACKOFF = timedelta(hours=1)
# Of the time that a product has not changed for: how long it may go unasked, like the heuristic freshness of RFC 9111
# (4.2.2). Of an interval: how much earlier, at most, a product comes to reach its own place in it.
_TENTH = 10
_BACKOFF_JITTER = 0.25
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Schedule:
    """`interval` is for products whose offers change; those that do not are asked less often, up to `longest`."""

    interval: timedelta
    longest: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Self:
        interval = timedelta(seconds=settings.sync_interval_seconds)
        return cls(interval, timedelta(seconds=settings.sync_max_interval_seconds or settings.sync_interval_seconds))

    @property
    def observed_for(self) -> timedelta:
        """How long a product counts as observed after a whole, valid list. After that, nobody knows: a gap."""
        return self.longest * _INTERVALS_OBSERVED

    def after_success(
        self, product_id: UUID, started_at: datetime, now: datetime, unchanged_since: datetime | None
    ) -> datetime:
        """The time to ask again after a whole, valid list, counted from the pass's start at `started_at`.

        It is less than an interval after that start, so that cron's tick an interval later finds the product due.
        """
        interval = self.interval
        if unchanged_since is not None:
            interval = min(max(interval, (now - unchanged_since) / _TENTH), self.longest)
        return max(now, started_at + interval - self._tolerance - self._early(product_id, started_at, interval))

    def after_failure(self, product_id: UUID, started_at: datetime, now: datetime, failures: int) -> datetime:
        """The first failure is tried again by the next pass; then about 1, 3, 7 … intervals later, at most an hour.

        Up to a quarter earlier, differently for each product: what failed together does not come back together.
        """
        backoff = min(self.interval * ((1 << min(failures - 1, 20)) - 1), LONGEST_BACKOFF)
        jitter = _BACKOFF_JITTER * _fraction(product_id.bytes + failures.to_bytes(8, "big"))
        return max(now, started_at + backoff * (1 - jitter) - self._tolerance)

    @property
    def _tolerance(self) -> timedelta:
        return min(_TICK_TOLERANCE, self.interval / _TENTH)

    def _early(self, product_id: UUID, started_at: datetime, interval: timedelta) -> timedelta:
        """How much earlier than its turn a product is to come, so that products do not stay bunched.

        Each has a place of its own in the interval. One that is late for its place comes up to a tenth of the interval
        earlier each time until it is there, and then stays: products that came all at once are spread after ten rounds.
        """
        late = (started_at - _EPOCH - interval * _fraction(product_id.bytes)) % interval
        if late > interval - 2 * self._tolerance:  # there already: as early as the tolerance makes it
            return timedelta(0)
        return min(late, interval / _TENTH)


def _fraction(data: bytes) -> float:
    """A number in [0, 1), evenly spread."""
    return crc32(data) / 2**32
