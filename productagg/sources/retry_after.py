"""When a server that refuses a request for now wants the next one: the header Retry-After. A pure function."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# For a response 429 or 503 that does not say how long to wait, and the longest wait that we believe.
_DEFAULT = timedelta(seconds=60)
_LONGEST = timedelta(hours=1)


def parse_retry_after(headers: Mapping[str, str]) -> timedelta:
    """How long Retry-After says to wait (RFC 9110, 10.2.3: seconds or an HTTP date), an hour at most.

    `headers` must find a name in any case.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        # Not int(), which rejects very long numbers.
        return timedelta(seconds=min(float(text), _LONGEST.total_seconds()))
    retry_at = _http_date(text)
    if retry_at is None:
        return _DEFAULT
    # Measured by the sender's clock, if the response tells it.
    sent_at = _http_date(headers.get("Date", "")) or datetime.now(UTC)
    return max(timedelta(0), min(retry_at - sent_at, _LONGEST))


def _http_date(text: str) -> datetime | None:
    with suppress(ValueError, OverflowError):
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)  # one of the two obsolete formats, which mean GMT without saying so
        return date.astimezone(UTC)
    return None
