"""The contract that clients rely on: docs/openapi.json is current, and breaking changes are announced."""

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
# As much of it as the changes below are made in: comparing the whole takes ten times as long.
CHANGED_PATHS = ("/products", "/products/{id}", "/products/{id}/trend", "/movers", "/sync-runs")
SMALL = {**PUBLISHED, "paths": {path: PUBLISHED["paths"][path] for path in CHANGED_PATHS}}


def test_the_committed_contract_is_the_current_one():
    committed = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))

    assert committed == document(SERVICES), "run `make openapi`, review the changes and commit them"


def test_a_change_that_breaks_the_published_contract_is_announced():
    changes = breaking_changes(PUBLISHED, document(SERVICES))

    assert not changes or announced((ROOT / "CHANGELOG.md").read_text("utf-8")), "\n".join(changes)


def announced(changelog):
    unreleased = re.search(r"^## \[?Unreleased\]?$(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return unreleased is not None and "**Breaking:**" in unreleased[1]


def test_only_the_unreleased_part_of_the_changelog_announces_a_change():
    assert announced("# Changelog\n\n## Unreleased\n\n- **Breaking:** prices are text.\n\n## 1.0\n")
    assert not announced("# Changelog\n\n## Unreleased\n\n- Nothing.\n\n## 1.0\n\n- **Breaking:** prices are text.\n")


def schema(contract, name, member=None):
    named = contract["components"]["schemas"][name]
    return named if member is None else named["properties"][member]


def get(contract, path):
    return contract["paths"][path]["get"]


def parameter(contract, name):
    return next(node["schema"] for node in get(contract, "/products")["parameters"] if node["name"] == name)


BREAKS = {
    "an operation is gone": lambda contract: contract["paths"]["/products/{id}"].pop("delete"),
    "a path is gone": lambda contract: contract["paths"].pop("/movers"),
    "an operation has another name": lambda contract: get(contract, "/movers").update(operationId="find_movers"),
    "an operation needs a token": lambda contract: get(contract, "/movers").update(security=[{"bearer": []}]),
    "a token is no longer optional": lambda contract: get(contract, "/products/{id}").update(security=[{"bearer": []}]),
    "a parameter is gone": lambda contract: get(contract, "/movers")["parameters"].pop(0),
    "a parameter must be given": lambda contract: get(contract, "/movers")["parameters"][0].update(required=True),
    "a new parameter must be given": lambda contract: get(contract, "/movers")["parameters"].append(
        {"name": "new", "in": "query", "required": True, "schema": {"type": "string"}}
    ),
    "a parameter takes less": lambda contract: parameter(contract, "limit").update(maximum=100),
    "a parameter takes fewer values": lambda contract: get(contract, "/movers")["parameters"][0]["schema"].update(
        enum=["24h"]
    ),
    "a body's member is gone": lambda contract: schema(contract, "CreateProduct")["properties"].pop("description"),
    "a body's member must be given": lambda contract: schema(contract, "ChangeProduct")["required"].append("name"),
    "a body's member is shorter": lambda contract: schema(contract, "CreateProduct", "name").update(maxLength=100),
    "an answer's member is gone": lambda contract: schema(contract, "Offer")["required"].remove("price"),
    "an answer's member is of another type": lambda contract: schema(contract, "Offer", "price").update(type="string"),
    "an answer's member may be null": lambda contract: schema(contract, "Offer", "price").update(
        type=["integer", "null"]
    ),
    "an answer's member has a new value": lambda contract: schema(contract, "SyncRun", "state")["enum"].append("lazy"),
    "an answer's member's members are fewer": lambda contract: schema(contract, "Extreme")["required"].remove("at"),
    "an answer has another media type": lambda contract: get(contract, "/movers")["responses"]["200"].update(
        content={}
    ),
    "a success has another status": lambda contract: get(contract, "/movers")["responses"].update(
        {"202": get(contract, "/movers")["responses"].pop("200")}
    ),
    "an answer lacks a header": lambda contract: get(contract, "/movers")["responses"]["200"]["headers"].pop("ETag"),
}
BREAKS_NOTHING = {
    "nothing": lambda _: None,
    "a new operation": lambda contract: contract["paths"].update(
        {"/new": {"get": {**get(contract, "/movers"), "operationId": "see_new"}}}
    ),
    "a new parameter": lambda contract: get(contract, "/movers")["parameters"].append(
        {"name": "new", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "a parameter takes more": lambda contract: parameter(contract, "limit").update(maximum=1000),
    "a body's new member": lambda contract: schema(contract, "CreateProduct")["properties"].update(
        new={"type": "string"}
    ),
    "a body's member may be left out": lambda contract: schema(contract, "CreateProduct")["required"].remove(
        "description"
    ),
    "an answer's new member": lambda contract: schema(contract, "Offer")["properties"].update(new={"type": "string"}),
    "an answer's member is never null": lambda contract: schema(contract, "Offer", "closed_at").update(type="string"),
    "a new error": lambda contract: get(contract, "/movers")["responses"].update({"429": {"description": "Too many."}}),
    "other words": lambda contract: get(contract, "/movers").update(summary="Movers", description="Movers."),
    "a token is no longer needed": lambda contract: contract["paths"]["/products"]["post"].pop("security"),
}


@pytest.mark.parametrize("change", BREAKS)
def test_a_change_that_clients_notice_is_breaking(change):
    changed = copy.deepcopy(SMALL)

    BREAKS[change](changed)

    assert breaking_changes(SMALL, changed)


@pytest.mark.parametrize("change", BREAKS_NOTHING)
def test_a_change_that_clients_need_not_notice_is_not_breaking(change):
    changed = copy.deepcopy(SMALL)

    BREAKS_NOTHING[change](changed)

    assert breaking_changes(SMALL, changed) == []
