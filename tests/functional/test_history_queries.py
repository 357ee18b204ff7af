"""What the questions about a past may say: times, periods and windows; and what those that are refused are told."""

from datetime import UTC, datetime

import pytest
import time_machine

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem

pytestmark = only_sqlite


@pytest.fixture
def product(client, past):
    with time_machine.travel(datetime(2026, 1, 31, 12, 30, tzinfo=UTC), tick=False):
        yield f"/products/{past.product_id}"


TIME = (
    "must be an RFC 3339 time of the years 1970 to 9999 in UTC, with its offset, such as 2026-01-31T12:00:00Z or "
    "2026-01-31T13:00:00%2B01:00 (a '+' that is not sent as %2B is a space)"
)
PERIOD = (
    "must be a period longer than zero, of 36525 days at most, made of weeks, days, hours, minutes and seconds as "
    "in P7D, P2W, PT36H or P1DT12H, or just 24h, 7d or 2w; not of years or months, whose length varies"
)


def test_what_is_not_a_time_is_refused(send, product, subtests):
    for time in (
        "2026-01-31T12:00:00",
        "2026-01-31T12:00:00+01:00",
        "2026-01-31",
        "2026-01-31%2012:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:59:60Z",
        "2026-02-29T12:00:00Z",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00%2B24:00",
        "2026-01-31T12:00:00%2B01:60",
        "20260131T120000Z",
        "1969-12-31T23:59:59.999999Z",
        "0001-01-01T00:00:00%2B23:59",
        "9999-12-31T23:59:59-00:01",
        "%D9%A2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00Z%0A",
        "1767225600",
        "yesterday",
        "",
    ):
        for path, name in (("/prices", "from"), ("/prices", "to"), ("/trend", "from"), ("/offers", "at")):
            with subtests.test(f"{path}?{name}={time}"):
                assert_problem(send("GET", f"{product}{path}?{name}={time}"), "invalid-data", {name: TIME})


def test_what_is_not_a_period_is_refused(send, product, subtests):
    for period in (
        *(
            "P0D",
            "0h",
            "PT0S",
            "P1M",
            "P1Y",
            "P1Y2M",
            "PT",
            "P",
            "P1DT",
            "",
            "7",
            "P7",
            "7D",
            "24H",
            "5m",
            "30s",
            "p7d",
        ),
        *("-P7D", "P-7D", "P1.5D", "PT1,5H", "P36526D", "PT3155760001S", "9999999999w", "P99999999999D", "P%D9%A3D"),
        *("7d%0A", "%207d", "2026-01-01T00:00:00Z/P7D", "week"),
    ):
        with subtests.test(period):
            assert_problem(send("GET", f"{product}/trend?period={period}"), "invalid-data", {"period": PERIOD})


def test_a_window_that_makes_no_sense_is_refused(send, product, subtests):
    past, now, later = "2026-01-31T12:00:00Z", "2026-01-31T12:30:00Z", "2026-01-31T12:30:00.000001Z"
    order, future = "must be earlier than 'to'", "must lie in the past"
    alone = "must not be given together with 'from' or 'to'"
    for path, errors in (
        (f"/prices?from={past}&to={past}", {"from": order}),
        (f"/trend?from={past}&to=2026-01-31T11:59:59.999999Z", {"from": order}),
        ("/prices?to=1970-01-01T00:00:00Z", {"to": "must be later than 1970-01-01T00:00:00Z"}),
        (f"/prices?from={later}", {"from": future}),
        (f"/trend?from={later}&to=2027-01-01T00:00:00Z", {"from": future}),
        (f"/trend?from={now}", {"from": future}),
        (f"/trend?period=P7D&from={past}", {"period": alone}),
        (f"/trend?period=P7D&to={now}", {"period": alone}),
        ("/trend?metric=mean", {"metric": "must be 'lowest' or 'average'"}),
        ("/trend?resolution=day", {"resolution": "is not known"}),
        ("/prices?resolution=month", {"resolution": "must be 'raw', 'hour', 'day', 'week' or 'auto'"}),
        ("/prices?resolution=Day", {"resolution": "must be 'raw', 'hour', 'day', 'week' or 'auto'"}),
        ("/prices?format=xml", {"format": "is not known"}),
        (f"/prices?from={past}&from={past}", {"from": "is given more than once"}),
        ("/prices?from=x&to=y&resolution=z", {"from": TIME, "to": TIME, "resolution": None}),
        ("/verdict?period=P7D", {"period": "is not known"}),
    ):
        with subtests.test(path):
            assert_problem(send("GET", product + path), "invalid-data", errors)
