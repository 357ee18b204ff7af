"""What an admin can learn about the sync: its passes, and how one product stands with it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from productagg.db.models import OFFERS_SOURCE, ProductSource
from productagg.sandbox import Fault
from productagg.sync import run_log
from tests.databases import only_sqlite
from tests.factories import make_product, make_run, make_runs
from tests.functional.problems import assert_problem
from tests.integration.conftest import before_statement


@pytest.fixture
def listed(client, admin):
    """The passes that a path lists: `listed("/sync-runs?limit=2")`."""
    return lambda path="/sync-runs": client.get(path, headers=admin, status=200)


@pytest.fixture
def sync_of(client, admin):
    """What an admin reads about how a product stands with the sync."""
    return lambda product_id: client.get(f"/products/{product_id}", headers=admin, status=200).json["sync"]


@pytest.fixture
def set_sync(database):
    """Set columns of a product's row in product_sources."""

    def set_sync(product_id, **values):
        with database.sessions.begin() as session:
            session.execute(
                update(ProductSource).where(ProductSource.product_id == UUID(str(product_id))).values(**values)
            )

    return set_sync


def test_a_run_is_answered_as_it_was_recorded(client, admin, database):
    started = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    at_source = {
        "source_id": str(OFFERS_SOURCE),
        "name": "offers",
        **dict.fromkeys(("leased", "fetched", "changed", "closed", "failed"), 3),
        "failures": {"not JSON": 3},
        "seconds": 1.25,
        "ended_by": "done",
    }
    run_id = make_run(
        database,
        host="web-1",
        started_at=started,
        finished_at=started + timedelta(seconds=2),
        leased=9,
        fetched=6,
        changed=5,
        closed=4,
        failed=3,
        failures={"no whole answer": 2, "not JSON": 1},
        requests=12,
        bytes=2**40,
        longest_wait_seconds=1.5,
        ended_by="done",
        sources=[at_source],
    )

    answer = client.get(f"/sync-runs/{run_id}", headers=admin, status=200)

    assert answer.content_type == "application/json"
    assert answer.json == {
        "id": str(run_id),
        "host": "web-1",
        "started_at": "2026-01-02T03:04:05.678901Z",
        "finished_at": "2026-01-02T03:04:07.678901Z",
        "leased": 9,
        "fetched": 6,
        "changed": 5,
        "closed": 4,
        "failed": 3,
        "failures": {"no whole answer": 2, "not JSON": 1},
        "requests": 12,
        "bytes": 2**40,
        "longest_wait_seconds": 1.5,
        "ended_by": "done",
        "sources": [at_source],
        "state": "finished",
    }


def test_a_run_that_was_made_is_the_newest_one_listed(client, listed, database):
    for number in range(2):
        make_run(database, id=UUID(int=number))  # of long ago: ids begin with their time in milliseconds
    report = client.services.synchronizer.run()

    newest = listed().json[0]

    assert datetime.fromisoformat(newest["started_at"]) == report.started_at
    assert (newest["state"], newest["ended_by"]) == ("finished", "done")


@pytest.mark.parametrize(
    ("seconds_ago", "ended_by", "state"),
    [
        (1, None, "running"),
        (115, None, "running"),
        (130, None, "lost"),
        (86400, None, "lost"),
        (130, "interrupted", "finished"),
    ],
)
def test_a_run_that_did_not_say_in_time_how_it_ended_is_lost(client, admin, database, seconds_ago, ended_by, state):
    started = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    run_id = make_run(database, started_at=started, finished_at=started if ended_by else None, ended_by=ended_by)

    assert client.get(f"/sync-runs/{run_id}", headers=admin).json["state"] == state
    assert client.get("/sync-runs", headers=admin).json[0]["state"] == state


def test_a_run_has_a_minute_more_than_it_may_take_to_say_how_it_ended(client, admin, database):
    now = datetime.now(UTC)
    with database.sessions.begin() as session:
        run_ids = [
            run_log.record_start(session, now - timedelta(seconds=600), timedelta(seconds=longest))
            for longest in (530, 550)
        ]

    states = [client.get(f"/sync-runs/{run_id}", headers=admin).json["state"] for run_id in run_ids]

    assert states == ["lost", "running"]


def test_a_run_of_an_older_version_has_no_sources_and_without_an_end_it_is_lost(client, admin, database):
    run_id = make_run(database, finished_at=None, ended_by=None, lost_after=None)

    run = client.get(f"/sync-runs/{run_id}", headers=admin).json

    assert (run["sources"], run["state"]) == ([], "lost")


