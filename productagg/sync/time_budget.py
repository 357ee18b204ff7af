"""The time budget of a sync run: when the run begins no further exchange, and when it abandons those under way."""

import time
from collections.abc import Callable
from datetime import timedelta

# The end of a run's time: its first half is for exchanges under way, its second half for applying outcomes.
_RESERVE_SECONDS = 2.0
_GRACE_AFTER_INTERRUPT_SECONDS = 3.0


class TimeBudget:
    """The time of one run, by the monotonic clock. After an interrupt, only a few seconds of it are left."""

    def __init__(self, seconds: float, interrupted: Callable[[], bool]) -> None:
        self._interrupted = interrupted
        self._seconds = seconds
        self._started_at = time.monotonic()
        self._ends_at = self._started_at + seconds
        self._reserve = min(_RESERVE_SECONDS, seconds / 5)
        self._stop_at = self._ends_at - self._reserve
        self._is_shortened = False

    def stop_reason(self) -> str | None:
        """Return why no further exchange may begin: 'interrupted', 'budget' (the time is up), or None."""
        if self._interrupted():
            self._shorten()
            return "interrupted"
        return "budget" if time.monotonic() >= self._stop_at else None

    @property
    def abandon_at(self) -> float:
        """When to abandon the exchanges under way, by time.monotonic()."""
        return self._ends_at - self._reserve / 2

    def must_abandon(self) -> bool:
        return time.monotonic() >= self.abandon_at

    def seconds_left(self) -> float:
        if self._interrupted():
            self._shorten()
        return self._ends_at - time.monotonic()

    def elapsed(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._started_at)

    def used_share(self) -> float:
        return (time.monotonic() - self._started_at) / self._seconds

    def _shorten(self) -> None:
        if not self._is_shortened:
            self._is_shortened = True
            longest = _GRACE_AFTER_INTERRUPT_SECONDS + self._reserve / 2
            self._ends_at = min(self._ends_at, time.monotonic() + longest)
