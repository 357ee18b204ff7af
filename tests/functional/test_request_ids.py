"""X-Request-ID: one id per request, on the answer and on every log line it causes."""

import logging
import re

import pytest

from tests.databases import only_sqlite

pytestmark = only_sqlite

SANE = [
    "abc",
    "0",
    "a" * 128,
    "7f9c2ba4-e88f-4b2a-9d3e-1c2d3e4f5a6b",
    "Root=1-67891233-abcdef012345678912345678",
    "a+/=:._-",
]
INSANE = ["", " ", "a b", "a" * 129, "caf\xe9", "a;b", 'a"b', "<script>", "a,b", "a\tb", "%0d%0a", "\x7f", "a\x1b[31m"]


def ids(caplog):
    return {record.request_id for record in caplog.records}


def test_a_sane_id_is_taken_as_it_is(send, caplog, subtests):
    for given in SANE:
        with subtests.test(given[:40]):
            caplog.clear()
            with caplog.at_level(logging.INFO, "productagg"):
                answer = send("GET", "/products", None, {"X-Request-ID": given})

            assert answer.headers["X-Request-ID"] == given
            assert ids(caplog) == {given}


def test_any_other_id_is_replaced(send, caplog, subtests):
    for given in INSANE:
        with subtests.test(given[:40]):
            caplog.clear()
            with caplog.at_level(logging.INFO, "productagg"):
                answer = send("GET", "/products", None, {"X-Request-ID": given})

            assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
            assert ids(caplog) == {answer.headers["X-Request-ID"]}


def test_an_id_cannot_start_a_line_of_its_own(client, caplog):
    """No server lets CR or LF through; if one did, neither the log nor the answer would."""
    with caplog.at_level(logging.INFO, "productagg"):
        answer = client.get("/products", extra_environ={"HTTP_X_REQUEST_ID": "a\r\nSet-Cookie: b"})

    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
    assert "Set-Cookie" not in caplog.text


def test_two_requests_have_two_ids(client):
    assert len({client.get("/products").headers["X-Request-ID"] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("PUT", "/products", 405),
        ("POST", "/products", 401),
        ("GET", "/products?x", 422),
        ("GET", "/%ff", 400),
        ("HEAD", "/products", 200),
    ],
)
def test_every_answer_carries_the_id(send, caplog, method, path, status):
    with caplog.at_level(logging.INFO, "productagg"):
        answer = send(method, path, None, {"X-Request-ID": "find-me"})

    assert (answer.status_int, answer.headers["X-Request-ID"]) == (status, "find-me")
    assert ids(caplog) == {"find-me"}


def test_every_request_is_one_line_that_says_what_came_of_it(send, caplog):
    with caplog.at_level(logging.INFO, "productagg.access"):
        send("GET", "/caf%C3%A9/%1b%5b31m/%ff?token=secret")

    [line] = [record.getMessage() for record in caplog.records if record.name == "productagg.access"]
    assert re.fullmatch(r"GET /caf%C3%A9/%1B%5B31m/%FF 400 \d+\.\d ms", line)


def test_outside_of_a_request_there_is_no_id(send, caplog):
    send("GET", "/products", None, {"X-Request-ID": "find-me"})
    caplog.clear()

    logging.getLogger("productagg").warning("later")

    assert ids(caplog) == {"-"}
