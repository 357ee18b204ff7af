"""Idempotency-Key: a POST that is sent again gets the first answer, and nothing happens twice."""

import json
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
import time_machine
from pyramid.response import Response
from sqlalchemy import select

from productagg.accounts import users
from productagg.api.core.idempotency import idempotent
from productagg.catalog import products as catalog
from productagg.db.models import IdempotencyKey, Product, User
from tests.conftest import PASSWORD
from tests.databases import only_sqlite
from tests.factories import rows
from tests.functional.problems import assert_problem
from tests.functional.replays import assert_replayed
from tests.functional.routes import BODIES, MATRIX

NEW = {"name": "Lamp", "description": "Bright"}
KEY = "f81d4fae-7dec-4d3e-9a51-0c6f2d9b7e10"


@pytest.fixture
def post(send, admin):
    """Send a POST under a key, a new product unless told otherwise."""

    def post(body=NEW, key=KEY, path="/products", headers=admin, **others):
        return send("POST", path, body, {**headers, "Idempotency-Key": key, **others})

    return post


@pytest.fixture
def later(client, admin):
    """Be so much later, with a token that is good then: `with later(hours=1) as headers`."""

    class Later:
        def __init__(self, **distance):
            self._travel = time_machine.travel(datetime.now(UTC) + timedelta(**distance), tick=True)

        def __enter__(self):
            self._travel.start()
            with client.services.sessions.begin() as session:
                user = session.query(User).filter_by(username="admin").one()
                account = users.Account(user.id, user.username, "admin", user.token_generation)
            return {"Authorization": f"Bearer {client.services.access_tokens.issue(account)}"}

        def __exit__(self, *_):
            self._travel.stop()

    return Later


def test_a_request_that_is_sent_again_gets_the_first_answer_and_creates_nothing(client, post, stored):
    first = post()
    client.background.wait()  # by now the product is registered, and would be answered otherwise

    again = [post(), post()]

    assert first.status_int == 201
    for answer in again:
        assert_replayed(answer, first)
    assert stored() == 1


def test_without_a_key_nothing_is_kept(client, admin, database):
    client.post_json("/products", NEW, headers=admin, status=201)

    assert client.post_json("/products", NEW, headers=admin, status=409).json["code"] == "duplicate-name"
    assert rows(database, IdempotencyKey) == []


def test_two_keys_are_two_requests(post):
    assert post(key="a").status_int == 201
    assert_problem(post(key="b"), "duplicate-name")


@only_sqlite
@pytest.mark.parametrize(("first", "second"), [("a-b", '"a-b"'), ('"a-b"', "a-b"), (r'"a\"b\\c"', r'"a\"b\\c"')])
def test_a_key_is_the_same_in_quotes_and_without(post, first, second):
    made = post(key=first)

    assert made.status_int == 201
    assert_replayed(post(key=second), made)


GOOD = ["a", "A" * 255, f'"{"A" * 255}"', '"a b; c, d"', "550e8400-e29b-41d4-a716-446655440000", "b64+/==", "x:y@z~"]
BAD = ["", '""', "A" * 256, f'"{"A" * 256}"', '"open', 'shut"', 'a"b', "a b", "a,b", '"a", "b"', '"a";v=1', "a;v=1"]
BAD += ["é", "\x7f", "a\tb", r"a\b", r'"a\b"', r'"a\"', "\xa0"]


@only_sqlite
@pytest.mark.parametrize("key", GOOD)
def test_a_key_may_be_whatever_can_be_seen(post, key):
    first = post(key=key)

    assert first.status_int == 201
    assert_replayed(post(key=key), first)


@only_sqlite
def test_a_key_that_is_none_is_refused_and_nothing_is_done(post, stored, subtests):
    for key in BAD:
        with subtests.test(repr(key[:20])):
            assert_problem(post(key=key), "malformed-idempotency-key")
    assert stored() == 0


@only_sqlite
@pytest.mark.parametrize(("method", "path"), [each for each in MATRIX if each[0] == "POST"])
def test_every_post_that_writes_takes_a_key_but_the_login(client, post, method, path):
    contract = client.get("/openapi.json").json["paths"][path]["post"]
    reference = {"$ref": "#/components/parameters/Idempotency-Key"}

    answer = post(BODIES[method, path], key="", path=path)

    if path in ("/login", "/prior-prices"):
        assert answer.status_int == (401 if path == "/login" else 200)
        assert reference not in contract.get("parameters", [])
    else:
        assert_problem(answer, "malformed-idempotency-key")
        assert reference in contract["parameters"]


