"""The other fields of an offer: what the source does not say is not told."""

import pytest

from tests.unit.sources.json_api.documents import read_item, read_offer, rejection


def field(name, value, **changes):
    """What an offer has there, and the remarks."""
    snapshot = read_item({"value": value}, {name: "value"}, **changes)
    [offer] = snapshot.offers
    found = getattr(offer.product if hasattr(offer.product, name) else offer, name)
    return found, [remark.reason for remark in snapshot.remarks]


def test_what_is_not_configured_is_not_told():
    offer = read_offer({"availability": "InStock", "condition": "new", "stock": 3})

    assert (offer.availability, offer.condition, offer.items_in_stock) == ("unknown", "unknown", None)
    assert (offer.shipping, offer.url, set(offer.product)) == (None, None, {None})
    assert offer.seller == "Source"


class TestAvailability:
    @pytest.mark.parametrize(
        ("value", "availability"),
        [
            (True, "in_stock"),
            (False, "out_of_stock"),
            ("in stock", "in_stock"),
            ("in_stock", "in_stock"),
            ("instock", "in_stock"),
            (" https://schema.org/InStock ", "in_stock"),
            ("out of stock", "out_of_stock"),
            ("preorder", "preorder"),
            ("backorder", "backorder"),
            ("onbackorder", "unknown"),
            ("", "unknown"),
            (None, "unknown"),
        ],
    )
    def test_booleans_and_words_of_the_vocabulary(self, value, availability):
        assert field("availability", value) == (availability, [])

    def test_without_a_statement_it_is_unknown(self):
        assert read_offer({}, {"availability": "availability"}).availability == "unknown"

    @pytest.mark.parametrize("value", [1, 0, 1.5, [], {}])
    def test_what_has_no_meaning_is_unknown_with_a_remark(self, value):
        availability, [remark] = field("availability", value)

        assert availability == "unknown"
        assert remark.startswith("availability: ")

    @pytest.mark.parametrize(
        ("value", "availability"),
        [(1, "in_stock"), ("1", "in_stock"), (0, "out_of_stock"), (True, "backorder"), (False, "out_of_stock")],
    )
    def test_the_sources_own_values_are_configured(self, value, availability):
        values = {"1": "in_stock", "0": "out_of_stock", "true": "backorder"}

        assert field("availability", value, availability_values=values) == (availability, [])


class TestItemsInStock:
    @pytest.mark.parametrize(("value", "number"), [(0, 0), (7, 7), ("7", 7), (7.0, 7), (None, None)])
    def test_a_number_of_items_and_null_is_not_0(self, value, number):
        assert field("items_in_stock", value) == (number, [])

    @pytest.mark.parametrize("value", [-3, "many", "5+", 1.5, True, [], 10**9, "9" * 5000])
    def test_what_is_none_is_not_told_with_a_remark(self, value):
        number, remarks = field("items_in_stock", value)

        assert (number, len(remarks)) == (None, 1)


class TestShipping:
    @pytest.mark.parametrize(("value", "minor"), [(0, 0), ("0.00", 0), (4.9, 490), ("4,90 €", 490), (None, None)])
    def test_it_is_written_like_the_price_and_0_is_free(self, value, minor):
        assert field("shipping", value) == (minor, [])

    def test_it_has_the_prices_scale(self):
        item = {"price": 1200, "scale": 2, "value": 490}
        fields = {"price_scale": "scale", "shipping": "value"}

        assert read_offer(item, fields, price_format="scaled").shipping == 490

    @pytest.mark.parametrize("value", ["5 USD", "on request", -1, True, [], 10**30])
    def test_what_cannot_be_read_is_not_told_with_a_remark(self, value):
        shipping, remarks = field("shipping", value)

        assert (shipping, len(remarks)) == (None, 1)


