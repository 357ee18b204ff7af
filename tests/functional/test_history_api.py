"""GET /products/{id}/prices, its offers' prices, /trend: what a past looks like from outside."""

import csv
import io
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
import time_machine

from tests.factories import make_product
from tests.functional.problems import assert_problem
from tests.history_strategies import ProductRow
from tests.reference_statistics import OfferRow

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = T0 + 30 * MINUTE
OFFER = UUID("018cc251-f400-7000-8000-000000000001")

# 100 at first, 200 after ten minutes, sold out after fifteen, 150 after twenty.
ROWS = [
    ProductRow(T0, 100, 120, 2, 7, True),
    ProductRow(T0 + 10 * MINUTE, 200, 200, 1, 5, True),
    ProductRow(T0 + 15 * MINUTE, None, None, 0, 0, True),
    ProductRow(T0 + 20 * MINUTE, 150, 160, 2, 3, True),
]
OFFER_ROWS = [
    OfferRow(OFFER, T0, 100, 5),
    OfferRow(OFFER, T0 + 10 * MINUTE, 200, 5),
    OfferRow(OFFER, T0 + 15 * MINUTE, 200, 0),
    OfferRow(OFFER, T0 + 20 * MINUTE, 150, 3),
]


def raw(at, state, lowest, average, offers, items):
    return {
        "at": at,
        "state": state,
        "lowest": lowest,
        "average": average,
        "offers": offers,
        "items_in_stock": items,
    }


RAW_POINTS = [
    raw("2026-01-31T12:00:00Z", "in_stock", 100, 120, 2, 7),
    raw("2026-01-31T12:10:00Z", "in_stock", 200, 200, 1, 5),
    raw("2026-01-31T12:15:00Z", "sold_out", None, None, 0, 0),
    raw("2026-01-31T12:20:00Z", "in_stock", 150, 160, 2, 3),
]


@pytest.fixture(autouse=True)
def _now(client):
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def product(past):
    """The path of a product with the past above, asked for at T0 + 30 minutes for the last time."""
    past.write(ROWS, OFFER_ROWS, synced_at=NOW)
    return f"/products/{past.product_id}"


@pytest.fixture
def ask(client):
    """Ask for a past: `ask(path, from_=…, to=…)`; times are datetimes."""

    def ask(path, expect_errors=False, headers=None, **parameters):
        given = {
            key.rstrip("_"): value.isoformat() if isinstance(value, datetime) else value
            for key, value in parameters.items()
        }
        return client.get(f"{path}?{urlencode(given)}", headers=headers, expect_errors=expect_errors)

    return ask


def test_the_raw_prices_are_the_steps_of_the_past(ask, past, product):
    answer = ask(f"{product}/prices", from_=T0, to=NOW, resolution="raw")

    assert answer.content_type == "application/json"
    assert answer.json == {
        "product_id": str(past.product_id),
        "from": "2026-01-31T12:00:00Z",
        "to": "2026-01-31T12:30:00Z",
        "resolution": "raw",
        "currency": "EUR",
        "points": RAW_POINTS,
    }


def test_the_price_from_before_the_window_is_carried_into_it(ask, product):
    points = ask(f"{product}/prices", from_=T0 + 5 * MINUTE, to=T0 + 12 * MINUTE).json["points"]

    assert points == [{**RAW_POINTS[0], "at": "2026-01-31T12:05:00Z"}, RAW_POINTS[1]]


def test_an_hour_of_prices_is_summarised(ask, past, product):
    answer = ask(f"{product}/prices", from_=T0 - HOUR, to=NOW, resolution="hour")

    assert answer.json == {
        "product_id": str(past.product_id),
        "from": "2026-01-31T11:00:00Z",
        "to": "2026-01-31T12:30:00Z",
        "resolution": "hour",
        "currency": "EUR",
        "points": [
            {
                "at": "2026-01-31T12:00:00Z",
                "state": "in_stock",
                "lowest": 100,
                "average": 152,
                "offers": 2,
                "items_in_stock": 3,
                "open": 100,
                "close": 150,
                "highest": 200,
                "mean": 140.0,
                "in_stock_seconds": 1500.0,
                "observed_seconds": 1800.0,
                "changes": 3,
            }
        ],
    }


@pytest.mark.parametrize(("resolution", "at"), [("day", "2026-01-31T00:00:00Z"), ("week", "2026-01-26T00:00:00Z")])
def test_days_and_weeks_are_those_of_utc_and_of_iso_8601(ask, product, resolution, at):
    answer = ask(f"{product}/prices", from_=T0, to=NOW, resolution=resolution)

    (point,) = answer.json["points"]
    assert (answer.json["from"], point["at"], point["mean"]) == (at, at, 140.0)


