"""`pserve` for real: what the server refuses before the application sees it, and how it ends."""

import re
import socket

import pytest

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.functional.pserve import refusal, serving
from tests.functional.refused_requests import BATCH, POST, REFUSED, TOO_LARGE

pytestmark = [only_sqlite, pytest.mark.processes]


@pytest.fixture(scope="module")
def server(migrated_database, tmp_path_factory):
    """One server for all tests of this module that leave it running."""
    with serving(migrated_database, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_server_refuses_is_a_problem_too(server, what):
    request, code = REFUSED[what]

    answer = server.send(request)

    assert_problem(answer, code)
    assert answer.headers["Connection"] == "close"
    assert answer.headers.getall("Content-Length") == [str(len(answer.body))]
    assert "Server" not in answer.headers


def test_what_the_server_refuses_is_logged_with_the_id_that_was_sent(server):
    request = POST + b"X-Request-ID: find-me-413\r\nContent-Length: %d\r\n\r\n" % TOO_LARGE

    answer = server.send(request)

    assert answer.headers["X-Request-ID"] == "find-me-413"
    [line] = [line for line in server.log().splitlines() if "find-me-413" in line]
    assert " 413 " in line


def test_a_large_batch_is_read_if_there_is_a_token(server):
    body = b" " * TOO_LARGE

    answer = server.send(BATCH + b"Authorization: Bearer x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    assert_problem(answer, "invalid-token")


def test_what_it_does_not_refuse_it_answers_as_the_application_does(server):
    answer = server.send(b"GET /products HTTP/1.1\r\nHost: example.org\r\nX-Request-ID: find-me-200\r\n\r\n")

    assert (answer.status_int, answer.json) == (200, [])
    assert answer.headers["X-Request-ID"] == "find-me-200"
    assert "Server" not in answer.headers
    [line] = [line for line in server.log().splitlines() if "find-me-200" in line]
    assert re.search(r"INFO +\[productagg\.access\] \[find-me-200\] GET /products 200 ", line)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /openapi.json HTTP/1.1\r\nIf-None-Match: *\r\n", b"304"),
        (b"OPTIONS /products HTTP/1.1\r\n", b"204"),
        (b"HEAD /products HTTP/1.1\r\n", b"200"),
    ],
)
def test_an_answer_without_a_body_does_not_cost_the_connection(server, request_, status):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        received = connection.makefile("rb")
        for last in (b"", b"Connection: close\r\n"):
            connection.sendall(request_ + b"Host: localhost\r\n" + last + b"\r\n")
            assert received.readline().split()[1] == status
            headers = b"".join(iter(received.readline, b"\r\n"))
            assert (b"Connection: close" in headers) == bool(last)
        assert received.read() == b""


def test_a_method_that_nobody_knows_is_not_allowed(server):
    assert_problem(server.send(b"BREW /products HTTP/1.1\r\nHost: localhost\r\n\r\n"), "method-not-allowed")


def test_a_body_that_passes_the_server_still_has_to_pass_the_application(server):
    body = b'{"username": "x", "password": "%s"}' % (b"x" * 270_000)
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    for length in (b"Content-Length: %d\r\n\r\n%s" % (len(body), body), b"Transfer-Encoding: chunked\r\n\r\n"):
        chunk = b"" if b"Content-Length" in length else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        assert_problem(server.send(head + length + chunk), "body-too-large")


def test_a_taken_port_is_one_line(database, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        said = refusal(database, tmp_path, f"http_port={port}")

    assert said.startswith(f"productagg: cannot listen on 127.0.0.1:{port}: ")
