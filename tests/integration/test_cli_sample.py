"""`productagg sample`: products, the sandbox's shops as their sources, and a past that goes on."""

import json
import time
from datetime import UTC, datetime

import pytest

from productagg.db.models import OFFERS_SOURCE, Offer, OfferPrice, Product, ProductSource, ProductSummary, Source
from tests.databases import only_sqlite
from tests.factories import rows

PRODUCT = {"product": "ormeley-pull-9-bar-espresso-machine", "gtin": "9521047001115"}
SHOPS = {"kellermann": "KE-700111", "nordkiste": "NO-700111", "bazar24": "BA-700111"}
NOW = int(time.time())
DAY = 24 * 3600


def past_offer(shop, id_, *states):
    return json.dumps({**PRODUCT, "shop": shop, "id": id_, "states": states})


@pytest.fixture
def past(write):
    """An offer of each shop that costs 400.00 for a year, and one of the Offers service that was sold out once."""
    at_service = [(NOW - 300 * DAY, 38000, 7), (NOW - 200 * DAY, 38000, 0), (NOW - 100 * DAY, 37000, 9)]
    return write(
        "past.ndjson",
        *(past_offer(shop, id_, (NOW - 365 * DAY, 40000, 5)) for shop, id_ in SHOPS.items()),
        past_offer(None, "past 9521047001115", *at_service),
    )


@pytest.fixture
def site(upstream):
    return f"http://localhost:{upstream.server.port}"


def test_the_shops_go_on_where_their_past_ends(database, upstream, run, past, site):
    sampled = run("sample", "--past", past, "--sandbox", site)
    synced = run("sync", SOURCES_ALLOW_PRIVATE_NETWORKS="true")

    assert (sampled.output, sampled.exit_code) == ("sample: 72 products added\n", 0)
    assert (synced.exit_code, "0 failed" in synced.output) == (0, True), synced.output
    (product,) = rows(database, Product, gtin=PRODUCT["gtin"])
    # The feed's other items find their products by their GTINs.
    offers = {row.seller: row for row in rows(database, Offer, product_id=product.id)}
    assert offers.keys() == {"Kellermann", "Nordkiste", "Bazar 24", None}
    shops = {source.name: source.id for source in rows(database, Source)}
    for name in offers.keys() - {None}:
        assert offers[name].first_seen_at == datetime.fromtimestamp(NOW - 365 * DAY, UTC)
        assert offers[name].closed_at is None
        assert offers[name].source_id == shops[name]
        assert offers[name].url.endswith(f"/products/{PRODUCT['product']}")
    assert (offers[None].source_id, offers[None].closed_at is None) == (OFFERS_SOURCE, False)
    # After the first run it is known what the product cost a day ago.
    assert {row.lowest_24h for row in rows(database, ProductSummary)} == {37000, None}


def test_what_a_shop_does_not_tell_is_not_in_its_past_either(database, run, past, site):
    run("sample", "--past", past, "--sandbox", site)

    steps = [row.items_in_stock for row in rows(database, OfferPrice) if row.price == 40000]
    # Only Bazar 24 says how many it has. Each offer is closed until its shop lists it.
    assert sorted(steps, key=str) == [0, 0, 0, 5, None, None]


def test_products_have_images_in_the_sandbox_and_the_shops_that_carry_them(database, run, past, site):
    run("sample", "--past", past, "--sandbox", site)

    images = [row.image_url for row in rows(database, Product)]
    assert f"{site}/images/{PRODUCT['product']}.svg" in images
    assert len(set(images)) == 72
    locators = [row.locator for row in rows(database, ProductSource) if row.locator]
    assert sorted(locators) == [PRODUCT["gtin"], "NO-700111", f"{site}/shops/kellermann/products/{PRODUCT['product']}"]


def test_without_the_sandbox_the_past_is_that_of_the_offers_service(database, run, past):
    done = run("sample", "--past", past)

    assert done.exit_code == 0
    assert [row.name for row in rows(database, Source)] == ["offers"]
    assert {row.price for row in rows(database, OfferPrice)} == {38000, 37000}
    assert {row.image_url for row in rows(database, Product)} == {None}


@only_sqlite
@pytest.mark.parametrize(
    ("lines", "reason"),
    [([], "it is empty"), (["nonsense"], "did not write this"), (['{"product": "kettle"}'], "did not write this")],
)
def test_a_past_that_cannot_be_read_is_one_line_and_adds_nothing(database, run, write, lines, reason):
    done = run("sample", "--past", write("past.ndjson", *lines))

    assert (done.exit_code, reason in done.stderr, done.stderr.count("\n")) == (2, True, 1)
    assert rows(database, Product) == []


@only_sqlite
def test_shops_without_a_past_are_refused(run, site):
    done = run("sample", "--sandbox", site)

    assert (done.exit_code, "--sandbox needs --past" in done.stderr) == (2, True)
