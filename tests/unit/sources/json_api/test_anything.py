"""Whatever a source sends, a fetch raises nothing; and what was changed on the way is never another price."""

import json

from hypothesis import given
from hypothesis import strategies as st

from productagg.sources.base import Failure, NotModified, Snapshot
from tests.unit.sources.json_api.documents import SHOPIFY, WOOCOMMERCE, configuration, fetch_list, fetch_one

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
NAMES = st.sampled_from(
    ["id", "sku", "price", "prices", "currency_code", "currency_minor_unit", "variants", "title", "url", "next", "name"]
)
JSON = st.recursive(SCALARS, lambda children: st.lists(children) | st.dictionaries(NAMES, children), max_leaves=12).map(
    lambda value: json.dumps(value).encode()
)
EVERYTHING = {
    name: name
    for name in ("currency", "seller", "url", "condition", "availability", "items_in_stock", "shipping", "gtin", "name")
}
ITEM = st.dictionaries(st.sampled_from(["id", "sku", "price", *EVERYTHING]), SCALARS, min_size=8)


def check(outcomes):
    for outcome in outcomes:
        assert isinstance(outcome, Snapshot | Failure | NotModified)
    for snapshot in outcomes:
        for offer in getattr(snapshot, "offers", ()):
            assert offer.price > 0
            assert offer.external_id


@given(JSON)
def test_any_json_instead_of_a_list(body):
    check(fetch_list(WOOCOMMERCE, body))


@given(JSON)
def test_any_json_instead_of_a_product(body):
    check(fetch_one(SHOPIFY, body))


@given(st.binary())
def test_any_bytes(body):
    check(fetch_list(configuration(), body))


@given(JSON)
def test_any_json_to_page_through(body):
    config = configuration(items="@ || `[]`", pages={"rule": "next_link", "expression": "next"}, total="price")
    check(fetch_list(config, body))


@given(st.lists(ITEM, max_size=4))
def test_any_values_in_all_fields(items):
    for price_format in ("decimal", "minor"):
        check(fetch_list(configuration(EVERYTHING, price_format=price_format), json.dumps(items).encode()))


GOOD = json.dumps([{"id": 1, "sku": "A", "price": "1234.50"}, {"id": 2, "sku": "B", "price": "1234.50"}]).encode()


@given(st.integers(0, len(GOOD) - 1))
def test_a_document_that_breaks_off_is_never_a_snapshot(at):
    assert all(isinstance(outcome, Failure) for outcome in fetch_list(configuration(), GOOD[:at]))


@given(st.data())
def test_a_byte_that_is_lost_outside_the_prices_digits_never_makes_another_price(data):
    digits = {at for start in (GOOD.find(b"1234.50"), GOOD.rfind(b"1234.50")) for at in range(start, start + 7)}
    at = data.draw(st.sampled_from(sorted(set(range(len(GOOD))) - digits)))

    for outcome in fetch_list(configuration(), GOOD[:at] + GOOD[at + 1 :]):
        assert {offer.price for offer in getattr(outcome, "offers", ())} <= {123450}
