"""`pserve` for real: what the server refuses before the application sees it, and how it ends."""

import re
import socket

import pytest

from tests.databases import only_sqlite
from tests.factories import make_products
from tests.functional.problems import assert_problem
from tests.functional.pserve import refusal, serving

pytestmark = [only_sqlite, pytest.mark.processes]


@pytest.fixture(scope="module")
def server(migrated_database, tmp_path_factory):
    """One server for all tests of this module that leave it running."""
    with serving(migrated_database, tmp_path_factory.mktemp("server")) as server:
        yield server


POST = b"POST /products HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BATCH = POST.replace(b"/products", b"/products/batch")
TOO_LARGE = 1024 * 1024 + 1
REFUSED = {
    "no request line": (b"NONSENSE\r\n\r\n", "malformed-request"),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "malformed-request"),
    "a header without a colon": (b"GET / HTTP/1.1\r\nnonsense\r\n\r\n", "malformed-request"),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", "malformed-request"),
    "a bare line feed in a header": (b"GET / HTTP/1.1\r\nX: a\nY: b\r\n\r\n", "malformed-request"),
    "a length that is no number": (POST + b"Content-Length: x\r\n\r\n", "malformed-request"),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "malformed-request"),
    "a chunk that is none": (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "malformed-request"),
    "large headers": (b"GET / HTTP/1.1\r\nX: " + b"x" * 270_000 + b"\r\n\r\n", "headers-too-large"),
    "a long path": (b"GET /" + b"x" * 270_000 + b" HTTP/1.1\r\n\r\n", "headers-too-large"),
    "a large body": (POST + b"Content-Length: %d\r\n\r\n" % TOO_LARGE, "body-too-large"),
    "a large batch of who has no token": (BATCH + b"Content-Length: %d\r\n\r\n" % TOO_LARGE, "body-too-large"),
    "a batch that is too large": (
        BATCH + b"Authorization: Bearer x\r\nContent-Length: %d\r\n\r\n" % (42 * TOO_LARGE),
        "body-too-large",
    ),
    "a large body in chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % TOO_LARGE + b" " * TOO_LARGE + b"\r\n0\r\n\r\n",
        "body-too-large",
    ),
    "an encoding that it does not know": (POST + b"Transfer-Encoding: gzip\r\n\r\n", "not-implemented"),
}


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


@pytest.mark.parametrize(("variables", "scheme"), [((), b"http"), (("trusted_proxy=127.0.0.1",), b"https")])
def test_a_proxy_is_believed_only_if_it_is_trusted(database, tmp_path, variables, scheme):
    with serving(database, tmp_path, *variables) as server:
        make_products(database, 2)
        answer = server.send(
            b"GET /products?limit=1 HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: https\r\n\r\n"
        )

    assert answer.headers["Link"].encode().startswith(b"<" + scheme + b"://shop.example/products?")


def test_a_taken_port_is_one_line(database):
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        said = refusal(database, f"http_port={port}")

    assert said.startswith(f"productagg: cannot listen on 127.0.0.1:{port}: ")


@pytest.mark.parametrize("port", ["99999", "65536", "0x50", "-1", "+1", "80.5", "", " 80", "\N{FULLWIDTH DIGIT EIGHT}"])
def test_a_port_that_is_none_is_one_line(database, port):
    said = refusal(database, f"http_port={port}")

    assert said == f"productagg: http_port is {port!r}, not a whole number from 0 to 65535"


@pytest.mark.parametrize("host", ["nowhere.invalid", "1.2.3.4.5", "", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_one_line(database, host):
    said = refusal(database, "http_port=0", f"http_host={host}")

    assert said.startswith(f"productagg: cannot listen on {host}:0: ")


@pytest.mark.parametrize("wrong", ["", "proxy.example", "10.0.0.1/8"])
def test_a_proxy_that_is_no_address_is_one_line(database, wrong):
    said = refusal(database, "http_port=0", f"trusted_proxy={wrong}")

    assert said == f"productagg: trusted_proxy is {wrong!r}, not an IP address, a network such as 10.0.0.0/8, or *"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("port = 70000", "port is '70000', not a whole number from 0 to 65535"),
        ("threads = 0", "threads is '0', not a whole number from 1 on"),
        ("threads = many", "an option of [server:main] is wrong: invalid literal for int() with base 10: 'many'"),
        ("thread = 8", "an option of [server:main] is wrong: Unknown adjustment 'thread'"),
    ],
)
def test_an_option_of_the_ini_file_that_is_wrong_is_one_line(database, tmp_path, pytestconfig, line, why):
    ini = tmp_path / "wrong.ini"
    right = (pytestconfig.rootpath / "development.ini").read_text()
    name = line.partition(" ")[0]
    ini.write_text(re.sub(rf"(?m)^{name} = .*\n", "", right).replace("[server:main]\n", f"[server:main]\n{line}\n"))

    assert refusal(database, ini=ini) == f"productagg: {why}"
