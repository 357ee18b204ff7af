"""A sandbox on a free port with a stopped clock, and a client that checks every response against the contract."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from openapi_core import OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse

from productagg.sandbox import SandboxServer

REFRESH_TOKEN = "the-refresh-token"


class Clock:
    """Unix seconds that advance only when a test sets `now`."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """A well-behaved client of a sandbox, with an access token of its own."""

    def __init__(self, sandbox: SandboxServer, contract: OpenAPI) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.access_token = ""
        self._contract = contract

    def send(self, method: str, path: str, bearer: str | None = None, **options: Any) -> requests.Response:
        """Send any request below the base path. Raises if the response is outside the contract."""
        headers = options.pop("headers", {}) | ({} if bearer is None else {"Bearer": bearer})
        response = self.session.request(
            method, self.sandbox.base_url + path, headers=headers, timeout=5, allow_redirects=False, **options
        )
        self._contract.validate_response(RequestsOpenAPIRequest(response.request), RequestsOpenAPIResponse(response))
        return response

    def authenticate(self, refresh_token: str = REFRESH_TOKEN) -> requests.Response:
        response = self.send("POST", "/auth", refresh_token)
        if response.status_code == 201:
            self.access_token = response.json()["access_token"]
        return response

    def register(self, product_id: UUID | str) -> requests.Response:
        product = {"id": str(product_id), "name": "Kettle", "description": "Boils water"}
        return self.send("POST", "/products/register", self.access_token, json=product)

    def offers(self, product_id: UUID | str) -> requests.Response:
        return self.send("GET", f"/products/{product_id}/offers", self.access_token)

    def control(self, method: str, path: str = "", body: object = None) -> requests.Response:
        """Send a request to the control endpoint, which is not part of the contract."""
        return self.session.request(method, f"{self.sandbox.url}/control{path}", json=body, timeout=5)


@pytest.fixture(scope="session")
def contract() -> OpenAPI:
    return OpenAPI.from_dict(json.loads(Path(__file__).with_name("offers-openapi.json").read_text()))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[SandboxServer]:
    with SandboxServer(refresh_token=REFRESH_TOKEN, clock=clock) as server:
        yield server


@pytest.fixture
def stranger(sandbox: SandboxServer, contract: OpenAPI) -> Iterator[Client]:
    """A client without an access token."""
    client = Client(sandbox, contract)
    with client.session:
        yield client


@pytest.fixture
def client(stranger: Client) -> Client:
    """A client with a valid access token."""
    assert stranger.authenticate().status_code == 201
    stranger.sandbox.service.requests.clear()
    return stranger


@pytest.fixture
def product_id(client: Client) -> UUID:
    """The id of a registered product."""
    product_id = uuid4()
    assert client.register(product_id).status_code == 201
    client.sandbox.service.requests.clear()
    return product_id
