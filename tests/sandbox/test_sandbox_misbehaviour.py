"""Every fault as a client sees it."""

import gzip
import http.client
import json
import socket
import threading
import time
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from openapi_core.exceptions import OpenAPIError

from productagg.sandbox import NO_RESPONSE, Fault, Offer, SandboxServer
from productagg.sandbox.bad_bodies import WRONG_TYPES


class Exchange:
    """One connection that asks for the offers of a product, without a library that would repair anything."""

    def __init__(self, client: Any, product_id: UUID) -> None:
        self.connection = http.client.HTTPConnection(client.sandbox.host, client.sandbox.port, timeout=5)
        self.path = f"/api/v1/products/{product_id}/offers"
        self.headers = {"Bearer": client.access_token}

    def ask(self) -> http.client.HTTPResponse:
        self.connection.request("GET", self.path, headers=self.headers)
        return self.connection.getresponse()


@pytest.fixture
def exchange(client, product_id):
    exchange = Exchange(client, product_id)
    yield exchange
    exchange.connection.close()


@pytest.fixture
def misbehave(sandbox):
    """Put one fault in force."""
    return lambda kind, **params: sandbox.faults.replace([Fault(kind, params)])


def test_latency_delays_a_correct_response(client, product_id, misbehave):
    misbehave("latency", seconds=0.03)
    start = time.monotonic()

    assert client.offers(product_id).status_code == 200
    assert time.monotonic() - start >= 0.03


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_error_is_sent_without_processing_the_request(client, sandbox, exchange, misbehave, status):
    misbehave("error", status=status)
    exchange.headers = {}

    assert exchange.ask().status == status
    assert sandbox.service.requests == {("offers", status): 1}


@pytest.mark.parametrize("status", [429, 503])
def test_a_rate_limit_says_in_seconds_when_to_come_back(exchange, misbehave, status):
    misbehave("rate_limit", status=status, retry_after=17)

    response = exchange.ask()

    assert (response.status, response.headers["Retry-After"]) == (status, "17")


def test_a_rate_limit_says_as_a_date_when_to_come_back(exchange, misbehave, clock):
    misbehave("rate_limit", form="date", retry_after=17)

    response = exchange.ask()

    assert response.status == 429
    assert parsedate_to_datetime(response.headers["Retry-After"]).timestamp() == clock.now + 17


def test_a_rate_limit_may_send_nonsense_about_when_to_come_back(exchange, misbehave):
    misbehave("rate_limit", form="nonsense")

    assert exchange.ask().headers["Retry-After"] == "soon"


def test_a_redirect_leads_elsewhere(exchange, misbehave):
    misbehave("redirect", status=307, location="http://127.0.0.1:9/offers")

    response = exchange.ask()

    assert (response.status, response.headers["Location"]) == (307, "http://127.0.0.1:9/offers")


def test_a_reset_breaks_the_connection(exchange, sandbox, misbehave):
    misbehave("reset")

    with pytest.raises(ConnectionResetError):
        exchange.ask()
    assert sandbox.service.requests == {("offers", NO_RESPONSE): 1}


@pytest.mark.parametrize(("processed", "status"), [(True, 409), (False, 201)])
def test_a_reset_loses_the_response_or_the_request(client, sandbox, processed, status):
    sandbox.faults.replace([Fault("reset", {"processed": processed}, times=1)])
    product_id = uuid4()

    with pytest.raises(requests.ConnectionError):
        client.register(product_id)

    assert client.register(product_id).status_code == status


def test_a_truncated_response_is_shorter_than_declared(exchange, misbehave):
    misbehave("truncated")

    with pytest.raises(http.client.IncompleteRead) as caught:
        exchange.ask().read()

    assert len(caught.value.partial) > 0


def test_a_truncated_chunked_response_lacks_its_end(exchange, misbehave):
    misbehave("truncated_chunked")
    response = exchange.ask()
    assert response.headers["Transfer-Encoding"] == "chunked"

    with pytest.raises(http.client.IncompleteRead):
        response.read()


def test_a_dripping_response_is_correct_but_comes_byte_by_byte(exchange, sandbox, product_id, misbehave):
    sandbox.service.set_offers(product_id, [])
    misbehave("dripping", drip_seconds=0.02)
    start = time.monotonic()

    response = exchange.ask()

    assert response.read() == b"[]"
    assert time.monotonic() - start >= 0.04


def test_even_the_head_can_drip(exchange, misbehave):
    misbehave("dripping", drip_seconds=60, part="all")
    exchange.connection.request("GET", exchange.path, headers=exchange.headers)

    assert exchange.connection.sock.recv(1000) == b"H"


@pytest.mark.parametrize("declared", [True, False])
def test_an_oversized_response_is_valid_in_the_end(exchange, misbehave, declared):
    misbehave("oversized", bytes=1_000_000, declared=declared)

    response = exchange.ask()

    assert response.headers["Content-Length"] == ("1000000" if declared else None)
    body = response.read()
    assert len(body) == 1_000_000
    assert json.loads(body) == []


def test_a_gzip_bomb_is_small_until_unpacked(exchange, misbehave):
    misbehave("gzip_bomb", bytes=1_000_000)

    response = exchange.ask()

    assert response.headers["Content-Encoding"] == "gzip"
    body = response.read()
    assert len(body) < 5_000
    assert len(gzip.decompress(body)) == 1_000_000


