"""The prior prices of traders' reductions, for one offer and for many at once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import time_machine

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.history_strategies import ProductRow
from tests.reference_statistics import OfferRow

pytestmark = only_sqlite

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OFFER = UUID(int=7)


@pytest.fixture(autouse=True)
def _now(client):
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def reduced(past):
    """The ids of an offer that was reduced ten days ago, in JSON."""
    rows = [OfferRow(OFFER, NOW - timedelta(days=days), price, 5) for days, price in ((90, 5000), (10, 4000))]
    product = [ProductRow(row.at, row.price, row.price, 1, 5, observed=True) for row in rows]
    past.write(product, rows, synced_at=NOW)
    return {"product_id": str(past.product_id), "offer_id": str(OFFER)}


def path(ids):
    return f"/products/{ids['product_id']}/offers/{ids['offer_id']}/prior-price"


def expected(ids):
    return {
        **ids,
        "at": "2026-01-31T12:00:00Z",
        "currency": "EUR",
        "state": "in_stock",
        "resolution": "raw",
        "is_reduced": True,
        "price": 4000,
        "prior_price": 5000,
        "fell_at": "2026-01-21T12:00:00Z",
        "reduction": 1000,
        "reduction_percent": 20.0,
        "confidence": "high",
        "reasons": [],
    }


def test_an_offer_has_a_prior_price(client, reduced):
    answer = client.get(path(reduced))

    assert answer.json == expected(reduced)
    assert answer.headers["Cache-Control"].startswith("public, max-age=")
    client.get(path(reduced), headers={"If-None-Match": answer.headers["ETag"]}, status=304)


def test_reasons_have_a_code_and_a_text(client, past):
    rows = [OfferRow(OFFER, NOW - timedelta(days=3), 5000, None)]
    past.write([ProductRow(rows[0].at, 5000, 5000, 1, 0, observed=True)], rows, synced_at=NOW)

    answer = client.get(path({"product_id": past.product_id, "offer_id": OFFER})).json

    assert (answer["is_reduced"], answer["prior_price"], answer["confidence"]) == (False, None, "low")
    assert answer["reasons"] == [
        {"code": "first_seen_recently", "text": "it was first seen 3.0 days ago, which is less than 30"}
    ]


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"offer_id": str(uuid4())}, "not-found"),
        ({"offer_id": "no-uuid"}, "not-found"),
        ({"product_id": str(uuid4())}, "product-not-found"),
    ],
)
def test_an_unknown_offer_is_not_found(client, reduced, other, code):
    assert_problem(client.get(path({**reduced, **other}), status=404), code)


def test_many_are_answered_in_their_order(client, reduced):
    unknown = {**reduced, "offer_id": str(uuid4())}
    nowhere = {**reduced, "product_id": str(uuid4())}

    answer = client.post_json("/prior-prices", {"offers": [unknown, reduced, nowhere, reduced]})

    assert answer.status_int == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert [item["status"] for item in answer.json] == [404, 200, 404, 200]
    assert answer.json[1]["result"] == answer.json[3]["result"] == expected(reduced)
    assert [answer.json[number]["problem"]["code"] for number in (0, 2)] == ["not-found", "product-not-found"]
    assert unknown["offer_id"] in answer.json[0]["problem"]["detail"]


def test_a_thousand_are_answered_and_no_more(client, reduced):
    answer = client.post_json("/prior-prices", {"offers": [reduced] * 1000})
    assert len(answer.json) == 1000

    answer = client.post_json("/prior-prices", {"offers": [reduced] * 1001}, status=422)
    assert_problem(answer, "invalid-data", {"/offers": "must be an array of 1 to 1000 items"})


IDS = {"product_id": str(uuid4()), "offer_id": str(uuid4())}


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        ({}, "/offers", "is required"),
        ({"offers": []}, "/offers", "must be an array of 1 to 1000 items"),
        ({"offers": IDS}, "/offers", "must be an array of 1 to 1000 items"),
        ({"offers": [IDS, {}]}, "/offers", "item 1 must be an object with product_id and offer_id, only"),
        ({"offers": ["x"]}, "/offers", "item 0 must be an object with product_id and offer_id, only"),
        ({"offers": [{**IDS, "more": 1}]}, "/offers", "item 0 must be an object with product_id and offer_id, only"),
        ({"offers": [{**IDS, "offer_id": "1"}]}, "/offers", "item 0 must have UUIDs"),
        ({"offers": [{**IDS, "offer_id": None}]}, "/offers", "item 0 must have UUIDs"),
        ({"offers": [IDS], "at": "now"}, "/at", "is not known"),
    ],
)
def test_a_body_that_names_no_offers_is_refused(client, body, where, what):
    assert_problem(client.post_json("/prior-prices", body, status=422), "invalid-data", {where: what})


def test_a_body_that_is_too_large_is_refused(client):
    answer = client.post_json("/prior-prices", {"offers": ["x" * 300_000]}, status=413)

    assert_problem(answer, "body-too-large")
