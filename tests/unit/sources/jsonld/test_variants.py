"""Offers of several variants or sellers on one page: each once, told apart, and those that the locator names."""

import pytest

from tests.unit.sources.jsonld.pages import URL, offer, offer_of, offers, prices, product, read_blocks, refusal


def variant(number, price, **more):
    """A variant as Shopify prints it."""
    return {
        "@type": "Product",
        "@id": f"/products/lamp?variant={number}#variant",
        "name": f"Lamp - {number}",
        "sku": f"L-{number}",
        "offers": {"@id": f"/products/lamp?variant={number}#offer", **offer(price, url=f"{URL}?variant={number}")},
        **more,
    }


def group(*variants, **more):
    return {
        "@type": "ProductGroup",
        "@id": "/products/lamp#product",
        "productGroupID": "77",
        "name": "Lamp",
        "url": URL,
        "brand": {"@type": "Brand", "name": "Lumen"},
        "hasVariant": list(variants),
        **more,
    }


def ids(outcome):
    return [offer.external_id for offer in offers(outcome)]


class TestGroups:
    def test_each_variant_has_its_own_offer(self):
        outcome = read_blocks(group(variant(1, "19.99"), variant(2, "24.99")))

        assert prices(outcome) == [(1999, "EUR"), (2499, "EUR")]
        assert ids(outcome) == ["sku:L-1", "sku:L-2"]
        assert [offer.url for offer in outcome.offers] == [f"{URL}?variant=1", f"{URL}?variant=2"]
        assert [offer.product.name for offer in outcome.offers] == ["Lamp - 1", "Lamp - 2"]
        assert {offer.product.brand for offer in outcome.offers} == {"Lumen"}

    def test_the_groups_offer_is_not_one_more(self):
        outcome = read_blocks(group(variant(1, "19.99"), variant(2, "24.99"), offers=offer("19.99")))

        assert ids(outcome) == ["sku:L-1", "sku:L-2"]

    def test_the_groups_offers_count_if_the_variants_have_none(self):
        silent = {"@type": "Product", "name": "Lamp, red"}

        assert prices(read_blocks(group(silent, silent, offers=offer()))) == [(1999, "EUR")]

    def test_the_groups_availability_is_not_spread_over_its_variants(self):
        sold_out = variant(2, "24.99")
        sold_out["offers"]["availability"] = "https://schema.org/OutOfStock"
        untold = variant(3, "24.99")
        del untold["offers"]["availability"]
        head = '<meta property="product:availability" content="instock">'

        outcome = read_blocks(
            group(variant(1, "19.99"), sold_out, untold, offers={"availability": "InStock"}), head=head
        )

        assert [offer.availability for offer in offers(outcome)] == ["in_stock", "out_of_stock", "unknown"]

    def test_variants_by_reference(self):
        graph = {"@graph": [group({"@id": "#v"}), variant(1, "19.99", **{"@id": "#v"})]}

        assert prices(read_blocks(graph)) == [(1999, "EUR")]

    @pytest.mark.parametrize(
        "relation",
        [
            {"isVariantOf": {"@id": "/products/lamp#product"}},
            {"isVariantOf": {"@type": "ProductGroup", "productGroupID": "77"}},
            {"inProductGroupWithID": "77"},
        ],
    )
    def test_variants_that_name_their_group(self, relation):
        variants = [variant(number, "19.99", **relation) for number in (1, 2)]

        assert ids(read_blocks(group(), *variants)) == ["sku:L-1", "sku:L-2"]

    def test_variants_on_pages_of_their_own_are_not_this_pages(self):
        red = product(offer("19.99"), sku="R", url=URL)
        blue = product(offer("24.99"), sku="B", url="https://shop.example/products/lamp-blue")

        assert ids(read_blocks(group(red, blue, {"url": "/products/lamp-green"}))) == ["sku:R"]

    def test_the_variant_as_the_item_that_is_offered(self):
        outcome = read_blocks(product([offer(itemOffered={"@type": "Product", "sku": n, "name": n}) for n in "ab"]))

        assert ids(outcome) == ["sku:a", "sku:b"]
        assert [offer.product.name for offer in outcome.offers] == ["a", "b"]

    def test_gtin_and_condition_are_the_variants(self):
        [lamp] = offers(
            read_blocks(
                group(
                    variant(1, "19.99", gtin12="036000291452", itemCondition="https://schema.org/UsedCondition"),
                    gtin13="4006381333931",
                )
            )
        )

        assert lamp.product.gtin == "0036000291452"
        assert lamp.condition == "used"


