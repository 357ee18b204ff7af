"""The tests' client: a response outside the contract fails the test that asked for it."""

import json

import pytest

from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.responses import json_response
from productagg.api.views import health, movers
from productagg.catalog import listing
from productagg.catalog.listing import ProductPage
from tests.databases import only_sqlite

pytestmark = only_sqlite


def test_a_member_that_the_contract_does_not_name_fails(client, create, monkeypatch):
    product = create()
    del product["offers"]
    page = ProductPage([json.dumps({**product, "surprise": 1})], None, None)
    monkeypatch.setattr(listing, "page", lambda *_, **__: page)

    with pytest.raises(AssertionError, match="surprise"):
        client.get("/products")


def test_a_member_that_is_missing_without_having_been_left_out_fails(client, create, monkeypatch):
    product = create()
    del product["offers"], product["change_24h"]
    monkeypatch.setattr(listing, "page", lambda *_, **__: ProductPage([json.dumps(product)], None, None))

    client.get(f"/products/partial?fields={','.join(product)}")
    with pytest.raises(AssertionError, match="change_24h"):
        client.get("/products")
    with pytest.raises(AssertionError, match="fields"):
        client.get("/products/partial?fields=name")


@pytest.mark.parametrize(
    ("member", "value", "fault"),
    [
        ("name", 1, '1 is not of type "string"'),
        ("created_at", "yesterday", 'is not a "date-time"'),
        ("lowest_price", 2**63, "9223372036854775808"),
    ],
)
def test_a_member_of_another_type_fails(client, create, monkeypatch, member, value, fault):
    product = create()
    del product["offers"]
    monkeypatch.setattr(
        listing, "page", lambda *_, **__: ProductPage([json.dumps({**product, member: value})], None, None)
    )

    with pytest.raises(AssertionError, match=fault):
        client.get("/products")


def test_a_problem_that_the_operation_does_not_list_fails(client, monkeypatch):
    def fails(*_, **__):
        raise Problem(ErrorCode.DUPLICATE_NAME, "What is it doing here?")

    monkeypatch.setattr(movers, "movers", fails)

    with pytest.raises(AssertionError, match="409 Conflict is outside the contract"):
        client.get("/movers", status="*")


def test_another_problem_of_a_listed_status_fails(client, monkeypatch):
    def fails(*_):
        raise Problem(ErrorCode.MALFORMED_JSON, "There is no body here.")

    monkeypatch.setattr(health, "check_schema", fails)

    with pytest.raises(AssertionError, match='"malformed-json" is not one of'):
        client.get("/health/ready", status="*")


def without_tag(response):
    del response.etag
    return response


def test_headers_that_are_too_long_fail(client, monkeypatch):
    monkeypatch.setattr(
        movers, "json_response", lambda value, **options: json_response(value, headers={"Link": "x" * 4000}, **options)
    )

    with pytest.raises(AssertionError, match="bytes of headers"):
        client.get("/movers")


def test_a_missing_header_fails(client, monkeypatch):
    monkeypatch.setattr(movers, "json_response", lambda value, **options: without_tag(json_response(value, **options)))

    with pytest.raises(AssertionError, match="ETag"):
        client.get("/movers")