def test_runs_are_listed_newest_first(listed, database):
    run_ids = make_runs(database, 3)

    answer = listed()

    assert [each["id"] for each in answer.json] == [str(run_id) for run_id in reversed(run_ids)]
    assert not {"Link", "Next-Cursor"} & set(answer.headers)


def test_no_runs_are_an_empty_list(listed):
    assert listed().json == []


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (5, [5]), (200, [5])])
def test_following_the_links_one_sees_every_run_once(listed, database, limit, sizes):
    run_ids = make_runs(database, 5)
    path, pages = f"/sync-runs?limit={limit}", []
    while path:
        answer = listed(path)
        pages.append([each["id"] for each in answer.json])
        link = answer.headers.get("Link")
        path = link and link.removeprefix("<http://localhost").removesuffix('>; rel="next"')

    assert [len(page) for page in pages] == sizes
    assert [id_ for page in pages for id_ in page] == [str(run_id) for run_id in reversed(run_ids)]


def test_runs_that_start_meanwhile_do_not_move_the_next_page(listed, database):
    run_ids = make_runs(database, 3)
    first = listed("/sync-runs?limit=2")
    make_runs(database, 2)

    second = listed(f"/sync-runs?limit=2&cursor={first.headers['Next-Cursor']}").json

    assert [each["id"] for each in second] == [str(run_ids[0])]


@only_sqlite
@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("after=00000000-0000-0000-0000-000000000000", "after"),
        ("limit=1&limit=2", "limit"),
    ],
)
def test_a_parameter_that_will_not_do_is_named(send, admin, query, parameter):
    assert_problem(send("GET", f"/sync-runs?{query}", None, admin), "invalid-data", {parameter: None})


@only_sqlite
def test_a_cursor_that_was_made_up_is_refused(send, admin):
    assert_problem(send("GET", "/sync-runs?cursor=1", None, admin), "invalid-cursor")


@only_sqlite
def test_what_is_not_the_id_of_a_run_is_not_found(send, admin, subtests):
    for wrong in (str(uuid4()), "1", "None", "%00", "x" * 5000, uuid4().hex, "%C3%A9"):
        with subtests.test(wrong[:40]):
            assert_problem(send("GET", f"/sync-runs/{wrong}", None, admin), "not-found")


def test_who_may_not_see_runs_learns_nothing_about_what_is_there(client, send, database):
    reader, run_id = client.log_in("reader"), make_run(database)
    for path in (f"/sync-runs/{run_id}", f"/sync-runs/{uuid4()}", "/sync-runs/1", "/sync-runs?limit=x"):
        assert_problem(send("GET", path), "authentication-required")
        assert_problem(send("GET", path, None, reader), "forbidden")


def test_everybody_sees_when_a_products_offers_last_changed(client, create, sync, upstream):
    product = create()
    assert product["last_changed_at"] is None
    upstream.offer(UUID(product["id"]), {uuid4(): (100, 1)})
    sync(product["id"])

    changed = client.get(f"/products/{product['id']}").json

    assert changed["last_changed_at"] == changed["last_synced_at"] == changed["offers"][0]["changed_at"]
    [listed] = client.get("/products").json
    assert listed["last_changed_at"] == changed["last_changed_at"]


def test_an_admin_sees_in_addition_how_a_product_stands_with_the_sync(client, admin, create, database):
    public = create()

    answer = client.get(f"/products/{public['id']}", headers=admin).json

    sync = answer.pop("sync")
    assert answer == public
    assert sync == {
        "registered_at": sync["registered_at"],
        "last_asked_at": sync["last_asked_at"],
        "last_synced_at": public["last_synced_at"],
        "last_changed_at": None,
        "next_sync_at": sync["next_sync_at"],
        "next_sync_reason": "its regular turn",
        "leased_until": None,
        "failures": 0,
        "last_error": None,
    }
    assert sync["registered_at"] <= sync["last_synced_at"] < sync["next_sync_at"]
    assert sync["last_asked_at"] <= sync["last_synced_at"]


@only_sqlite
@pytest.mark.parametrize("who", ["nobody", "reader", "nonsense", "basic"])
def test_users_without_the_admin_role_see_the_public_response(client, create, who):
    headers = {
        "nobody": {},
        "reader": client.log_in("reader"),
        "nonsense": {"Authorization": "Bearer nonsense"},
        "basic": {"Authorization": "Basic YWRtaW46YWRtaW4="},
    }[who]
    public = create()

    assert client.get(f"/products/{public['id']}", headers=headers, status=200).json == public


