"""Which of the products on a page it is about, and why it may not be possible to say."""

import pytest

from tests.unit.sources.jsonld.pages import (
    URL,
    html,
    offer,
    offer_of,
    offers,
    prices,
    product,
    read,
    read_blocks,
    refusal,
)

RELATED = product(offer("5.00"), name="Bulb", url="https://shop.example/products/bulb")


class TestTheChoice:
    def test_the_main_entity_of_the_page(self):
        page = {"@type": "ItemPage", "mainEntity": product(offer(), name="Lamp")}

        assert prices(read_blocks(product(offer("5.00"), name="Bulb"), page)) == [(1999, "EUR")]

    def test_the_main_entity_by_reference(self):
        graph = {
            "@graph": [
                product(offer("5.00"), name="Bulb"),
                {"@type": "WebPage", "@id": URL, "mainEntity": {"@id": "#lamp"}},
                product(offer(), **{"@id": "#lamp"}),
            ]
        }

        assert prices(read_blocks(graph)) == [(1999, "EUR")]

    @pytest.mark.parametrize("entity", [URL, {"@id": URL}, {"@type": "WebPage", "@id": f"{URL}#webpage"}, {"url": URL}])
    def test_the_product_whose_mainentityofpage_is_the_page(self, entity):
        lamp = product(offer(), mainEntityOfPage=entity)

        assert prices(read_blocks(product(offer("5.00"), name="Bulb"), lamp)) == [(1999, "EUR")]

    @pytest.mark.parametrize(
        "url",
        [
            URL,
            "/products/lamp",
            "http://www.shop.example/products/lamp/",
            f"{URL}?utm_source=x",
            f"{URL}#reviews",
            f" {URL} ",
        ],
    )
    def test_the_product_with_the_pages_address(self, url):
        assert prices(read_blocks(RELATED, product(offer(), url=url))) == [(1999, "EUR")]

    def test_the_product_with_the_canonical_address(self):
        page = html(RELATED, product(offer(), url="/p/17"), head='<link href="/p/17" rel="canonical">')

        assert prices(read(page)) == [(1999, "EUR")]

    def test_the_product_whose_offers_have_the_pages_address(self):
        assert prices(read_blocks(RELATED, product(offer(url=URL)))) == [(1999, "EUR")]

    def test_the_product_whose_id_has_the_pages_address(self):
        assert prices(read_blocks(product(offer("5"), name="Bulb"), product(offer(), **{"@id": f"{URL}#p"}))) == [
            (1999, "EUR")
        ]

    def test_the_same_product_elsewhere_in_the_shops_tree(self):
        locator = "https://shop.example/collections/all/products/lamp"

        assert prices(read_blocks(RELATED, product(offer(), url=URL), locator=locator)) == [(1999, "EUR")]

    def test_the_only_one_with_offers(self):
        lamps = [product([], name="Stand"), product(offer()), product([], name="Shade")]

        assert prices(read_blocks(*lamps)) == [(1999, "EUR")]

    def test_the_only_one_that_does_not_state_another_address(self):
        assert prices(read_blocks(RELATED, product(offer()))) == [(1999, "EUR")]

    @pytest.mark.parametrize(
        "around",
        [
            lambda lamp: [[lamp]],
            lambda lamp: {"@graph": [{"@graph": [lamp]}]},
            lambda lamp: {"@type": "WebPage", "about": lamp},
            lambda lamp: {"@type": "Review", "itemReviewed": lamp},
        ],
    )
    def test_a_product_is_found_wherever_it_stands(self, around):
        assert prices(read_blocks(around(product(offer())))) == [(1999, "EUR")]

    def test_offers_that_stand_outside_of_the_product_are_its_own(self):
        graph = {
            "@graph": [
                {"@type": "Product", "@id": "#lamp", "name": "Lamp"},
                offer(itemOffered={"@id": "#lamp"}),
                offer("5.00", itemOffered={"@type": "Product", "name": "Bulb", "url": "/products/bulb"}),
            ]
        }

        lamp = offer_of(read_blocks(graph))

        assert (lamp.price, lamp.product.name) == (1999, "Lamp")


