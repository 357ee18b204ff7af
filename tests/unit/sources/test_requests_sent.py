"""The client's requests follow the published contract, and go to the Offers service only."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest

from productagg.sources.offers_service.client import OffersClient
from productagg.sources.offers_service.errors import InvalidResponse
from tests.conftest import REFRESH_TOKEN
from tests.scale import examples
from tests.scripted_server import ScriptedServer, always, answer

PRODUCT_ID = UUID("0190a3c4-0000-7000-8000-000000000001")
CREATED = b'{"id": "0190a3c4-0000-7000-8000-000000000001", "access_token": "an-access-token"}'

EXCHANGES = {
    "authenticate": lambda client: client.authenticate(),
    "register": lambda client: client.register("an-access-token", PRODUCT_ID, "Kettle", "Boils water"),
    "offers": lambda client: client.offers("an-access-token", PRODUCT_ID),
}


@pytest.fixture(scope="module")
def contract():
    path = Path(__file__).parents[2] / "sandbox" / "offers-openapi.json"
    return OpenAPI.from_dict(json.loads(path.read_text()))


def honest(request):
    """Answer as the contract has it."""
    return [answer() if request.method == "GET" else answer(CREATED, "201 Created")]


@pytest.fixture
def server(serve):
    return serve(honest)


def as_openapi(request):
    headers = dict(request.headers)
    content_type = headers.get("Content-Type", "")
    return MockRequest(
        "http://offers.test",
        request.method,
        request.target,
        headers=headers,
        data=request.body,
        content_type=content_type,
    )


class TestTheContract:
    @pytest.mark.parametrize("name", EXCHANGES)
    def test_every_request_keeps_it(self, connect, server, contract, name):
        EXCHANGES[name](connect(server.base_url))

        [request] = server.requests
        contract.validate_request(as_openapi(request))

    @pytest.mark.parametrize(
        ("name", "method", "target"),
        [
            ("authenticate", "POST", "/api/v1/auth"),
            ("register", "POST", "/api/v1/products/register"),
            ("offers", "GET", f"/api/v1/products/{PRODUCT_ID}/offers"),
        ],
    )
    def test_each_path_comes_after_the_base_url(self, connect, server, name, method, target):
        EXCHANGES[name](connect(server.base_url))

        assert [(request.method, request.target) for request in server.requests] == [(method, target)]

    def test_a_base_url_may_be_any_path_of_a_shared_host(self, connect, server):
        connect(server.base_url.replace("/api/v1", "/deep/down")).offers("an-access-token", PRODUCT_ID)

        assert server.requests[0].target == f"/deep/down/products/{PRODUCT_ID}/offers"

    def test_a_product_arrives_exactly_as_it_is_whatever_its_text(self, contract):
        with ScriptedServer(honest) as server, OffersClient(server.base_url, REFRESH_TOKEN, 5) as client:

            @settings(max_examples=examples(50), deadline=None)
            @given(st.uuids(), st.text(), st.text())
            def check(product_id, name, description):
                client.register("an-access-token", product_id, name, description)

                request = server.requests[-1]
                contract.validate_request(as_openapi(request))
                assert json.loads(request.body) == {
                    "id": str(product_id),
                    "name": name,
                    "description": description,
                }

            check()


class TestTheCredential:
    @pytest.mark.parametrize(
        ("name", "credential"),
        [("authenticate", REFRESH_TOKEN), ("register", "an-access-token"), ("offers", "an-access-token")],
    )
    def test_it_is_the_value_of_a_header_that_is_itself_named_bearer(self, connect, server, name, credential):
        EXCHANGES[name](connect(server.base_url))

        assert server.requests[0].header("Bearer") == [credential]
        assert server.requests[0].header("Authorization") == []

    @pytest.mark.parametrize("entry", ["machine 127.0.0.1", "default"])
    def test_a_netrc_entry_for_the_host_adds_no_authorization(self, connect, server, monkeypatch, tmp_path, entry):
        netrc = tmp_path / "a-netrc"
        netrc.write_text(f"{entry} login somebody password something\n")
        monkeypatch.setenv("NETRC", str(netrc))

        EXCHANGES["offers"](connect(server.base_url))

        assert server.requests[0].header("Authorization") == []


class TestRedirects:
    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
    @pytest.mark.parametrize("name", EXCHANGES)
    def test_they_are_an_invalid_answer_and_the_credential_goes_nowhere_else(
        self, connect, serve, server, name, status
    ):
        redirecting = serve(always(answer(b"", status, f"Location: {server.base_url}/elsewhere")))

        with pytest.raises(InvalidResponse, match=rf"redirect \({status[:3]}\)"):
            EXCHANGES[name](connect(redirecting.base_url))

        assert len(redirecting.requests) == 1
        assert server.connections == 0

    @pytest.mark.parametrize("location", ["http://[half-an-address", "http://h:port/", "//", "\x7f", "http://a..b/"])
    def test_a_place_that_makes_no_sense_does_not_matter(self, connect, serve, location):
        redirecting = serve(always(answer(b"", "302 Found", f"Location: {location}")))

        with pytest.raises(InvalidResponse, match="redirect"):
            connect(redirecting.base_url).offers("an-access-token", uuid4())
