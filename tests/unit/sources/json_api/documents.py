"""Sources of JSON for the tests: configurations, and fetches from memory."""

import json
import re
from pathlib import Path

from productagg.sources import registry
from productagg.sources.base import Request
from productagg.sources.json_api.adapter import JsonApi, JsonList
from productagg.sources.testing import MemoryResponse, MemoryWeb
from productagg.sources.web import NO_VALIDATORS

HOST = "https://shop.example"
URL = f"{HOST}/items"
FIELDS = {"external_id": "id", "locator": "sku", "price": "price"}
PAGE = Path(__file__).parents[4] / "docs" / "json-api.md"


def documented(number):
    """An example of the documentation."""
    return json.loads(re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[number])


WOOCOMMERCE, SHOPIFY = documented(0), documented(1)


def configuration(fields=None, **changes):
    """The smallest configuration of a list, with these changes."""
    smallest = {"url": URL, "items": "@", "price_format": "decimal", "currency": "EUR"}
    return {**smallest, "fields": {**FIELDS, **(fields or {})}, **changes}


def listed(*items):
    """A body with these items."""
    return json.dumps(items).encode()


def request(adapter, config, web, *, locator="A", secret=None, validators=NO_VALIDATORS):
    """For the source 'Source'."""
    return Request(registry.validate(adapter, config), "Source", [locator], web, secret, validators)


def fetch_list(config, responses, **options):
    """The outcomes of a fetch. `responses` are bodies by address, or one body."""
    responses = responses if isinstance(responses, dict) else {config["url"]: responses}
    return list(JsonList().fetch(request(JsonList(), config, MemoryWeb(responses), **options)))


def fetch_one(config, body, *, locator="A", url=None, **options):
    """The outcomes of a fetch of one product."""
    url = url or config["url"].replace("{locator}", locator)
    return list(JsonApi().fetch(request(JsonApi(), config, MemoryWeb({url: body}), locator=locator, **options)))


def read_item(item, fields=None, **changes):
    """The snapshot of a list with this item, which has an id and a sku unless it says otherwise."""
    item = {"id": 1, "sku": "A", "price": 12.5, **item}
    [snapshot] = fetch_list(configuration(fields, **changes), listed(item))
    return snapshot


def read_offer(item, fields=None, **changes):
    """The only offer of that list."""
    snapshot = read_item(item, fields, **changes)
    assert snapshot.rejected == []
    [offer] = snapshot.offers
    return offer


def rejection(item, fields=None, **changes):
    """Why that item is no offer."""
    snapshot = read_item(item, fields, **changes)
    assert snapshot.offers == []
    [remark] = snapshot.rejected
    return remark.reason


def json_response(value, **options):
    """A response with JSON."""
    return MemoryResponse(json.dumps(value).encode(), **options)
