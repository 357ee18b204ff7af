"""A real server against clients that send slowly, or what a proxy in front might read in another way (smuggling)."""

import re
import select
import socket
import time

import pytest

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.functional.pserve import serving

pytestmark = [only_sqlite, pytest.mark.processes]

SECONDS = 0.5
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(migrated_database, tmp_path_factory):
    directory = tmp_path_factory.mktemp("server")
    with serving(migrated_database, directory, f"request_timeout={SECONDS}") as server:
        yield server


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


class Drip:
    """A client that sends a request byte by byte and never comes to its end."""

    def __init__(self, server, beginning, drop):
        self.connection = connect(server)
        self.connection.sendall(beginning)
        self._drop = drop
        self.answer = b""
        self.ended = False

    def send_some(self):
        try:
            self.connection.sendall(self._drop)
            while select.select([self.connection], [], [], 0)[0]:
                received = self.connection.recv(65536)
                self.answer += received
                self.ended = self.ended or not received
                if not received:
                    return
        except OSError:
            self.ended = True


@pytest.mark.parametrize(
    ("beginning", "drop"),
    [(b"", b"G"), (b"GET / HTTP/1.1\r\nX: ", b"x"), (POST + b"Content-Length: 99999\r\n\r\n", b" ")],
    ids=["first line", "header", "body"],
)
def test_clients_that_drip_keep_nobody_waiting_and_are_ended(server, beginning, drop):
    drips = [Drip(server, beginning, drop) for _ in range(80)]
    try:
        waits = []
        give_up_at = time.monotonic() + 20 * SECONDS
        while not all(drip.ended for drip in drips):
            assert time.monotonic() < give_up_at
            for drip in drips:
                if not drip.ended:
                    drip.send_some()
            began = time.monotonic()
            assert server.send(LIVE).status_int == 200
            waits.append(time.monotonic() - began)
        assert max(waits) < 5
        assert any(drip.answer.startswith(b"HTTP/1.0 408 ") or b" 408 " in drip.answer[:20] for drip in drips)
    finally:
        for drip in drips:
            drip.connection.close()


def test_a_request_that_is_too_late_is_a_problem_too(server):
    with connect(server) as connection:
        connection.sendall(POST + b"Content-Length: 99999\r\n\r\n")
        began = time.monotonic()
        received = b""
        while not received:
            assert time.monotonic() < began + 20
            connection.sendall(b" ")
            if select.select([connection], [], [], 0.05)[0]:
                received = connection.recv(65536)
        while not received.endswith(b"}\n"):
            more = connection.recv(65536)
            assert more
            received += more

    assert b"\r\nContent-Type: application/problem+json\r\n" in received
    assert b'"code":"request-timeout"' in received


