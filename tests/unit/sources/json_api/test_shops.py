"""What real shops send: WooCommerce's Store API, Shopify's product as .js and .json. The documentation's examples."""

import json
from typing import Any

import pytest

from productagg.sources.base import ProductFacts, SourceOffer
from productagg.sources.testing import MemoryResponse
from tests.unit.sources.json_api.documents import HOST, SHOPIFY, WOOCOMMERCE, fetch_list, fetch_one

LAMP: dict[str, Any] = {
    "id": 34,
    "name": "Desk lamp &#8220;Brass&#8221;",
    "sku": "woo-lamp",
    "permalink": f"{HOST}/product/lamp/",
    "on_sale": True,
    "prices": {
        "price": "1999",
        "regular_price": "2499",
        "sale_price": "1999",
        "price_range": None,
        "currency_code": "EUR",
        "currency_minor_unit": 2,
    },
    "images": [{"src": f"{HOST}/lamp.jpg"}],
    "categories": [{"name": "Lamps &amp; lights"}],
    "brands": [],
    "is_in_stock": True,
    "is_on_backorder": False,
    "low_stock_remaining": 3,
}


def woo(*products):
    return fetch_list(WOOCOMMERCE, json.dumps(products).encode())[0]


def priced(**prices):
    return {**LAMP, "prices": {**LAMP["prices"], **prices}}


class TestWooCommerce:
    def test_a_product_is_an_offer_with_the_price_to_pay(self):
        snapshot = woo(LAMP)

        assert snapshot.complete
        assert snapshot.offers == [
            SourceOffer(
                locator="woo-lamp",
                external_id="34",
                price=1999,
                currency="EUR",
                seller="Source",
                url=f"{HOST}/product/lamp/",
                availability="in_stock",
                product=ProductFacts(name="Desk lamp “Brass”", category="Lamps & lights", image_url=f"{HOST}/lamp.jpg"),
            )
        ]

    def test_dollars_shown_without_decimals(self):
        [offer] = woo(priced(price="229", currency_code="USD", currency_minor_unit=0)).offers

        assert (offer.price, offer.currency) == (22900, "USD")

    @pytest.mark.parametrize(("code", "digits", "minor"), [("JPY", 0, 1999), ("KWD", 3, 1999), ("HUF", 0, 199900)])
    def test_currencies_with_other_decimals(self, code, digits, minor):
        [offer] = woo(priced(currency_code=code, currency_minor_unit=digits)).offers

        assert offer.price == minor

    def test_low_stock_remaining_is_not_the_stock(self):
        assert woo(LAMP).offers[0].items_in_stock is None

    @pytest.mark.parametrize(
        ("in_stock", "backorder", "availability"),
        [(True, True, "backorder"), (False, False, "out_of_stock"), (True, False, "in_stock"), (None, None, "unknown")],
    )
    def test_on_backorder_is_not_in_stock(self, in_stock, backorder, availability):
        [offer] = woo({**LAMP, "is_in_stock": in_stock, "is_on_backorder": backorder}).offers

        assert offer.availability == availability

    def test_a_range_of_prices_is_no_offer(self):
        ranged = priced(price_range={"min_amount": "1999", "max_amount": "4999"})

        assert [offer.external_id for offer in woo({**ranged, "id": 35}, LAMP).offers] == ["34"]

    @pytest.mark.parametrize("price", ["0", ""])
    def test_call_for_price_is_no_offer(self, price):
        snapshot = woo({**priced(price=price), "id": 35}, LAMP)

        assert [offer.external_id for offer in snapshot.offers] == ["34"]
        assert [remark.item for remark in snapshot.rejected] == ["35"]

    @pytest.mark.parametrize("prices", [{"currency_code": ""}, {"currency_code": None}, {"currency_minor_unit": None}])
    def test_without_a_currency_or_its_decimals_it_is_no_offer(self, prices):
        assert woo(priced(**prices)).offers == []

    def test_pages_are_followed_by_the_header_link(self):
        url = WOOCOMMERCE["url"]
        first = MemoryResponse(json.dumps([LAMP]).encode(), headers={"link": f'<{url}&page=2>; rel="next"'})
        second = MemoryResponse(json.dumps([{**LAMP, "id": 36}]).encode(), headers={"link": f'<{url}>; rel="prev"'})

        outcomes = fetch_list(WOOCOMMERCE, {url: first, f"{url}&page=2": second})

        assert [snapshot.complete for snapshot in outcomes] == [False, True]


