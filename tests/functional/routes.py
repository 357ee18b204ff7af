"""Every route and method, with who may use it, and paths that exist, for tests of what holds on every route."""

from uuid import uuid4

import pytest

from productagg.db.models import Offer
from tests.factories import link, make_product, make_run, make_source

NEW = {"name": "New", "description": ""}

# The statuses for a client without a token, a reader and an admin, by method and route. `{id}` is a product's.
MATRIX = {
    ("GET", "/products"): (200, 200, 200),
    ("POST", "/products"): (401, 403, 201),
    ("GET", "/products/partial"): (200, 200, 200),
    ("POST", "/products/batch"): (401, 403, 201),
    ("GET", "/products/{id}"): (200, 200, 200),
    ("PATCH", "/products/{id}"): (401, 403, 200),
    ("DELETE", "/products/{id}"): (401, 403, 204),
    ("GET", "/products/{id}/offers"): (200, 200, 200),
    ("GET", "/products/{id}/offers/cost"): (200, 200, 200),
    ("GET", "/products/{id}/offers/{offer_id}/prices"): (404, 404, 404),  # for its offer's id is a product's
    ("GET", "/products/{id}/offers/{offer_id}/prices.csv"): (404, 404, 404),
    ("POST", "/products/{id}/offers/{offer_id}/quarantined"): (401, 403, 404),
    ("POST", "/products/{id}/offers/{offer_id}/prices/corrections"): (401, 403, 404),
    ("GET", "/products/{id}/offers/{offer_id}/prices/corrections"): (401, 403, 200),
    ("GET", "/products/{id}/prices"): (200, 200, 200),
    ("GET", "/products/{id}/prices.csv"): (200, 200, 200),
    ("GET", "/products/{id}/trend"): (200, 200, 200),
    ("GET", "/products/{id}/verdict"): (200, 200, 200),
    ("GET", "/movers"): (200, 200, 200),
    ("GET", "/changes"): (200, 200, 200),
    ("GET", "/sources"): (401, 403, 200),
    ("POST", "/sources"): (401, 403, 201),
    ("GET", "/sources/{id}"): (401, 403, 404),  # for its id is a product's
    ("PATCH", "/sources/{id}"): (401, 403, 404),
    ("DELETE", "/sources/{id}"): (401, 403, 404),
    ("POST", "/sources/{id}/test"): (401, 403, 404),
    ("GET", "/sources/{id}/unmatched"): (401, 403, 404),
    ("GET", "/products/{id}/sources"): (401, 403, 200),
    ("PUT", "/products/{id}/sources/{source_id}"): (401, 403, 404),  # for its source's id is a product's
    ("DELETE", "/products/{id}/sources/{source_id}"): (401, 403, 404),
    ("GET", "/sync-runs"): (401, 403, 200),
    ("GET", "/sync-runs/{id}"): (401, 403, 404),  # for its id is a product's
    ("POST", "/login"): (401, 401, 401),  # for it is sent no user's password
    ("GET", "/health/live"): (200, 200, 200),
    ("GET", "/health/ready"): (200, 200, 200),
    ("GET", "/problems/{code}"): (200, 200, 200),
    ("GET", "/openapi.json"): (200, 200, 200),
    ("GET", "/"): (302, 302, 302),
    ("GET", "/docs"): (200, 200, 200),
    ("GET", "/docs/{name}"): (200, 200, 200),
}
# Names of their own: one test may send all of them.
BODIES = {
    ("POST", "/products"): NEW,
    ("POST", "/products/batch"): [{"name": "New in a batch", "description": ""}],
    ("PATCH", "/products/{id}"): {"name": "Renamed", "description": ""},
    ("POST", "/sources"): {"kind": "jsonld", "name": "New shop", "configuration": {}},
    ("PATCH", "/sources/{id}"): {"enabled": False},
    ("POST", "/sources/{id}/test"): {"locator": "http://127.0.0.1:9/lamp"},  # an address that is refused
    ("PUT", "/products/{id}/sources/{source_id}"): {"locator": "https://shop.test/lamp"},
    ("POST", "/products/{id}/offers/{offer_id}/quarantined"): {"price": 0, "decision": "accept"},
    ("POST", "/products/{id}/offers/{offer_id}/prices/corrections"): {
        "from": "2026-01-01T00:00:00Z",
        "until": "9999-01-01T00:00:00Z",
        "price": 1,
        "reason": "A glitch.",
    },
    ("POST", "/login"): {"username": "x", "password": "x"},
}
QUERIES = {
    ("GET", "/products/partial"): "?fields=name",
    ("GET", "/products/{id}/offers/cost"): "?quantity=1",
}

# What is not a representation to be kept: it says how things are at this moment, or only leads elsewhere.
MOMENTARY = {"/health/live", "/health/ready", "/"}
READ = [path for method, path in MATRIX if method == "GET"]
KEPT = [path for path in READ if path not in MOMENTARY]


@pytest.fixture
def there(sync, upstream, database):
    """The path and query of a resource that exists: `there("/products/{id}")`.

    The product has two sources, and one offer, which holds a price back.
    """
    product_id, offer_id = make_product(database, "Lamp", "Bright"), uuid4()
    upstream.offer(product_id, {offer_id: (1000, 1)})
    sync(product_id)
    held_back = {"price": 0, "reason": "zero", "since": "2026-01-01T00:00:00Z", "seen": 1, "rejected": False}
    with database.sessions.begin() as session:
        session.get_one(Offer, (product_id, offer_id)).quarantined = held_back
    run_id, source_id = make_run(database), make_source(database, "A shop")
    link(database, product_id, source_id, next_sync_at=None)

    def there(path):
        ids = {"sync-runs": run_id, "sources": source_id}
        where = path.format(
            id=ids.get(path.split("/")[1], product_id),
            offer_id=offer_id,
            source_id=source_id,
            code="not-found",
            name="start.js",
        )
        return where + QUERIES.get(("GET", path), "")

    return there