def test_a_connection_may_be_used_for_longer_than_a_request_may_take(server):
    with connect(server) as connection:
        began = time.monotonic()
        while time.monotonic() < began + 1.5 * SECONDS:
            connection.sendall(LIVE)
            answer = b""
            while not answer.endswith(b"}\n"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")


HIDDEN = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: smuggled\r\n\r\n"
GET = b"GET /products HTTP/1.1\r\nHost: localhost\r\n"
TWO_MEANINGS = {
    "a length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n0\r\n\r\n" + HIDDEN,
    "the same, to be continued": POST
    + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0")
    + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "twice the same length": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 0, 5\r\n\r\n" + HIDDEN,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + HIDDEN,
    "a length in hexadecimal": POST + b"Content-Length: 0x0\r\n\r\n" + HIDDEN,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "a chunk with 0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "a chunk's extension with a line feed": POST
    + b"Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n"
    + HIDDEN,
    "an encoding after a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "an encoding besides chunks": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "an empty encoding and a length": POST + b"Transfer-Encoding:\r\nContent-Length: 2\r\n\r\n{}" + HIDDEN,
    "a comma for an encoding": POST + b"Transfer-Encoding: ,\r\nContent-Length: 2\r\n\r\n{}" + HIDDEN,
    "a comma and no length": POST + b"Transfer-Encoding: ,\r\n\r\n" + HIDDEN,
    "chunks twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks and a comma": POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks in two lines": POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n" + HIDDEN,
    "chunks, continued in the next line": POST + b"Transfer-Encoding: chunked\r\n , chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks in HTTP/1.2": POST.replace(b"1.1", b"1.2") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a length of 5,000 digits": POST + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n" + HIDDEN,
    "a target that is none": b"GET http://[/x HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "no host": b"GET /health/live HTTP/1.1\r\n\r\n" + HIDDEN,
    "a name with a space": POST + b"Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "two hosts": b"GET /products HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n" + HIDDEN,
    "a host that is none": b'GET /products HTTP/1.1\r\nHost: a"><script>\r\n\r\n' + HIDDEN,
    "a host that is too long": b"GET / HTTP/1.1\r\nHost: " + b"a" * 256 + b"\r\n\r\n" + HIDDEN,
    "a port that is too long": b"GET / HTTP/1.1\r\nHost: localhost:" + b"0" * 4096 + b"\r\n\r\n" + HIDDEN,
    "a host with a path": b"GET /products HTTP/1.1\r\nHost: localhost/@evil.example\r\n\r\n" + HIDDEN,
    "a header that goes on on the next line": GET + b"X-Request-ID: a\r\n smuggled\r\n\r\n" + HIDDEN,
    "a header that goes on after a tab": GET + b"X: a\r\n\tX-Request-ID: smuggled\r\n\r\n" + HIDDEN,
    "a length on the next line": POST + b"Content-Length:\r\n 2\r\n\r\n{}" + HIDDEN,
    "a first line that goes on": GET.replace(b"Host", b" Host") + b"Host: localhost\r\n\r\n" + HIDDEN,
    "a bare line feed": b"GET /products HTTP/1.1\r\nHost: localhost\nX-Request-ID: smuggled\r\n\r\n" + HIDDEN,
    "a bare carriage return": b"GET /products HTTP/1.1\r\nHost: localhost\rX-Request-ID: smuggled\r\n\r\n" + HIDDEN,
    "NUL in a header": b"GET /products HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\0b\r\n\r\n" + HIDDEN,
    "a line feed in the first line": b"GET /products\nX: y HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN,
}


@pytest.fixture(scope="module")
def exchanges(server):
    """What the server answers to each of them until it closes the connection, and what it logs of it.

    The server keeps its log back for a moment: it is read once, after all of them, with a line of ours after each.
    """
    earlier = len(server.log())
    received = {}
    for number, what in enumerate(TWO_MEANINGS):
        with connect(server) as connection:
            connection.sendall(TWO_MEANINGS[what])
            received[what] = connection.makefile("rb").read()
        server.send(LIVE.replace(b"\r\n\r\n", b"\r\nX-Request-ID: after-%d\r\n\r\n" % number))
    log = server.log()[earlier:]
    found = {}
    for number, what in enumerate(TWO_MEANINGS):
        before, _, log = log.partition(f"[after-{number}]")
        found[what] = received[what], before.splitlines()[:-1]  # the last one is the beginning of ours
        log = log.partition("\n")[2]
    return found


@pytest.mark.parametrize("what", TWO_MEANINGS)
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(exchanges, what):
    received, lines = exchanges[what]

    assert len(re.findall(rb"HTTP/1\.[01] \d{3} ", received)) == 1
    assert re.match(rb"HTTP/1\.[01] (400|501) ", received)
    assert b"\r\nConnection: close\r\n" in received
    assert b'"status":"live"' not in received
    assert len(lines) == 1
    assert "smuggled" not in lines[0]


@pytest.mark.parametrize(("path", "status"), [(b"/products/batch", 401), (b"/x/products/batch", 413)])
def test_only_the_path_of_batches_may_send_more_than_others(server, path, status):
    body = b" " * (1024 * 1024 + 1)
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Length: %d\r\n\r\n"

    with connect(server) as connection:
        connection.sendall(head % (path, len(body)) + (body if status == 401 else b""))
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.") and answer[8:13] == b" %d " % status


def test_what_has_one_meaning_is_served_one_after_another(server):
    with connect(server) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + LIVE)
        received = b""
        while b'"status":"live"' not in received:
            received += connection.recv(65536)

    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", received) == [b"422", b"200"]


