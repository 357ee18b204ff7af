"""Requests at the same time, on both databases: the constraint and the lock decide, never a check before them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from webtest import TestApp

from tests.functional.problems import assert_problem


@pytest.fixture
def at_once(client, admin):
    """Send requests at the same time, each from a thread of its own; returns the answers in the same order."""

    def at_once(*requests):
        start = threading.Barrier(len(requests))

        def send(method, path, body, extra):
            # A client of its own: WebTest's is not for several threads.
            prepare = getattr(TestApp(client.app), f"{method.lower()}_json")
            start.wait(timeout=10)
            return prepare(path, body, headers={**admin, **extra}, expect_errors=True)

        with ThreadPoolExecutor(len(requests)) as pool:
            return [each.result() for each in [pool.submit(send, *request) for request in requests]]

    return at_once


@pytest.fixture
def product(client, admin):
    return client.post_json("/products", {"name": "Lamp", "description": ""}, headers=admin)


def sort_out(answers, code):
    """The answers that succeeded; the others must be the problem `code`."""
    succeeded = [answer for answer in answers if answer.status_int < 300]
    for answer in answers:
        if answer not in succeeded:
            assert_problem(answer, code)
    return succeeded


def test_of_eight_products_of_one_name_exactly_one_is_created(at_once, stored, client):
    answers = at_once(*[("POST", "/products", {"name": "Lamp", "description": str(n)}, {}) for n in range(8)])

    [winner] = sort_out(answers, "duplicate-name")
    assert winner.status_int == 201
    assert [each["description"] for each in client.get("/products").json] == [winner.json["description"]]


def test_eight_products_of_eight_names_are_all_created(at_once, stored):
    answers = at_once(*[("POST", "/products", {"name": f"Lamp {n}", "description": ""}, {}) for n in range(8)])

    assert [answer.status_int for answer in answers] == [201] * 8
    assert stored() == 8


def test_of_two_changes_to_one_version_exactly_one_is_made(at_once, product, client):
    path, version = f"/products/{product.json['id']}", {"If-Match": product.headers["ETag"]}

    answers = at_once(*[("PATCH", path, {"description": str(n)}, version) for n in range(2)])

    [winner] = sort_out(answers, "stale-version")
    assert client.get(path).json["description"] == winner.json["description"]


def test_changes_that_name_no_version_are_all_made(at_once, product, client):
    path = f"/products/{product.json['id']}"

    answers = at_once(*[("PATCH", path, {"description": str(n)}, {}) for n in range(1, 9)])

    assert [answer.status_int for answer in answers] == [200] * 8
    assert client.get(path).headers["ETag"].startswith('"9-')


def test_of_two_products_that_want_one_name_exactly_one_gets_it(at_once, product, client, admin):
    other = client.post_json("/products", {"name": "Chair", "description": ""}, headers=admin)

    answers = at_once(*[("PATCH", f"/products/{each.json['id']}", {"name": "Desk"}, {}) for each in (product, other)])

    assert len(sort_out(answers, "duplicate-name")) == 1


def test_of_two_removals_exactly_one_finds_the_product(at_once, product, stored):
    path = f"/products/{product.json['id']}"

    answers = at_once(("DELETE", path, None, {}), ("DELETE", path, None, {}))

    assert [answer.status_int for answer in sort_out(answers, "product-not-found")] == [204]
    assert stored() == 0


def test_a_change_and_a_removal_at_once_end_with_the_product_gone(at_once, product, stored):
    path = f"/products/{product.json['id']}"

    answers = at_once(("PATCH", path, {"name": "Chair"}, {}), ("DELETE", path, None, {}))

    sort_out(answers, "product-not-found")
    assert answers[1].status_int == 204
    assert stored() == 0