class TestTexts:
    def test_entities_are_resolved(self):
        assert field("name", " Salt &amp; pepper ") == ("Salt & pepper", [])

    @pytest.mark.parametrize("name", ["name", "description", "brand", "category", "seller"])
    def test_what_cannot_be_stored_is_a_space(self, name):
        assert field(name, "a\x00b\x1f")[0] == "a b"

    @pytest.mark.parametrize("value", ["", " ", None])
    def test_an_empty_one_is_none(self, value):
        assert field("brand", value) == (None, [])

    @pytest.mark.parametrize("value", [[], {}, 1.5, True])
    def test_what_is_no_text_is_none_with_a_remark(self, value):
        text, [remark] = field("name", value)

        assert text is None
        assert remark.startswith("name: it is ")

    def test_line_breaks_of_a_description_stay(self):
        assert field("description", "a\nb")[0] == "a\nb"

    @pytest.mark.parametrize("name", ["name", "brand", "category"])
    def test_long_ones_are_cut(self, name):
        assert len(field(name, "x" * 1000)[0]) == 500

    def test_the_seller_is_the_items_or_the_configured_one_or_the_source(self):
        assert field("seller", "Marta's lamps", seller="Shop")[0] == "Marta's lamps"
        assert field("seller", None, seller="Shop")[0] == "Shop"
        assert field("seller", None)[0] == "Source"

    @pytest.mark.parametrize(
        ("value", "condition"),
        [
            ("new", "new"),
            ("Used", "used"),
            ("http://schema.org/DamagedCondition", "used"),
            ("", "unknown"),
            (None, "unknown"),
        ],
    )
    def test_condition(self, value, condition):
        assert field("condition", value) == (condition, [])


class TestGtin:
    @pytest.mark.parametrize(
        ("value", "gtin"),
        [
            ("4006381333931", "4006381333931"),
            (4006381333931, "4006381333931"),
            ("036000291452", "0036000291452"),
            ("4006381333932", None),
            ("2000000000008", None),
            ("SKU-1", None),
            (36000291452, None),
            ("", None),
        ],
    )
    def test_it_is_checked_and_padded(self, value, gtin):
        assert field("gtin", value) == (gtin, [])


class TestAddresses:
    @pytest.mark.parametrize(
        ("value", "url"),
        [
            ("https://shop.example/p?variant=2#/red", "https://shop.example/p?variant=2#/red"),
            ("/p/lamp?a=1&amp;copy=2", "https://shop.example/p/lamp?a=1&copy=2"),
            ("//cdn.example/a b.png", "https://cdn.example/a%20b.png"),
            ("", None),
            (None, None),
        ],
    )
    @pytest.mark.parametrize("name", ["url", "image_url"])
    def test_they_are_relative_to_the_document(self, name, value, url):
        assert field(name, value) == (url, [])

    @pytest.mark.parametrize(
        "value", ["javascript:alert(1)", "http://[", "ftp://shop.example", "https://a\x00b", "/" * 2001, 1.5]
    )
    def test_others_are_not_told_with_a_remark(self, value):
        url, remarks = field("url", value)

        assert (url, len(remarks)) == (None, 1)


class TestIds:
    def test_a_whole_number_is_an_id_without_losing_digits(self):
        assert read_offer({"id": 9007199254740993}).external_id == "9007199254740993"

    @pytest.mark.parametrize("value", [None, "", " ", 1.5, 1e30, True, [], {}, "x" * 201, "a\nb"])
    @pytest.mark.parametrize("name", ["id", "sku"])
    def test_what_is_no_id_rejects_the_item(self, name, value):
        reason = rejection({name: value})

        assert reason.startswith({"id": "external_id: ", "sku": "locator: "}[name])

    def test_a_rejected_item_is_named_by_its_id_or_its_place(self):
        [named] = read_item({"price": None}).rejected
        [unnamed] = read_item({"price": None, "id": None}).rejected

        assert (named.item, unnamed.item) == ("1", "page 1, item 1")


def test_an_expression_that_fails_rejects_its_item_with_the_fields_name():
    assert rejection({"names": 1}, {"name": "join(' ', names)"}).startswith("fields.name: ")
