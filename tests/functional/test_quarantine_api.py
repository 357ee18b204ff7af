"""Prices that are held back, over HTTP: how they are shown, and how an admin decides about them."""

from uuid import UUID, uuid4

import pytest

from tests.databases import only_sqlite
from tests.factories import make_product
from tests.functional.problems import assert_problem

OFFER, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def client(make_client, upstream, users):
    return make_client(upstream, **{"quarantine.factor": "10"})


@pytest.fixture
def product(database, upstream, sync):
    """The path of a product with two offers, of which one has just become fifty times as dear."""
    product_id = make_product(database)
    for price in (1000, 50000):
        upstream.offer(product_id, {OFFER: (price, 3), OTHER: (1200, 1)})
        sync(product_id)
    return f"/products/{product_id}"


@pytest.fixture
def decide(send, admin, product):
    def decide(decision, price=50000, offer_id=OFFER, product=product):
        body = {"price": price, "decision": decision}
        return send("POST", f"{product}/offers/{offer_id}/quarantined", body, admin)

    return decide


def offers_of(client, product):
    return {UUID(offer["id"]): offer for offer in client.get(product).json["offers"]}


def test_an_offer_shows_the_price_that_it_holds_back(client, product):
    offers = offers_of(client, product)

    held = offers[OFFER]["quarantined"]
    assert held.pop("since") == offers[OFFER]["changed_at"]
    assert held == {"price": 50000, "reason": "jump", "seen": 1, "rejected": False}
    assert (offers[OFFER]["price"], offers[OTHER]["quarantined"]) == (1000, None)
    assert client.get(product).json["lowest_price"] == 1000
    assert client.get(f"{product}/prices").json["points"][-1]["lowest"] == 1000


def test_a_new_offer_for_nothing_is_not_the_cheapest(client, database, upstream, sync):
    product_id = make_product(database)
    upstream.offer(product_id, {OFFER: (0, 3), OTHER: (1200, 1)})
    sync(product_id)

    answer = client.get(f"/products/{product_id}").json

    assert (answer["lowest_price"], answer["offer_count"]) == (1200, 1)
    assert [UUID(offer["id"]) for offer in answer["offers"]] == [OTHER, OFFER]
    cost = client.get(f"/products/{product_id}/offers/cost?quantity=2").json
    assert [line["offer_id"] for line in cost["lines"]] == [str(OTHER)]


def test_an_admin_accepts_it(client, product, decide):
    answer = decide("accept")

    assert (answer.status_int, answer.json["price"], answer.json["quarantined"]) == (200, 50000, None)
    assert answer.json == offers_of(client, product)[OFFER]
    assert client.get(product).json["lowest_price"] == 1200
    assert client.get(f"{product}/prices").json["points"][-1]["lowest"] == 1200


def test_an_admin_rejects_it(client, product, decide):
    answer = decide("reject")

    assert (answer.json["price"], answer.json["quarantined"]["rejected"]) == (1000, True)
    assert client.get(product).json["lowest_price"] == 1000


def test_the_change_feed_tells_of_both(client, product, decide):
    before = client.get("/changes").json
    decide("accept")

    after = client.get("/changes").json
    assert [change["kind"] for change in after[len(before) :]] == ["offers"]


@only_sqlite
def test_a_decision_is_about_the_price_that_was_seen(client, product, decide, subtests):
    for name, code, arguments in (
        ("another price", "not-quarantined", {"price": 50001}),
        ("an offer that holds nothing back", "not-quarantined", {"price": 1200, "offer_id": OTHER}),
        ("no such offer", "not-found", {"offer_id": uuid4()}),
        ("no such product", "product-not-found", {"product": f"/products/{uuid4()}"}),
    ):
        with subtests.test(name):
            assert_problem(decide("accept", **arguments), code)
    assert offers_of(client, product)[OFFER]["price"] == 1000


@only_sqlite
def test_a_decision_that_is_not_understood_is_refused(send, admin, product):
    path = f"{product}/offers/{OFFER}/quarantined"
    number = "must be an integer from 0 to 9223372036854775807"

    assert_problem(
        send("POST", path, {"price": "50000", "decision": "maybe"}, admin),
        "invalid-data",
        {"/price": number, "/decision": "must be 'accept' or 'reject'"},
    )
    for price in (-1, 2**63, 1.5, True, None):
        answer = send("POST", path, {"price": price, "decision": "accept"}, admin)
        assert_problem(answer, "invalid-data", {"/price": number})
