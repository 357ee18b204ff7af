"""An exchange ends when its time is up, whatever the service does: `timeout_seconds` is no time-out per read."""

import socket
import time
from uuid import uuid4

import pytest

from productagg.sandbox import Fault
from productagg.sources.offers_service.errors import Unavailable
from tests.scripted_server import CERTIFICATE, always, answer, drip

TIMEOUT = 0.15
# Far above TIMEOUT, for a machine under load; the servers here would never end the exchange themselves.
SOON = 3.0

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def runs_out(connect):
    """Call it with a base URL: an exchange there must end in time, and say that this is why it ended."""

    def check(base_url, description="Boils water"):
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"no complete response within 0\.15 s"):
            connect(base_url, TIMEOUT).register("a-token", uuid4(), "Kettle", description)
        assert TIMEOUT <= time.monotonic() - began < SOON

    return check


DRIPS = {
    "status": (b"", b"H"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nA: b", b"b"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (HEAD, b" "),
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "chunk's length": (CHUNKED, b"0"),
    "trailers": (CHUNKED + b"2\r\n[]\r\n0\r\n", b"A: b\r\n"),
}


@pytest.mark.parametrize("part", DRIPS)
def test_an_answer_that_drips(serve, runs_out, part):
    runs_out(serve(lambda _: drip(*DRIPS[part])).base_url)


@pytest.mark.parametrize("part", ["status", "body", "chunks"])
def test_an_answer_that_drips_through_tls(serve, runs_out, monkeypatch, part):
    """What reads HTTP is the same as without TLS; the socket below is another."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))

    runs_out(serve(lambda _: drip(*DRIPS[part]), tls=True).base_url)


def test_an_answer_that_floods_without_ever_pausing(serve, runs_out):
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000

    runs_out(serve(lambda _: iter(lambda: flood, None)).base_url)


@pytest.mark.parametrize("pieces", [[], [HEAD], [CHUNKED + b"2\r\n[]\r\n"]], ids=["nothing", "head", "chunk"])
def test_an_answer_that_stops(serve, runs_out, pieces):
    runs_out(serve(always(*pieces, 60.0)).base_url)


@pytest.mark.parametrize("part", ["body", "all"])
def test_the_sandbox_when_it_drips(client, token, product_id, upstream, connect, part):
    upstream.faults.replace([Fault("dripping", {"part": part, "drip_seconds": 0.2})])

    with pytest.raises(Unavailable, match="within"):
        connect(upstream.base_url, TIMEOUT).offers(token, product_id)


@pytest.mark.parametrize(
    "greet",
    # What a TLS record may begin with: a handshake of 16,384 bytes, of which one comes every now and then.
    [[60.0], drip(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\x00")],
    ids=["nothing", "dripping"],
)
def test_a_tls_handshake_that_does_not_end(serve, runs_out, greet):
    runs_out(serve(always(), tls=True, greet=greet).base_url)


def test_a_request_that_the_service_does_not_read(serve, runs_out):
    server = serve(always(), greet=[60.0])

    runs_out(server.base_url, description="x" * 20_000_000)


@pytest.fixture
def black_hole():
    """An address that accepts no connection: a listener whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        callers = []
        for _ in range(4):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
            callers.append(caller)
        yield listener.getsockname()
        for caller in callers:
            caller.close()


@pytest.fixture
def resolve(monkeypatch):
    """Call it with the addresses of the host `offers.test`."""

    def resolve(*addresses):
        real = socket.getaddrinfo

        def getaddrinfo(host, *args, **options):
            if host != "offers.test":
                return real(host, *args, **options)
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return "http://offers.test"

    return resolve


def test_a_host_with_many_addresses_of_which_none_answers(black_hole, resolve, runs_out):
    runs_out(resolve(*[black_hole] * 20))


def test_a_host_of_which_one_address_answers_is_reached_in_time(black_hole, resolve, serve, connect):
    server = serve(always(answer()))

    client = connect(resolve(black_hole, ("127.0.0.1", server.port)), 1.0)

    assert client.offers("a-token", uuid4()) == {}


class TestAProxy:
    """That of the environment, which is how a container reaches the outside in many a house."""

    def test_it_is_used(self, serve, connect, monkeypatch):
        proxy = serve(always(answer()))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")

        connect("http://offers.invalid/api/v1").offers("a-token", uuid4())

        assert proxy.requests[0].target.startswith("http://offers.invalid/api/v1/products/")

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_it_gets_no_more_time_than_the_service_itself(self, serve, runs_out, monkeypatch, scheme):
        proxy = serve(lambda _: drip(b"HTTP/1.1 200 OK\r\nA: b", b"b"))
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://127.0.0.1:{proxy.port}")

        runs_out(f"{scheme}://offers.invalid")