PRODUCT: dict[str, Any] = {
    "id": 7,
    "title": "Lamp",
    "handle": "lamp",
    "vendor": "Brassworks",
    "type": "Lamps",
    "url": "/products/lamp",
    "featured_image": "//cdn.shopify.example/lamp.jpg",
    "variants": [
        {
            "id": 71,
            "title": "Red",
            "price": 1999,
            "compare_at_price": 2499,
            "available": True,
            "barcode": "4006381333931",
        },
        {"id": 72, "title": "Blue", "price": 1999, "compare_at_price": None, "available": False, "barcode": ""},
    ],
}
DOT_JSON = {
    **SHOPIFY,
    "url": "https://shop.example/products/{locator}.json",
    "items": "[product]",
    "price_format": "decimal",
    "fields": {
        "external_id": "variant.id",
        "price": "variant.price",
        "url": "join('', ['/products/', item.handle, '?variant=', to_string(variant.id)])",
        "items_in_stock": "variant.inventory_quantity",
    },
}


def shopify(document, config=SHOPIFY, **changes):
    return fetch_one({**config, **changes}, json.dumps(document).encode(), locator="lamp")[0]


class TestShopify:
    def test_each_variant_is_an_offer_with_an_address_of_its_own(self):
        snapshot = shopify(PRODUCT)

        assert snapshot.complete
        assert [(offer.external_id, offer.price, offer.url) for offer in snapshot.offers] == [
            ("71", 1999, f"{HOST}/products/lamp?variant=71"),
            ("72", 1999, f"{HOST}/products/lamp?variant=72"),
        ]

    def test_each_variant_has_its_own_availability(self):
        assert [offer.availability for offer in shopify(PRODUCT).offers] == ["in_stock", "out_of_stock"]

    def test_the_product_has_the_names_of_both_and_the_variants_gtin(self):
        first, second = (offer.product for offer in shopify(PRODUCT).offers)

        assert first == ProductFacts(
            "Lamp Red", None, "4006381333931", "Brassworks", "Lamps", "https://cdn.shopify.example/lamp.jpg"
        )
        assert (second.name, second.gtin) == ("Lamp Blue", None)

    def test_default_title_is_not_a_name(self):
        document = {**PRODUCT, "variants": [{**PRODUCT["variants"][0], "title": "Default Title"}]}

        assert shopify(document).offers[0].product.name == "Lamp"

    def test_hundredths_whatever_the_currency(self):
        document = {**PRODUCT, "variants": [{**PRODUCT["variants"][0], "price": 890000}]}

        assert shopify(document, currency="KRW").offers[0].price == 8900

    def test_without_a_configured_currency_nothing_is_read(self):
        snapshot = shopify(PRODUCT, {**DOT_JSON, "items": "[@]"}, currency=None)

        assert (snapshot.offers, snapshot.complete) == ([], False)

    def test_the_seller_is_the_source_and_not_the_vendor(self):
        assert {offer.seller for offer in shopify(PRODUCT).offers} == {"Source"}

    def test_dot_json_has_prices_in_units_without_availability(self):
        variants = [
            {"id": 71, "price": "19.99", "compare_at_price": "0.00", "inventory_quantity": None},
            {"id": 72, "price": "1,299.00", "compare_at_price": "", "inventory_quantity": 0},
        ]

        snapshot = shopify({"product": {"handle": "lamp", "variants": variants}}, DOT_JSON)

        assert [offer.price for offer in snapshot.offers] == [1999, 129900]
        assert [offer.availability for offer in snapshot.offers] == ["unknown", "unknown"]
        assert [offer.items_in_stock for offer in snapshot.offers] == [None, 0]

    def test_dot_js_read_as_dot_json_and_the_other_way_round(self):
        in_units = {**PRODUCT, "variants": [{"id": 71, "price": "19.99", "title": "x"}]}

        assert shopify(in_units).offers == []
