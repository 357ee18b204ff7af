"""A fetch ends when its time is up: all its requests, redirects and bodies together, whatever a server does."""

import gzip
import itertools
import time

import pytest

from productagg.sources.web import WebError
from tests.scripted_server import always, answer, drip
from tests.unit.sources.internet import OTHER, SHOP

TIMEOUT = 0.15
# Far above TIMEOUT, for a machine under load; the servers here would never end the fetch themselves.
SOON = 3.0

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
EMPTY_MEMBERS = gzip.compress(b"") * 1000


@pytest.fixture
def runs_out(web_client):
    """Call it with a URL: a fetch of it must end in time, and say that this is why it ended."""

    def check(url, **options):
        web = web_client().begin(TIMEOUT)
        began = time.monotonic()
        with pytest.raises(WebError) as raised:
            while True:
                with web.get(url, max_bytes=10_000_000, **options) as response:
                    while response.read(10):
                        pass
        assert TIMEOUT <= time.monotonic() - began < SOON
        assert raised.value.code == "timeout"

    return check


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nA: b", b"b"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (HEAD, b" "),
        (CHUNKED, b"1\r\n \r\n"),
        (CHUNKED + b"2\r\n[]\r\n0\r\n", b"A: b\r\n"),
        (GZIP, b"\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\x03name"),
        (b"HTTP/1.1 302 Found\r\nA: b", b"b"),
        (b"HTTP/1.1 404 Not Found\r\nA: b", b"b"),
    ],
    ids=["status", "headers", "interim", "body", "chunks", "trailers", "gzip", "redirect", "error"],
)
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_server_that_drips(internet, serve, runs_out, tls, head, piece):
    server = serve(lambda _: drip(head, piece), tls=tls)
    internet.shop(server, "localhost")

    runs_out(f"http{'s' if tls else ''}://localhost/")


@pytest.mark.parametrize("pieces", [[], [HEAD], [CHUNKED + b"2\r\n[]\r\n"]], ids=["nothing", "head", "chunk"])
def test_a_server_that_stops(internet, serve, runs_out, pieces):
    runs_out(internet.shop(serve(always(*pieces, 60.0))))


def test_a_tls_handshake_that_does_not_end(internet, serve, runs_out):
    internet.shop(serve(always(), tls=True, greet=[60.0]), "localhost")

    runs_out("https://localhost/")


def test_a_flood_of_compressed_nothing(internet, serve, runs_out):
    server = serve(lambda _: itertools.chain([GZIP], itertools.repeat(EMPTY_MEMBERS)))

    runs_out(internet.shop(server))


def test_redirects_get_no_time_of_their_own(internet, serve, runs_out):
    slow = [0.06, answer(b"", "302 Found", "Location: http://other.test/")]
    internet.shop(serve(always(*slow)), "other.test", OTHER)

    runs_out(internet.shop(serve(always(*slow))))


def test_several_requests_of_a_fetch_share_its_time(internet, serve, runs_out):
    runs_out(internet.shop(serve(always(0.02, answer(b"page")))))


def test_a_robots_txt_gets_no_time_of_its_own(internet, serve, runs_out):
    runs_out(internet.shop(serve(lambda _: drip(b"HTTP/1.1 200 OK\r\n\r\n", b"#"))), is_page=True)


def test_a_body_keeps_the_deadline_of_its_fetch_when_the_thread_begins_another(internet, serve, web_client):
    url = internet.shop(serve(lambda _: drip(HEAD, b" ")))
    internet.shop(serve(always(answer(b"quick"))), "other.test", OTHER)
    client = web_client()

    with client.begin(TIMEOUT).get(url, max_bytes=10_000_000) as slow:
        with client.begin(60.0).get("http://other.test/", max_bytes=100) as quick:
            assert quick.read() == b"quick"
        began = time.monotonic()
        with pytest.raises(WebError) as raised:
            slow.read()
        assert time.monotonic() - began < SOON
    assert raised.value.code == "timeout"


def test_a_fetch_whose_time_is_up_sends_nothing_more(internet, web_client):
    internet.name("shop.test", SHOP)

    with pytest.raises(WebError) as raised:
        web_client().begin(0.0).get("http://shop.test/", max_bytes=100)
    assert (raised.value.code, internet.connected) == ("timeout", [])
