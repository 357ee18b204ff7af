"""Every route of the application with paths that lead somewhere, for the tests of what holds on each of them."""

from uuid import UUID, uuid4

import pytest

from tests.factories import make_run
from tests.functional.test_authorization import MATRIX, QUERIES

# What is not a representation to be kept: it says how things are at this moment, or only leads elsewhere.
MOMENTARY = {"/health/live", "/health/ready", "/"}
READ = [path for method, path in MATRIX if method == "GET"]
KEPT = [path for path in READ if path not in MOMENTARY]


@pytest.fixture
def there(create, sync, upstream, database):
    """The path and query of something that is there: `there("/products/{id}")`. The product has one offer."""
    product_id, offer_id = create()["id"], uuid4()
    upstream.offer(UUID(product_id), {offer_id: (1000, 1)})
    sync(product_id)
    run_id = make_run(database)

    def there(path):
        id_ = run_id if path.startswith("/sync-runs") else product_id
        where = path.format(id=id_, offer_id=offer_id, code="not-found", name="start.js")
        return where + QUERIES.get(("GET", path), "")

    return there


# For what is done to an answer whatever the database that it comes from.
once = pytest.mark.parametrize("migrated_database", ["sqlite"], indirect=True)
