"""The adapter of docs/adapters.md as its reader meets it: the package is installed, and a source of its kind synced."""

import json
from importlib.metadata import version

import pytest

from productagg.db.models import OFFERS_SOURCE, Offer
from tests.databases import only_sqlite
from tests.factories import environment, make_product, rows, start
from tests.scripted_server import ScriptedServer
from tests.tutorial import install

HEAD = "id; price; name\n"


class Supplier:
    """Serves a list of prices, which the test sets."""

    def __init__(self):
        self.prices = ""

    def answer(self, request):
        """The list, as a whole response."""
        body = self.prices.encode()
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.fixture
def productagg(database, upstream, tmp_path):
    """Run a command where the package is installed; its exit code."""
    project, target = tmp_path / "project", tmp_path / "site-packages"
    project.mkdir()
    install(project, target)
    others = {"PUBLIC_URL": "https://prices.example", "SOURCES_ALLOW_PRIVATE_NETWORKS": "true"}
    env = environment(database, upstream, PYTHONPATH=str(target), **others)

    def run(command, *arguments):
        with start("productagg", "source", command, "development.ini", *arguments, env=env) as process:
            output, _ = process.communicate(timeout=60)
        assert process.returncode in (0, 1), output
        return process.returncode

    return run


def open_prices(database):
    """What the supplier offers, by its ids."""
    offers = [row for row in rows(database, Offer) if row.source_id != OFFERS_SOURCE and row.closed_at is None]
    return {row.external_id: (row.price, row.currency, row.seller) for row in offers}


@only_sqlite
@pytest.mark.processes
def test_the_adapter_of_the_tutorial_syncs_and_closes_only_what_a_whole_list_lacks(database, productagg):
    product_id, supplier = make_product(database), Supplier()
    with ScriptedServer(supplier.answer) as server:
        url = f"http://127.0.0.1:{server.port}/prices.txt"
        assert productagg("add", "pricelist", "Supplier", "--configuration", json.dumps({"url": url})) == 0
        assert productagg("link", str(product_id), "Supplier", "K-1") == 0

        supplier.prices = f"{HEAD}K-1; 12.90 EUR; Kettle\nL-7; 49 EUR; Lamp\nend\n"
        assert productagg("sync", "Supplier") == 0
        assert open_prices(database) == {"K-1": (1290, "EUR", "Supplier")}

        supplier.prices = f"{HEAD}L-7; 49 EUR; Lamp\nM-2; 5 E"
        assert productagg("sync", "Supplier") == 1
        assert open_prices(database) == {"K-1": (1290, "EUR", "Supplier")}

        supplier.prices = f"{HEAD}L-7; 49 EUR; Lamp\nM-2; 5 EUR; Mug\nend\n"
        assert productagg("sync", "Supplier") == 0
        assert open_prices(database) == {}

    agents = {agent for request in server.requests for agent in request.header("User-Agent")}
    assert agents == {f"productagg/{version('productagg')} (+https://prices.example)"}
