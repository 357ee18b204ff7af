"""The sandbox's shops: what they sell, what it costs, and the pages, feeds, JSON and images that say so."""

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from urllib.robotparser import RobotFileParser
from xml.etree import ElementTree

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from productagg.gtin import normalize_gtin
from productagg.sandbox import Fault, SandboxServer
from productagg.sandbox.assortment import SHOPS, article_id, articles, carried_by
from productagg.sandbox.bad_documents import FORMS
from productagg.sandbox.drawings import drawing
from productagg.sandbox.quotes import quote_at

MOMENTS = st.integers(1_700_000_000, 1_900_000_000)
OFFERED = st.sampled_from([(article, shop) for shop in SHOPS.values() for article in carried_by(shop)])
KELLERMANN, NORDKISTE, BAZAR = SHOPS.values()
MACHINE = articles()["ormeley-pull-9-bar-espresso-machine"]
PAGE = f"/shops/kellermann/products/{MACHINE.slug}"
FEED, HEUREKA = "/feeds/nordkiste.xml", "/feeds/nordkiste-heureka.xml"
PRODUCT, PRODUCTS = f"/shop-api/bazar24/products/{MACHINE.gtin}", "/shop-api/bazar24/products"
G = "{http://base.google.com/ns/1.0}"


@pytest.fixture
def get(sandbox):
    """Get a path: `get(path, header=value)`; an underscore in a header's name stands for a hyphen."""

    def get(path, **headers):
        headers = {"Accept-Encoding": "identity", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return requests.get(sandbox.url + path, headers=headers, timeout=5)

    return get


def data_of(page):
    [data] = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page, re.DOTALL)
    return json.loads(data)


def euros(cents):
    return f"{cents // 100}.{cents % 100:02}"


def test_products_have_gtins_and_each_shop_carries_some_that_others_carry_too():
    found = articles().values()

    assert all(normalize_gtin(article.gtin) == article.gtin for article in found)
    assert len({article.gtin for article in found}) == len(found)
    assert all(len(carried_by(shop)) >= 15 for shop in SHOPS.values())
    assert sum(len(article.shops) == 3 for article in found) >= 10
    assert all(set(article.shops) <= SHOPS.keys() for article in found)


@given(offered=OFFERED, when=MOMENTS)
def test_a_price_is_believable_and_ends_as_the_shops_prices_do(offered, when):
    article, shop = offered

    quote = quote_at(article, shop, when)

    assert 0.5 * article.price < quote.price < 1.15 * article.price
    assert quote.price % 100 in shop.last_digits
    assert quote.list_price is None or quote.price < quote.list_price
    assert 0 <= quote.items <= 40


@given(offered=OFFERED, when=MOMENTS, share=st.floats(0, 1))
def test_a_quote_holds_since_it_changed(offered, when, share):
    article, shop = offered
    quote = quote_at(article, shop, when)

    assert quote.changed_at <= when
    assert quote_at(article, shop, quote.changed_at + share * (when - quote.changed_at)) == quote


def test_within_a_year_a_price_moves_the_product_sells_out_and_black_friday_is_cheap():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    days = [start + timedelta(days=number, hours=12) for number in range(365)]
    quotes = {day: quote_at(MACHINE, BAZAR, day.timestamp()) for day in days}
    reduced = [quote_at(article, BAZAR, days[331].timestamp()).list_price for article in carried_by(BAZAR)]

    assert len({quote.price for quote in quotes.values()}) > 50
    assert 3 < sum(quote.items == 0 for quote in quotes.values()) < 60
    assert sum(price is not None for price in reduced) > len(reduced) / 3


def test_a_page_says_what_the_product_costs_to_people_and_to_programs(get, clock, sandbox):
    quote = quote_at(MACHINE, KELLERMANN, clock())

    response = get(PAGE)
    data = data_of(response.text)

    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert f'<link rel="canonical" href="{sandbox.url}{PAGE}">' in response.text
    assert f"<h1>{MACHINE.name}</h1>" in response.text
    assert f"€{euros(quote.price)}" in response.text
    assert (data["name"], data["gtin13"], data["url"]) == (MACHINE.name, MACHINE.gtin, sandbox.url + PAGE)
    assert (data["offers"]["price"], data["offers"]["priceCurrency"]) == (euros(quote.price), "EUR")
    assert data["offers"]["availability"].endswith("InStock" if quote.items else "OutOfStock")
    assert get(data["image"].removeprefix(sandbox.url)).status_code == 200


