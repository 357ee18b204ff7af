"""/sources: admins add, change, list and remove the places that offers come from."""

from typing import Any

import pytest

from productagg.db.models import OFFERS_SOURCE, Source
from tests.databases import only_sqlite
from tests.factories import have_an_offer, make_product, rows
from tests.functional.problems import assert_problem

pytestmark = only_sqlite

SHOP = {"kind": "jsonld", "name": "Lumen shop", "configuration": {"currency": "EUR"}}
TABLE = {
    "kind": "feed",
    "name": "Feed",
    "configuration": {"url": "https://feeds.test/all.xml"},
    "secret_variable": "FEED_TOKEN",
    "interval_seconds": 3600,
    "requests_per_second": 0.5,
    "enabled": False,
}


@pytest.fixture
def add(client, admin):
    """Add a source: `add(values)`."""
    return lambda values=SHOP, **options: client.post_json("/sources", values, headers=admin, status=201, **options)


@pytest.fixture
def shop(add):
    """The path and the tag of a source."""
    made = add()
    return f"/sources/{made.json['id']}", made.headers["ETag"]


@pytest.fixture
def patch(send, admin):
    def patch(path, values, **conditions):
        headers = {name.replace("_", "-"): value for name, value in conditions.items()}
        return send("PATCH", path, values, {**admin, **headers, "Content-Type": "application/merge-patch+json"})

    return patch


def test_what_was_added_can_be_read(client, admin, add):
    made = add(TABLE)

    assert made.headers["Location"].endswith(f"/sources/{made.json['id']}")
    read = client.get(f"/sources/{made.json['id']}", headers=admin)
    assert read.json == made.json
    assert {name: read.json[name] for name in TABLE} == TABLE
    assert read.json["next_sync_at"] == read.json["created_at"]
    assert (read.json["products"], read.json["open_offers"], read.json["failures"]) == (0, 0, 0)
    assert "version" not in read.json


def test_all_sources_are_listed_by_name(client, admin, add):
    add()
    add(TABLE)

    listed = client.get("/sources", headers=admin).json

    assert [each["name"] for each in listed] == ["Feed", "Lumen shop", "offers"]


def test_an_unchanged_source_need_not_be_sent_again(client, admin, shop):
    path, tag = shop

    answer = client.get(path, headers={**admin, "If-None-Match": tag}, status=304)

    assert answer.headers["ETag"] == tag
    assert answer.headers["Cache-Control"] == "private, no-cache"


def test_a_creation_is_sent_again_and_done_once(client, admin, add, database):
    key = {**admin, "Idempotency-Key": "one"}
    first, again = (client.post_json("/sources", SHOP, headers=key, status=201) for _ in range(2))

    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.body, again.headers["Location"]) == (first.body, first.headers["Location"])
    assert len(rows(database, Source)) == 2


def test_a_name_is_taken_once(send, admin, add, patch):
    add()
    other = add({**SHOP, "name": "Other"}).json["id"]

    assert_problem(send("POST", "/sources", SHOP, admin), "duplicate-name")
    assert_problem(patch(f"/sources/{other}", {"name": SHOP["name"]}), "duplicate-name")


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        ({"kind": "pigeons"}, {"/kind": None}),
        ({"name": "\u200b"}, {"/name": "must not be empty"}),
        ({"configuration": []}, {"/configuration": "must be an object"}),
        ({"secret_variable": "s3cr3t"}, {"/secret_variable": None}),
        ({"secret_variable": "JWT_SECRET"}, {"/secret_variable": None}),
        ({"secret_variable": "PGPASSWORD"}, {"/secret_variable": None}),
        ({"interval_seconds": 1.5, "enabled": "yes"}, {"/interval_seconds": None, "/enabled": "must be true or false"}),
        ({"requests_per_second": 0}, {"/requests_per_second": None}),
        ({"secret": "x"}, {"/secret": "is not known"}),
        (
            {"configuration": {"currency": "XXY", "colour": 1}},
            {"/configuration/currency": None, "/configuration/colour": "is not known"},
        ),
    ],
)
def test_every_fault_is_named_with_its_place(send, admin, values, errors):
    assert_problem(send("POST", "/sources", {**SHOP, **values}, admin), "invalid-data", errors)


def test_a_fault_deep_in_a_configuration_is_named_with_its_place(send, admin):
    configuration = {"url": "https://shop.test/{locator}", "fields": {"price": "[["}}

    answer = send("POST", "/sources", {**SHOP, "kind": "json_api", "configuration": configuration}, admin)

    problem = assert_problem(answer, "invalid-data")
    assert "/configuration/fields/price" in {error["pointer"] for error in problem["errors"]}


