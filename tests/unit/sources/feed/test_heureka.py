"""Heureka's and Zboží's product feeds: what an item's fields mean."""

import pytest

from productagg.sources.base import ProductFacts
from tests.unit.sources.feed.feeds import failure, read, read_one, rejected, remarks, shop, shopitem

ZBOZI = "http://www.zbozi.cz/ns/offer/1.0"
IN_FUTURE = "2999-12-31"


def offer_of(price="299,50", currency="CZK", namespace=None, options=None, **fields):
    return read_one(shop(shopitem(price=price, **fields), namespace=namespace), currency=currency, **(options or {}))


def test_an_item_becomes_an_offer_with_what_it_says_of_the_product():
    offer = offer_of(
        PRODUCTNAME="Bota <![CDATA[&]]> tkanička",
        DESCRIPTION="Lehká",
        URL="https://obchod.example/a",
        IMGURL="https://obchod.example/a.jpg",
        MANUFACTURER="Northpath",
        CATEGORYTEXT="Boty | Běžecké",
        EAN="4006381333931",
        DELIVERY_DATE="0",
    )
    assert offer == (
        *("A", "A", 29950, "CZK", "The source", "https://obchod.example/a", "new", "in_stock", None, None),
        ProductFacts(
            *("Bota & tkanička", "Lehká", "4006381333931", "Northpath", "Boty | Běžecké"),
            "https://obchod.example/a.jpg",
        ),
    )


def test_no_currency_is_assumed():
    assert failure(shop(shopitem())).code == "no_currency"


@pytest.mark.parametrize(
    ("text", "price"), [("299", 29900), ("299.5", 29950), ("1 299,00", 129900), ("0.847", 85), ("34.992001", 3499)]
)
def test_a_price_with_a_point_or_a_comma(text, price):
    assert offer_of(text).price == price


@pytest.mark.parametrize("text", ["1.299", "1,500", "0", "zdarma", ""])
def test_a_price_that_is_ambiguous_or_none_is_no_offer(text):
    assert "A" in rejected(shop(shopitem(price=text), shopitem("B")), currency="CZK")


def test_other_prices_are_not_the_price():
    feed = shop("<ITEM_ID>A</ITEM_ID><PRICE>100</PRICE><HEUREKA_CPC>5</HEUREKA_CPC>", shopitem("B"))
    assert rejected(feed, currency="CZK") == {"A": "it has no PRICE_VAT"}


@pytest.mark.parametrize(
    ("text", "availability"),
    [
        ("0", "in_stock"),
        ("ihned", "in_stock"),
        ("Ihned ", "in_stock"),
        ("1", "backorder"),
        ("7", "backorder"),
        ("999", "backorder"),
        ("1000", "unknown"),
        ("-1", "unknown"),
        ("", "unknown"),
        ("skladem", "unknown"),
        (IN_FUTURE, "preorder"),
        (IN_FUTURE + " 12:00", "preorder"),
        ("2016-02-24", "unknown"),
    ],
)
def test_delivery_date(text, availability):
    assert offer_of(DELIVERY_DATE=text).availability == availability


def test_a_missing_delivery_date_is_unknown():
    assert offer_of().availability == "unknown"


@pytest.mark.parametrize(("days", "availability"), [("2", "in_stock"), ("3", "in_stock"), ("4", "out_of_stock")])
def test_delivery_date_by_the_configured_thresholds(days, availability):
    options = {"in_stock_days": 3, "beyond": "out_of_stock"}
    assert offer_of(DELIVERY_DATE=days, options=options).availability == availability


@pytest.mark.parametrize(
    ("text", "condition"), [("bazar", "used"), ("bazaar", "used"), ("new", "new"), ("", "new"), ("refurb", "unknown")]
)
def test_item_type(text, condition):
    assert offer_of(ITEM_TYPE=text).condition == condition


def test_variants_of_one_item_id_are_kept_apart():
    feed = shop(shopitem(price="100", VARIANTID="red"), shopitem(price="200", VARIANTID="blue"))
    assert {offer.locator: offer.price for offer in read(feed, currency="CZK")} == {"A:red": 10000, "A:blue": 20000}


def delivery(carrier, price):
    costs = f"<DELIVERY_PRICE>{price}</DELIVERY_PRICE><DELIVERY_PRICE_COD>1</DELIVERY_PRICE_COD>"
    return f"<DELIVERY_ID>{carrier}</DELIVERY_ID>{costs}"


def test_shipping_is_the_lowest_delivery_price_without_cash_on_delivery():
    feed = shop(
        shopitem() + "".join(f"<DELIVERY>{delivery(*pair)}</DELIVERY>" for pair in (("PPL", "119"), ("DPD", "99,50")))
    )
    assert read_one(feed, currency="CZK").shipping == 9950


def test_an_unknown_carrier_is_ignored_and_the_item_is_kept():
    assert offer_of(DELIVERY=delivery("CZK 95 ||WOOSEA_SERVICE", "0")).shipping is None


def test_free_delivery_is_zero_and_a_missing_price_is_not_told():
    assert offer_of(DELIVERY=delivery("DPD", "0")).shipping == 0
    assert offer_of(DELIVERY=delivery("DPD", "")).shipping is None


def test_zbozi_adds_dues():
    assert offer_of("100", namespace=ZBOZI, DUES="5,50").price == 10550
    assert offer_of("100", DUES="5,50").price == 10000


def test_zbozi_says_minus_one_for_not_known():
    assert offer_of(namespace=ZBOZI, DELIVERY_DATE="-1").availability == "unknown"


def test_a_price_of_less_than_a_minor_unit_has_a_remark():
    assert "A" in remarks(shop(shopitem(price="0.847")), currency="CZK")


def test_the_product_feed_is_expected_where_the_availability_feed_stands():
    found = failure('<item_list><item id="A"><stock_quantity>1</stock_quantity></item></item_list>', currency="CZK")
    assert "item_list (Heureka's availability feed)" in found.reason


@pytest.mark.parametrize(
    ("expected", "namespace"), [("zbozi", None), ("heureka", ZBOZI), ("heureka", "urn:other"), ("auto", "urn:other")]
)
def test_the_namespace_is_the_expected_one(expected, namespace):
    found = failure(shop(shopitem(), namespace=namespace), format=expected, currency="CZK")
    assert found.code == "not_a_feed"
    assert found.reason.startswith("Expected ")
    assert (namespace or "without a namespace") in found.reason
