"""Cache-Control and Vary: a shared cache in front serves truthfully, for no longer than it should."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import time_machine

from productagg.db.models import OFFERS_SOURCE, ProductSource
from tests.conftest import PASSWORD
from tests.databases import only_sqlite
from tests.functional.cache import SharedCache
from tests.functional.routes import BODIES, KEPT, MATRIX, MOMENTARY

pytestmark = only_sqlite

GUARDED = {path for (method, path), (nobody, _, _) in MATRIX.items() if method == "GET" and nobody == 401}
PUBLIC = [path for path in KEPT if path not in GUARDED]
JSON = {"Content-Type": "application/json"}


def lifetime(answer):
    found = re.fullmatch(r"public, max-age=(\d+)", answer.headers["Cache-Control"])
    assert found, answer.headers["Cache-Control"]
    return int(found[1])


@pytest.fixture
def due_in(client):
    """Set in how many seconds a product is to be asked for."""

    def due_in(product_id, seconds):
        with client.services.sessions.begin() as session:
            row = session.get_one(ProductSource, (UUID(product_id), OFFERS_SOURCE))
            row.next_sync_at = datetime.now(UTC) + timedelta(seconds=seconds)

    return due_in


@pytest.fixture
def cache(client):
    return SharedCache(client.app)


class TestLifetimes:
    def test_what_anyone_may_read_anyone_may_keep_for_an_interval_at_most(self, client, there, subtests):
        for path in set(PUBLIC) - {"/changes"}:
            with subtests.test(path):
                assert 1 <= lifetime(client.get(there(path))) <= 60

    def test_the_feed_is_to_be_asked_about_each_time(self, client):
        assert client.get("/changes").headers["Cache-Control"] == "no-cache"

    @pytest.mark.parametrize(("interval", "longest"), [("5", 5), ("60", 60), ("86400", 60)])
    def test_the_interval_is_the_configured_one_but_no_longer_than_a_minute(
        self, make_client, there, due_in, interval, longest
    ):
        due_in(there("/products/{id}").split("/")[2], 100_000)
        client = make_client(**{"sync.interval_seconds": interval})

        for path in ("/products", "/movers", "/products/{id}/trend", "/products/{id}"):
            assert lifetime(client.get(there(path))) == longest

    @pytest.mark.parametrize(("seconds", "expected"), [(30.5, 30), (59.5, 59), (3600, 60), (0.4, 1), (0, 1), (-500, 1)])
    def test_what_is_offered_now_is_kept_until_it_may_change(self, client, there, due_in, seconds, expected):
        with time_machine.travel(datetime.now(UTC), tick=False):
            due_in(there("/products/{id}").split("/")[2], seconds)

            for path in ("/products/{id}", "/products/{id}/offers", "/products/{id}/offers/cost"):
                assert lifetime(client.get(there(path))) == expected

    @pytest.mark.parametrize("path", sorted(GUARDED))
    def test_what_needs_a_token_is_for_its_reader_alone(self, client, there, admin, path):
        answer = client.get(there(path), headers=admin)

        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert "Authorization" in answer.headers["Vary"].split(", ")

    def test_what_an_admin_sees_of_a_product_is_for_the_admin_alone(self, client, there, admin):
        path = there("/products/{id}")
        seen = [client.get(path, headers=headers) for headers in ({}, {"Authorization": "Bearer x"}, admin)]

        assert [answer.headers["Cache-Control"].split(",")[0] for answer in seen] == ["public", "public", "private"]
        assert all("Authorization" in answer.headers["Vary"].split(", ") for answer in seen)
        assert "no-cache" in seen[2].headers["Cache-Control"]

    @pytest.mark.parametrize("path", sorted(MOMENTARY))
    def test_what_says_how_it_is_at_this_moment_is_not_kept(self, client, path):
        answer = client.get(path)

        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers

    @pytest.mark.parametrize(("method", "path"), [each for each in MATRIX if each[0] != "GET"])
    def test_neither_what_is_written_nor_what_is_refused_is_kept(self, send, there, admin, method, path):
        body = {"username": "admin", "password": PASSWORD} if path == "/login" else BODIES.get((method, path))

        done, refused = (
            send(method, there(path), body, headers) for headers in (admin, {"Content-Type": "text/plain"})
        )

        assert done.status_int < 300 < 400 <= refused.status_int
        assert done.headers["Cache-Control"] == refused.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("path", ["/nowhere", "/products/1", "/products?limit=x", "/sync-runs", "/problems/x"])
    def test_an_error_is_not_kept(self, send, path):
        assert send("GET", path).headers["Cache-Control"] == "no-store"


class TestVary:
    def test_it_names_what_the_answer_depends_on_and_nothing_else(self, client, there, subtests):
        """Whatever else is sent, the answer is the same; what is named can make another one."""
        for path in PUBLIC:
            with subtests.test(path):
                answer = client.get(there(path))
                named = {each.strip() for each in answer.headers.get("Vary", "").split(",") if each.strip()}

                large = len(answer.body) >= 1024 and not answer.content_type.startswith("image/")
                expected = {"Accept-Encoding"} if large else set()
                expected |= {"Authorization"} if path == "/products/{id}" else set()
                assert named == expected

    def test_a_304_names_the_same(self, client, there):
        for path in PUBLIC:
            where = there(path)
            with time_machine.travel(datetime.now(UTC), tick=False):
                whole = client.get(where)
                answer = client.get(where, headers={"If-None-Match": whole.headers["ETag"]}, status=304)

            for name in ("Vary", "Cache-Control", "ETag"):
                assert answer.headers.get(name) == whole.headers.get(name)


class TestASharedCache:
    def test_it_serves_what_it_has_until_the_next_sync_may_change_it(self, cache, create, sync, upstream, due_in):
        product_id = create()["id"]
        path = f"/products/{product_id}"
        with time_machine.travel(datetime.now(UTC), tick=False) as clock:
            due_in(product_id, 40)
            first = cache.get(path)
            clock.shift(39)
            assert cache.get(path).body == first.body
            assert cache.served == 1

            clock.shift(1)
            upstream.offer(UUID(product_id), {uuid4(): (1000, 1)})
            sync(product_id)
            assert len(cache.get(path).json["offers"]) == 1
            assert cache.served == 1

    def test_what_has_not_changed_it_only_asks_about(self, cache, create, due_in):
        product_id = create()["id"]
        with time_machine.travel(datetime.now(UTC), tick=False) as clock:
            due_in(product_id, 10)
            first = cache.get(f"/products/{product_id}")
            clock.shift(10)
            again = cache.get(f"/products/{product_id}")

            assert (cache.served, cache.revalidated) == (0, 1)
            assert again.body == first.body

    def test_an_editor_who_writes_through_it_sees_the_change_at_once(self, cache, create, admin):
        path = f"/products/{create()['id']}"
        for headers in ({}, {"Accept-Encoding": "gzip"}):
            cache.get(path, headers)

        cache.send("PATCH", path, {**admin, **JSON}, b'{"description": "Better"}')

        for headers in ({}, {"Accept-Encoding": "gzip"}, admin):
            assert cache.get(path, headers).json["description"] == "Better"

    def test_a_new_product_is_in_the_list_at_once(self, cache, admin):
        assert cache.get("/products").json == []

        cache.send("POST", "/products", {**admin, **JSON}, b'{"name": "Lamp", "description": ""}')

        assert [each["name"] for each in cache.get("/products").json] == ["Lamp"]

    def test_a_deleted_product_is_gone_at_once(self, cache, create, admin):
        path = f"/products/{create()['id']}"
        cache.get(path)

        cache.send("DELETE", path, admin)

        assert cache.get(path).status_int == 404

    def test_what_an_editor_writes_elsewhere_is_seen_within_a_minute_or_by_whoever_insists(
        self, cache, client, create, admin, due_in
    ):
        product_id = create()["id"]
        path = f"/products/{product_id}"
        with time_machine.travel(datetime.now(UTC), tick=False) as clock:
            due_in(product_id, 100_000)
            cache.get(path)
            client.patch_json(path, {"description": "Better"}, headers=admin)

            assert cache.get(path).json["description"] == "Bright"
            assert cache.get(path, {"Cache-Control": "no-cache"}).json["description"] == "Better"
            clock.shift(60)
            assert cache.get(path).json["description"] == "Better"

    def test_it_keeps_nothing_that_only_an_admin_may_see(self, cache, create, admin):
        path = f"/products/{create()['id']}"

        assert "sync" in cache.get(path, admin).json
        assert cache.get("/sync-runs", admin).status_int == 200
        assert cache.stored() == []
        assert "sync" not in cache.get(path).json
        assert "sync" in cache.get(path, admin).json

    def test_it_gives_nobody_what_is_compressed_who_does_not_take_it(self, cache, create):
        path = f"/products/{create(description='Bright. ' * 200)['id']}"

        packed = cache.get(path, {"Accept-Encoding": "gzip"})
        plain = cache.get(path, {"Accept-Encoding": "identity"})

        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.headers
        assert cache.get(path, {"Accept-Encoding": "gzip"}).body == packed.body
        assert cache.served == 1

    def test_it_does_not_give_one_origin_what_only_another_may_read(self, make_client, users):
        shops = ("https://one.example", "https://two.example")
        cache = SharedCache(make_client(**{"cors.origins": " ".join(shops)}).app)

        for origin in (*shops, "https://three.example", *shops):
            allowed = cache.get("/products", {"Origin": origin}).headers.get("Access-Control-Allow-Origin")
            assert allowed == (origin if origin in shops else None)
        assert cache.served == 2