def test_a_number_that_json_readers_cannot_read_is_refused(send, admin):
    body = b'{"kind": "jsonld", "name": "Big", "configuration": {"seller": 1000000000000000000000000}}'

    assert_problem(send("POST", "/sources", body, admin), "invalid-data")


@pytest.mark.parametrize("depth", [200, 300, 900])
def test_a_configuration_cannot_be_nested_deeply(send, patch, admin, shop, depth):
    path, _ = shop
    nested: dict[str, Any] = {}
    for _ in range(depth):
        nested = {"a": nested}

    created = send("POST", "/sources", {**SHOP, "configuration": nested}, admin)

    assert_problem(created, "invalid-data")
    assert_problem(patch(path, {"configuration": nested}), "invalid-data")


def test_a_patch_changes_what_it_names(patch, shop):
    path, tag = shop

    answer = patch(path, {"name": "Lumen", "interval_seconds": 60, "configuration": {"country": "DE"}})

    assert answer.status_int == 200
    assert (answer.json["name"], answer.json["interval_seconds"]) == ("Lumen", 60)
    assert answer.json["configuration"] == {"currency": "EUR", "country": "DE"}
    assert answer.headers["ETag"] != tag
    assert answer.json["updated_at"] > answer.json["created_at"]


def test_null_removes_a_value_and_a_member_of_the_configuration(patch, shop):
    path, _ = shop
    patch(path, {"secret_variable": "LUMEN_TOKEN"})

    answer = patch(path, {"secret_variable": None, "configuration": {"currency": None}})

    assert (answer.json["secret_variable"], answer.json["configuration"]) == (None, {})


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        ({"kind": "feed"}, {"/kind": "is not known"}),
        ({"name": None}, {"/name": None}),
        ({"enabled": None}, {"/enabled": None}),
        ({"configuration": {"currency": "XXY"}}, {"/configuration/currency": None}),
    ],
)
def test_a_patch_with_a_fault_changes_nothing(client, admin, patch, shop, values, errors):
    path, tag = shop

    assert_problem(patch(path, values), "invalid-data", errors)

    assert client.get(path, headers=admin).headers["ETag"] == tag


def test_a_write_is_made_of_the_version_that_the_client_knows(send, patch, admin, shop):
    path, tag = shop
    patch(path, {"enabled": False})

    assert_problem(patch(path, {"enabled": True}, If_Match=tag), "stale-version")
    assert_problem(send("DELETE", path, None, {**admin, "If-Match": tag}), "stale-version")
    assert_problem(patch(path, {"enabled": True}, If_None_Match="*"), "precondition-failed")
    assert_problem(patch(path, {"enabled": True}, If_Unmodified_Since="Mon, 01 Jan 2024 00:00:00 GMT"), "stale-version")

    current = send("GET", path, None, admin).headers["ETag"]
    assert patch(path, {"enabled": True}, If_Match=current).json["enabled"]


def test_what_never_had_an_offer_is_removed(send, admin, shop):
    path, tag = shop

    assert send("DELETE", path, None, {**admin, "If-Match": tag}).status_int == 204

    assert_problem(send("GET", path, None, admin), "source-not-found")
    assert_problem(send("DELETE", path, None, admin), "source-not-found")


def test_what_had_offers_can_only_be_disabled(send, admin, patch, shop, database):
    path, _ = shop
    have_an_offer(database, make_product(database), path.split("/")[2])

    problem = assert_problem(send("DELETE", path, None, admin), "source-has-offers")

    assert "enabled" in problem["detail"]
    assert send("GET", path, None, admin).json["open_offers"] == 1
    assert patch(path, {"enabled": False}).status_int == 200


def test_the_offers_service_comes_from_the_settings(send, admin, patch):
    path = f"/sources/{OFFERS_SOURCE}"

    for answer in (
        patch(path, {"configuration": {"url": "https://elsewhere.test"}}),
        send("DELETE", path, None, admin),
        send("POST", f"{path}/test", {}, admin),
        send("PUT", f"/products/{OFFERS_SOURCE}/sources/{OFFERS_SOURCE}", {"locator": "x"}, admin),
    ):
        assert_problem(answer, "source-from-settings")


@pytest.mark.parametrize("source_id", ["1", "019aa3f0-5d4c-7b32-8a61-1f2e3d4c5b6a"])
def test_an_unknown_id_is_not_found(send, admin, patch, source_id):
    path = f"/sources/{source_id}"

    for answer in (send("GET", path, None, admin), patch(path, {}), send("POST", f"{path}/test", {}, admin)):
        assert_problem(answer, "source-not-found")
