"""/products/{id}/sources: which sources a product has, and what it is there."""

from uuid import uuid4

import pytest

from productagg.db.models import OFFERS_SOURCE
from tests.databases import only_sqlite
from tests.factories import have_an_offer, make_product, make_source
from tests.functional.problems import assert_problem

pytestmark = only_sqlite

PAGE = {"locator": "https://shop.test/lamp"}


@pytest.fixture
def product_id(database):
    return make_product(database)


@pytest.fixture
def shop(database):
    return make_source(database, "A shop")


@pytest.fixture
def path(product_id, shop):
    return f"/products/{product_id}/sources/{shop}"


def test_a_product_gets_a_source(send, client, admin, product_id, shop, path):
    made = send("PUT", path, {"locator": "HTTPS://shop.test/lamp"}, admin)

    assert made.status_int == 201
    listed = client.get(f"/products/{product_id}/sources", headers=admin).json
    assert [each["source"] for each in listed] == ["A shop", "offers"]
    assert listed[0] == made.json
    expected = {"source_id": str(shop), "kind": "jsonld", "enabled": True, "failures": 0, "last_error": None}
    assert made.json.items() >= {**expected, **PAGE}.items()
    assert made.json["next_sync_at"] is not None
    assert listed[1]["locator"] is None


def test_putting_the_same_again_changes_nothing(send, admin, path):
    first, again = (send("PUT", path, PAGE, admin) for _ in range(2))

    assert (first.status_int, again.status_int) == (201, 200)
    assert first.json == again.json


def test_another_locator_replaces_the_first(send, admin, path):
    send("PUT", path, PAGE, admin)

    answer = send("PUT", path, {"locator": "https://shop.test/other"}, admin)

    assert (answer.status_int, answer.json["locator"]) == (200, "https://shop.test/other")


@pytest.mark.parametrize("body", [{"locator": "ftp://shop.test/lamp"}, {"locator": ""}, {"locator": None}, {}])
def test_a_locator_that_is_none_is_refused(send, admin, path, body):
    assert_problem(send("PUT", path, body, admin), "invalid-data", {"/locator": None})


def test_a_source_whose_adapter_is_not_installed_cannot_be_linked(send, admin, database, product_id):
    gone = make_source(database, "gone", kind="pigeons")

    answer = send("PUT", f"/products/{product_id}/sources/{gone}", PAGE, admin)

    assert_problem(answer, "invalid-data", {"/locator": None})


def test_a_removed_source_takes_its_offers_along(send, client, admin, database, product_id, shop, path):
    send("PUT", path, PAGE, admin)
    have_an_offer(database, product_id, shop)
    assert client.get(f"/products/{product_id}").json["lowest_price"] == 80

    assert send("DELETE", path, None, admin).status_int == 204

    product = client.get(f"/products/{product_id}").json
    assert (product["offers"], product["lowest_price"], product["offer_count"]) == ([], None, 0)
    assert [offer["price"] for offer in client.get(f"/products/{product_id}/offers?closed=true").json] == [80]
    assert_problem(send("DELETE", path, None, admin), "source-not-found")


def test_unknown_ids_are_not_found(send, admin, product_id, shop):
    for path in (f"/products/{uuid4()}/sources", "/products/1/sources"):
        assert_problem(send("GET", path, None, admin), "product-not-found")
        assert_problem(send("PUT", f"{path}/{shop}", PAGE, admin), "product-not-found")
        assert_problem(send("DELETE", f"{path}/{shop}", None, admin), "product-not-found")
    for source in (uuid4(), "1"):
        path = f"/products/{product_id}/sources/{source}"
        assert_problem(send("PUT", path, PAGE, admin), "source-not-found")
        assert_problem(send("DELETE", path, None, admin), "source-not-found")


def test_the_offers_service_stays(send, admin, product_id):
    path = f"/products/{product_id}/sources/{OFFERS_SOURCE}"

    assert_problem(send("PUT", path, PAGE, admin), "source-from-settings")
    assert_problem(send("DELETE", path, None, admin), "source-from-settings")
