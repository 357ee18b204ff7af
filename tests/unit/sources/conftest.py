"""Clients of the Offers service and of the web, which the machine's own netrc does not influence."""

from uuid import uuid4

import pytest

from productagg.sources.offers_service.client import OffersClient
from productagg.sources.web.client import WebClient
from productagg.sources.web.pacing import Pacing
from tests.conftest import REFRESH_TOKEN
from tests.scripted_server import CERTIFICATE, ScriptedServer
from tests.unit.sources.internet import Internet


@pytest.fixture(autouse=True)
def _no_netrc_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def connect():
    """Call it with a base URL for a client of it; with the number of seconds of an exchange, if that matters."""
    clients = []

    def make(base_url, timeout_seconds=5.0, refresh_token=REFRESH_TOKEN):
        clients.append(OffersClient(base_url, refresh_token, timeout_seconds))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def serve():
    """Call it with a script for a server that follows it: see ScriptedServer."""
    servers = []

    def start(script, **options):
        servers.append(ScriptedServer(script, **options).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def client(connect, upstream):
    """A client of the sandbox."""
    return connect(upstream.base_url)


@pytest.fixture
def token(client):
    return client.authenticate().value


@pytest.fixture
def product_id(client, token):
    """A product that is registered at the sandbox."""
    registered = uuid4()
    client.register(token, registered, "Kettle", "Boils water")
    return registered


@pytest.fixture
def internet(monkeypatch):
    """The public internet, as far as tests need it. The only authority that clients trust is the tests' own."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    return Internet(monkeypatch)


@pytest.fixture
def web_client(internet):
    """Call it with the arguments of a WebClient; its requests are not paced unless they say so."""

    def make(**options):
        return WebClient(**{"pacing": Pacing(interval_seconds=0), **options})

    return make


@pytest.fixture
def web(web_client):
    """For the requests of one fetch, within 5 seconds."""
    return web_client().begin(5.0)
