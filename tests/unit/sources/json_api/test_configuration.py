"""The configuration: what is wrong is said by where it is, before the first fetch."""

import pytest

from productagg.sources import registry
from productagg.sources.json_api.adapter import JsonApi, JsonList
from tests.unit.sources.json_api.documents import FIELDS, SHOPIFY, WOOCOMMERCE, configuration


def faults(config, adapter=None):
    with pytest.raises(registry.InvalidConfiguration) as error:
        registry.validate(adapter or JsonList(), config)
    return error.value.faults


def test_the_documented_examples_are_valid_and_stay_plain_json():
    assert registry.validate(JsonList(), WOOCOMMERCE)["items"] == "[?!(prices.price_range)]"
    assert registry.validate(JsonApi(), SHOPIFY)["fields"]["price_scale"] == "`2`"


def test_what_is_required_is_said_of_each_member():
    assert faults({}) == dict.fromkeys(("url", "items", "price_format", "fields"), "is required")
    assert faults(configuration() | {"fields": {}}) == dict.fromkeys(
        ("fields.external_id", "fields.price", "fields.locator"), "is required"
    )


def test_the_locator_field_is_required_of_lists_only():
    fields = {name: text for name, text in FIELDS.items() if name != "locator"}
    config = configuration() | {"fields": fields}

    assert list(faults(config)) == ["fields.locator"]
    assert registry.validate(JsonApi(), config | {"url": "https://shop.example/{locator}"})


def test_misspelt_members_are_not_dropped():
    assert faults(configuration({"prize": "price"}, page={})) == {
        "fields.prize": "is not known",
        "page": "is not known",
    }


def test_an_expression_with_a_fault_is_named_with_its_position():
    [(place, reason)] = faults(configuration({"seller": "shop name"})).items()

    assert place == "fields.seller"
    assert "at character 6" in reason


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"url": "shop.example/items"}, "url"),
        ({"url": "ftp://shop.example/items"}, "url"),
        ({"url": "https://user:password@shop.example/items"}, "url"),
        ({"url": "https://shop.example:port/items"}, "url"),
        ({"url": "https://shop.example/" + "x" * 2000}, "url"),
        ({"url": 7}, "url"),
        ({"url": "https://shop.example/{locator}"}, "url"),
        ({"items": ["a"]}, "items"),
        ({"currency": "EURO"}, "currency"),
        ({"currency": None, "price_format": "minor"}, "currency"),
        ({"seller": ""}, "seller"),
        ({"price_format": "cents"}, "price_format"),
        ({"price_format": "scaled"}, "fields.price_scale"),
        ({"fields": {**FIELDS, "price_scale": "`2`"}}, "fields.price_scale"),
        ({"fields": 3}, "fields"),
        ({"availability_values": {"1": "yes"}}, "availability_values"),
        ({"availability_values": {"1": []}}, "availability_values"),
        ({"pages": {"rule": "scroll"}}, "pages.rule"),
        ({"pages": {"rule": "next_link"}}, "pages.expression"),
        ({"pages": {"rule": "cursor", "expression": "next"}}, "pages.parameter"),
        ({"pages": {"rule": "number"}}, "pages.parameter"),
        ({"pages": {"rule": "link_header", "expression": "next"}}, "pages.expression"),
        ({"pages": {"rule": "number", "parameter": "page", "first": 2}}, "pages.first"),
        ({"pages": {"rule": "number", "parameter": "page"}, "items": "a[?b]"}, "pages.expression"),
        ({"secret_header": "X Key"}, "secret_header"),
        ({"secret_header": "X-Key:"}, "secret_header"),
        ({"secret_template": "Bearer"}, "secret_template"),
        ({"secret_template": "{secret}\r\nX: y"}, "secret_template"),
    ],
)
def test_what_cannot_work_is_refused(changes, place):
    assert list(faults(configuration() | changes)) == [place]


@pytest.mark.parametrize(
    "url", ["https://shop.example/items", "https://{locator}/items", "https://{locator}.shop.example/items"]
)
def test_a_locator_is_part_of_the_path_or_query_and_never_of_the_host(url):
    assert list(faults({**SHOPIFY, "url": url}, JsonApi())) == ["url"]


class TestLocators:
    @pytest.mark.parametrize("locator", ["", " ", ".", "..", "a\nb", "a\x00", "x" * 201])
    def test_one_that_names_no_document_is_refused(self, locator):
        with pytest.raises(ValueError, match="it "):
            JsonApi().check_locator(locator)

    @pytest.mark.parametrize("adapter", [JsonApi(), JsonList()])
    def test_spaces_around_it_do_not_count(self, adapter):
        assert adapter.check_locator(" brass lamp/2 ") == "brass lamp/2"
