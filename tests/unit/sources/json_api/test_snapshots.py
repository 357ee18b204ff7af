"""Whether a snapshot is everything: only a document that raised no doubts may close offers."""

import json

import pytest

from productagg.sources.base import Failure
from productagg.sources.testing import MemoryResponse
from tests.unit.sources.json_api.documents import FIELDS, HOST, URL, configuration, fetch_list, fetch_one, listed

ONE = {
    "url": f"{HOST}/offers/{{locator}}",
    "items": "@",
    "price_format": "decimal",
    "currency": "EUR",
    "fields": {"external_id": "id", "price": "price"},
}


def item(number, price=5, **members):
    return {"id": number, "sku": "A", "price": price, **members}


class TestDocuments:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<!doctype html><h1>Maintenance</h1>",
            b'[{"id": 1, "sku": "A", "price": 5}',
            b'[{"id": 1, "sku": "A", "price": 5}] trailing',
            b'[{"id": 1, "sku": "A", "price": NaN}]',
            b"\xff\xfe[\x00]\x00",
            b"[" * 5000,
        ],
    )
    def test_life_cycle_what_is_not_json_is_a_failure(self, body):
        [failure] = fetch_list(configuration(), body)

        assert failure.code == "not_json"

    def test_life_cycle_html_with_status_200_is_named(self):
        response = MemoryResponse(b"<html>", headers={"content-type": "text/html"})

        [failure] = fetch_list(configuration(), {URL: response})

        assert failure.reason.startswith("it is not JSON but text/html")

    def test_an_unquoted_decimal_comma_breaks_the_document_and_is_no_price(self):
        [failure] = fetch_list(configuration(), b'[{"id": 1, "sku": "A", "price": 12,34}]')

        assert failure.code == "not_json"

    def test_a_trailing_comma_where_the_price_is_hidden_is_no_offer(self):
        [failure] = fetch_list(configuration(), b'[{"id": 1, "sku": "A", "price": ,}]')

        assert failure.code == "not_json"

    @pytest.mark.parametrize(
        "document", [{"error": "rate limited"}, {"items": None}, {"items": {}}, {"items": ""}, 5, None]
    )
    def test_life_cycle_another_document_than_expected_is_a_failure(self, document):
        [failure] = fetch_list(configuration(items="items"), json.dumps(document).encode())

        assert failure.code == "no_list"

    def test_an_expression_that_fails_fails_the_fetch_with_its_name(self):
        [failure] = fetch_list(configuration(items="sort(@)"), listed(1, "a"))

        assert failure.code == "expression"
        assert failure.reason.startswith("items: ")

    def test_a_byte_order_mark_does_not_matter(self):
        [snapshot] = fetch_list(configuration(), b"\xef\xbb\xbf" + listed(item(1)))

        assert snapshot.complete


class TestList:
    def test_an_item_that_cannot_be_read_fails_alone(self):
        [snapshot] = fetch_list(configuration(), listed(item(1), item(2, "?"), 7, None, [], item(3)))

        assert [offer.external_id for offer in snapshot.offers] == ["1", "3"]
        assert [remark.item for remark in snapshot.rejected] == ["2"] + [f"page 1, item {n}" for n in (3, 4, 5)]
        assert snapshot.complete

    def test_life_cycle_an_empty_list_closes_nothing(self):
        [snapshot] = fetch_list(configuration(), listed())

        assert (snapshot.complete, snapshot.incomplete_because) == (False, "the list has no items")

    @pytest.mark.parametrize("price", [None, 0, "", "on request"])
    def test_life_cycle_a_list_without_a_single_price_closes_nothing(self, price):
        [snapshot] = fetch_list(configuration(), listed(item(1, price), item(2, price)))

        assert not snapshot.complete
        assert snapshot.incomplete_because.startswith("none of its 2 items is an offer")

    def test_a_total_that_agrees_is_complete(self):
        for total in (2, "2"):
            document = {"items": [item(1), item(2, 0)], "total": total}

            [snapshot] = fetch_list(configuration(items="items", total="total"), json.dumps(document).encode())

            assert snapshot.complete

    @pytest.mark.parametrize("total", [1, 3, None, 2.0, True, "many", [], 10**9])
    def test_life_cycle_a_total_that_disagrees_closes_nothing(self, total):
        document = {"items": [item(1), item(2)], "total": total}

        [snapshot] = fetch_list(configuration(items="items", total="total"), json.dumps(document).encode())

        assert not snapshot.complete
        assert "items, and has 2" in snapshot.incomplete_because
        assert len(snapshot.offers) == 2