@only_sqlite
def test_without_a_token_nobody_is_looked_up(client, create):
    path = f"/products/{create()['id']}"
    asked: list[str] = []

    with before_statement(client.services.engines[1], "", asked.append):
        client.get(path, status=200)

    assert len(asked) == 1  # for the product with its offers


@only_sqlite
def test_a_cache_keeps_the_two_answers_apart(client, admin, create):
    path = f"/products/{create()['id']}"

    everybodys, admins = client.get(path), client.get(path, headers=admin)

    for answer in (everybodys, admins, client.head(path)):
        assert answer.headers["Vary"] == "Authorization"
    assert everybodys.headers["ETag"] != admins.headers["ETag"]
    for headers, tag in (({}, everybodys.headers["ETag"]), (admin, admins.headers["ETag"])):
        answer = client.get(path, headers={**headers, "If-None-Match": tag}, status=304)
        assert (answer.body, answer.headers["Vary"]) == (b"", "Authorization")
    client.get(path, headers={**admin, "If-None-Match": everybodys.headers["ETag"]}, status=200)


def test_the_tag_of_an_admins_answer_is_good_for_a_change(client, admin, create):
    path = f"/products/{create()['id']}"
    tag = client.get(path, headers=admin).headers["ETag"]

    client.patch_json(path, {"description": "Better"}, headers={**admin, "If-Match": tag}, status=200)


def test_a_product_that_was_not_asked_for_yet_says_so(sync_of, database):
    product_id = make_product(database)

    found = sync_of(product_id)

    assert found["next_sync_reason"] == "never asked yet"
    assert (found["last_asked_at"], found["registered_at"]) == (None, None)


def test_a_product_that_fails_says_how_often_and_why(create, sync, sync_of, upstream):
    product = create()
    upstream.faults.replace([Fault("error", {"status": 500}, ("offers",))])

    sync(product["id"])
    assert sync_of(product["id"])["next_sync_reason"] == "failed once: the Offers service answered 500"

    sync(product["id"])
    found = sync_of(product["id"])
    assert found["next_sync_reason"] == "failed 2 times in a row: the Offers service answered 500"
    assert (found["failures"], found["last_error"]) == (2, "the Offers service answered 500")


def test_a_product_that_somebody_is_asking_for_says_until_when_at_the_latest(create, sync_of, set_sync):
    product = create()
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=2)
    set_sync(product["id"], leased_until=until, failures=3, last_error="of the time before")

    found = sync_of(product["id"])

    assert found["next_sync_reason"] == f"being fetched; the lease ends at {found['leased_until']}"
    assert datetime.fromisoformat(found["leased_until"]) == until


def test_while_the_service_wants_to_be_left_alone_a_product_says_until_when(create, sync, sync_of, upstream):
    product = create()
    upstream.faults.replace([Fault("rate_limit", {"retry_after": 90}, ("offers",))])

    sync(product["id"])

    reason = sync_of(product["id"])["next_sync_reason"]
    assert reason.startswith("failed once: the Offers service answered 429; no requests are sent before 20")
    assert reason.endswith("Z: the Offers service answered 429")


def test_a_lease_that_ended_is_no_reason(create, sync_of, set_sync):
    product = create()
    set_sync(product["id"], leased_until=datetime.now(UTC) - timedelta(seconds=1))

    assert sync_of(product["id"])["next_sync_reason"] == "its regular turn"


def test_a_product_that_is_asked_for_less_often_says_since_when_it_has_not_changed(create, sync_of, set_sync):
    product = create()
    asked = datetime(2026, 1, 3, tzinfo=UTC)
    times = {"last_asked_at": asked, "next_sync_at": asked + timedelta(hours=2)}

    set_sync(product["id"], **times, last_changed_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert sync_of(product["id"])["next_sync_reason"] == "unchanged since 2026-01-02T00:00:00Z, so asked less often"

    set_sync(product["id"], **times, last_changed_at=None, registered_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert sync_of(product["id"])["next_sync_reason"] == "unchanged since 2026-01-01T00:00:00Z, so asked less often"


def test_a_refused_product_that_was_changed_says_that_it_gets_another_try(sync_of, database):
    product_id = make_product(database, last_asked_at=datetime(2026, 1, 1, tzinfo=UTC), registration="pending")

    assert sync_of(product_id)["next_sync_reason"] == "changed since the Offers service refused it"
