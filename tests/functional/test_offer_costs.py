"""GET /products/{id}/offers/cost: what some units of a product cost now."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from productagg.db.models import OFFERS_SOURCE, Offer
from tests.databases import only_sqlite
from tests.factories import OFFER_FACTS
from tests.functional.problems import assert_problem

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
A, B, C = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture
def stock(client, database, past):
    """Stock the product: `stock({offer: (price, items)}, {sold-out offers})`; the path of its costs."""

    def stock(current, closed=()):
        with database.sessions.begin() as session:
            for offers, closed_at in ((current, None), (dict(closed), NOW)):
                for id_, (price, items) in offers.items():
                    times = {"first_seen_at": NOW, "changed_at": NOW, "closed_at": closed_at}
                    values = {"id": id_, "price": price, "items_in_stock": items, **times, **OFFER_FACTS}
                    session.add(Offer(product_id=past.product_id, source_id=OFFERS_SOURCE, **values))
        return f"/products/{past.product_id}/offers/cost"

    return stock


def test_the_cheapest_units_are_taken_first(client, past, stock):
    path = stock({C: (100, 2), B: (130, 4), A: (130, 1)})

    assert client.get(f"{path}?quantity=5").json == {
        "product_id": str(past.product_id),
        "currency": "EUR",
        "quantity": 5,
        "available_quantity": 5,
        "complete": True,
        "cost": 2 * 100 + 1 * 130 + 2 * 130,
        "lines": [
            {"offer_id": str(C), "price": 100, "quantity": 2},
            {"offer_id": str(A), "price": 130, "quantity": 1},
            {"offer_id": str(B), "price": 130, "quantity": 2},
        ],
    }


@pytest.mark.parametrize(
    ("quantity", "cost", "taken"),
    [(1, 10, [1]), (2, 20, [2]), (3, 50, [2, 1]), (5, 110, [2, 3])],
)
def test_no_offer_is_taken_from_that_is_not_needed(client, stock, quantity, cost, taken):
    answer = client.get(f"{stock({A: (10, 2), B: (30, 3), C: (50, 9)})}?quantity={quantity}").json

    assert (answer["complete"], answer["cost"]) == (True, cost)
    assert [line["quantity"] for line in answer["lines"]] == taken


def test_what_is_not_in_stock_is_not_promised(client, stock):
    answer = client.get(f"{stock({A: (10, 2), B: (30, 3), C: (5, 0)}, {UUID(int=4): (1, 0)})}?quantity=6").json

    assert (answer["quantity"], answer["available_quantity"], answer["complete"]) == (6, 5, False)
    assert answer["cost"] == 110
    assert [line["offer_id"] for line in answer["lines"]] == [str(A), str(B)]


def test_what_is_sold_out_has_no_cost(client, past, stock):
    assert client.get(f"{stock({}, {A: (10, 0)})}?quantity=1").json == {
        "product_id": str(past.product_id),
        "currency": "EUR",
        "quantity": 1,
        "available_quantity": 0,
        "complete": False,
        "cost": None,
        "lines": [],
    }


def test_an_offer_that_tells_no_number_has_one_unit_at_least(client, stock):
    answer = client.get(f"{stock({A: (10, None), B: (30, 3)})}?quantity=3").json

    assert [(line["offer_id"], line["quantity"]) for line in answer["lines"]] == [(str(A), 1), (str(B), 2)]
    assert (answer["cost"], answer["complete"]) == (70, True)


def test_what_costs_nothing_costs_0(client, stock):
    assert client.get(f"{stock({A: (0, 5)})}?quantity=5").json["cost"] == 0


def test_a_cost_is_exact_however_large(client, stock):
    most, dearest = 2**31 - 1, 2**63 - 1

    answer = client.get(f"{stock({A: (dearest, 2**62)})}?quantity={most}")

    assert answer.json["cost"] == most * dearest


@only_sqlite
def test_a_quantity_is_a_number_of_units(send, stock, subtests):
    path = stock({A: (10, 2)})
    number = "must be a whole number from 1 to 2147483647"
    for query, errors in (
        ("", {"quantity": "is required"}),
        *((f"?quantity={wrong}", {"quantity": number}) for wrong in ("", "0", "-1", "%2B1", "1.0", "2147483648", "x")),
        ("?quantity=1&quantity=2", {"quantity": "is given more than once"}),
        ("?quantity=1&at=now", {"at": "is not known"}),
    ):
        with subtests.test(query):
            assert_problem(send("GET", path + query), "invalid-data", errors)