@pytest.mark.parametrize("form", ["cut", "empty", "html", "not_utf8", "deep"])
def test_a_malformed_response_is_complete_but_not_json(exchange, misbehave, form):
    misbehave("malformed", form=form)

    response = exchange.ask()

    assert response.status == 200
    with pytest.raises((ValueError, RecursionError)):
        json.loads(response.read())


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("form", "field", "wrong"),
        [
            ("price_text", "price", "100"),
            ("price_float", "price", 99.5),
            ("price_bool", "price", True),
            ("price_null", "price", None),
            ("price_negative", "price", -1),
            ("price_huge", "price", 2**63),
            ("price_missing", "price", ...),
            ("stock_text", "items_in_stock", "1"),
            ("stock_negative", "items_in_stock", -1),
            ("stock_huge", "items_in_stock", 2**63),
            ("id_missing", "id", ...),
            ("id_not_uuid", "id", "offer-1"),
        ],
    )
    @pytest.mark.parametrize("offered", [0, 2])
    def test_a_field_of_the_first_offer_is_wrong(
        self, exchange, sandbox, product_id, misbehave, form, field, wrong, offered
    ):
        sandbox.service.set_offers(product_id, [Offer(uuid4(), 100, 1)] * offered)
        misbehave("wrong_types", form=form)

        first = json.loads(exchange.ask().read())[0]

        assert first.get(field, ...) == wrong
        assert type(first.get(field, ...)) is type(wrong)

    def test_a_price_is_not_a_number(self, exchange, misbehave):
        misbehave("wrong_types", form="price_nan")

        assert b'"price":NaN' in exchange.ask().read()

    def test_the_list_is_an_object(self, exchange, misbehave):
        misbehave("wrong_types", form="object_for_list")

        assert isinstance(json.loads(exchange.ask().read()), dict)

    def test_an_item_of_the_list_is_not_an_offer(self, exchange, misbehave):
        misbehave("wrong_types", form="null_in_list")

        assert json.loads(exchange.ask().read())[-1] is None

    def test_two_offers_have_the_same_id_and_different_prices(self, exchange, misbehave):
        misbehave("wrong_types", form="duplicate_ids")

        offers = json.loads(exchange.ask().read())

        assert offers[0]["id"] == offers[-1]["id"]
        assert offers[0]["price"] != offers[-1]["price"]

    @pytest.mark.parametrize("form", ["token_missing", "token_number"])
    def test_an_access_token_is_wrong(self, stranger, misbehave, form):
        misbehave("wrong_types", form=form)

        with pytest.raises(OpenAPIError):
            stranger.authenticate()

    @pytest.mark.parametrize("form", WRONG_TYPES)
    def test_an_error_response_stays_as_it_is(self, client, misbehave, form):
        misbehave("wrong_types", form=form)

        assert client.offers(uuid4()).json() == {"detail": "Product ID has not been registered"}


def accepts_connections(sandbox: SandboxServer) -> bool:
    """Try to connect, and wait a moment if that fails."""
    try:
        socket.create_connection((sandbox.host, sandbox.port), timeout=5).close()
    except ConnectionRefusedError:
        time.sleep(0.005)
        return False
    return True


class TestRefusedConnections:
    def test_the_port_refuses_until_it_is_opened_again(self, client, product_id, sandbox):
        sandbox.refuse(3600)
        assert not accepts_connections(sandbox)

        sandbox.reopen()
        assert client.offers(product_id).status_code == 200

    def test_the_port_opens_by_itself_when_the_time_is_up(self, sandbox):
        sandbox.refuse(0.02)

        assert any(accepts_connections(sandbox) for _ in range(200))

    def test_open_connections_are_closed(self, exchange, sandbox):
        exchange.ask().read()

        sandbox.refuse(3600)

        assert exchange.connection.sock.recv(1) == b""

    def test_a_request_can_trigger_it(self, exchange, sandbox, misbehave):
        misbehave("refuse", seconds=3600)

        with pytest.raises(ConnectionResetError):
            exchange.ask()
        assert not accepts_connections(sandbox)

    def test_refusing_twice_is_refusing_longer(self, sandbox):
        sandbox.refuse(0)
        sandbox.refuse(3600)

        assert not accepts_connections(sandbox)

    def test_the_sandbox_can_be_closed_meanwhile(self, clock):
        with SandboxServer(clock=clock) as sandbox:
            sandbox.refuse(3600)


class TestClosing:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault("latency", {"seconds": 3600}, times=1),
            Fault("dripping", {"drip_seconds": 3600}, times=1),
            Fault("oversized", {"bytes": 10**12}, times=1),
        ],
    )
    def test_a_running_response_does_not_delay_it(self, fault):
        with SandboxServer(faults=[fault]) as sandbox:
            connection = socket.create_connection((sandbox.host, sandbox.port), timeout=5)
            connection.sendall(b"POST /api/v1/auth HTTP/1.1\r\nBearer: development-refresh-token\r\n\r\n")
            while sandbox.faults.to_json():
                time.sleep(0.001)
            start = time.monotonic()

        assert time.monotonic() - start < 0.5
        with connection:
            while connection.recv(65536):
                pass

    def test_the_port_is_free_again_at_once(self):
        with SandboxServer() as first:
            requests.get(f"{first.url}/control", timeout=5)
        with SandboxServer(port=first.port) as second:
            assert requests.get(f"{second.url}/control", timeout=5).status_code == 200

    def test_a_taken_port_is_an_error(self, sandbox):
        with pytest.raises(OSError, match="in use"):
            SandboxServer(port=sandbox.port).start()

    def test_many_clients_at_once_are_all_answered(self, client, product_id, sandbox):
        def ask() -> None:
            exchange = Exchange(client, product_id)
            for _ in range(10):
                exchange.ask().read()
            exchange.connection.close()

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sandbox.service.requests == {("offers", 200): 200}