def test_a_login_keeps_nothing_for_its_answer_is_a_secret(client, database):
    account = {"username": "admin", "password": PASSWORD}

    answers = [client.post_json("/login", account, headers={"Idempotency-Key": KEY}, status=200) for _ in range(2)]

    assert all("Idempotency-Replayed" not in answer.headers for answer in answers)
    assert rows(database, IdempotencyKey) == []


OTHERS: dict[str, dict[str, Any]] = {
    "another body": {"body": {**NEW, "name": "Chair"}},
    "other bytes": {"body": json.dumps(NEW, indent=1).encode()},
    "another path": {"body": [NEW], "path": "/products/batch"},
    "another query": {"path": "/products?x=1"},
    "another media type": {"Content-Type": "text/plain"},
    "an empty body": {"body": b""},
}


@only_sqlite
@pytest.mark.parametrize("what", OTHERS)
def test_a_key_stands_for_one_request(post, stored, what):
    first = post()

    assert_problem(post(**OTHERS[what]), "idempotency-key-reused")
    assert_replayed(post(), first)
    assert stored() == 1


@only_sqlite
def test_what_does_not_matter_may_differ(post):
    first = post()

    assert_replayed(post(**{"Content-Type": "Application/JSON; charset=utf-8", "X-Request-ID": "another"}), first)


@only_sqlite
def test_a_query_belongs_to_the_request(post, stored):
    first = post([NEW], path="/products/batch")

    assert_problem(post([NEW], path="/products/batch?atomic=true"), "idempotency-key-reused")
    assert_replayed(post([NEW], path="/products/batch"), first)
    assert stored() == 1


@pytest.fixture
def second_admin(client, database):
    with database.sessions.begin() as session:
        users.add(session, "second", PASSWORD, "admin")
    return client.log_in("second")


def test_each_user_has_keys_of_their_own(post, second_admin, stored):
    first = post()

    other = post({**NEW, "name": "Chair"}, headers=second_admin)
    same = post(key="same", headers=second_admin)

    assert other.status_int == 201
    assert_problem(same, "duplicate-name")
    assert_replayed(post(), first)
    assert stored() == 2


def test_nobody_gets_an_answer_who_may_not_ask_for_it(client, post, database):
    reader = client.log_in("reader")
    post()
    with database.sessions.begin() as session:
        users.disable(session, "admin")

    assert_problem(post(), "invalid-token")
    assert_problem(post(headers={}), "authentication-required")
    assert_problem(post(headers=reader), "forbidden")
    assert len(rows(database, IdempotencyKey)) == 1


def test_who_may_not_ask_leaves_no_key_behind(client, post, database):
    assert_problem(post(headers=client.log_in("reader")), "forbidden")

    assert rows(database, IdempotencyKey) == []