class TestNotTheProduct:
    @pytest.mark.parametrize("name", ["isRelatedTo", "isSimilarTo", "isAccessoryOrSparePartFor", "isConsumableFor"])
    def test_products_that_are_related_to_it_are_not_its_offers(self, name):
        assert prices(read_blocks(product(offer(), **{name: [product(offer("5.00"), name="Bulb")]}))) == [(1999, "EUR")]

    def test_the_price_of_a_related_product_is_not_the_pages(self):
        failure = refusal(read_blocks(RELATED))

        assert failure.code == "no_product"
        assert failure.reason == "the products on the page (Bulb) have other addresses than the page"

    def test_products_in_a_list_are_not_the_pages(self):
        items = [{"@type": "ListItem", "item": product(offer("5"), name=name)} for name in ("Bulb", "Shade")]

        failure = refusal(read_blocks({"@type": "ItemList", "itemListElement": items}))

        assert failure.reason == "the page lists products (Bulb, Shade) and is about none of them"

    def test_products_in_a_list_do_not_hide_the_pages(self):
        related = {"@type": "ItemList", "itemListElement": [{"@type": "ListItem", "item": RELATED}]}

        assert prices(read_blocks(related, product(offer()))) == [(1999, "EUR")]

    def test_several_products_none_of_which_is_the_pages(self):
        failure = refusal(read_blocks(*(product(offer(), name=name) for name in ("Lamp", "Bulb", "Shade", "Stand"))))

        assert failure.code == "ambiguous_product"
        assert failure.reason == (
            "the page has several products (Lamp, Bulb, Shade and 1 more) and does not say which it is about"
        )

    def test_another_product_of_the_same_script_by_its_parameters(self):
        locator = "https://shop.example/product.php?id=1"
        others = product(offer("5.00"), url="/product.php?id=2")

        assert refusal(read_blocks(others, locator=locator)).code == "no_product"

    def test_a_page_without_products(self):
        failure = refusal(read("<html><body>Please prove that you are human.</body></html>"))

        assert failure.reason == "the page has no structured data about a product"

    def test_a_page_about_something_else(self):
        assert refusal(read_blocks({"@type": "Article", "name": "On lamps"})).code == "no_product"

    def test_a_product_without_offers_is_no_statement_that_there_are_none(self):
        assert refusal(read_blocks(product([], aggregateRating={"ratingValue": 4.5}))).code == "no_offer"


class TestRedirects:
    def test_to_the_first_page_of_the_shop(self):
        failure = refusal(read(html(product(offer())), url="https://shop.example/"))

        assert failure.code == "redirected"

    def test_to_another_address_is_noted(self):
        outcome = read(html(product(offer(), url="/products/lamp-2")), url="https://shop.example/products/lamp-2")

        assert prices(outcome) == [(1999, "EUR")]
        assert [remark.reason for remark in outcome.remarks] == ["it redirects to https://shop.example/products/lamp-2"]

    def test_from_http_to_https_is_not(self):
        assert read(html(product(offer())), "http://shop.example/products/lamp", url=URL).remarks == []


class TestTheSameProductTwice:
    """A theme and a plugin describe the product, each in a block of its own."""

    def test_it_has_one_offer(self):
        plugin = product(offer(), name="Lamp", aggregateRating={"ratingValue": 5})

        assert prices(read_blocks(product(offer()), plugin)) == [(1999, "EUR")]

    def test_the_description_with_offers_counts(self):
        assert prices(read_blocks(product([], url=URL), product(offer()))) == [(1999, "EUR")]

    def test_an_offer_with_an_id_and_one_without_are_one(self):
        lamp = offer_of(read_blocks(product(offer()), product(offer(sku="L-1"))))

        assert lamp.external_id == "sku:L-1"

    def test_two_prices_are_refused(self):
        failure = refusal(read_blocks(product(offer("19.99")), product(offer("24.99"))))

        assert failure.code == "contradiction"
        assert failure.reason == "the page states two prices for it: 1999 EUR and 2499 EUR (in minor units)"

    def test_two_currencies_are_refused(self):
        assert refusal(read_blocks(product(offer()), product(offer(currency="USD")))).code == "contradiction"

    def test_a_description_without_a_price_contradicts_nothing(self):
        assert prices(read_blocks(product(offer(None)), product(offer()))) == [(1999, "EUR")]

    def test_a_range_beside_one_price_is_refused(self):
        range_ = {"@type": "AggregateOffer", "lowPrice": 10, "highPrice": 20, "priceCurrency": "EUR"}

        assert refusal(read_blocks(product(range_), product(offer("10")))).code == "price_range"

    def test_two_availabilities_are_unknown(self):
        sold_out = offer(availability="https://schema.org/OutOfStock")
        outcome = read_blocks(product(offer()), product(sold_out))

        assert offer_of(outcome).availability == "unknown"
        assert [remark.reason for remark in outcome.remarks] == ["the page states two availabilities for it"]

    def test_the_same_variants_twice_with_other_spellings_of_their_ids(self):
        def variants(gtin_name, digits, scheme):
            return {
                "@type": "ProductGroup",
                "name": "Lamp",
                "url": f"{scheme}://shop.example/products/lamp",
                "hasVariant": [
                    product(
                        offer(price, url=f"{scheme}://shop.example/products/lamp?variant={number}"), **{gtin_name: gtin}
                    )
                    for number, (price, gtin) in enumerate(zip(["19.99", "24.99"], digits, strict=True), 1)
                ],
            }

        first = variants("gtin12", ["036000291452", "012345678905"], "https")
        second = variants("gtin", ["0036000291452", "0012345678905"], "http")

        assert sorted(prices(read_blocks(first, second))) == [(1999, "EUR"), (2499, "EUR")]

    def test_variants_without_ids_in_a_second_description_are_left_out(self):
        known = [offer("19.99", sku="1"), offer("24.99", sku="2")]
        outcome = read_blocks(product(known), product([offer("24.99"), offer("19.99"), offer("9.99")]))

        assert len(offers(outcome)) == 2
        assert len(outcome.remarks) == 3
