"""Google Merchant's data: what an item's fields mean."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from productagg.sources.base import ProductFacts
from tests.unit.sources.feed.feeds import item, outcomes, read, read_one, rejected, remarks, rss, tag


def offer_of(more="", price="12.50 EUR", **options):
    return read_one(rss(item(price=price, more=more)), **options)


def test_an_item_becomes_an_offer_with_what_it_says_of_the_product():
    more = tag(
        title="A shoe &amp;amp; laces",
        description="<![CDATA[Light & dry]]>",
        link="https://shop.example/a?variant=1&amp;b=2",
        image_link="https://shop.example/a.jpg",
        availability="in stock",
        condition="refurbished",
        brand="Northpath",
        gtin="4006381333931",
        google_product_category="Apparel &gt; Shoes",
        product_type="Running",
        quantity="7",
    )
    offer = read_one(rss(item(" A-1 ", more=more), channel="<title>The shop</title>"))
    assert offer == (
        *("A-1", "A-1", 1250, "EUR", "The shop", "https://shop.example/a?variant=1&b=2", "refurbished", "in_stock", 7),
        None,
        ProductFacts(
            *("A shoe & laces", "Light & dry", "4006381333931", "Northpath", "Apparel > Shoes"),
            "https://shop.example/a.jpg",
        ),
    )


@pytest.mark.parametrize(
    ("text", "price", "currency"),
    [
        ("15.00 USD", 1500, "USD"),
        ("USD 15.00", 1500, "USD"),
        ("1300 USD", 130000, "USD"),
        ("1,252.00 EGP", 125200, "EGP"),
        ("1.299,00 EUR", 129900, "EUR"),
        ("1.500 EUR", 150, "EUR"),
        ("1624 JPY", 1624, "JPY"),
        ("3.141 KWD", 3141, "KWD"),
        ("600 HUF", 60000, "HUF"),
        ("12,34 €", 1234, "EUR"),
    ],
)
def test_a_price_has_its_own_currency(text, price, currency):
    offer = offer_of(price=text)
    assert (offer.price, offer.currency) == (price, currency)


def test_each_item_has_its_currency_in_a_feed_that_mixes_them():
    prices = {"A": "10.00 EUR", "B": "10.00 USD", "C": "10.00 TRY"}
    offers = read(rss(*(item(*pair) for pair in prices.items())), currency="EUR")
    assert [offer.currency for offer in offers] == ["EUR", "USD", "TRY"]


def test_a_price_without_a_currency_is_in_the_configured_one():
    assert offer_of(price="10.00", currency="czk").currency == "CZK"


@pytest.mark.parametrize("text", ["10.00", "0.00 EUR", "Free", "10-20 EUR", "-5.00 EUR", "", "10.00 XXX", "$10.00"])
def test_an_item_without_a_clear_price_is_no_offer_and_the_others_are(text):
    feed = rss(item(price=text), item("B"))
    assert [offer.locator for offer in read(feed)] == ["B"]
    assert set(rejected(feed)) == {"A"}


def test_the_sale_price_is_the_price_to_pay():
    assert offer_of(tag(sale_price="9.90 EUR")).price == 990


@pytest.mark.parametrize("text", ["", "0.00 EUR", "0"])
def test_a_sale_price_of_nothing_is_not_set(text):
    assert offer_of(tag(sale_price=text)).price == 1250


def test_the_lower_price_is_taken_where_sale_and_list_price_are_swapped():
    feed = rss(item(more=tag(sale_price="19.90 EUR")))
    assert read_one(feed).price == 1250
    assert "higher than its price" in remarks(feed)["A"]


def test_a_sale_price_in_another_currency_is_a_contradiction():
    assert "USD" in rejected(rss(item(more=tag(sale_price="9.90 USD")), item("B")))["A"]


def interval(start, end, form="%Y-%m-%dT%H:%M+0000"):
    now = datetime.now(UTC)
    return "/".join((now + timedelta(hours=hours)).strftime(form) for hours in (start, end))


@pytest.mark.parametrize(
    ("window", "price"),
    [
        (interval(-2, 2), 990),
        (interval(-2, 2, "%Y-%m-%dT%H:%MZ"), 990),
        (interval(-48, 0, "%Y-%m-%d"), 990),
        (interval(1, 2), 1250),
        (interval(-2, -1), 1250),
        ("2016-02-24T13:00-0800/2016-02-29T15:30-0800", 1250),
    ],
    ids=["now", "now, in another form", "until today", "later", "earlier", "years ago"],
)
def test_the_sale_price_counts_within_its_dates_only(window, price):
    assert offer_of(tag(sale_price="9.90 EUR", sale_price_effective_date=window)).price == price


@pytest.mark.parametrize("window", ["soon", "2016-02-24T13:00-0800", "2016-02-24/", "2016-13-24/2016-14-01"])
def test_an_item_with_unreadable_dates_of_its_sale_is_no_offer(window):
    feed = rss(item(more=tag(sale_price="9.90 EUR", sale_price_effective_date=window)), item("B"))
    assert "interval" in rejected(feed)["A"]


@pytest.mark.parametrize(
    ("text", "availability"),
    [
        ("in_stock", "in_stock"),
        ("in stock", "in_stock"),
        ("InStock", "in_stock"),
        (" out of stock\n", "out_of_stock"),
        ("preorder", "preorder"),
        ("backorder", "backorder"),
        ("download", "unknown"),
        ("", "unknown"),
    ],
)
def test_availability_in_all_spellings(text, availability):
    assert offer_of(tag(availability=text)).availability == availability


def test_a_missing_availability_is_unknown():
    assert offer_of().availability == "unknown"


@pytest.mark.parametrize(("text", "condition"), [("used", "used"), ("", "new"), ("opened", "unknown")])
def test_condition(text, condition):
    assert offer_of(tag(condition=text)).condition == condition


def test_a_missing_condition_is_new():
    assert offer_of().condition == "new"


@pytest.mark.parametrize("text", ["-3", "", "many", "1.5"])
def test_a_quantity_that_is_no_number_is_not_told(text):
    assert offer_of(tag(quantity=text)).items_in_stock is None


@pytest.mark.parametrize(
    ("gtins", "found"),
    [
        (["036000291452"], "0036000291452"),
        (["4006381333932", "4006381333931"], "4006381333931"),
        (["2012345678900"], None),
        (["ABC-1"], None),
    ],
)
def test_a_gtin_is_checked_and_may_be_repeated(gtins, found):
    assert offer_of("".join(tag(gtin=gtin) for gtin in gtins)).product.gtin == found


def test_googles_category_as_a_number_gives_way_to_the_shops():
    assert offer_of(tag(google_product_category="187", product_type="Shoes")).product.category == "Shoes"


def shipping(country, price):
    return f"<g:shipping><g:country>{country}</g:country><g:price>{price}</g:price></g:shipping>"


@pytest.mark.parametrize(
    ("parts", "country", "cost"),
    [
        ([("DE", "4.90 EUR")], None, 490),
        ([("DE", "4.90 EUR"), ("DE", "3.90 EUR")], None, 390),
        ([("DE", "4.90 EUR"), ("AT", "9.90 EUR")], None, None),
        ([("DE", "4.90 EUR"), ("AT", "9.90 EUR")], "at", 990),
        ([("DE", "0 EUR")], "DE", 0),
        ([("DE", "4.90 EUR")], "FR", None),
        ([("DE", "£4.90")], "DE", None),
        ([("DE", "4.90 USD")], "DE", None),
        ([("DE", "varies")], "DE", None),
    ],
)
def test_shipping_is_the_lowest_for_the_country(parts, country, cost):
    options = {"country": country} if country else {}
    assert offer_of("".join(shipping(*part) for part in parts), **options).shipping == cost


def test_a_price_within_another_element_is_not_the_items():
    more = "<g:installment><g:price>1.00 EUR</g:price></g:installment>" + shipping("DE", "4.90 EUR")
    assert offer_of(more).price == 1250


def test_the_price_is_not_what_stands_in_an_element_within_it():
    assert "A" in rejected(rss(item(price="12.50 EUR<x>7.00 EUR</x>"), item("B")))


def test_two_prices_in_one_item_are_a_contradiction():
    assert "two values" in rejected(rss(item(more=tag(price="9.00 EUR")), item("B")))["A"]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "/a", "", "https://shop.example/a b"])
def test_a_link_that_is_no_address_of_the_web_is_left_out(url):
    assert offer_of(tag(link=url)).url is None


def test_a_link_keeps_its_variant_and_fragment():
    url = "https://shop.example/a?variant=7#/2-size"
    assert offer_of(tag(link=url.replace("&", "&amp;"))).url == url


@pytest.mark.parametrize("item_id", ["", "  ", "A" * 201, "A\u200bB"])
def test_an_item_without_a_usable_id_is_no_offer(item_id):
    assert len(rejected(rss(item(item_id), item("B")))) == 1


def test_the_configured_seller_goes_before_the_channels_title():
    assert read_one(rss(item(), channel="<title>The channel</title>"), seller="The seller").seller == "The seller"


def test_the_source_is_the_seller_if_nothing_names_one():
    assert offer_of().seller == "The source"


def test_names_without_the_prefix_are_read_where_those_with_it_are_missing():
    feed = rss(
        "<id>A</id><title>Name</title><price>5.00 EUR</price><link>https://shop.example/a</link>", namespace=None
    )
    offer = read_one(feed)
    assert (offer.locator, offer.price, offer.product.name, offer.url) == ("A", 500, "Name", "https://shop.example/a")


def test_the_prefix_is_whatever_the_document_declares():
    feed = rss(item()).replace("g:", "base:").replace("xmlns:g", "xmlns:base")
    assert read_one(feed).price == 1250


def test_the_prefix_may_be_declared_in_each_element_or_not_at_all():
    declared = item(price="1 EUR").replace("<g:", "<i:").replace("</g:", "</i:")
    declared = re.sub("<i:[a-z]+", r'\g<0> xmlns:i="http://base.google.com/ns/1.0"', declared)
    assert read_one(rss(declared, namespace=None)).price == 100
    assert read_one(rss(item(), namespace=None)).price == 1250


def test_an_atom_feed_has_entries_and_links_as_attributes():
    feed = (
        '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><title>Atom shop</title>'
        f'<entry><id>tag:1</id><title>Name</title><link href="https://shop.example/a"/>{item()}</entry></feed>'
    )
    offer = read_one(feed)
    assert (offer.locator, offer.url, offer.seller) == ("A", "https://shop.example/a", "Atom shop")
    assert offer.product.name == "Name"


def test_a_price_of_less_than_a_minor_unit_is_rounded_with_a_remark():
    feed = rss(item(price="0.847 CZK"))
    assert read_one(feed).price == 85
    assert "minor unit" in remarks(feed)["A"]


def test_the_residue_of_a_float_is_rounded():
    feed = rss(item(price="185.130001 EUR"))
    assert read_one(feed).price == 18513
    assert not remarks(feed)


def test_an_offer_is_read_again_when_its_sale_begins_though_the_document_is_the_same():
    window = interval(1, 2)
    feed = rss(item(more=tag(sale_price="9.90 EUR", sale_price_effective_date=window)))
    (snapshot,) = outcomes(feed)
    kept = snapshot.validators
    assert [type(outcome).__name__ for outcome in outcomes(feed, validators=kept)] == ["NotModified"]
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    begun = kept._replace(digest=kept.digest.partition(" until ")[0] + f" until {past}")
    assert [type(outcome).__name__ for outcome in outcomes(feed, validators=begun)] == ["Snapshot"]