def test_without_a_window_the_last_30_days_are_meant(ask, product):
    for path in (f"{product}/prices", f"{product}/trend"):
        answer = ask(path).json
        assert (answer["from"], answer["to"]) == ("2026-01-01T12:30:00Z", "2026-01-31T12:30:00Z")


def test_half_a_window_is_completed_and_the_future_cut_off(ask, product, subtests):
    for given, window in (
        ({"from_": T0}, (T0, NOW)),
        ({"to": T0}, (T0 - 30 * DAY, T0)),
        ({"from_": T0, "to": NOW + DAY}, (T0, NOW)),
        ({"from_": T0, "to": "9999-12-31T23:59:59+01:00"}, (T0, NOW)),
    ):
        with subtests.test(str(given)):
            answer = ask(f"{product}/trend", **given).json
            assert tuple(map(datetime.fromisoformat, (answer["from"], answer["to"]))) == window


@pytest.mark.parametrize("time", ["2026-01-31T13:10:00+01:00", "2026-01-31t12:10:00z", "2026-01-31T12:10:00.0000009Z"])
def test_a_time_may_be_written_in_every_way_of_rfc_3339(ask, product, time):
    assert ask(f"{product}/prices", from_=time).json["from"] == "2026-01-31T12:10:00Z"


def test_what_nobody_saw_is_told_apart_from_what_was_sold_out(ask, past):
    gap = T0 + 5 * MINUTE
    past.write(
        [ROWS[0], ProductRow(gap, None, None, 0, 0, False), *ROWS[1:]], synced_at=T0 + 21 * MINUTE
    )  # the default: a minute's interval, so after five nobody knows

    points = ask(f"/products/{past.product_id}/prices", from_=T0, to=NOW).json["points"]

    assert points == [
        RAW_POINTS[0],
        raw("2026-01-31T12:05:00Z", "not_observed", None, None, 0, 0),
        *RAW_POINTS[1:],
        raw("2026-01-31T12:21:00.000001Z", "not_observed", None, None, 0, 0),
    ]


def test_csv_has_a_header_and_a_line_a_point(ask, past, product):
    answer = ask(f"{product}/prices.csv", from_=T0, to=NOW)

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="prices-{past.product_id}.csv"'
    assert answer.body == (
        b"at,state,currency,lowest,average,offers,items_in_stock\r\n"
        b"2026-01-31T12:00:00Z,in_stock,EUR,100,120,2,7\r\n"
        b"2026-01-31T12:10:00Z,in_stock,EUR,200,200,1,5\r\n"
        b"2026-01-31T12:15:00Z,sold_out,EUR,,,0,0\r\n"
        b"2026-01-31T12:20:00Z,in_stock,EUR,150,160,2,3\r\n"
    )


@pytest.mark.parametrize("resolution", ["raw", "hour", "day", "week"])
@pytest.mark.parametrize("of", ["/prices", f"/offers/{OFFER}/prices"])
def test_csv_says_what_json_says(ask, product, of, resolution):
    window = {"from_": T0, "to": NOW, "resolution": resolution}
    points = ask(product + of, **window).json["points"]

    lines = list(csv.DictReader(io.StringIO(ask(f"{product}{of}.csv", **window).text)))

    assert lines == [
        {key: "" if value is None else str(value) for key, value in {**point, "currency": "EUR"}.items()}
        for point in points
    ]


@pytest.mark.parametrize("accept", ["*/*", "text/csv", "application/json", "text/html", "nonsense"])
@pytest.mark.parametrize(("of", "expected"), [("/prices", "application/json"), ("/prices.csv", "text/csv")])
def test_the_path_alone_says_whether_it_is_csv(ask, product, of, expected, accept):
    answer = ask(product + of, headers={"Accept": accept})

    assert answer.content_type == expected
    assert "Accept" not in answer.headers.get("Vary", "").split(", ")


def test_an_offers_prices_are_its_own(ask, past, product):
    answer = ask(f"{product}/offers/{OFFER}/prices", from_=T0, to=NOW)

    assert answer.json == {
        "product_id": str(past.product_id),
        "offer_id": str(OFFER),
        "from": "2026-01-31T12:00:00Z",
        "to": "2026-01-31T12:30:00Z",
        "resolution": "raw",
        "currency": "EUR",
        "points": [
            {"at": "2026-01-31T12:00:00Z", "state": "in_stock", "price": 100, "items_in_stock": 5},
            {"at": "2026-01-31T12:10:00Z", "state": "in_stock", "price": 200, "items_in_stock": 5},
            {"at": "2026-01-31T12:15:00Z", "state": "sold_out", "price": None, "items_in_stock": 0},
            {"at": "2026-01-31T12:20:00Z", "state": "in_stock", "price": 150, "items_in_stock": 3},
        ],
    }


