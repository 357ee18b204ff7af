"""On a web host whose clock is wrong, everything written and answered has the database's time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import time_machine

from productagg.db.models import OFFERS_SOURCE, IdempotencyKey, LoginCounter, Product, ProductChange, ProductSource
from tests.factories import make_due, make_product, make_run, rows, states

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(params=[2 * HOUR, -2 * HOUR], ids=["ahead", "behind"])
def host(request, database_clock):
    """The host's clock is two hours off; the database's is right."""
    with time_machine.travel(datetime.now(UTC) + request.param):
        yield


@pytest.fixture
def product_id(host, database, upstream, client, database_clock):
    """A product with a price since five minutes, fetched again a minute ago."""
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    for minutes in (4, 1):
        client.services.synchronizer.run()
        make_due(database)
        database_clock.shift(minutes * MINUTE)
    return product_id


def test_what_a_request_writes_has_the_databases_time(host, database, client, send, admin, database_clock):
    began = database_clock.now()
    keyed = {**admin, "Idempotency-Key": "a-key"}
    made = send("POST", "/products", {"name": "Lamp", "description": ""}, keyed)
    send("POST", "/products/batch", [{"name": "Pot", "description": ""}], admin)
    path = f"/products/{made.json['id']}"
    send("PATCH", path, {"description": "Bright"}, admin)
    send("POST", "/login", {"username": "admin", "password": "not this one"})
    removed = send("DELETE", path, headers=admin)
    client.background.wait()

    assert (made.status_int, removed.status_int) == (201, 204)
    times = [time for row in rows(database, Product) for time in (row.created_at, row.updated_at)]
    times += [row.at for row in rows(database, ProductChange)]
    times += [row.registered_at for row in rows(database, ProductSource)]
    times += [row.created_at for row in rows(database, IdempotencyKey)]
    assert len(times) >= 8
    assert began <= min(times) <= max(times) <= database_clock.now()
    window = timedelta(seconds=client.services.settings.login_window_seconds)
    ends = [row.expires_at for row in rows(database, LoginCounter)]
    assert began + window <= min(ends) <= max(ends) <= database_clock.now() + window


def test_an_idempotency_key_is_free_again_after_its_lease_by_the_databases_clock(
    host, database, client, send, admin, database_clock
):
    headers = {**admin, "Idempotency-Key": "a-key"}
    body = {"name": "Lamp", "description": ""}
    assert send("POST", "/products", body, headers).status_int == 201
    with database.sessions.begin() as session:
        key = session.query(IdempotencyKey).one()
        key.leased_until, key.status, key.headers, key.body = database_clock.now() + MINUTE, None, None, None

    assert send("POST", "/products", body, headers).status_int == 409
    database_clock.shift(MINUTE)

    assert send("POST", "/products", body, headers).json["code"] == "duplicate-name"


def test_histories_end_now_by_the_databases_clock(client, product_id, database_clock):
    began = database_clock.now()

    trend = client.get(f"/products/{product_id}/trend?period=1h").json
    verdict = client.get(f"/products/{product_id}/verdict").json
    series = client.get(f"/products/{product_id}/prices").json
    then = client.get(f"/products/{product_id}/offers?at={began.isoformat().replace('+00:00', 'Z')}").json

    for answer in (trend, series):
        assert began <= datetime.fromisoformat(answer["to"]) <= database_clock.now()
    assert (trend["end_price"], verdict["state"], verdict["price"]) == (100, "in_stock", 100)
    assert series["points"][-1]["state"] == "in_stock"
    assert [offer["price"] for offer in then["offers"]] == [100]


def test_future_times_are_refused_by_the_databases_clock(client, product_id, send, database_clock):
    soon = (database_clock.now() + 30 * MINUTE).isoformat().replace("+00:00", "Z")

    assert send("GET", f"/products/{product_id}/offers?at={soon}").status_int == 422
    assert send("GET", f"/products/{product_id}/trend?from={soon}").status_int == 422


def test_a_response_may_be_cached_until_the_product_is_due_by_the_databases_clock(
    client, product_id, database, database_clock
):
    with database.sessions.begin() as session:
        session.get_one(ProductSource, (product_id, OFFERS_SOURCE)).next_sync_at = (
            database_clock.now() + 20.5 * timedelta(seconds=1)
        )

    for path in (f"/products/{product_id}", f"/products/{product_id}/offers"):
        assert client.get(path).cache_control.max_age in (19, 20)


def test_last_modified_is_a_time_of_the_databases_clock(client, product_id, database_clock):
    last_modified = client.get(f"/products/{product_id}").last_modified

    assert database_clock.now() - 2 * MINUTE <= last_modified <= database_clock.now()


def test_movers_are_observed_recently_by_the_databases_clock(client, product_id, database, database_clock, upstream):
    upstream.offer(product_id, states((50, 5)))
    database_clock.shift(timedelta(days=1))
    for _ in range(2):
        client.services.synchronizer.run()
        make_due(database)

    (mover,) = client.get("/movers?period=24h&direction=down").json

    assert (UUID(mover["product_id"]), mover["change"]) == (product_id, -50)


def test_a_run_within_its_budget_is_running_and_an_older_one_is_lost(host, database, client, admin, database_clock):
    for ago in (MINUTE, 10 * MINUTE):
        make_run(database, started_at=database_clock.now() - ago, finished_at=None, ended_by=None)

    runs = client.get("/sync-runs", headers=admin).json

    assert sorted(run["state"] for run in runs) == ["lost", "running"]


def test_after_the_databases_clock_was_set_back_everything_can_still_be_read(
    database, client, upstream, database_clock
):
    database_clock.shift(2 * HOUR)
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    client.services.synchronizer.run()
    database_clock.shift(-2 * HOUR)

    for path in ("", "/offers", "/prices", "/prices?resolution=hour", "/trend", "/verdict"):
        client.get(f"/products/{product_id}{path}", status=200)
    for path in ("/products?sort=-updated_at", "/movers?period=24h&direction=down", "/changes?since=0"):
        client.get(path, status=200)
    assert client.get(f"/products/{product_id}").json["lowest_price"] == 100
