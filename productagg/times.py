"""Times as RFC 3339 texts, and periods as ISO 8601 durations of a fixed length: in query strings, files and options.

Parsing is strict, so that nobody gets an answer for another time than they meant.
"""

import re
from datetime import UTC, datetime, timedelta

from productagg.record_reader import RecordError, excerpt

TIME = (
    "an RFC 3339 time of the years 1970 to 9999 in UTC, with its offset, such as 2026-01-31T12:00:00Z or "
    "2026-01-31T13:00:00%2B01:00 (a '+' that is not sent as %2B is a space)"
)
PERIOD = (
    "a period longer than zero, of 36525 days at most, made of weeks, days, hours, minutes and seconds as in P7D, "
    "P2W, PT36H or P1DT12H, or just 24h, 7d or 2w; not of years or months, whose length varies"
)

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS = 36525 * 24 * 3600
_HOURS_AND_MINUTES = r"([01]\d|2[0-3]):[0-5]\d"
_TIME = re.compile(
    rf"\d{{4}}-\d\d-\d\dT{_HOURS_AND_MINUTES}:[0-5]\d(\.\d+)?(Z|[+-]{_HOURS_AND_MINUTES})", re.ASCII | re.IGNORECASE
)
# In files, a space may stand for the T, as databases write it.
_RECORD_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_UNIT_SECONDS = {"W": 7 * 24 * 3600, "D": 24 * 3600, "H": 3600, "M": 60, "S": 1}
_NUMBER = r"(\d{1,10})"  # longer numbers exceed the maximum even in seconds
_DURATION = re.compile(
    rf"P(?=[\dT])({_NUMBER}W)?({_NUMBER}D)?(T(?=\d)({_NUMBER}H)?({_NUMBER}M)?({_NUMBER}S)?)?|{_NUMBER}[hdw]", re.ASCII
)
# The part of the rule that JSON Schema can state.
PERIOD_PATTERN = f"^({_DURATION.pattern})$"
_PART = re.compile(rf"{_NUMBER}([A-Za-z])", re.ASCII)


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time of a query string, as UTC, where it must lie in the years 1970 to 9999. Raises ValueError.

    Digits finer than a microsecond are dropped; leap seconds (:60) are refused.
    """
    if not _TIME.fullmatch(text):
        raise ValueError(text)
    try:
        time = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None
    if time < EARLIEST:
        raise ValueError(text)
    return time


def parse_record_time(text: str) -> datetime:
    """Parse an RFC 3339 time of a file or an option, as UTC. Raises RecordError, with the reason."""
    found = _RECORD_TIME.fullmatch(text)
    if found is None:
        raise RecordError(f"{excerpt(text)} is not a time like 2026-01-31T12:00:00Z, with at most 6 decimals")
    if found[2] is None:
        raise RecordError(f"{excerpt(text)} has no time zone, like the Z of 2026-01-31T12:00:00Z")
    try:
        time = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RecordError(f"{excerpt(text)} is not a time: {error}") from None
    if time < EARLIEST:
        raise RecordError(f"{excerpt(text)} is before 1970")
    return time


def parse_period(text: str) -> timedelta:
    """Parse an ISO 8601 duration without years, months and fractions, or its short form: 24h, 7d, 2w.

    Raises ValueError.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    seconds = sum(int(number) * _UNIT_SECONDS[unit.upper()] for number, unit in _PART.findall(text))
    if not 0 < seconds <= _MAX_SECONDS:
        raise ValueError(text)
    return timedelta(seconds=seconds)


def format_time(time: datetime) -> str:
    """A time as RFC 3339, in UTC with Z."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
