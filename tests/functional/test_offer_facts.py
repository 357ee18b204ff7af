"""What offers say over HTTP besides their price: whose they are, in which currency, and whether they compare."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import select

from productagg.db.models import ProductSource
from productagg.offers.reconcile import Observation
from tests.databases import only_sqlite
from tests.factories import make_product, offer_state
from tests.functional.problems import assert_problem
from tests.integration.offer_history import write_down

NEW, USED, FREE, FOREIGN, ORDERED = (UUID(int=number) for number in range(1, 6))
OFFERS = {
    NEW: offer_state(
        5000, 3, seller="Lamp House", condition="new", shipping=100, url="https://lamps.test/1", external_id="sku 1"
    ),
    USED: offer_state(4000, seller="Second Hand", condition="used"),
    FREE: offer_state(5050, 1, seller="Lamp House", condition="new", shipping=0),
    FOREIGN: offer_state(1, 9, currency="CZK", seller="Lampy", shipping=0),
    ORDERED: offer_state(4500, 8, availability="preorder", seller="Lamp House", shipping=500),
}


@pytest.fixture
def product(client, database):
    """The path of a product with these offers."""
    product_id = make_product(database)
    with database.sessions.begin() as session:
        now = datetime.now(UTC)
        write_down(session, Observation(product_id, OFFERS, now, first=True))
        session.scalars(select(ProductSource)).one().last_synced_at = now
    return f"/products/{product_id}"


def ids(offers):
    return [UUID(offer["id"]) for offer in offers]


def test_an_offer_says_whose_it_is(client, product):
    offers = {UUID(offer["id"]): offer for offer in client.get(product).json["offers"]}

    told = {name: value for name, value in offers[NEW].items() if not name.endswith("_at")}
    assert told == {
        "id": str(NEW),
        "external_id": "sku 1",
        "seller": "Lamp House",
        "url": "https://lamps.test/1",
        "condition": "new",
        "price": 5000,
        "currency": "EUR",
        "comparable": True,
        "shipping": 100,
        "availability": "in_stock",
        "items_in_stock": 3,
        "quarantined": None,
    }
    untold = ("external_id", "url", "shipping", "items_in_stock")
    assert [offers[USED][name] for name in untold] == [None, None, None, None]


def test_only_offers_in_the_catalogues_currency_make_the_products_price(client, product):
    answer = client.get(product).json

    summary = ("currency", "lowest_price", "offer_count", "items_in_stock")
    assert [answer[name] for name in summary] == ["EUR", 4000, 3, 4]
    assert [offer["comparable"] for offer in answer["offers"]] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("", [USED, ORDERED, NEW, FREE, FOREIGN]),
        ("?by=price", [USED, ORDERED, NEW, FREE, FOREIGN]),
        # Unknown shipping comes after known shipping, however cheap the offer is.
        ("?by=total", [ORDERED, FREE, NEW, USED, FOREIGN]),
    ],
)
@pytest.mark.parametrize("of", ["", "/offers"])
def test_offers_come_by_price_or_by_price_and_shipping(client, product, by, order, of):
    answer = client.get(product + of + by).json

    assert ids(answer if of else answer["offers"]) == order


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("seller=Lamp%20House", [ORDERED, NEW, FREE]),
        ("seller=lamp%20house", []),
        ("condition=used", [USED]),
        ("condition=unknown", [ORDERED, FOREIGN]),
        ("in_stock=true", [USED, NEW, FREE, FOREIGN]),
        ("in_stock=false", [ORDERED]),
        ("seller=Lamp+House&in_stock=true&condition=new&by=total", [FREE, NEW]),
    ],
)
def test_offers_are_filtered_by_what_they_say(client, product, query, found):
    assert ids(client.get(f"{product}/offers?{query}").json) == found


@only_sqlite
def test_what_makes_no_sense_together_is_refused(send, product, subtests):
    at, closed = "must not be given together with 'at'", "must not be given together with 'closed=true'"
    for query, errors in (
        ("closed=true&seller=x", {"seller": closed}),
        ("closed=true&by=total&in_stock=true", {"by": closed, "in_stock": closed}),
        ("at=2026-01-01T00:00:00Z&condition=new", {"condition": at}),
        ("by=shipping", {"by": "must be 'price' or 'total'"}),
        ("seller=", {"seller": "must be a name of 1 to 200 characters"}),
        ("condition=good", {"condition": "must be 'new', 'refurbished', 'used' or 'unknown'"}),
    ):
        with subtests.test(query):
            assert_problem(send("GET", f"{product}/offers?{query}"), "invalid-data", errors)
    with subtests.test("a product"):
        assert_problem(send("GET", f"{product}?by=id"), "invalid-data", {"by": "must be 'price' or 'total'"})


@only_sqlite
def test_every_answer_with_prices_says_their_currency(client, product):
    foreign = f"{product}/offers/{FOREIGN}/prices"
    for path, currency in {
        product: "EUR",
        f"{product}/prices": "EUR",
        f"{product}/trend": "EUR",
        f"{product}/verdict": "EUR",
        f"{product}/offers/cost?quantity=1": "EUR",
        f"{product}/offers?at={datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}": "EUR",
        foreign: "CZK",
    }.items():
        assert client.get(path).json["currency"] == currency, path
    assert client.get("/products").json[0]["currency"] == "EUR"
    assert client.get("/products/partial?fields=lowest_price").json[0].keys() == {"id", "currency", "lowest_price"}
    assert client.get("/products/partial?fields=name").json[0].keys() == {"id", "name"}
    assert client.get(f"{foreign}.csv").text.splitlines()[1].split(",")[1:4] == ["in_stock", "CZK", "1"]


def test_a_quantity_is_not_bought_in_two_currencies(client, product):
    answer = client.get(f"{product}/offers/cost?quantity=20").json

    # One piece of the offer that tells no number, none of what is on order or in another currency.
    bought = [(UUID(line["offer_id"]), line["quantity"]) for line in answer["lines"]]
    assert bought == [(USED, 1), (NEW, 3), (FREE, 1)]
    assert (answer["cost"], answer["complete"]) == (4000 + 3 * 5000 + 5050, False)


def test_an_offer_without_a_number_is_in_stock_over_time(client, product):
    (point,) = client.get(f"{product}/offers/{USED}/prices").json["points"]
    (ordered,) = client.get(f"{product}/offers/{ORDERED}/prices").json["points"]

    assert (point["state"], point["price"], point["items_in_stock"]) == ("in_stock", 4000, None)
    assert (ordered["state"], ordered["price"], ordered["items_in_stock"]) == ("sold_out", None, 0)
