"""Fetches over HTTP, with the client that the application uses."""

import json

import pytest

from productagg.sources.base import Failure, Snapshot
from productagg.sources.json_api.adapter import JsonApi, JsonList
from tests.scripted_server import answer
from tests.unit.sources.internet import OTHER
from tests.unit.sources.json_api.documents import SHOPIFY, configuration, request


def item(number):
    return {"id": number, "sku": "A", "price": number}


def test_pages_are_read_and_the_secret_stays_with_the_shop(serve, internet, web):
    def shop(request):
        if "page=2" in request.target:
            return [answer(b"", "302 Found", "Location: http://other.test/items?page=2")]
        return [answer(json.dumps([item(1)]).encode(), "200 OK", 'Link: <?page=2>; rel="next"')]

    server, other = serve(shop), serve(lambda _: [answer(json.dumps([item(2)]).encode())])
    url = f"{internet.shop(server)}/items"
    internet.shop(other, "other.test", OTHER)
    config = configuration(url=url, pages={"rule": "link_header"})

    first, last = JsonList().fetch(request(JsonList(), config, web, secret="s3cret"))

    assert isinstance(first, Snapshot)
    assert isinstance(last, Snapshot)
    assert [offer.external_id for offer in (*first.offers, *last.offers)] == ["1", "2"]
    assert (first.complete, last.complete) == (False, True)
    assert [sent.header("Authorization") for sent in server.requests] == [["Bearer s3cret"]] * 2
    assert [sent.header("Authorization") for sent in other.requests] == [[]]


def test_a_locator_stays_one_part_of_the_path(serve, internet, web):
    server = serve(lambda _: [answer(b"{}", "404 Not Found")])
    config = {**SHOPIFY, "url": f"{internet.shop(server)}/products/{{locator}}.js"}

    [failure] = JsonApi().fetch(request(JsonApi(), config, web, locator="a/../b?c#d %2F"))

    assert isinstance(failure, Failure)
    assert failure.code == "status_404"
    assert [sent.target for sent in server.requests] == ["/products/a%2F..%2Fb%3Fc%23d%20%252F.js"]


@pytest.mark.parametrize("secret", ["line\nbreak", "snow ☃"])
def test_a_secret_that_is_no_header_is_a_failure_that_does_not_show_it(serve, internet, web, secret):
    server = serve(lambda _: [answer()])
    config = configuration(url=f"{internet.shop(server)}/items")

    [failure] = JsonList().fetch(request(JsonList(), config, web, secret=secret))

    assert isinstance(failure, Failure)
    assert failure.code == "bad_header"
    assert secret not in failure.reason
    assert server.requests == []