def test_a_shop_lists_its_products_for_people(get):
    page = get("/shops/kellermann").text

    links = re.findall(r'<li><a href="http://[^/"]+(/[^"]+)"', page)
    assert len(links) == len(carried_by(KELLERMANN))
    assert all(get(link).status_code == 200 for link in links)


def test_the_merchant_feed_has_all_products_of_the_shop(get, clock):
    items = ElementTree.fromstring(get(FEED).content).findall("channel/item")

    assert [(item.findtext(f"{G}id"), item.findtext(f"{G}gtin")) for item in items] == [
        (article_id(NORDKISTE, article), article.gtin) for article in carried_by(NORDKISTE)
    ]
    for item, article in zip(items, carried_by(NORDKISTE), strict=True):
        quote = quote_at(article, NORDKISTE, clock())
        paid = item.findtext(f"{G}sale_price") or item.findtext(f"{G}price")
        assert paid == f"{euros(quote.price)} EUR"
        assert item.findtext(f"{G}availability") == ("in_stock" if quote.items else "out_of_stock")


def test_the_heureka_feed_has_the_same_prices(get, clock):
    items = ElementTree.fromstring(get(HEUREKA).content).findall("SHOPITEM")

    assert [item.findtext("PRICE_VAT") for item in items] == [
        euros(quote_at(article, NORDKISTE, clock()).price) for article in carried_by(NORDKISTE)
    ]


def test_the_json_of_a_product_is_found_by_gtin_and_by_id(get, clock):
    quote = quote_at(MACHINE, BAZAR, clock())

    found = get(PRODUCT).json()

    assert get(f"{PRODUCTS}/{article_id(BAZAR, MACHINE)}").json() == found
    assert (found["price"], found["currency"], found["stock"]) == (quote.price, "EUR", quote.items)


def test_the_json_of_all_products_comes_page_by_page(get, sandbox):
    first = get(PRODUCTS).json()
    second = get(first["next"].removeprefix(sandbox.url)).json()

    assert (len(first["products"]), second["next"]) == (10, None)
    assert first["total"] == second["total"] == len(carried_by(BAZAR))
    assert [each["gtin"] for each in first["products"] + second["products"]] == [
        article.gtin for article in carried_by(BAZAR)
    ]
    assert get(f"{PRODUCTS}?page=3").json()["products"] == []


@pytest.mark.parametrize("page", ["0", "-1", "x", "٣", "9999999"])
def test_a_page_that_is_no_number_is_422(get, page):
    assert get(f"{PRODUCTS}?page={page}").status_code == 422


@pytest.mark.parametrize("path", [PRODUCT, PRODUCTS])
def test_json_may_want_a_secret(path):
    with SandboxServer(shop_secret="a secret") as sandbox:
        statuses = [
            requests.get(sandbox.url + path, headers=headers, timeout=5).status_code
            for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": "Bearer a secret"})
        ]

    assert statuses == [401, 401, 200]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/shops/elsewhere",
        "/shops/kellermann/products/a-horse",
        f"/shops/kellermann/products/{MACHINE.gtin}",
        "/shops/kellermann/products/bricksel-pocket-ssd-1-tb",
        "/feeds/elsewhere.xml",
        "/feeds/elsewhere-heureka.xml",
        "/shop-api/elsewhere/products",
        f"/shop-api/elsewhere/products/{MACHINE.gtin}",
        "/shop-api/bazar24/products/9521047000001",
        "/images/a-horse.svg",
    ],
)
def test_what_a_shop_does_not_have_is_404(get, path):
    assert get(path).status_code == 404


@pytest.mark.parametrize("path", [PAGE, FEED, PRODUCT])
def test_shops_are_only_read(sandbox, path):
    response = requests.post(sandbox.url + path, timeout=5)

    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert requests.head(sandbox.url + path, timeout=5).status_code == 200


