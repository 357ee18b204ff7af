"""Writes that wait for a lock leave threads to those who read, and are told to come back if it takes too long."""

import time
from contextlib import contextmanager

import psutil
import pytest
from sqlalchemy import text

from productagg.accounts import users
from tests.conftest import PASSWORD
from tests.factories import make_products
from tests.functional.problems import assert_problem
from tests.functional.pserve import Requests, request, serving
from tests.integration.conftest import wait_until

pytestmark = pytest.mark.processes

THREADS = 8


@contextmanager
def locked(database, product_id):
    """A writer that has changed a product and does not commit: on SQLite nobody else can write at all."""
    with database.writer.begin() as connection:
        connection.execute(
            text("UPDATE products SET version = version WHERE id = :id"), {"id": database_id(database, product_id)}
        )
        yield connection


def database_id(database, product_id):
    return product_id.hex if database.name == "sqlite" else product_id


@pytest.fixture
def server(database, tmp_path, request):
    environ = getattr(request, "param", {})
    with serving(database, tmp_path, **environ) as server:
        with database.sessions.begin() as session:
            users.add_first_admin(session, "admin", PASSWORD)
        yield server


@pytest.fixture
def change(server, database):
    """What changes one product, and the other one's path."""
    changed, other = make_products(database, 2)
    body = b'{"username": "admin", "password": "%s"}' % PASSWORD.encode()
    token = server.send(request(b"POST", "/login", body, b"Content-Type: application/json")).json["access_token"]
    headers = b"Authorization: Bearer " + token.encode(), b"Content-Type: application/json"
    return changed, request(b"PATCH", f"/products/{changed}", b'{"description": "new"}', *headers), f"/products/{other}"


def wait_until_received(server, count):
    """Wait until the server has accepted so many connections and had a moment to read what they sent."""
    process = psutil.Process(server.process.pid)
    wait_until(lambda: sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp")) >= count)
    time.sleep(0.2)


def test_changes_of_one_product_that_wait_for_its_lock_keep_no_read_waiting(server, database, change):
    changed, patch, other = change
    with locked(database, changed):
        waiting = Requests(server, *[patch] * 2 * THREADS)
        wait_until_received(server, 2 * THREADS)
        took = []
        for path in (other, "/products", "/health/ready") * 5:
            began = time.monotonic()
            assert server.send(request(b"GET", path)).status_int == 200
            took.append(time.monotonic() - began)
        assert waiting.answers == []
    answers = waiting.join()

    assert max(took) < 3
    assert [answer.status_int for answer in answers] == [200] * 2 * THREADS


@pytest.mark.parametrize("server", [{"SHUTDOWN_SECONDS": "1.5"}], indirect=True)
def test_what_still_waits_when_the_server_ends_is_told_to_come_back(server, database, change):
    changed, patch, _ = change
    with locked(database, changed):
        waiting = Requests(server, *[patch] * THREADS)
        wait_until_received(server, THREADS)
        began = time.monotonic()
        server.process.terminate()
        wait_until(lambda: len(waiting.answers) >= THREADS // 2)
        refused = list(waiting.answers)
        took = time.monotonic() - began
    answers = waiting.join()

    assert took < 1.4
    for answer in refused:
        assert_problem(answer, "unavailable")
        assert answer.headers["Retry-After"] == "5"
    assert sorted(answer.status_int for answer in answers) == [200] * (THREADS // 2) + [503] * (THREADS // 2)
    assert server.process.wait(timeout=10) == 0
