"""GET /movers: whose price moved most, as the summaries say that the sync keeps."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from productagg.db.models import ProductSummary
from tests.databases import only_sqlite
from tests.factories import make_product
from tests.functional.problems import assert_problem

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _now(client):
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def add(database):
    """Add a product: `add(name, what it costs now, 24 h ago, 7 d ago, 30 d ago)`; its id."""

    def add(name, lowest, day=None, week=None, month=None, synced_at=NOW):
        product_id = make_product(database, name=name, last_synced_at=synced_at)
        summary = {
            "product_id": product_id,
            "observed_at": NOW - 3 * MINUTE,
            "lowest": lowest,
            "average": lowest,
            "offers": 0 if lowest is None else 1,
            "items_in_stock": 0 if lowest is None else 9,
            "compared_at": NOW - 10 * MINUTE,
            "lowest_24h": day,
            "lowest_7d": week,
            "lowest_30d": month,
            "compare_at": NOW + 5 * MINUTE,
        }
        with database.sessions.begin() as session:
            session.merge(ProductSummary(**summary))
        return str(product_id)

    return add


def names(answer):
    return [each["name"] for each in answer.json]


def test_a_mover_says_between_which_prices_it_moved_and_since_when(client, add):
    lamp = add("Lamp", 250, day=300)

    assert client.get("/movers").json == [
        {
            "product_id": lamp,
            "name": "Lamp",
            "currency": "EUR",
            "start_price": 300,
            "start_at": "2026-01-30T11:50:00Z",
            "end_price": 250,
            "end_at": "2026-01-31T11:57:00Z",
            "change": -50,
            "change_percent": -16.67,
        }
    ]


def test_the_largest_moves_come_first_each_direction_for_itself(client, add):
    for name, now, before in (
        ("A", 90, 100),
        ("B", 10, 20),
        ("C", 700, 1000),
        ("D", 100, 100),
        ("E", 3, 2),
        ("F", 9, 1),
    ):
        add(name, now, day=before)

    assert names(client.get("/movers")) == names(client.get("/movers?direction=down")) == ["B", "C", "A"]
    assert names(client.get("/movers?direction=up")) == ["F", "E"]
    assert names(client.get("/movers?limit=2")) == ["B", "C"]


def test_each_period_looks_back_as_far_as_it_says(client, add):
    add("A", 80, day=100, week=80, month=160)
    add("B", 80, week=90)

    found = {period: client.get(f"/movers?period={period}").json for period in ("24h", "7d", "30d")}

    assert {
        period: [(each["name"], each["start_price"], each["start_at"]) for each in found[period]] for period in found
    } == {
        "24h": [("A", 100, "2026-01-30T11:50:00Z")],
        "7d": [("B", 90, "2026-01-24T11:50:00Z")],
        "30d": [("A", 160, "2026-01-01T11:50:00Z")],
    }


def test_what_is_sold_out_was_free_or_is_not_observed_moves_nowhere(client, add):
    add("Sold out", None, day=100)
    add("Sold out then", 100, day=None)
    add("Free then", 100, day=0)
    add("Not observed", 90, day=100, synced_at=NOW - 5 * MINUTE - timedelta(microseconds=1))
    add("Just observed", 90, day=100, synced_at=NOW - 5 * MINUTE)
    add("Free now", 0, day=100)

    assert names(client.get("/movers?direction=down")) == ["Free now", "Just observed"]
    assert names(client.get("/movers?direction=up")) == []


def test_no_more_than_50_unless_told_otherwise(client, add):
    for number in range(51):
        add(f"Lamp {number}", 100 + number, day=200)

    assert len(client.get("/movers").json) == 50
    assert len(client.get("/movers?limit=200").json) == 51


@only_sqlite
def test_questions_for_movers_are_taken_literally(send, subtests):
    for query, errors in (
        ("period=1d", {"period": "must be '24h', '7d' or '30d'"}),
        ("period=P7D", {"period": "must be '24h', '7d' or '30d'"}),
        ("direction=Down", {"direction": "must be 'down' or 'up'"}),
        ("limit=201", {"limit": "must be a whole number from 1 to 200"}),
        ("limit=0&direction=", {"limit": None, "direction": None}),
        ("from=2026-01-01T00:00:00Z", {"from": "is not known"}),
        ("period=7d&period=7d", {"period": "is given more than once"}),
    ):
        with subtests.test(query):
            assert_problem(send("GET", f"/movers?{query}"), "invalid-data", errors)