class TestTheVariantOfTheLocator:
    PAGE = group(variant(1, "19.99"), variant(2, "24.99"))

    def test_only_the_variant_that_the_locator_names(self):
        lamp = offer_of(read_blocks(self.PAGE, locator=f"{URL}?variant=2"))

        assert (lamp.price, lamp.external_id, lamp.locator) == (2499, "sku:L-2", f"{URL}?variant=2")

    def test_a_page_that_states_only_the_parent_is_refused(self):
        failure = refusal(read_blocks(product(offer(), url=URL), locator=f"{URL}?variant=2"))

        assert failure.code == "variant_not_found"
        assert "variant=2" in failure.reason

    def test_a_variant_that_is_gone_is_refused(self):
        assert refusal(read_blocks(self.PAGE, locator=f"{URL}?variant=3")).code == "variant_not_found"

    def test_opengraph_does_not_say_which_variant_it_is_about(self):
        head = '<meta property="og:price:amount" content="19.99"><meta property="og:price:currency" content="EUR">'

        assert refusal(read_blocks(head=head, locator=f"{URL}?variant=2")).code == "variant_not_found"

    def test_by_its_id(self):
        lamp = offer_of(read_blocks(product([offer(sku="1"), offer("5", sku="2")]), locator=f"{URL}?variant=2"))

        assert lamp.price == 500

    def test_by_the_fragment(self):
        fragments = ["#/1-size-s/8-color-white", "#/2-size-m/8-color-white"]
        page = product([offer(price, url=URL + end) for price, end in zip(["19.99", "24.99"], fragments, strict=True)])

        lamp = offer_of(read_blocks(page, locator=URL + fragments[1]))

        assert lamp.price == 2499
        assert lamp.url == URL + fragments[1]
        assert refusal(read_blocks(page, locator=f"{URL}#/3-size-l")).code == "variant_not_found"

    @pytest.mark.parametrize("query", ["attribute_pa_size=m", "id_product_attribute=2", "variation_id=2"])
    def test_by_parameters_of_other_shops(self, query):
        page = product([offer("19.99", url=f"{URL}?{query}1"), offer("24.99", url=f"{URL}?{query}")])

        assert prices(read_blocks(page, locator=f"{URL}?{query}")) == [(2499, "EUR")]

    def test_without_a_variant_in_the_locator_all_of_them(self):
        assert len(offers(read_blocks(self.PAGE, locator=f"{URL}?utm_source=x"))) == 2


class TestIds:
    def test_the_seller_is_a_part_of_the_offers_identity(self):
        sellers = [
            offer(price, seller={"@type": "Organization", "name": name}) for name, price in [("A", 10), ("B", 11)]
        ]

        outcome = read_blocks(product(sellers, sku="L"))

        assert ids(outcome) == ["sku:L|seller:A", "sku:L|seller:B"]
        assert [offer.seller for offer in outcome.offers] == ["A", "B"]

    def test_the_same_seller_with_new_and_used_goods(self):
        outcome = read_blocks(
            product(
                [offer("19.99", itemCondition="NewCondition"), offer("9.99", itemCondition="UsedCondition")], sku="L"
            )
        )

        assert [offer.condition for offer in outcome.offers] == ["new", "used"]
        assert len(set(ids(outcome))) == 2
        assert outcome.remarks == []

    def test_offers_without_sku_and_with_one_url_are_kept_apart_by_position(self):
        outcome = read_blocks(product([offer("20.0", url=URL), offer("5.9", url=URL), offer("5.9", url=URL)]))

        assert prices(outcome) == [(2000, "EUR"), (590, "EUR"), (590, "EUR")]
        assert ids(outcome) == ["offer:1|position:1", "offer:1|position:2", "offer:1|position:3"]
        assert {remark.reason for remark in outcome.remarks} == {
            "nothing but its position on the page tells it from another offer"
        }

    def test_one_url_serves_many_variants(self):
        assert ids(read_blocks(product([offer(sku=n, url=URL) for n in "ab"]))) == ["sku:a", "sku:b"]

    def test_ids_that_repeat_are_told_apart_by_the_url(self):
        outcome = read_blocks(product([offer(n, sku="L", url=f"{URL}?variant={n}") for n in "12"]))

        assert ids(outcome) == ["sku:L|variant:variant=1", "sku:L|variant:variant=2"]

    def test_one_sku_with_two_prices_is_refused(self):
        assert refusal(read_blocks(product([offer("1", sku="L"), offer("2", sku="L")]))).code == "contradiction"

    def test_one_sku_with_the_same_price_is_one_offer(self):
        assert ids(read_blocks(product([offer(sku="L"), offer(sku="L")]))) == ["sku:L"]

    def test_spaces_in_an_id_do_not_matter(self):
        assert ids(read_blocks(product(offer(sku=" L  1\u00a02 ")))) == ["sku:L 1 2"]

    def test_blank_nodes_are_no_ids(self):
        assert ids(read_blocks(product(offer(**{"@id": "_:b0"})))) == ["offer:1"]

    def test_http_and_https_ids_are_the_same(self):
        assert ids(read_blocks(product(offer(**{"@id": "http://a/1"})))) == ids(
            read_blocks(product(offer(**{"@id": "https://a/1"})))
        )

    def test_a_very_long_id_is_shortened_and_still_its_own(self):
        outcome = read_blocks(product([offer(sku="L" * 5000 + n) for n in "ab"]))

        assert len(set(ids(outcome))) == 2
        assert max(map(len, ids(outcome))) <= 200

    def test_an_offer_keeps_its_id_while_another_has_no_price(self):
        both = [offer("1", sku="L", url=f"{URL}?variant=1"), offer("2", sku="L", url=f"{URL}?variant=2")]
        one = [both[0], {**both[1], "price": 0}]

        assert ids(read_blocks(product(one))) == ids(read_blocks(product(both)))[:1]
