"""What the tests' client lets through, and what not: an answer outside the contract fails whoever asked for it."""

import json

import pytest

from productagg.api.core import service
from productagg.api.core.errors import Problem
from productagg.api.views import health, movers
from productagg.catalog import listing
from productagg.catalog.listing import Page
from tests.databases import only_sqlite

pytestmark = only_sqlite


def test_a_member_that_the_contract_does_not_name_fails(client, create, monkeypatch):
    product = create()
    del product["offers"]
    monkeypatch.setattr(listing, "page", lambda *_, **__: Page([json.dumps({**product, "surprise": 1})], None, None))

    with pytest.raises(AssertionError, match="surprise"):
        client.get("/products")


def test_a_member_that_is_missing_without_having_been_left_out_fails(client, create, monkeypatch):
    product = create()
    del product["offers"], product["change_24h"]
    monkeypatch.setattr(listing, "page", lambda *_, **__: Page([json.dumps(product)], None, None))

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
    monkeypatch.setattr(listing, "page", lambda *_, **__: Page([json.dumps({**product, member: value})], None, None))

    with pytest.raises(AssertionError, match=fault):
        client.get("/products")


def test_a_problem_that_the_operation_does_not_list_fails(client, monkeypatch):
    def fails(*_, **__):
        raise Problem("duplicate-name", "What is it doing here?")

    monkeypatch.setattr(movers, "movers", fails)

    with pytest.raises(AssertionError, match="409 Conflict is outside the contract"):
        client.get("/movers", status="*")


def test_another_problem_of_a_listed_status_fails(client, monkeypatch):
    def fails(*_):
        raise Problem("malformed-json", "There is no body here.")

    monkeypatch.setattr(health, "check_schema", fails)

    with pytest.raises(AssertionError, match='"malformed-json" is not one of'):
        client.get("/health/ready", status="*")


def without_tag(response):
    del response.etag
    return response


def test_headers_that_are_too_long_fail(client, monkeypatch):
    monkeypatch.setattr(movers, "public_json", lambda *given: service.public_json(given[0], [], {"Link": "x" * 4000}))

    with pytest.raises(AssertionError, match="bytes of headers"):
        client.get("/movers")


def test_a_missing_header_fails(client, monkeypatch):
    monkeypatch.setattr(movers, "public_json", lambda *given: without_tag(service.public_json(*given)))

    with pytest.raises(AssertionError, match="ETag"):
        client.get("/movers")
