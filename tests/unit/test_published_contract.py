"""The contract that clients rely on: docs/openapi.json is what the application says, and breaks nothing unannounced."""

import copy
import json
import re
from pathlib import Path

import pytest

from productagg.api import SERVICES
from productagg.api.openapi.document import document
from tests.breaking import breaking_changes

ROOT = Path(__file__).parents[2]
PUBLISHED = json.loads((ROOT / "docs/openapi-published.json").read_text("utf-8"))


def test_the_committed_contract_is_what_the_application_says():
    committed = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))

    assert committed == document(SERVICES), "run `make openapi`, look at what changes, and commit it"


def test_a_change_that_breaks_the_published_contract_is_announced():
    found = breaking_changes(PUBLISHED, document(SERVICES))

    assert not found or announced((ROOT / "CHANGELOG.md").read_text("utf-8")), "\n".join(found)


def announced(changelog):
    unreleased = re.search(r"^## \[?Unreleased\]?$(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return unreleased is not None and "**Breaking:**" in unreleased[1]


def test_only_what_is_said_of_the_next_release_announces_anything():
    assert announced("# Changelog\n\n## Unreleased\n\n- **Breaking:** prices are text.\n\n## 1.0\n")
    assert not announced("# Changelog\n\n## Unreleased\n\n- Nothing.\n\n## 1.0\n\n- **Breaking:** prices are text.\n")


def schema(contract, name, member=None):
    found = contract["components"]["schemas"][name]
    return found if member is None else found["properties"][member]


def get(contract, path):
    return contract["paths"][path]["get"]


def parameter(contract, name):
    return next(each["schema"] for each in get(contract, "/products")["parameters"] if each["name"] == name)


BREAKS = {
    "an operation is gone": lambda it: it["paths"]["/products/{id}"].pop("delete"),
    "a path is gone": lambda it: it["paths"].pop("/movers"),
    "an operation has another name": lambda it: get(it, "/movers").update(operationId="find_movers"),
    "an operation needs a token": lambda it: get(it, "/movers").update(security=[{"bearer": []}]),
    "a token is no longer optional": lambda it: get(it, "/products/{id}").update(security=[{"bearer": []}]),
    "a parameter is gone": lambda it: get(it, "/movers")["parameters"].pop(0),
    "a parameter must be given": lambda it: get(it, "/movers")["parameters"][0].update(required=True),
    "a new parameter must be given": lambda it: get(it, "/movers")["parameters"].append(
        {"name": "new", "in": "query", "required": True, "schema": {"type": "string"}}
    ),
    "a parameter takes less": lambda it: parameter(it, "limit").update(maximum=100),
    "a parameter takes fewer values": lambda it: get(it, "/movers")["parameters"][0]["schema"].update(enum=["24h"]),
    "a body's member is gone": lambda it: schema(it, "CreateProduct")["properties"].pop("description"),
    "a body's member must be given": lambda it: schema(it, "ChangeProduct")["required"].append("name"),
    "a body's member is shorter": lambda it: schema(it, "CreateProduct", "name").update(maxLength=100),
    "an answer's member is gone": lambda it: schema(it, "Offer")["required"].remove("price"),
    "an answer's member is of another type": lambda it: schema(it, "Offer", "price").update(type="string"),
    "an answer's member may be null": lambda it: schema(it, "Offer", "price").update(type=["integer", "null"]),
    "an answer's member has a new value": lambda it: schema(it, "SyncRun", "state")["enum"].append("lazy"),
    "an answer's member's members are fewer": lambda it: schema(it, "Extreme")["required"].remove("at"),
    "an answer has another media type": lambda it: get(it, "/movers")["responses"]["200"].update(content={}),
    "a success has another status": lambda it: get(it, "/movers")["responses"].update(
        {"202": get(it, "/movers")["responses"].pop("200")}
    ),
    "an answer lacks a header": lambda it: get(it, "/movers")["responses"]["200"]["headers"].pop("ETag"),
}
BREAKS_NOTHING = {
    "nothing": lambda _: None,
    "a new operation": lambda it: it["paths"].update(
        {"/new": {"get": {**get(it, "/movers"), "operationId": "see_new"}}}
    ),
    "a new parameter": lambda it: get(it, "/movers")["parameters"].append(
        {"name": "new", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "a parameter takes more": lambda it: parameter(it, "limit").update(maximum=1000),
    "a body's new member": lambda it: schema(it, "CreateProduct")["properties"].update(new={"type": "string"}),
    "a body's member may be left out": lambda it: schema(it, "CreateProduct")["required"].remove("description"),
    "an answer's new member": lambda it: schema(it, "Offer")["properties"].update(new={"type": "string"}),
    "an answer's member is never null": lambda it: schema(it, "Offer", "closed_at").update(type="string"),
    "a new error": lambda it: get(it, "/movers")["responses"].update({"429": {"description": "Too many."}}),
    "other words": lambda it: get(it, "/movers").update(summary="Movers", description="Movers."),
    "a token is no longer needed": lambda it: it["paths"]["/products"]["post"].pop("security"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_change_that_clients_notice_breaks_the_contract(what):
    changed = copy.deepcopy(PUBLISHED)

    BREAKS[what](changed)

    assert breaking_changes(PUBLISHED, changed)


@pytest.mark.parametrize("what", BREAKS_NOTHING)
def test_a_change_that_clients_need_not_notice_does_not(what):
    changed = copy.deepcopy(PUBLISHED)

    BREAKS_NOTHING[what](changed)

    assert breaking_changes(PUBLISHED, changed) == []
