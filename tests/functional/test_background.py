"""After POST /products: the registration, out of the client's sight, and never at the expense of anything."""

import threading
from uuid import UUID, uuid4

import pytest

from productagg.sandbox import Fault
from productagg.sync import background
from productagg.sync.run import Synchronizer

NEW = {"name": "Lamp", "description": ""}


@pytest.fixture
def held_back(monkeypatch):
    """An Offers service so slow that nothing comes back before the test says so, by setting this event."""
    release = threading.Event()
    real = Synchronizer.sync_products

    def wait(self, product_ids, on_fetch):
        assert release.wait(timeout=30)
        return real(self, product_ids, on_fetch)

    monkeypatch.setattr(Synchronizer, "sync_products", wait)
    yield release
    release.set()


def states(client):
    return {product["name"]: product["registration"] for product in client.get("/products?limit=200").json}


def test_the_client_does_not_wait_for_the_offers_service(held_back, client, admin):
    answer = client.post_json("/products", NEW, headers=admin, status=201)

    assert not held_back.is_set()
    assert answer.json["registration"] == "pending"
    assert client.get(f"/products/{answer.json['id']}").json["registration"] == "pending"

    held_back.set()
    client.background.wait()
    assert states(client) == {"Lamp": "registered"}


def test_offers_are_there_as_soon_as_the_background_is_done(held_back, client, admin, upstream):
    product_id = client.post_json("/products", NEW, headers=admin).json["id"]
    upstream.offer(UUID(product_id), {uuid4(): (1000, 5)})
    held_back.set()
    client.background.wait()

    [offer] = client.get(f"/products/{product_id}").json["offers"]

    assert (offer["price"], offer["items_in_stock"]) == (1000, 5)


@pytest.mark.usefixtures("users")
def test_with_the_offers_service_down_the_product_is_there_and_pending(make_client):
    client = make_client()

    product_id = client.post_json("/products", NEW, headers=client.log_in(), status=201).json["id"]
    client.background.wait()

    product = client.get(f"/products/{product_id}").json
    assert (product["registration"], product["last_synced_at"], product["offers"]) == ("pending", None, [])


def test_what_the_background_could_not_do_the_next_run_does(client, admin, upstream):
    upstream.faults.replace([Fault("error")])
    client.post_json("/products", NEW, headers=admin, status=201)
    client.background.wait()
    assert states(client) == {"Lamp": "pending"}
    upstream.faults.clear()

    client.services.synchronizer.run()

    assert states(client) == {"Lamp": "registered"}


@pytest.mark.usefixtures("users")
def test_a_full_backlog_loses_nothing(held_back, make_client, upstream, monkeypatch):
    monkeypatch.setattr(background, "BACKLOG", 1)
    client = make_client(upstream)
    headers = client.log_in()

    for number in range(10):
        client.post_json("/products", {"name": f"Lamp {number}", "description": ""}, headers=headers, status=201)
    held_back.set()
    client.background.wait()
    assert "pending" in states(client).values()
    client.services.synchronizer.run()

    assert states(client) == {f"Lamp {number}": "registered" for number in range(10)}


def test_a_product_that_is_removed_before_its_turn_ends_well(held_back, client, admin, caplog):
    product_id = client.post_json("/products", NEW, headers=admin).json["id"]
    client.delete(f"/products/{product_id}", headers=admin, status=204)

    held_back.set()
    client.background.wait()

    assert client.get("/products").json == []
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def test_what_the_background_logs_bears_the_id_of_the_request_that_it_comes_from(client, admin, upstream, caplog):
    upstream.faults.replace([Fault("error")])

    client.post_json("/products", NEW, headers={**admin, "X-Request-ID": "find-me"}, status=201)
    client.background.wait()

    ids = {record.request_id for record in caplog.records if record.name.startswith("productagg.sync.")}
    assert ids == {"find-me"}
