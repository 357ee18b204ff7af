"""GET /products/{id}/verdict: whether the price is a good one now."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from tests.history_strategies import ProductRow

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _now(client):
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def verdict(client, past):
    """The verdict on prices: `verdict((days ago, price), …)`, observed until now."""

    def verdict(*prices):
        rows = [
            ProductRow(NOW - days * DAY, price, price, *((0, 0) if price is None else (1, 5)), True)
            for days, price in prices
        ]
        past.write(rows, synced_at=NOW if rows else None)
        return client.get(f"/products/{past.product_id}/verdict").json

    return verdict


def test_a_verdict_says_what_it_is_based_on(verdict, past):
    low = {"price": 140, "at": "2026-01-26T12:00:00Z"}

    assert verdict((60, 200), (10, 150), (5, 140)) == {
        "product_id": str(past.product_id),
        "at": "2026-01-31T12:00:00Z",
        "currency": "EUR",
        "state": "in_stock",
        "resolution": "raw",
        "resolution_ever": "raw",
        "price": 140,
        "verdict": "good",
        "enough_at": None,
        "confidence": "high",
        "reasons": [],
        "all_time_low": low,
        "low_365_days": low,
        "low_30_days": low,
        "dearer_percent_ever": 91.67,
        "dearer_percent": 91.67,
        "cheaper_percent": 0.0,
        "price_drop": {
            "since": "2026-01-21T12:00:00Z",
            "low_30_days_before": 200,
            "drop": 60,
            "drop_percent": 30.0,
        },
    }


def test_a_short_past_makes_an_unsure_verdict(verdict):
    answer = verdict((9, 200), (1, 100))

    assert (answer["verdict"], answer["confidence"]) == ("good", "low")
    assert answer["reasons"] == ["its price has been observed for 9.0 days in all, which is less than 30"]


def test_a_past_of_minutes_makes_no_verdict(verdict):
    answer = verdict((0.01, 100), (0.005, 200))

    assert (answer["verdict"], answer["price"], answer["confidence"]) == ("insufficient_history", 200, "low")
    assert answer["enough_at"] == "2026-02-07T11:45:36Z"


@pytest.mark.parametrize(
    ("prices", "state", "reason"),
    [
        ((), "not_observed", "its current price is unknown"),
        (((60, 200), (1, None)), "sold_out", "it is currently sold out"),
    ],
)
def test_without_a_price_there_is_no_verdict(verdict, prices, state, reason):
    answer = verdict(*prices)

    assert (answer["state"], answer["price"], answer["verdict"], answer["price_drop"]) == (state, None, None, None)
    assert (answer["confidence"], answer["reasons"][0]) == ("low", reason)