def test_what_is_not_an_offer_of_the_product_is_not_found(send, database, product, subtests):
    other = make_product(database, name="Lamp")
    for path in (
        f"{product}/offers/{uuid4()}/prices",
        f"{product}/offers/1/prices",
        f"{product}/offers/{OFFER.hex}/prices",
        f"/products/{other}/offers/{OFFER}/prices",
    ):
        with subtests.test(path):
            assert_problem(send("GET", path), "not-found")


def test_a_trend_is_weighted_by_time_in_stock(ask, past, product):
    answer = ask(f"{product}/trend", from_=T0, to=NOW)

    assert answer.json == {
        "product_id": str(past.product_id),
        "from": "2026-01-31T12:00:00Z",
        "to": "2026-01-31T12:30:00Z",
        "resolution": "raw",
        "currency": "EUR",
        "metric": "lowest",
        "start_price": 100,
        "end_price": 150,
        "change": 50,
        "change_percent": 50.0,
        "direction": "up",
        "minimum": {"price": 100, "at": "2026-01-31T12:00:00Z"},
        "maximum": {"price": 200, "at": "2026-01-31T12:10:00Z"},
        "mean": 140.0,
        "median": 150.0,
        "out_of_stock_percent": 16.67,
        "observed_percent": 100.0,
        "longest_gap_seconds": 0.0,
        "changes": 3,
    }


def test_a_trend_of_the_average_is_that_of_the_average(ask, product):
    answer = ask(f"{product}/trend", from_=T0, to=NOW, metric="average").json

    assert (answer["metric"], answer["start_price"], answer["end_price"]) == ("average", 120, 160)
    assert answer["mean"] == (120 * 10 + 200 * 5 + 160 * 10) / 25


@pytest.mark.parametrize("of", ["/trend", "/prices"])
@pytest.mark.parametrize("period", ["PT30M", "PT1800S", "PT29M60S", "P0DT0H30M"])
def test_a_period_is_the_window_that_ends_now(ask, product, of, period):
    assert ask(f"{product}{of}", period=period).json == ask(f"{product}{of}", from_=T0, to=NOW).json


@pytest.mark.parametrize(
    ("period", "days"),
    [("24h", 1), ("7d", 7), ("2w", 14), ("P7D", 7), ("P2W", 14), ("PT24H", 1), ("P1DT24H", 2), ("P365D", 365)],
)
def test_a_period_may_be_of_weeks_days_and_hours(ask, product, period, days):
    answer = ask(f"{product}/trend", period=period).json

    assert NOW - datetime.fromisoformat(answer["from"]) == days * DAY


def test_no_window_begins_before_1970(ask, product):
    answer = ask(f"{product}/trend", period="P36525D").json

    assert (answer["from"], answer["resolution"]) == ("1970-01-01T00:00:00Z", "raw")


def test_a_trend_says_nothing_of_a_time_that_nobody_saw(ask, past, product):
    answer = ask(f"{product}/trend", from_=T0 - DAY, to=T0 - HOUR).json

    window = {
        "from": "2026-01-30T12:00:00Z",
        "to": "2026-01-31T11:00:00Z",
        "resolution": "raw",
        "metric": "lowest",
        "currency": "EUR",
    }
    prices = ("start_price", "end_price", "change", "change_percent", "direction", "minimum", "maximum")
    assert answer == {
        "product_id": str(past.product_id),
        **window,
        **dict.fromkeys((*prices, "mean", "median", "out_of_stock_percent")),
        "observed_percent": 0.0,
        "longest_gap_seconds": 0.0,
        "changes": 0,
    }


@pytest.mark.parametrize("lowest", [0, 2**63 - 1])
def test_no_price_is_too_small_or_too_large(ask, past, lowest):
    past.write([ProductRow(T0, lowest, lowest, 1, 2**40, True)], synced_at=NOW)

    answer = ask(f"/products/{past.product_id}/trend", from_=T0, to=NOW).json

    assert answer["start_price"] == answer["minimum"]["price"] == lowest
    assert answer["change_percent"] == (0.0 if lowest else None)
