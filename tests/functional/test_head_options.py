"""HEAD and OPTIONS work on every route."""

from datetime import UTC, datetime

import pytest
import time_machine
from webob import Request

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.functional.routes import MATRIX, READ

pytestmark = only_sqlite

METHODS: dict[str, set[str]] = {}
for method, path in MATRIX:
    METHODS.setdefault(path, {"OPTIONS"}).update({method, "HEAD"} if method == "GET" else {method})


@pytest.mark.parametrize("accepted", ["identity", "gzip"])
def test_head_has_the_headers_of_get_and_no_body(client, there, admin, accepted, subtests):
    headers = {**admin, "Accept-Encoding": accepted, "X-Request-ID": "the-same"}
    for path in READ:
        # Some answers say up to when they are good.
        with subtests.test(path), time_machine.travel(datetime.now(UTC), tick=False):
            # Not with WebTest, which unpacks what is packed.
            get, head = (
                Request.blank(there(path), headers=headers, method=method).get_response(client.app)
                for method in ("GET", "HEAD")
            )

            assert (head.status_int, head.body) == (get.status_int, b"")
            assert sorted(head.headers.items()) == sorted(get.headers.items())
            assert int(head.headers["Content-Length"]) == len(get.body)


def test_options_says_what_works(send, there, subtests):
    for path, methods in METHODS.items():
        with subtests.test(path):
            answer = send("OPTIONS", there(path))

            assert (answer.status_int, answer.body) == (204, b"")
            assert "Content-Type" not in answer.headers
            assert {each.strip() for each in answer.headers["Allow"].split(",")} == methods


def test_what_does_not_work_is_answered_with_what_does(send, there, subtests):
    for path, methods in METHODS.items():
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - methods:
            with subtests.test(f"{method} {path}"):
                answer = send(method, there(path))

                assert answer.status_int == 405
                assert {each.strip() for each in answer.headers["Allow"].split(",")} == methods


def test_conditions_mean_nothing_to_options(send, there):
    answer = send("OPTIONS", there("/products/{id}"), None, {"If-Match": '"1-x"', "If-None-Match": "*"})

    assert answer.status_int == 204


def test_options_of_nothing_is_not_found(send):
    assert_problem(send("OPTIONS", "/nowhere"), "not-found")


def test_options_asks_nothing_of_the_database(client, send, lose_database):
    lose_database(client)

    assert send("OPTIONS", "/products", None, {"Authorization": "Bearer x"}).status_int == 204