class TestRepetition:
    def pages(self, *pages):
        responses = {f"{URL}?page={n}": listed(*items) for n, items in enumerate([*pages, []], 1)}
        return fetch_list(configuration(pages={"rule": "number", "parameter": "page"}), responses)

    def test_the_same_offer_twice_is_one_with_a_remark(self):
        [snapshot] = fetch_list(configuration({"name": "name"}), listed(item(1, name="a"), item(1, name="b")))

        assert len(snapshot.offers) == len(snapshot.remarks) == 1
        assert snapshot.complete

    def test_an_id_that_stands_for_two_offers_identifies_none(self):
        [snapshot] = fetch_list(configuration(), listed(item(1, 5), item(1, 6), item(2)))

        assert [offer.external_id for offer in snapshot.offers] == ["2"]
        assert [remark.item for remark in snapshot.rejected] == ["1", "1"]

    def test_variants_without_ids_of_their_own_are_never_merged(self):
        fields = {"external_id": "item.id", "locator": "item.sku", "price": "variant.price"}
        config = configuration(fields, variants="variants")

        [snapshot] = fetch_list(config, listed({"id": 1, "sku": "A", "variants": [{"price": 20.0}, {"price": 5.9}]}))

        assert snapshot.offers == []

    def test_the_same_id_of_two_products_is_two_offers(self):
        [snapshot] = fetch_list(configuration(), listed(item(1, 5), item(1, 6, sku="B")))

        assert len(snapshot.offers) == 2

    def test_an_item_that_moves_to_the_next_page_while_they_are_read_is_one_offer(self):
        _, second, end = self.pages([item(1), item(2)], [item(2), item(3)])

        assert [offer.external_id for offer in second.offers] == ["3"]
        assert end.complete

    def test_one_that_changes_meanwhile_is_a_doubt(self):
        first, second, end = self.pages([item(1), item(2, 5)], [item(2, 6), item(3)])

        assert [offer.price for offer in first.offers] == [500, 500]
        assert [remark.item for remark in second.rejected] == ["2"]
        assert (end.complete, end.incomplete_because) == (False, "the list changed while it was read")

    def test_an_id_that_identified_nothing_identifies_nothing_later(self):
        *_, second, _ = self.pages([item(1, 5), item(1, 6), item(2)], [item(1, 5)])

        assert second.offers == []


class TestOneProduct:
    def test_the_locator_is_encoded_into_the_address_and_is_that_of_the_offers(self):
        [snapshot] = fetch_one(
            ONE, listed({"id": 1, "price": 5}), locator="a/b ?ü", url=f"{HOST}/offers/a%2Fb%20%3F%C3%BC"
        )

        assert [offer.locator for offer in snapshot.offers] == ["a/b ?ü"]

    def test_no_items_is_a_product_without_offers(self):
        [snapshot] = fetch_one(ONE, listed())

        assert snapshot.complete

    @pytest.mark.parametrize("price", [0, "0.00", ""])
    def test_a_price_on_request_is_a_product_without_offers(self, price):
        [snapshot] = fetch_one(ONE, listed({"id": 1, "price": price}))

        assert (snapshot.offers, snapshot.complete, len(snapshot.rejected)) == ([], True, 1)

    @pytest.mark.parametrize(
        ("price", "reason"),
        [
            (None, "price: there is none"),
            ("?", "price: '?' is not one number"),
            (True, "price: it is a boolean"),
        ],
    )
    def test_a_price_that_cannot_be_read_closes_nothing_and_is_said(self, price, reason):
        [alone] = fetch_one(ONE, listed({"id": 1, "price": price}))
        [beside] = fetch_one(ONE, listed({"id": 1, "price": price}, {"id": 2, "price": 5}))

        assert (alone.complete, beside.complete) == (False, False)
        assert alone.incomplete_because == f"none of its 1 items is an offer of this product ({reason})"
        assert beside.incomplete_because == f"1 of its items could not be read ({reason})"

    def test_a_secret_that_the_source_repeats_is_not_said(self):
        [snapshot] = fetch_one(ONE, listed({"id": 1, "price": "s3cret"}), secret="s3cret")

        assert "'…' is not one number" in snapshot.incomplete_because

    def test_items_of_other_products_are_left_out(self):
        config = {**ONE, "fields": FIELDS}

        [snapshot] = fetch_one(config, listed(item(1), item(2, sku="B"), item(3, sku=None)))

        assert [offer.external_id for offer in snapshot.offers] == ["1"]
        assert (snapshot.complete, snapshot.rejected) == (True, [])

    def test_only_items_of_other_products_close_nothing(self):
        [snapshot] = fetch_one({**ONE, "fields": FIELDS}, listed(item(2, sku="B")))

        assert not snapshot.complete

    def test_a_product_that_is_not_there_is_a_failure(self):
        assert fetch_one(ONE, b"", url="https://elsewhere.example/") == [Failure("the host answered 404", "status_404")]


class TestVariants:
    def fetch(self, document):
        fields = {"external_id": "variant.id", "price": "variant.price", "name": "item.name"}
        config = {**ONE, "items": "[@]", "variants": "variants", "fields": fields}
        return fetch_one(config, json.dumps(document).encode())[0]

    def test_each_is_an_offer_that_sees_its_item(self):
        snapshot = self.fetch({"name": "Lamp", "variants": [{"id": 1, "price": 5}, {"id": 2, "price": 6}]})

        assert [(offer.external_id, offer.product.name) for offer in snapshot.offers] == [("1", "Lamp"), ("2", "Lamp")]

    def test_none_are_no_offers(self):
        assert self.fetch({"variants": []}).complete

    @pytest.mark.parametrize("variants", [None, {}, "x", 3])
    def test_what_is_no_list_rejects_the_item(self, variants):
        snapshot = self.fetch({"variants": variants})

        assert snapshot.rejected[0].reason.startswith("variants: it is ")
        assert not snapshot.complete