@pytest.mark.parametrize("path", [PAGE, FEED, HEUREKA, PRODUCT, PRODUCTS, "/shops/kellermann"])
def test_a_version_that_the_client_has_is_not_sent_again(get, clock, path):
    first = get(path)
    etag, modified = first.headers["ETag"], first.headers["Last-Modified"]

    assert get(path, If_None_Match=etag).status_code == 304
    assert get(path, If_None_Match=f'"x", {etag}').content == b""
    assert get(path, If_Modified_Since=modified).status_code == 304
    assert get(path, If_None_Match='"x"', If_Modified_Since=modified).status_code == 200
    assert get(path, If_Modified_Since=formatdate(0, usegmt=True)).status_code == 200
    assert get(path, If_Modified_Since="soon").status_code == 200
    clock.now += 5 * 24 * 3600
    assert get(path, If_None_Match=etag).status_code == 200
    assert get(path, If_Modified_Since=modified).status_code == 200


@pytest.mark.parametrize("path", [PAGE, FEED, PRODUCT])
def test_a_response_is_compressed_on_request(get, path):
    plain = get(path)
    compressed = get(path, Accept_Encoding="gzip")

    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert int(compressed.headers["Content-Length"]) < len(plain.content)
    assert compressed.content == plain.content


def test_each_product_has_a_drawing_with_its_name():
    for article in articles().values():
        root = ElementTree.fromstring(drawing(article))

        assert root.findtext("{http://www.w3.org/2000/svg}title") == article.name


def test_a_drawing_may_be_cached(get):
    response = get(f"/images/{MACHINE.slug}.svg")

    assert response.headers["Content-Type"] == "image/svg+xml"
    assert "max-age=86400" in response.headers["Cache-Control"]


def test_robots_may_read_pages_and_not_the_control_endpoint(get):
    rules = RobotFileParser()
    rules.parse(get("/robots.txt").text.splitlines())

    assert [rules.can_fetch("anybody", path) for path in (PAGE, "/control/faults", PRODUCT)] == [True, False, False]


WRONG = [(kind, form) for kind, forms in FORMS.items() for form in forms]
# The members that make a list of several pages, which the JSON of one product has not.
OF_LISTS = {"no_products", "fewer_products", "next_is_first"}


@pytest.mark.parametrize(("kind", "form"), WRONG)
def test_every_wrong_document_differs_from_the_right_one(get, sandbox, kind, form):
    path = {"wrong_page": PAGE, "wrong_feed": FEED}.get(kind, PRODUCTS if form in OF_LISTS else PRODUCT)
    right = get(path)
    sandbox.faults.replace([Fault(kind, {"form": form})])

    # As a client that has the right one: it gets no 304.
    try:
        wrong = get(path, If_None_Match=right.headers["ETag"], Accept_Encoding="gzip")
    except requests.exceptions.ContentDecodingError:
        assert form == "broken_gzip"
    else:
        assert wrong.status_code == 200
        assert wrong.headers.keys().isdisjoint({"ETag", "Last-Modified"})
        changed = (wrong.content, wrong.headers["Content-Type"])
        assert changed != (right.content, right.headers["Content-Type"])


@pytest.mark.parametrize("form", FORMS["wrong_feed"])
def test_the_heureka_feed_can_be_wrong_in_all_those_ways(get, sandbox, form):
    right = get(HEUREKA).content
    sandbox.faults.replace([Fault("wrong_feed", {"form": form})])

    try:
        assert get(HEUREKA).content != right
    except requests.exceptions.ContentDecodingError:
        assert form == "broken_gzip"


def test_a_fault_does_not_affect_what_people_only_look_at(get, sandbox):
    sandbox.faults.replace([Fault("error")])

    assert [get(path).status_code for path in (PAGE, FEED, PRODUCT)] == [500, 500, 500]
    assert get("/robots.txt").status_code == get(f"/images/{MACHINE.slug}.svg").status_code == 200


def test_a_document_that_there_is_not_cannot_be_wrong(get, sandbox):
    sandbox.faults.replace([Fault("wrong_page")])

    assert get("/shops/kellermann/products/a-horse").status_code == 404


def test_304_can_be_sent_to_whoever_asks(get, sandbox):
    sandbox.faults.replace([Fault("not_modified")])

    assert get(FEED).status_code == 304


def test_responses_of_shops_are_counted(get, client):
    get(PAGE)
    get(FEED)
    get(f"{PRODUCT}0")

    counted = client.control("GET").json()["requests"]
    assert (counted["pages"], counted["feeds"], counted["shop_api"]) == ({"200": 1}, {"200": 1}, {"404": 1})
