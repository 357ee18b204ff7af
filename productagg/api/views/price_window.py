"""The time window of a price query: its parameters, and its start and end."""

from datetime import datetime, timedelta
from typing import NamedTuple, TypedDict

from productagg.api.core.fields import parameter, time_parameter
from productagg.api.core.validators import invalid_query
from productagg.times import EARLIEST, PERIOD, PERIOD_PATTERN, format_time, parse_period

_DEFAULT_LENGTH = timedelta(days=30)

WINDOW_PARAMETERS = (
    time_parameter("from", "Start of the window; by default 30 days before its end."),
    time_parameter("to", "End of the window; by default, and at most, now."),
    parameter(
        "period",
        parse_period,
        PERIOD,
        {"type": "string", "pattern": PERIOD_PATTERN},
        f"Instead of `from` and `to`, the length of a window that ends now: {PERIOD}.",
        missing=None,
        example="P7D",
    ),
)

WindowQuery = TypedDict("WindowQuery", {"from": datetime | None, "to": datetime | None, "period": timedelta | None})


class Window(NamedTuple):
    """From `begin` to `end`, which is at most `now`."""

    begin: datetime
    end: datetime
    now: datetime


def read_window(parameters: WindowQuery, now: datetime) -> Window:
    """The window of a query. Raises Problem for parameters that do not go together."""
    begin, end, period = parameters["from"], parameters["to"], parameters["period"]
    if period is not None and (begin or end):
        raise invalid_query({"period": "must not be given together with 'from' or 'to'"})
    if begin is not None and begin >= now:
        raise invalid_query({"from": "must lie in the past"})
    end = min(end or now, now)
    if begin is None:
        begin = _default_begin(end, period or _DEFAULT_LENGTH)
    if begin >= end:
        raise invalid_query({"from": "must be earlier than 'to'"})
    return Window(begin, end, now)


def _default_begin(end: datetime, length: timedelta) -> datetime:
    if end <= EARLIEST:
        raise invalid_query({"to": f"must be later than {format_time(EARLIEST)}"})
    return max(EARLIEST, end - length)
