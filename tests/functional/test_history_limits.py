"""What a past may cost to ask for: how many points, how old raw ones, how long an answer may be kept."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import time_machine

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.history_strategies import ProductRow
from tests.reference_statistics import OfferRow

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OFFER = UUID("018cc251-f400-7000-8000-000000000001")
PATHS = [
    "/prices",
    "/prices.csv",
    f"/offers/{OFFER}/prices",
    f"/offers/{OFFER}/prices.csv",
    f"/offers/{OFFER}/prior-price",
    "/trend",
    "/verdict",
    "/offers/cost?quantity=1",
]


@pytest.fixture(autouse=True)
def _now(client):
    with time_machine.travel(NOW, tick=False) as clock:
        yield clock


def write(past, count, *earlier, **others):
    """A past of `count` prices, one every quarter of an hour until now, of the product and its only offer."""
    times = [*earlier, *(NOW - number * timedelta(minutes=15) for number in reversed(range(count)))]
    past.write(
        [ProductRow(at, 100 + number, 100 + number, 1, 5, True) for number, at in enumerate(times)],
        [OfferRow(OFFER, at, 100 + number, 5) for number, at in enumerate(times)],
        synced_at=NOW,
        **others,
    )
    return f"/products/{past.product_id}"


@pytest.mark.parametrize("of", ["/prices", f"/offers/{OFFER}/prices"])
def test_a_series_that_would_be_too_long_names_the_resolution_to_ask_for(client, send, past, of):
    path = write(past, 1001, datetime(2019, 12, 31, tzinfo=UTC)) + of

    answer = send("GET", f"{path}?resolution=raw")

    too_many = "has more than 1000 points in this window: ask for"
    assert_problem(answer, "invalid-data", {"resolution": f"'raw' {too_many} 'hour', or for a shorter window"})
    assert client.get(f"{path}?resolution=hour").json["resolution"] == "hour"
    assert client.get(path).json["resolution"] == "hour"
    answer = send("GET", f"{path}?resolution=hour&from=2025-12-01T00:00:00Z")
    assert_problem(answer, "invalid-data", {"resolution": f"'hour' {too_many} 'day', or for a shorter window"})
    answer = send("GET", f"{path}?resolution=day&from=2020-01-01T00:00:00Z")
    assert_problem(answer, "invalid-data", {"resolution": f"'day' {too_many} 'week', or for a shorter window"})


@pytest.mark.parametrize("of", ["/prices", f"/offers/{OFFER}/prices"])
def test_a_window_is_only_as_long_as_there_was_anything_to_see(client, past, of):
    path = write(past, 1001) + of

    for begin in ("1970-01-01", "2020-01-01"):
        for resolution in ("auto", "hour"):
            answer = client.get(f"{path}?from={begin}T00:00:00Z&resolution={resolution}").json
            assert (answer["from"], answer["resolution"]) == (f"{begin}T00:00:00Z", "hour")
            assert answer["points"][0]["at"] == "2026-01-21T02:00:00Z"
            assert len(answer["points"]) == 250


@pytest.mark.parametrize("of", ["/prices", f"/offers/{OFFER}/prices"])
def test_raw_prices_that_are_no_longer_kept_are_not_answered_from_something_else(client, send, past, of):
    kept_from = datetime(2026, 1, 30, tzinfo=UTC)
    path = write(past, 400, raw_from=kept_from) + of

    answer = send("GET", f"{path}?resolution=raw&from=2026-01-29T00:00:00Z")

    kept = "'raw' is available from 2026-01-30T00:00:00Z on: use a later 'from', or 'day', 'week' or 'auto'"
    assert_problem(answer, "invalid-data", {"resolution": kept})
    answer = send("GET", f"{path}?resolution=hour&from=2026-01-29T00:00:00Z")
    assert_problem(answer, "invalid-data", {"resolution": kept.replace("raw", "hour")})
    assert client.get(f"{path}?from=2026-01-29T00:00:00Z").json["resolution"] == "day"
    assert len(client.get(f"{path}?resolution=raw&from=2026-01-30T00:00:00Z").json["points"]) == 4 * 36 + 1


def test_a_trend_says_from_what_it_was_worked_out(client, past):
    kept_from = datetime(2026, 1, 30, tzinfo=UTC)
    path = write(past, 400, raw_from=kept_from)

    answers = [
        client.get(f"{path}/trend?from={begin}").json for begin in ("2026-01-29T00:20:00Z", "2026-01-30T00:20:00Z")
    ]

    assert [(answer["resolution"], answer["from"]) for answer in answers] == [
        ("day", "2026-01-29T00:00:00Z"),
        ("raw", "2026-01-30T00:20:00Z"),
    ]


@only_sqlite
def test_an_answer_may_be_kept_until_the_prices_are_asked_for_again(make_client, upstream, past, subtests):
    client = make_client(upstream, **{"sync.interval_seconds": "20"})
    product = write(past, 3)
    for of in (*PATHS, f"/offers?at={NOW.isoformat().replace('+', '%2B')}"):
        with subtests.test(of):
            check_lifetime(client, product, of)


def check_lifetime(client, product, of):
    path = product + of

    answer = client.get(path)

    # Of what is offered now, until the next list is asked for; that of this product is overdue.
    kept = f"public, max-age={1 if 'cost' in of else 20}"
    assert answer.headers["Cache-Control"] == kept
    tag = answer.headers["ETag"]
    known = client.get(path, headers={"If-None-Match": tag}, status=304)
    assert (known.body, known.headers["ETag"], known.headers["Cache-Control"]) == (b"", tag, kept)
    head = client.head(path)
    assert (head.body, head.headers["ETag"]) == (b"", tag)
    assert client.get(path, headers={"Range": "bytes=0-1"}, status=200).body == answer.body


def test_movers_may_be_kept_as_well(client):
    answer = client.get("/movers")

    assert answer.headers["Cache-Control"] == "public, max-age=60"
    client.get("/movers", headers={"If-None-Match": answer.headers["ETag"]}, status=304)


@only_sqlite
def test_csv_and_json_of_one_series_have_tags_of_their_own(client, past):
    product = write(past, 3)
    tags = {path: client.get(product + path).headers["ETag"] for path in ("/prices", "/prices.csv")}

    for path, tag in tags.items():
        client.get(product + path, headers={"If-None-Match": tag}, status=304)
    assert len(set(tags.values())) == 2


@only_sqlite
@pytest.mark.parametrize("of", [*PATHS, "/offers?at=2026-01-31T12:00:00Z"])
def test_what_is_not_a_product_has_no_past(send, of):
    for wrong in (str(uuid4()), "1", uuid4().hex):
        assert_problem(send("GET", f"/products/{wrong}{of}"), "product-not-found")
