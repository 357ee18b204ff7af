"""One request, one transaction: all of it is kept, or nothing; and reads need none."""

from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.response import Response
from sqlalchemy import event, insert, select, text

from productagg.app import main
from productagg.catalog import listing
from productagg.catalog import products as catalog
from productagg.catalog.product_query import ProductQuery
from productagg.db.models import Product
from tests.conftest import Client, ini
from tests.functional.problems import assert_problem

NEW = {"name": "Lamp", "description": ""}


def write(request, name="Written"):
    """What a view might write: with a Core statement, which the transaction manager cannot see."""
    now = datetime.now(UTC)
    request.dbsession.execute(
        insert(Product.metadata.tables["products"]).values(
            name=name, description="", version=1, created_at=now, updated_at=now, search_text="", sort_name=""
        )
    )


@contextmanager
def failing_commits(client):
    """Every commit of the application fails: the database gives the transaction up, and the driver reports it."""
    dialect = client.services.engines[0].dialect

    def fail(connection):
        connection.rollback()
        raise dialect.dbapi.OperationalError("the server closed the connection at db.internal")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialect, "do_commit", fail)
        yield


@pytest.fixture
def submitted(client, monkeypatch, stored):
    """What is handed to the background: for each product, whether others could see it in the database by then."""
    seen = []
    monkeypatch.setattr(client.background, "submit", lambda product_id: seen.append((product_id, stored() == 1)))
    return seen


def test_a_core_statement_alone_is_committed(client, add_view, stored):
    def view(request):
        write(request)
        return Response("done")

    add_view(client, "/test", view)

    client.post("/test", status=200)

    assert stored("Written") == 1


@pytest.mark.parametrize(
    "error", [RuntimeError, HTTPBadRequest, lambda: catalog.NotFound("x")], ids=["unexpected", "HTTP", "domain"]
)
def test_a_raised_error_rolls_back_what_was_written_before(client, add_view, stored, error):
    def view(request):
        write(request)
        raise error()

    add_view(client, "/test", view)

    client.post("/test", expect_errors=True)

    assert stored() == 0


@pytest.mark.parametrize(("status", "kept"), [(200, 1), (303, 1), (400, 0), (404, 0), (409, 0), (422, 0), (500, 0)])
def test_a_returned_error_rolls_back_what_was_written_before(client, add_view, stored, status, kept):
    def view(request):
        write(request)
        return Response(status=status)

    add_view(client, "/test", view)

    client.post("/test", status=status)

    assert stored() == kept


def test_after_a_conflict_the_request_has_written_nothing(client, admin, create, monkeypatch, stored):
    create(name="Lamp")
    honest = catalog.create

    def writes_before(session, **values):
        honest(session, "Before", "")
        return honest(session, **values)

    monkeypatch.setattr(catalog, "create", writes_before)

    assert_problem(client.post_json("/products", NEW, headers=admin, expect_errors=True), "duplicate-name")

    assert stored("Before") == 0


def test_a_failed_commit_is_an_error_of_the_usual_form(client, admin, submitted, stored):
    with failing_commits(client):
        answer = client.post_json("/products", NEW, headers=admin, expect_errors=True)

    assert_problem(answer, "unavailable")
    assert "db.internal" not in answer.text
    assert (submitted, stored()) == ([], 0)


def test_after_a_failed_commit_the_next_one_succeeds(client, admin, stored):
    with failing_commits(client):
        client.post_json("/products", NEW, headers=admin, status=503)

    client.post_json("/products", NEW, headers=admin, status=201)

    assert stored("Lamp") == 1


def test_a_new_product_is_handed_over_after_the_commit(client, admin, submitted):
    answer = client.post_json("/products", NEW, headers=admin, status=201)

    assert submitted == [(UUID(answer.json["id"]), True)]


def test_a_product_that_was_rolled_back_is_not_handed_over(client, admin, submitted, stored, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError

    # The last thing that happens in the transaction: the answer is made from what was written.
    monkeypatch.setattr(catalog, "get", fails)

    client.post_json("/products", NEW, headers=admin, status=500)

    assert (submitted, stored()) == ([], 0)


def test_neither_a_refused_product_nor_a_removal_is_handed_over(client, admin, create, submitted):
    product = create(name="Lamp")
    submitted.clear()

    client.post_json("/products", NEW, headers=admin, status=409)
    client.post_json("/products", {}, headers=admin, status=422)
    client.patch_json(f"/products/{product['id']}", {"name": 3}, headers=admin, status=422)
    client.delete(f"/products/{product['id']}", headers=admin, status=204)

    assert submitted == []


@pytest.mark.parametrize(("method", "begun"), [("GET", False), ("HEAD", False), ("OPTIONS", False), ("POST", True)])
def test_only_what_may_write_runs_in_a_transaction(client, add_view, method, begun):
    add_view(client, "/test", lambda request: Response(headers={"Transaction": str("tm.active" in request.environ)}))

    assert client.request("/test", method=method).headers["Transaction"] == str(begun)


@pytest.mark.usefixtures("own_application")
def test_a_read_takes_no_connection_for_writing_and_gives_its_own_back(client, create, subtests):
    product_id = create()["id"]
    writer, reader = client.services.engines
    begun = []
    event.listen(writer, "checkout", lambda *_: begun.append("a transaction"))

    for path in ("/products", "/products/{id}", "/products/{id}/offers", "/health/ready"):
        with subtests.test(path):
            # The first may take one that was kept; if it did not give it back, the second takes another one.
            client.get(path.format(id=product_id), status=200)
            client.get(path.format(id=product_id), status=200)

            assert begun == []
            assert reader.pool.checkedout() == 1


@pytest.mark.parametrize("status", [201, 401, 409, 415, 422, 500])
def test_a_write_gives_its_connections_back_whatever_comes_of_it(client, send, admin, create, monkeypatch, status):
    client.services.engines.dispose()  # what other tests left
    create(name="Taken")

    def fails(session, **_):
        session.execute(select(Product.id))
        raise RuntimeError

    if status == 500:
        monkeypatch.setattr(catalog, "create", fails)
    body = {409: {"name": "Taken", "description": ""}, 422: {}}.get(status, NEW)
    headers = {} if status == 401 else {**admin, "Content-Type": "text/plain" if status == 415 else "application/json"}

    answer = send("POST", "/products", body, headers)
    client.background.wait()

    assert answer.status_int == status
    client.get("/products")  # with the one connection for reads that is kept
    assert [engine.pool.checkedout() for engine in client.services.engines] == [0, 1]


@pytest.fixture
def postgresql_client(postgresql):
    client = Client(main({}, **ini(postgresql, None, **{"admin.password": "correct horse"})))
    yield client
    client.close()


def test_no_read_leaves_postgresql_idle_in_a_transaction(postgresql, postgresql_client, add_view):
    seen = {}

    def view(request):
        """A read that dawdles, after its statement, for as long as it takes to look at what PostgreSQL thinks of it."""
        listing.page(request.reader, ProductQuery(), 10)
        pid = request.reader.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with postgresql.reader.connect() as other:
            query = text("SELECT state FROM pg_stat_activity WHERE pid = :pid")
            seen["during"] = other.execute(query, {"pid": pid}).scalar_one()
        return Response("done")

    add_view(postgresql_client, "/test", view)
    postgresql_client.get("/test", status=200)
    postgresql_client.get("/products", status=200)

    assert seen == {"during": "idle"}
    with postgresql.reader.connect() as other:
        states = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert set(other.execute(text(states)).scalars()) == {"idle"}
