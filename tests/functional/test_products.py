"""A product's life over HTTP: create, read, change, delete, and its offers."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from productagg.db.models import OFFERS_SOURCE, Offer, OfferPrice, Product, ProductPrice, ProductSource
from tests.databases import only_sqlite
from tests.functional.problems import assert_problem

CHEAP, DEAR = uuid4(), uuid4()


def moment(text):
    """Read a time as this service writes them: RFC 3339, in UTC, with Z."""
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def recent(text):
    return timedelta() <= datetime.now(UTC) - moment(text) < timedelta(minutes=1)


def test_a_created_product_is_answered_as_it_is_stored(client, admin):
    answer = client.post_json("/products", {"name": "Lamp", "description": "Bright\n"}, headers=admin, status=201)

    product = answer.json
    assert UUID(product["id"]).version == 7
    assert recent(product["created_at"])
    assert product == {
        "id": product["id"],
        "name": "Lamp",
        "description": "Bright\n",
        **dict.fromkeys(("gtin", "brand", "category", "image_url")),
        "created_at": product["created_at"],
        "updated_at": product["created_at"],
        "registration": "pending",
        "last_synced_at": None,
        "last_changed_at": None,
        "currency": "EUR",
        "lowest_price": None,
        "offer_count": 0,
        "items_in_stock": 0,
        "change_24h": None,
        "change_24h_percent": None,
        "offers": [],
    }
    assert answer.content_type == "application/json"


def test_a_created_product_is_found_at_its_location(client, admin):
    answer = client.post_json("/products", {"name": "Lamp", "description": ""}, headers=admin, status=201)

    assert answer.headers["Location"] == f"http://localhost/products/{answer.json['id']}"
    found = client.get(answer.headers["Location"], status=200).json
    assert (found["id"], found["name"]) == (answer.json["id"], "Lamp")


@pytest.mark.parametrize("name", ["Lampe à pied", "灯 💡", "A" * 200, "<b>\"quoted\"</b> & 'so'", "%s {x} \\n"])
def test_a_name_and_a_description_come_back_letter_by_letter(create, name):
    product = create(name=name, description=name * 50)

    assert (product["name"], product["description"]) == (name, name * 50)


def test_space_around_a_name_is_dropped(create):
    assert create(name=" \t Lamp \n")["name"] == "Lamp"


def test_a_name_can_be_had_once(client, admin, create, stored):
    create(name="Lamp")

    answer = client.post_json("/products", {"name": " Lamp ", "description": "2"}, headers=admin, expect_errors=True)

    assert "'Lamp'" in assert_problem(answer, "duplicate-name")["detail"]
    assert stored() == 1


def test_a_new_product_has_offers_as_soon_as_the_background_has_asked(client, admin, upstream):
    created = client.post_json("/products", {"name": "Lamp", "description": "Bright"}, headers=admin).json
    assert created["registration"] == "pending"
    client.background.wait()

    product = client.get(f"/products/{created['id']}").json

    assert product["registration"] == "registered"
    assert recent(product["last_synced_at"])


def test_a_product_is_read_with_its_current_offers_cheapest_first(client, create, sync, upstream):
    product = create()
    upstream.offer(UUID(product["id"]), {DEAR: (2000, 1), CHEAP: (1, 2**40)})
    sync(product["id"])

    answer = client.get(f"/products/{product['id']}")

    offers = answer.json["offers"]
    assert [offer["id"] for offer in offers] == [str(CHEAP), str(DEAR)]
    assert recent(offers[0]["first_seen_at"])
    assert offers[0] == {
        "id": str(CHEAP),
        "source": "offers",
        "external_id": None,
        "seller": None,
        "url": None,
        "condition": "unknown",
        "price": 1,
        "currency": "EUR",
        "comparable": True,
        "shipping": None,
        "availability": "in_stock",
        "items_in_stock": 2**40,
        "quarantined": None,
        "first_seen_at": offers[0]["first_seen_at"],
        "changed_at": offers[0]["first_seen_at"],
        "closed_at": None,
    }
    assert client.get(f"/products/{product['id']}/offers").json == offers


def test_sold_out_offers_are_listed_on_demand_and_last(client, create, sync, upstream):
    product = create()
    upstream.offer(UUID(product["id"]), {DEAR: (2000, 1), CHEAP: (1000, 2)})
    sync(product["id"])
    upstream.offer(UUID(product["id"]), {DEAR: (2000, 1)})
    sync(product["id"])

    for query, expected in {"": [DEAR], "?closed=false": [DEAR], "?closed=true": [DEAR, CHEAP]}.items():
        offers = client.get(f"/products/{product['id']}/offers{query}").json

        assert [offer["id"] for offer in offers] == [str(id_) for id_ in expected]
        assert [offer["closed_at"] is None for offer in offers] == [id_ == DEAR for id_ in expected]
        assert all(recent(offer["closed_at"]) for offer in offers if offer["id"] == str(CHEAP))


@only_sqlite
def test_what_is_not_the_id_of_a_product_is_not_found(send, subtests):
    for wrong in (str(uuid4()), "1", "None", "%00", "x" * 5000, f"{{{uuid4()}}}", uuid4().hex, "%C3%A9"):
        for path in (f"/products/{wrong}", f"/products/{wrong}/offers"):
            with subtests.test(path[:60]):
                assert_problem(send("GET", path), "product-not-found")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_what_is_not_there_cannot_be_changed(send, admin, method):
    answer = send(method, f"/products/{uuid4()}", {} if method == "PATCH" else None, admin)

    assert_problem(answer, "product-not-found")


def test_an_id_is_taken_in_upper_case_too(client, create):
    product = create()

    assert client.get(f"/products/{product['id'].upper()}").json == product


@only_sqlite
@pytest.mark.parametrize("path", ["/products", "/products/{id}", "/products/{id}/offers", "/health/live"])
def test_head_answers_the_headers_of_get_without_the_body(client, create, path):
    path = path.format(id=create()["id"])
    get = client.get(path)

    head = client.head(path)

    assert head.status_int == 200
    assert head.body == b""
    for name in ("Content-Type", "Content-Length", "ETag", "Total-Count"):
        assert head.headers.get(name) == get.headers.get(name)


@pytest.mark.parametrize(
    "change", [{"name": "Desk lamp"}, {"description": ""}, {"name": "Desk lamp", "description": "Very bright"}]
)
def test_a_change_sets_what_it_names_and_nothing_else(client, admin, create, change):
    before = create(name="Lamp", description="Bright")

    answer = client.patch_json(f"/products/{before['id']}", change, headers=admin, status=200)

    assert answer.json == {**before, **change, "updated_at": answer.json["updated_at"]}
    assert moment(answer.json["updated_at"]) > moment(before["updated_at"])
    assert client.get(f"/products/{before['id']}").json == answer.json


@pytest.mark.parametrize(
    "change", [{}, {"name": "Lamp"}, {"name": " Lamp "}, {"name": "Lamp", "description": "Bright"}]
)
def test_a_change_to_what_is_there_already_changes_nothing(client, admin, create, change):
    path = f"/products/{create(name='Lamp', description='Bright')['id']}"
    before = client.get(path)

    answer = client.patch_json(path, change, headers=admin, status=200)

    assert answer.json == before.json
    assert answer.headers["ETag"] == before.headers["ETag"]


def test_a_product_cannot_be_given_anothers_name(client, admin, create):
    create(name="Lamp")
    other = create(name="Chair")

    answer = client.patch_json(
        f"/products/{other['id']}", {"name": "Lamp", "description": "changed"}, headers=admin, expect_errors=True
    )

    assert_problem(answer, "duplicate-name")
    assert client.get(f"/products/{other['id']}").json == other


def test_a_name_is_free_again_after_a_rename_and_after_a_removal(client, admin, create):
    first = create(name="Lamp")
    client.patch_json(f"/products/{first['id']}", {"name": "Chair"}, headers=admin)
    second = create(name="Lamp")
    client.delete(f"/products/{second['id']}", headers=admin)

    assert create(name="Lamp")["id"] not in (first["id"], second["id"])


def test_a_removed_product_takes_everything_of_its_own_with_it_and_nothing_else(
    client, admin, create, sync, upstream, database
):
    gone, kept = create(name="Lamp"), create(name="Chair")
    for product in (gone, kept):
        upstream.offer(UUID(product["id"]), {uuid4(): (1000, 1)})
        sync(product["id"])

    answer = client.delete(f"/products/{gone['id']}", headers=admin, status=204)

    assert answer.body == b""
    assert "Content-Type" not in answer.headers
    with database.reader.connect() as connection:
        for key in (
            Product.id,
            ProductSource.product_id,
            Offer.product_id,
            OfferPrice.product_id,
            ProductPrice.product_id,
        ):
            rows = {
                product["id"]: connection.execute(select(func.count()).where(key == UUID(product["id"]))).scalar_one()
                for product in (gone, kept)
            }
            assert rows[gone["id"]] == 0, key
            assert rows[kept["id"]] >= 1, key
    for path in (f"/products/{gone['id']}", f"/products/{gone['id']}/offers"):
        assert_problem(client.get(path, expect_errors=True), "product-not-found")


def test_a_product_that_is_removed_twice_is_not_found_the_second_time(client, admin, create):
    path = f"/products/{create()['id']}"
    client.delete(path, headers=admin, status=204)

    assert_problem(client.delete(path, headers=admin, expect_errors=True), "product-not-found")


def test_a_product_that_the_offers_service_refused_gets_another_try_when_it_is_changed(
    client, admin, create, database, monkeypatch
):
    product = create()
    # It would try at once, and may be done before we look.
    monkeypatch.setattr(client.background, "submit", lambda _: None)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with database.sessions.begin() as session:
        session.execute(update(ProductSource).values(registration="failed", failures=9, next_sync_at=tomorrow))

    answer = client.patch_json(f"/products/{product['id']}", {"description": "Better"}, headers=admin)

    assert answer.json["registration"] == "pending"
    with database.sessions.begin() as session:
        row = session.get_one(ProductSource, (UUID(product["id"]), OFFERS_SOURCE))
        assert (row.failures, row.next_sync_at <= datetime.now(UTC)) == (0, True)


def test_a_change_leaves_a_registered_product_registered(client, admin, create):
    product = create()

    answer = client.patch_json(f"/products/{product['id']}", {"description": "Better"}, headers=admin)

    assert answer.json["registration"] == "registered"
