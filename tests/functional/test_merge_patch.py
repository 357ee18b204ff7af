"""PATCH takes JSON Merge Patch (RFC 7396), and says so."""

import pytest

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem

pytestmark = only_sqlite

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
BOTH = "application/json, application/merge-patch+json"
REMOVED = "must be a string: null would remove it, which cannot be"


@pytest.fixture
def patch(send, admin, create):
    """Send a patch, and return the answer and the product as it then reads."""
    product = create(name="Lamp", description="Bright")
    path = f"/products/{product['id']}"

    def patch(body, headers=MERGE_PATCH):
        return send("PATCH", path, body, {**admin, **headers}), send("GET", path).json

    return patch


@pytest.mark.parametrize("declared", ["application/merge-patch+json", "Application/Merge-Patch+JSON; charset=utf-8"])
def test_a_merge_patch_sets_what_it_names_and_nothing_else(patch, declared):
    answer, product = patch({"description": "Brighter"}, {"Content-Type": declared})

    assert answer.status_int == 200
    assert (product["name"], product["description"]) == ("Lamp", "Brighter")
    assert answer.json == product


def test_an_empty_merge_patch_changes_nothing(patch):
    answer, product = patch({})

    assert answer.status_int == 200
    assert (product["name"], product["description"]) == ("Lamp", "Bright")


@pytest.mark.parametrize("headers", [MERGE_PATCH, {}], ids=["merge patch", "JSON"])
def test_neither_member_can_be_removed(patch, headers):
    answer, product = patch({"name": None, "description": None}, headers)

    assert_problem(answer, "invalid-data", {"/name": REMOVED, "/description": REMOVED})
    assert (product["name"], product["description"]) == ("Lamp", "Bright")


def test_a_member_that_cannot_be_set_cannot_be_removed_either(patch):
    answer, _ = patch({"id": None, "version": 7, "offers": []})

    assert_problem(answer, "invalid-data", dict.fromkeys(["/id", "/version", "/offers"], "is not known"))


@pytest.mark.parametrize("body", [b"null", b"[]", b'"Lamp"', b"3", b'[{"op": "remove", "path": "/name"}]'])
def test_a_patch_that_is_no_object_would_replace_the_product_which_cannot_be(patch, body):
    answer, product = patch(body)

    assert_problem(answer, "invalid-data", {"": "must be an object"})
    assert (product["name"], product["description"]) == ("Lamp", "Bright")


@pytest.mark.parametrize("declared", ["application/json-patch+json", "text/plain"])
def test_another_kind_of_patch_is_told_which_there_are(patch, declared):
    answer, _ = patch({}, {"Content-Type": declared})

    assert_problem(answer, "unsupported-media-type")
    assert (answer.headers["Accept"], answer.headers["Accept-Patch"]) == (BOTH, BOTH)


def test_who_reads_a_product_learns_how_to_patch_it(client, create):
    assert client.get(f"/products/{create()['id']}").headers["Accept-Patch"] == BOTH


def test_what_is_no_patch_is_not_taken_for_one(send, admin, stored):
    answer = send("POST", "/products", {"name": "Lamp", "description": ""}, {**admin, **MERGE_PATCH})

    assert_problem(answer, "unsupported-media-type")
    assert answer.headers["Accept"] == "application/json"
    assert "Accept-Patch" not in answer.headers
    assert stored() == 0


def test_a_new_product_cannot_be_made_of_nulls(send, admin, stored):
    answer = send("POST", "/products", {"name": None, "description": None}, admin)

    assert_problem(answer, "invalid-data", dict.fromkeys(["/name", "/description"], "must be a string"))
    assert stored() == 0
