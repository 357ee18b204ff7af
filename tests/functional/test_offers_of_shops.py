"""Offers of the Offers service and of three shops, each read in its own way, as the API lists them."""

from functools import partial

import pytest

from productagg.sandbox import SandboxServer
from productagg.sandbox.assortment import SHOPS, articles
from productagg.sandbox.quotes import quote_at
from productagg.settings import Settings
from productagg.sources.web.client import WebClient
from productagg.sources.web.pacing import Pacing
from productagg.sync import lanes
from productagg.sync.run import Synchronizer
from tests.conftest import ini
from tests.factories import LONG_AGO, link, make_product, make_source, states
from tests.integration.synced_shops import Moment, configuration_of

MACHINE = articles()["ormeley-pull-9-bar-espresso-machine"]
KELLERMANN, NORDKISTE, BAZAR = SHOPS.values()


@pytest.fixture
def sandbox():
    with SandboxServer(clock=Moment()) as sandbox:
        yield sandbox


@pytest.fixture
def sync(database, upstream, monkeypatch):
    """Sync everything that is due. Several requests to one host need not wait."""
    monkeypatch.setattr(lanes, "WebClient", partial(WebClient, pacing=Pacing(interval_seconds=0)))
    options = {"sources.allow_private_networks": "true"}
    with Synchronizer(Settings.load(ini(database, upstream, **options), environ={}), database.sessions) as synchronizer:
        yield synchronizer.run


@pytest.fixture
def add_source(database, sandbox):
    """Make a source that reads a shop, and link a product to it: `add_source(product_id, kind, shop)`."""

    def add_source(product_id, kind, shop):
        configuration, locate = configuration_of(kind, sandbox.url, shop)
        is_document = kind not in ("jsonld", "json_api")
        source_id = make_source(
            database,
            f"{shop.name} by {kind}",
            kind="feed" if kind == "heureka" else kind,
            configuration={**configuration, "seller": shop.name},
            next_sync_at=LONG_AGO if is_document else None,
        )
        link(
            database, product_id, source_id, locator=locate(MACHINE), **({"next_sync_at": None} if is_document else {})
        )

    return add_source


def test_a_product_has_the_offers_of_all_kinds_of_sources_in_one_list(
    database, upstream, sandbox, client, sync, add_source
):
    product_id = make_product(database, MACHINE.name)
    upstream.offer(product_id, states((43_000, 5)))
    for kind, shop in (("jsonld", KELLERMANN), ("feed", NORDKISTE), ("json_api", BAZAR)):
        add_source(product_id, kind, shop)

    result = sync()

    assert (result.ended_by, result.failed) == ("done", 0)
    offers = client.get(f"/products/{product_id}").json["offers"]
    quotes = {shop.name: quote_at(MACHINE, shop, sandbox.service.clock()) for shop in SHOPS.values()}
    page = f"/products/{MACHINE.slug}"
    assert [(offer["seller"], offer["price"], offer["currency"], offer["url"]) for offer in offers] == sorted(
        [
            (None, 43_000, "EUR", None),
            *(
                (shop.name, quotes[shop.name].price, "EUR", f"{sandbox.url}/shops/{shop.key}{page}")
                for shop in SHOPS.values()
            ),
        ],
        key=lambda listed: listed[1],
    )
    assert {offer["seller"]: offer["shipping"] for offer in offers if offer["seller"]} == {
        name: quote.shipping for name, quote in quotes.items()
    }
    assert {offer["seller"]: offer["items_in_stock"] for offer in offers} == {
        None: 5,
        "Kellermann": None,
        "Nordkiste": None,
        "Bazar 24": quotes["Bazar 24"].items,
    }


def test_a_shop_asks_the_same_price_however_it_is_read(database, sandbox, client, sync, add_source):
    product_id = make_product(database, MACHINE.name)
    for kind in ("jsonld", "feed", "heureka", "json_api", "json_list"):
        add_source(product_id, kind, NORDKISTE)

    sync()

    offers = client.get(f"/products/{product_id}").json["offers"]
    quote = quote_at(MACHINE, NORDKISTE, sandbox.service.clock())
    assert [(offer["price"], offer["shipping"], offer["availability"]) for offer in offers] == [
        (quote.price, quote.shipping, "in_stock")
    ] * 5
