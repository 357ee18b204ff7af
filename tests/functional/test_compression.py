"""gzip: only for who takes it, only where it pays, under a tag of its own."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest
from webob import Request

from productagg.api.core import compression
from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.history_strategies import ProductRow

pytestmark = only_sqlite

LARGE = "Bright. " * 200 + "Very."
GZIP = {"Accept-Encoding": "gzip"}


@pytest.fixture
def path(create):
    return f"/products/{create(description=LARGE)['id']}"


@pytest.fixture
def ask(client):
    """Ask for something, and get the bytes as they are sent: WebTest would unpack them."""
    return lambda path, headers, **options: Request.blank(path, headers=headers, **options).get_response(client.app)


@pytest.fixture
def get(ask):
    return lambda path, accepted=None: ask(path, {} if accepted is None else {"Accept-Encoding": accepted})


TAKE_IT = (
    "gzip",
    "GZIP",
    "gzip, deflate, br",
    "br;q=1.0, gzip;q=0.8",
    "*",
    "gzip;q=0.001, identity;q=0",
    "gzip;q=1, *;q=0",
)
DO_NOT = (
    None,
    "",
    "identity",
    "br",
    "gzip;q=0",
    "*;q=0",
    "gzip;q=0, *",
    "gzip;q=0.5, identity",
    "nonsense;;",
    "gzip;q=2",
)


def test_who_takes_it_gets_it(get, path, subtests):
    for accepted in TAKE_IT:
        with subtests.test(accepted):
            plain, packed = get(path), get(path, accepted)

            assert packed.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(packed.body) == plain.body
            assert int(packed.headers["Content-Length"]) == len(packed.body) < len(plain.body) / 2
            assert packed.content_type == plain.content_type


def test_who_does_not_gets_it_as_it_is(get, path, subtests):
    for accepted in DO_NOT:
        with subtests.test(accepted):
            answer = get(path, accepted)

            assert "Content-Encoding" not in answer.headers
            assert answer.json["description"] == LARGE


def test_what_may_be_compressed_says_so_to_caches_either_way(get, path):
    for accepted in (None, "gzip", "identity"):
        assert "Accept-Encoding" in get(path, accepted).headers["Vary"].split(", ")


def test_what_is_small_is_not_compressed(get, create):
    answer = get(f"/products/{create(description='')['id']}", "gzip")

    assert len(answer.body) < compression.MIN_BYTES
    assert "Content-Encoding" not in answer.headers
    assert "Accept-Encoding" not in answer.headers["Vary"]


def test_an_image_is_not_compressed(get, monkeypatch):
    monkeypatch.setattr(compression, "MIN_BYTES", 1)
    answer = get("/docs/favicon-32x32.png", "gzip")

    assert answer.body.startswith(b"\x89PNG")
    assert "Vary" not in answer.headers


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"])
def test_what_never_changes_is_compressed_once(get, path, monkeypatch):
    plain, packed = get(path), get(path, "gzip")
    monkeypatch.setattr("productagg.api.core.compression.gzip.compress", None)
    again = get(path, "gzip")

    assert again.body == packed.body
    assert gzip.decompress(again.body) == plain.body


def test_a_csv_is_compressed_too(get, past):
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    rows = [ProductRow(hour_ago + timedelta(seconds=number), number, number, 1, 1, True) for number in range(100)]
    past.write(rows, synced_at=datetime.now(UTC))

    answer = get(f"/products/{past.product_id}/prices.csv", "gzip")

    assert answer.content_type == "text/csv"
    assert len(gzip.decompress(answer.body).splitlines()) == 1 + 100


def test_the_two_have_strong_tags_of_their_own(ask, get, path):
    tags = [get(path, accepted).headers["ETag"] for accepted in (None, "gzip")]

    assert tags[0] != tags[1]
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)
    # Each is good for what it is of, and for nothing else.
    for tag in tags:
        for accepted, other in ((None, tags[1]), ("gzip", tags[0])):
            headers = {"If-None-Match": tag, **({"Accept-Encoding": accepted} if accepted else {})}
            assert ask(path, headers).status_int == (200 if tag == other else 304)


def test_a_304_is_not_compressed_and_has_the_tag_that_was_asked_for(ask, get, path):
    tag = get(path, "gzip").headers["ETag"]

    answer = ask(path, {**GZIP, "If-None-Match": tag})

    assert answer.status_int == 304
    assert (answer.body, answer.headers["ETag"]) == (b"", tag)
    assert "Content-Encoding" not in answer.headers
    assert "Accept-Encoding" in answer.headers["Vary"]


def test_for_a_304_nothing_is_compressed(ask, get, path, monkeypatch):
    tag = get(path, "gzip").headers["ETag"]
    monkeypatch.setattr("productagg.api.core.compression.gzip.compress", None)

    assert ask(path, {**GZIP, "If-None-Match": tag}).status_int == 304


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_an_editor_may_name_the_tag_of_what_came_compressed(send, get, admin, path, method):
    tag = get(path, "gzip").headers["ETag"]
    change = (method, path, {"description": "Better"} if method == "PATCH" else None)

    refused = send(*change, {**admin, "If-None-Match": tag})
    done = send(*change, {**admin, "If-Match": tag})

    assert_problem(refused, "precondition-failed")
    assert done.status_int in (200, 204)


def test_the_compressed_answer_to_a_change_has_the_tag_of_the_compressed_page(ask, get, admin, path):
    headers = {**admin, **GZIP, "Content-Type": "application/json"}

    changed = ask(path, headers, method="PATCH", body=b'{"name": "Other"}')

    assert changed.headers["Content-Encoding"] == "gzip"
    assert changed.headers["ETag"] == get(path, "gzip").headers["ETag"]


def test_an_answer_with_a_secret_is_never_compressed(ask, users, monkeypatch):
    monkeypatch.setattr(compression, "MIN_BYTES", 1)
    body = b'{"username": "admin", "password": "correct horse"}'

    answer = ask("/login", {**GZIP, "Content-Type": "application/json"}, method="POST", body=body)

    assert "Content-Encoding" not in answer.headers
    assert answer.json["access_token"]


def test_a_large_error_is_compressed_too(ask, admin):
    body = json.dumps({f"unknown-{number}": 1 for number in range(100)}).encode()

    answer = ask("/products", {**admin, **GZIP, "Content-Type": "application/json"}, method="POST", body=body)

    assert answer.status_int == 422
    assert b"unknown-49" in gzip.decompress(answer.body)
