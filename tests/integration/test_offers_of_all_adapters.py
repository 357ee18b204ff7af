"""A product at all four kinds of source: one list of its offers, each with its shop, link and currency."""

import json

import orjson
import pytest

from productagg.catalog import products
from productagg.db.models import Offer, ProductSummary
from tests.factories import LONG_AGO, link, make_source, rows, states
from tests.scripted_server import ScriptedServer

GTIN = "4006381333931"
PAGE = """<!doctype html><html><head><title>Lamp</title><script type="application/ld+json">{"@context":
"https://schema.org", "@type": "Product", "name": "Lamp", "offers": {"@type": "Offer", "price": "50.00",
"priceCurrency": "EUR", "availability": "https://schema.org/InStock", "url": "/lamp.html",
"seller": {"@type": "Organization", "name": "Page shop"}}}</script></head><body><h1>Lamp</h1></body></html>"""
FEED = f"""<?xml version="1.0"?><rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Feed</title>
<item><g:id>F-1</g:id><g:title>A lamp</g:title><g:link>https://feed.example/lamp</g:link><g:price>60.00 EUR</g:price>
<g:availability>in_stock</g:availability><g:gtin>{GTIN}</g:gtin></item></channel></rss>"""
API = {"offers": [{"sku": "A-1", "price": 999.5, "currency": "CZK", "stock": 3, "url": "https://api.example/lamp"}]}
DOCUMENTS = {
    "/lamp.html": ("text/html; charset=utf-8", PAGE),
    "/feed.xml": ("application/xml", FEED),
    "/api/lamp": ("application/json", json.dumps(API)),
}


def answer(request):
    """The document at the path, as a whole response."""
    kind, text = DOCUMENTS.get(request.target, ("text/plain", ""))
    status = "200 OK" if text else "404 Not Found"
    body = text.encode()
    yield f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def host():
    """Where the shops are."""
    with ScriptedServer(answer) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_a_product_shows_the_offers_of_all_its_sources_in_one_list(database, upstream, make_synchronizer, host):
    # Given a product at the Offers service, at a shop's page, at an API, and without a link in a feed
    with database.sessions.begin() as session:
        product_id = products.create(session, "Lamp", "Bright", gtin=GTIN)
    upstream.offer(product_id, states((7000, 5)))
    page = make_source(database, "page", kind="jsonld")
    link(database, product_id, page, locator=f"{host}/lamp.html")
    fields = {"external_id": "sku", "price": "price", "currency": "currency", "items_in_stock": "stock", "url": "url"}
    api = make_source(
        database,
        "API shop",
        "json_api",
        configuration={
            "url": f"{host}/api/{{locator}}",
            "items": "offers",
            "price_format": "decimal",
            "fields": fields,
        },
    )
    link(database, product_id, api, locator="lamp")
    feed = make_source(
        database,
        "Feed shop",
        "feed",
        configuration={"url": f"{host}/feed.xml", "seller": "Feed shop"},
        next_sync_at=LONG_AGO,
    )

    result = make_synchronizer(**{"sources.allow_private_networks": "true"}).run()

    assert (result.ended_by, result.failed) == ("done", 0)
    with database.reader.connect() as connection:
        offers = orjson.loads(products.get(connection, product_id).offers)
    assert [(each["price"], each["currency"], each["comparable"], each["seller"], each["url"]) for each in offers] == [
        (5000, "EUR", True, "Page shop", f"{host}/lamp.html"),
        (6000, "EUR", True, "Feed shop", "https://feed.example/lamp"),
        (7000, "EUR", True, None, None),
        (99950, "CZK", False, "API shop", "https://api.example/lamp"),
    ]
    assert {row.source_id for row in rows(database, Offer)} >= {page, api, feed}
    (summary,) = rows(database, ProductSummary)
    assert (summary.lowest, summary.offers) == (5000, 3)
