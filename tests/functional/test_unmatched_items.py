"""GET /sources/{id}/unmatched: for admins, the items of a document that belong to no product."""

from uuid import uuid4

import pytest

from productagg.sync import unmatched_items
from productagg.sync.unmatched_items import UnmatchedItem
from tests.databases import only_sqlite
from tests.factories import make_source

pytestmark = only_sqlite


def item(number):
    return UnmatchedItem(f"LAMP-{number}", "Desk lamp", None, "Halvorn", 4990, "CZK", None, "no_gtin")


@pytest.fixture
def source_id(database):
    """A source whose document had five items of no product."""
    source_id = make_source(database, "feed", kind="feed")
    with database.sessions.begin() as session:
        unmatched_items.replace(session, source_id, [item(number) for number in range(5)])
    return source_id


def test_an_item_is_as_the_source_states_it(client, admin, source_id):
    first, *_ = client.get(f"/sources/{source_id}/unmatched", headers=admin).json

    assert first == {
        "locator": "LAMP-0",
        "name": "Desk lamp",
        "gtin": None,
        "brand": "Halvorn",
        "price": 4990,
        "currency": "CZK",
        "url": None,
        "reason": "no_gtin",
    }


def test_pages_follow_the_document(client, admin, source_id):
    url, locators, pages = f"/sources/{source_id}/unmatched?limit=2", [], 0
    while url:
        response = client.get(url, headers=admin)
        locators += [listed["locator"] for listed in response.json]
        pages += 1
        following = response.headers.get("Next-Cursor")
        url = following and f"/sources/{source_id}/unmatched?limit=2&cursor={following}"

    assert (locators, pages) == ([f"LAMP-{number}" for number in range(5)], 3)


def test_a_source_without_any_has_an_empty_list(client, admin, database):
    source_id = make_source(database, "shop")

    assert client.get(f"/sources/{source_id}/unmatched", headers=admin).json == []


@pytest.mark.parametrize("source_id", [uuid4(), "feed"])
def test_a_source_that_is_not_there_is_not_found(client, admin, source_id):
    problem = client.get(f"/sources/{source_id}/unmatched", headers=admin, status=404).json

    assert problem["code"] == "source-not-found"


@pytest.mark.parametrize("cursor", ["x", "-1", "%C2%B2", "99999", ""])
def test_a_cursor_that_was_not_issued_is_refused(client, admin, source_id, cursor):
    problem = client.get(f"/sources/{source_id}/unmatched?cursor={cursor}", headers=admin, status=400).json

    assert problem["code"] == "invalid-cursor"


def test_unchanged_it_is_not_sent_again(client, admin, source_id):
    etag = client.get(f"/sources/{source_id}/unmatched", headers=admin).headers["ETag"]

    client.get(f"/sources/{source_id}/unmatched", headers={**admin, "If-None-Match": etag}, status=304)
