"""Whatever a page contains, nothing is raised; and whatever damages a page, its price does not become another one."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.sources.base import Failure, Snapshot
from productagg.sources.jsonld.blocks import Damaged, parse_block
from productagg.sources.jsonld.page import scan, to_utf8
from tests.unit.sources.jsonld.pages import URL, html, offer, prices, product, read, read_blocks, script

# What can be mistaken for the price, if a page falls apart, stands near it; the price's own digits occur once.
LAMP = product(
    offer(
        "19.99",
        sku="L-7",
        url=f"{URL}?color=3",
        shippingDetails={"shippingRate": {"@type": "MonetaryAmount", "value": "4.90", "currency": "EUR"}},
        priceSpecification=[
            {"@type": "UnitPriceSpecification", "price": 25, "priceCurrency": "EUR", "priceType": "ListPrice"},
            {
                "@type": "UnitPriceSpecification",
                "price": "3.33",
                "priceCurrency": "EUR",
                "referenceQuantity": {"value": 1},
            },
        ],
        seller={"@type": "Organization", "name": 'Lamps, "Bulbs" & {Co}'},
    ),
    aggregateRating={"@type": "AggregateRating", "ratingValue": "4.5", "reviewCount": 12},
    isRelatedTo=[product(offer("5.00"), name="Bulb", url="/products/bulb")],
)
WORDS = ["Product", "ProductGroup", "Offer", "AggregateOffer", "WebPage", "ItemList", "ListItem", "Organization", ""]
KEYS = [
    *("@type", "@id", "@graph", "@value", "@list", "@context", "name", "sku", "url", "offers", "Offers", "hasVariant"),
    *("isVariantOf", "itemOffered", "mainEntity", "mainEntityOfPage", "itemListElement", "price", "priceCurrency"),
    *("priceSpecification", "priceType", "lowPrice", "highPrice", "seller", "availability", "itemCondition", "gtin"),
    *(
        "shippingDetails",
        "shippingRate",
        "shippingDestination",
        "value",
        "currency",
        "inventoryLevel",
        "image",
        "brand",
    ),
]
SCALARS = st.sampled_from(
    [*WORDS, "#a", "#b", URL, "http://[", "EUR", "USD", "19.99", "0", "\ud800", "\x00"]
) | st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
NODES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=25,
)
TAGS = st.sampled_from(
    [
        *(
            "<script type=application/ld+json>",
            "</script>",
            "<script>",
            "<!--",
            "-->",
            "<meta ",
            "<link ",
            "<base ",
            ">",
        ),
        *("property=og:price:amount content=5", "rel=canonical href='", '"', "'", "<div itemscope itemprop=offers>"),
        *(
            "<i itemprop=price>1</i>",
            "<textarea>",
            "<![CDATA[",
            "]]>",
            '{"@type":"Product","offers":',
            "}",
            "&quot;",
            "\\",
        ),
    ]
)


def is_an_outcome(outcome):
    return isinstance(outcome, Snapshot | Failure)


@given(st.binary(max_size=200), st.sampled_from(["", "text/html; charset=utf-16", "text/html; charset=iso-2022-jp"]))
def test_arbitrary_bytes_never_raise(body, content_type):
    assert is_an_outcome(read(body, content_type=content_type))


@given(st.lists(TAGS | st.text(max_size=3), max_size=30).map("".join))
def test_arbitrary_markup_never_raises(page):
    assert is_an_outcome(read(page, country="CZ", currency="EUR"))


@given(st.text(alphabet='{}[]:,"\\/*-<>!&a1.\n \ud800', max_size=60))
def test_an_arbitrary_block_is_read_or_damaged(text):
    try:
        block = parse_block(text.encode("utf-8", "surrogatepass"))
    except Damaged:
        return
    assert isinstance(block.values, list)


@given(st.lists(NODES, max_size=4), st.sampled_from([URL, f"{URL}?variant=1", f"{URL}#/1-a"]))
def test_arbitrary_nodes_never_raise_and_no_two_offers_have_the_same_id(nodes, locator):
    blocks = [json.dumps(node).replace("</", "<\\/") for node in nodes]

    outcome = read_blocks(*blocks, locator=locator, currency="EUR", country="CZ")

    assert is_an_outcome(outcome)
    found = list(outcome.offers) if isinstance(outcome, Snapshot) else []
    assert len({offer.external_id for offer in found}) == len(found)
    for found_offer in found:
        assert found_offer.price > 0
        assert str(found_offer).encode()  # what can be stored


def damaged(text, kept):
    """The text with a few characters lost, or with one where it does not belong, but not within `kept`.

    At one place: what takes the price from one amount and the mark of a list price from another leaves a good page.
    """
    start, end = text.index(kept) - 1, text.index(kept) + len(kept) + 1
    places = st.integers(0, start - 1) | st.integers(end, len(text) - 1)
    inserted = st.sampled_from(
        ['"', "'", "{", "}", "[", "]", ",", ":", "\\", "\n", "\x00", "/", "<", "-", "a", "/*", "//"]
    )

    def lose(at, length):
        return text[:at] + text[min(at + length, start if at < start else len(text)) :]

    return st.builds(lose, places, st.integers(1, 40)) | st.builds(
        lambda at, new: text[:at] + new + text[at:], places, inserted
    )


@given(damaged(json.dumps(LAMP), "19.99"))
def test_random_damage_to_a_block_never_yields_a_different_price(block):
    outcome = read_blocks(block)

    if isinstance(outcome, Snapshot):
        assert {(offer.price, offer.currency) for offer in outcome.offers} <= {(1999, "EUR")}


@given(damaged(html(LAMP), "19.99"))
def test_random_damage_to_a_page_never_yields_a_different_price(page):
    outcome = read(page)

    if isinstance(outcome, Snapshot):
        assert {(offer.price, offer.currency) for offer in outcome.offers} <= {(1999, "EUR")}


@given(st.integers(0, len(html(LAMP)) - 1))
def test_a_page_that_was_cut_never_yields_a_different_price(length):
    outcome = read(html(LAMP)[:length])

    assert isinstance(outcome, Failure) or prices(outcome) == [(1999, "EUR")]


def test_the_whole_page_has_its_price():
    assert prices(read(html(LAMP))) == [(1999, "EUR")]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('<meta property="og:x' * 50_000, id="tags without an end"),
        pytest.param("<meta '\"" * 100_000, id="quotation marks without their pairs"),
        pytest.param("<!--" * 250_000, id="comments without an end"),
        pytest.param("<script type=application/ld+json>" * 30_000, id="scripts without an end"),
        pytest.param("<script type=application/ld+json>{</script>" * 20_000, id="many damaged blocks"),
        pytest.param(script('{"a' + ' "' * 300_000), id="quotation marks in a string"),
        pytest.param(script("{" + "/*" * 300_000), id="comments in a block"),
        pytest.param(script("{" + ", " * 300_000), id="commas in a block"),
        pytest.param(script("{" + " " * 900_000 + "x"), id="spaces in a block"),
        pytest.param(script("x" + "--> " * 200_000), id="ends of comments in a block"),
        pytest.param(script(json.dumps([{"@id": "#a", "@type": "Product"}] * 20_000)), id="many products"),
        pytest.param(script(json.dumps(product([offer(sku="L")] * 5_000))), id="many offers with one id"),
        pytest.param(
            script(json.dumps(product([offer(sku="L", url=f"?variant={n}") for n in range(2000)]))), id="variants"
        ),
        pytest.param("<div itemscope itemprop=x id=a itemref=a>" * 20_000, id="nested items"),
        pytest.param("<i itemprop=x>" * 50_000 + "<b itemscope>", id="nested properties"),
    ],
)
def test_no_page_takes_long(body):
    start = time.process_time()

    read(body)

    assert time.process_time() - start < 3


def test_a_scan_finds_what_it_needs_in_any_encoding():
    found = scan(to_utf8(html(head='<link rel="canonical" href="/p">').encode("utf-16"), ""))

    assert found.canonical == "/p"