def test_no_request_id_starts_a_line_or_a_header(server):
    before = len(server.log())
    given = b"a%0d%0aSet-Cookie: b", b"a\\r\\nb", b"a\x85b", b"\xe2\x80\xa8", b"x" * 129

    answers = [server.send(LIVE.removesuffix(b"\r\n") + b"X-Request-ID: %s\r\n\r\n" % each) for each in given]

    lines = server.log()[before:].splitlines()
    for answer, line in zip(answers, lines, strict=True):
        assert answer.status_int == 200
        assert "Set-Cookie" not in answer.headers
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
        assert f"[{answer.headers['X-Request-ID']}] GET /health/live 200 " in line


PATHS = (
    b"/docs/../openapi.json",
    b"/docs/%2e%2e/openapi.json",
    b"/docs/..%2f..%2fsetup.cfg",
    b"/docs/%2e%2e%2f%2e%2e%2fdevelopment.ini",
    b"/docs/..%5c..%5cdevelopment.ini",
    b"/docs/%252e%252e/development.ini",
    b"/docs//etc/passwd",
    b"/docs/%2fetc%2fpasswd",
    b"/docs/start.js%00.css",
    b"/docs/start.js/",
    b"/docs/start.js;x",
    b"/docs/index.html",
    b"/docs/.",
    b"/../../../../etc/passwd",
    b"/..;/sync-runs",
    b"/./sync-runs",
    b"//sync-runs",
    b"/sync-runs/",
    b"/sync-runs;x=y",
    b"/sync-runs%00",
    b"/sync-runs%2f",
    b"/%2fsync-runs",
    b"/Sync-Runs",
    b"/sync%2druns/../products/..",
    b"/products/../sync-runs",
    b"/products/%2e%2e/sync-runs",
    b"/products/..%c0%af..%c0%afetc%c0%afpasswd",
    b"/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
    b"/products/%ed%a0%80",
    b"/products/%",
    b"/products/%zz",
    b"/products/%u0041",
    b"*",
    b"file:///etc/passwd",
    b"http://localhost/../../etc/passwd",
    b"localhost:80",
    b"/\\..\\..\\windows\\win.ini",
    b"/\xc3\xa9",
)


@pytest.mark.parametrize("path", PATHS)
def test_no_trick_with_a_path_leads_anywhere(server, path):
    answer = server.send(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)

    code = answer.json["code"]
    # waitress takes slashes at the beginning for one: that leads where one does, to the same lock.
    assert code in ("not-found", "product-not-found", "malformed-request", "authentication-required")
    assert_problem(answer, code)
    assert b"root:" not in answer.body and b"jwt" not in answer.body


def test_an_absolute_target_asks_for_its_path_here(server):
    """RFC 9112, 3.2.2: a server takes it. It asks nobody else, and no link leads there."""
    answer = server.send(b"GET http://evil.example/docs HTTP/1.1\r\nHost: localhost\r\n\r\n")
    front = server.send(b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert answer.status_int == 200
    assert front.headers["Location"] == "http://localhost/docs"


def test_what_is_refused_is_not_quoted_for_a_header_may_hold_a_secret(server):
    before = len(server.log())

    answer = server.send(b"GET /products HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic c2VzYW1l\nX: y\r\n\r\n")

    assert_problem(answer, "malformed-request")
    assert "c2VzYW1l" not in answer.text
    assert "c2VzYW1l" not in server.log()[before:]