REFUSED: dict[str, dict[str, Any]] = {
    "duplicate-name": {"body": {**NEW, "name": "Taken"}},
    "invalid-data": {"body": {"name": ""}},
    "malformed-json": {"body": b"{"},
    "unsupported-media-type": {"Content-Type": "text/plain"},
    "body-too-large": {"body": b" " * (256 * 1024 + 1)},
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_final_error_is_the_first_answer_too(client, admin, create, post, stored, code):
    taken = create(name="Taken")
    first = post(**REFUSED[code])
    client.delete(f"/products/{taken['id']}", headers=admin)

    again = post(**REFUSED[code])

    assert_problem(first, code, {"/name": None, "/description": None} if code == "invalid-data" else None)
    assert_replayed(again, first)
    assert stored() == 0


def test_after_an_unexpected_error_the_same_request_may_succeed(post, stored, monkeypatch):
    def fails(*_):
        raise RuntimeError

    with monkeypatch.context() as patch:
        # The last thing that happens in the transaction.
        patch.setattr(catalog, "get", fails)
        assert_problem(post(), "internal-error")
        assert stored() == 0

    first = post()

    assert first.status_int == 201
    assert_replayed(post(), first)


@pytest.fixture
def fail_commits(client, monkeypatch):
    """Fail the commits of the next request with these numbers: 1 is the claim's, 2 the work's, 3 the release's."""
    dialect = client.services.engines[0].dialect
    honest = dialect.do_commit

    def fail_commits(*which):
        numbers = count(1)

        def commit(connection):
            if next(numbers) not in which:
                return honest(connection)
            connection.rollback()
            raise dialect.dbapi.OperationalError("the server closed the connection")

        monkeypatch.setattr(dialect, "do_commit", commit)

    return fail_commits


def test_after_a_failed_commit_the_same_request_may_succeed(post, stored, fail_commits):
    fail_commits(2)
    assert_problem(post(), "unavailable")
    assert stored() == 0

    first = post()

    assert first.status_int == 201
    assert_replayed(post(), first)


def test_without_a_claim_nothing_is_done(post, stored, fail_commits):
    fail_commits(1)
    assert_problem(post(), "unavailable")
    assert stored() == 0

    assert post().status_int == 201


def test_a_key_that_could_not_be_released_comes_free_with_its_lease(post, later, stored, fail_commits):
    fail_commits(2, 3)
    assert_problem(post(), "unavailable")
    assert_problem(post(), "request-in-progress")

    with later(seconds=61) as headers:
        assert_problem(post({**NEW, "name": "Chair"}, headers=headers), "idempotency-key-reused")
        first = post(headers=headers)

        assert first.status_int == 201
        assert_replayed(post(headers=headers), first)
    assert stored() == 1


@pytest.fixture
def meanwhile(monkeypatch):
    """Do something while the first product is being created, before anything is written: `meanwhile(act)`."""

    def meanwhile(act):
        honest = catalog.create
        answers = []

        def create(*arguments, **values):
            monkeypatch.setattr(catalog, "create", honest)
            answers.append(act())
            return honest(*arguments, **values)

        monkeypatch.setattr(catalog, "create", create)
        return answers

    return meanwhile


def test_while_it_is_being_worked_on_the_same_request_has_to_wait(post, meanwhile, stored):
    waiting = meanwhile(post)

    first = post()

    assert_problem(waiting[0], "request-in-progress")
    assert waiting[0].headers["Retry-After"] == "1"
    assert first.status_int == 201
    assert_replayed(post(), first)
    assert stored() == 1


def test_while_it_is_being_worked_on_the_key_stands_for_it(post, meanwhile):
    refused = meanwhile(lambda: post({**NEW, "name": "Chair"}))

    assert post().status_int == 201
    assert_problem(refused[0], "idempotency-key-reused")


def test_a_request_whose_lease_was_lost_does_not_happen_twice(client, admin, add_view, later, stored):
    """The first one is so slow that it is sent again, and done, before it has written anything."""
    retried: list[Any] = []

    def write(request):
        if not retried:
            retried.append(None)
            with later(seconds=61) as headers:
                retried[0] = client.post("/test", headers={**headers, "Idempotency-Key": KEY}, status=200)
        now = datetime.now(UTC)
        catalog.create(request.dbsession, f"Written at {now}", "", now)
        return Response(f"Written at {now}")

    view = idempotent(lambda _context, request: write(request))
    add_view(client, "/test", lambda request: view(None, request))

    slow = client.post("/test", headers={**admin, "Idempotency-Key": KEY}, expect_errors=True)

    assert_problem(slow, "request-in-progress")
    assert stored() == stored(retried[0].text) == 1
    assert_replayed(client.post("/test", headers={**admin, "Idempotency-Key": KEY}), retried[0])


def test_a_slow_request_that_nobody_sent_again_is_answered(post, meanwhile, later):
    late = later(minutes=2)
    meanwhile(late.__enter__)

    try:
        first = post()
    finally:
        late.__exit__()

    assert first.status_int == 201
    assert_replayed(post(), first)


def test_an_answer_is_kept_for_a_day(post, later, stored):
    first = post()

    with later(hours=23, minutes=59) as headers:
        assert_replayed(post(headers=headers), first)
    with later(hours=24, minutes=1) as headers:
        other = post({**NEW, "name": "Chair"}, headers=headers)

        assert other.status_int == 201
        assert_replayed(post({**NEW, "name": "Chair"}, headers=headers), other)
    assert stored() == 2


def test_a_large_answer_is_kept_too(client, post, database):
    batch = [{"name": f"Lamp {number}", "description": ""} for number in range(300)]
    first = post(batch, path="/products/batch")

    assert len(first.body) > 40_000
    assert_replayed(post(batch, path="/products/batch"), first)


def test_a_replayed_creation_is_not_handed_to_the_background_again(client, post, monkeypatch):
    submitted: list[UUID] = []
    monkeypatch.setattr(client.background, "submit", submitted.append)

    post()
    post()

    assert len(submitted) == 1


def test_a_users_keys_go_with_the_user(post, database):
    post()
    with database.sessions.begin() as session:
        session.delete(session.scalars(select(User).where(User.username == "admin")).one())

    assert rows(database, IdempotencyKey) == []
    assert len(rows(database, Product)) == 1
