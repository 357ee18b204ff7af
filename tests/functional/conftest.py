"""What the functional tests share beyond tests/conftest.py."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pyramid.config import Configurator
from pyramid.security import NO_PERMISSION_REQUIRED
from sqlalchemy import event, func, select

from productagg.db.models import OFFERS_SOURCE, Product, ProductSource
from tests.functional.routes import there  # noqa: F401 - a fixture
from tests.integration.history_writer import PastWriter


@pytest.fixture
def send(client):
    """Send a request whatever may come of it: `send("PATCH", path, body, headers)`.

    A body that is bytes goes as it is, everything else as JSON.
    """

    def send(method, path, body=None, headers=None, client=client):
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.request(path, method=method, body=body, headers=headers, expect_errors=True)

    return send


@pytest.fixture
def create(client, admin):
    """Create a product, let the background ask for its first offers, and return it as it then reads."""

    def create(name="Lamp", description="Bright"):
        made = client.post_json("/products", {"name": name, "description": description}, headers=admin, status=201)
        client.background.wait()
        return client.get(f"/products/{made.json['id']}").json

    return create


@pytest.fixture
def sync(client):
    """Ask for a product's offers now, due or not."""

    def sync(product_id):
        with client.services.sessions.begin() as session:
            session.get_one(ProductSource, (UUID(str(product_id)), OFFERS_SOURCE)).next_sync_at = datetime.now(UTC)
        client.services.synchronizer.sync_products([UUID(str(product_id))])

    return sync


@pytest.fixture
def past(database):
    """Writes the past of a product, `past.product_id`."""
    return PastWriter(database)


@pytest.fixture
def stored(database):
    """Count the products in the database (those of a name), seen from outside the application."""

    def stored(name=None):
        query = select(func.count()).select_from(Product)
        if name is not None:
            query = query.where(Product.name == name)
        with database.reader.connect() as connection:
            return connection.execute(query).scalar_one()

    return stored


@pytest.fixture
def add_view():
    """Give a client's application one more view: `add_view(client, "/path", view)`. It is public, for every method.

    The tests that use this share an application: there, a view stays until another one takes its path.
    """

    def add(client, path, view):
        config = Configurator(registry=client.app.registry)
        config.add_route(path, path)
        config.add_view(view, route_name=path, permission=NO_PERMISSION_REQUIRED)
        config.commit()

    return add


@pytest.fixture
def lose_database():
    """Make the database of a client's application unreachable, as its driver would report it."""
    lost = []

    def refuse(dialect, *_):
        raise dialect.dbapi.OperationalError("could not connect to the server at db.internal")

    def lose(client):
        for engine in client.services.engines:
            engine.dispose()
            event.listen(engine, "do_connect", refuse)
            lost.append(engine)

    yield lose
    for engine in lost:
        event.remove(engine, "do_connect", refuse)
