"""Who may do what: 401 for somebody unknown, 403 for somebody known who may not, and no route that was forgotten."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
import time_machine
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.response import Response
from sqlalchemy import update

from productagg.accounts import users
from productagg.db.models import User
from tests.databases import only_sqlite
from tests.factories import make_product
from tests.functional.problems import assert_problem
from tests.functional.routes import BODIES, MATRIX, NEW, QUERIES
from tests.integration.conftest import before_statement

SECRET = "a secret of the tests, long enough for HS256"
CHALLENGE = 'Bearer realm="productagg"'
NOBODY: dict[str, str] = {}  # the headers of somebody without a token


@pytest.fixture
def claims(client, database):
    """The claims of a good token of the admin."""
    with database.sessions() as session:
        user = session.query(User).filter_by(username="admin").one()
        return {"sub": str(user.id), "generation": 1, "iat": int(time.time()), "exp": int(time.time()) + 300}


@pytest.fixture
def reader(client):
    return client.log_in("reader")


@only_sqlite
def test_the_matrix_has_a_row_for_every_route_and_method(client):
    routes = {route.name: route.pattern for route in client.app.routes_mapper.get_routes()}
    views = [each["introspectable"] for each in client.app.registry.introspector.get_category("views")]
    registered = {
        (view["request_methods"], routes[view["route_name"]])
        for view in views
        # Without a method: Cornice's answer to the methods that do not work. HEAD goes with GET.
        if view["route_name"] and view["request_methods"] not in (None, "HEAD")
    }

    # OPTIONS works everywhere; who may use it is a test of its own.
    assert registered == MATRIX.keys() | {("OPTIONS", path) for path in routes.values()}


@only_sqlite
def test_everybody_may_ask_every_route_what_works_there(send, admin, reader):
    for _, path in MATRIX:
        where = path.format(id=uuid4(), offer_id=uuid4(), source_id=uuid4(), code="not-found", name="start.js")

        assert [send("OPTIONS", where, None, headers).status_int for headers in (NOBODY, reader, admin)] == [204] * 3


@only_sqlite
def test_everybody_may_do_what_the_matrix_says(send, database, admin, reader, subtests):
    for number, ((method, path), statuses) in enumerate(MATRIX.items()):
        with subtests.test(f"{method} {path}"):
            product_id = make_product(database, f"Lamp {number}")
            where = path.format(
                id=product_id, offer_id=product_id, source_id=product_id, code="not-found", name="start.js"
            )
            where += QUERIES.get((method, path), "")
            body = BODIES.get((method, path))

            answers = [send(method, where, body, headers) for headers in (NOBODY, reader, admin)]

            assert tuple(answer.status_int for answer in answers) == statuses
            for answer in answers:
                if answer.status_int == 403:
                    assert_problem(answer, "forbidden")
                    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="insufficient_scope"'
                elif answer.status_int == 401 and path != "/login":
                    assert_problem(answer, "authentication-required")
                    assert answer.headers["WWW-Authenticate"] == CHALLENGE


def refused(answer):
    """The answer to a token that is not good: RFC 6750, 3."""
    assert_problem(answer, "invalid-token")
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith(f'{CHALLENGE}, error="invalid_token", error_description="')


def test_who_may_not_write_learns_nothing_about_what_is_there(send, create, reader):
    for headers, status in ((NOBODY, 401), (reader, 403)):
        for path in (f"/products/{create(name=uuid4().hex)['id']}", f"/products/{uuid4()}", "/products/1"):
            assert send("DELETE", path, None, headers).status_int == status
            assert send("PATCH", path, b"nonsense", headers).status_int == status


@only_sqlite
def test_without_a_bearer_token_one_is_asked_to_log_in(send, subtests):
    for given in ("", "Basic YWRtaW46YWRtaW4=", "bearertoken", "Token x", "JWT x"):
        with subtests.test(given):
            answer = send("POST", "/products", NEW, {"Authorization": given})

            assert_problem(answer, "authentication-required")
            assert answer.headers["WWW-Authenticate"] == CHALLENGE


@only_sqlite
def test_what_is_not_a_token_is_refused(send, admin, subtests):
    good = admin["Authorization"].removeprefix("Bearer ")
    head, payload, signature = good.split(".")
    for given in (
        "",
        "x",
        "..",
        "a.b.c",
        f"{head}.{payload}.",
        f"{head}.{payload}",
        f"{head}.{payload[:-2]}.{signature}",
        f"{good}, Bearer {good}",
        f"{good} {good}",
        f'"{good}"',
        "é" * 10,
        "x" * 5000,
        f"{good}{'A' * 200_000}",
        "W1tbW1tb" * 500,
    ):
        with subtests.test(given[:40]):
            refused(send("POST", "/products", NEW, {"Authorization": f"Bearer {given}"}))


@only_sqlite
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_schemes_case_does_not_matter(send, admin, scheme):
    token = admin["Authorization"].removeprefix("Bearer ")

    assert send("POST", "/products", NEW, {"Authorization": f"{scheme} {token}"}).status_int == 201


def test_the_claims_that_the_other_tests_spoil_are_good(send, claims):
    token = jwt.encode(claims, SECRET, "HS256")

    assert send("POST", "/products", NEW, {"Authorization": f"Bearer {token}"}).status_int == 201


@only_sqlite
@pytest.mark.parametrize("ahead", [1, 30])
def test_the_host_that_issued_a_token_may_have_a_clock_that_is_a_little_ahead(send, claims, ahead):
    now = datetime.now(UTC).replace(microsecond=0)
    token = jwt.encode({**claims, "iat": int(now.timestamp()) + ahead}, SECRET, "HS256")

    with time_machine.travel(now, tick=False):
        answer = send("POST", "/products", NEW, {"Authorization": f"Bearer {token}"})

    assert answer.status_int == 201


@only_sqlite
def test_a_token_from_further_in_the_future_is_refused(send, claims):
    now = datetime.now(UTC).replace(microsecond=0)
    token = jwt.encode({**claims, "iat": int(now.timestamp()) + 31}, SECRET, "HS256")

    with time_machine.travel(now, tick=False):
        refused(send("POST", "/products", NEW, {"Authorization": f"Bearer {token}"}))


@only_sqlite
@pytest.mark.parametrize(("left", "status"), [(1, 201), (0, 401), (-1, 401), (-29, 401)])
def test_the_leeway_for_clocks_does_not_lengthen_a_tokens_life(send, claims, left, status):
    now = datetime.now(UTC).replace(microsecond=0)
    token = jwt.encode({**claims, "exp": int(now.timestamp()) + left}, SECRET, "HS256")

    with time_machine.travel(now, tick=False):
        answer = send("POST", "/products", NEW, {"Authorization": f"Bearer {token}"})

    assert answer.status_int == status


SPOILT: dict[str, dict[str, Any]] = {
    "expired": {"exp": 1},
    "no exp": {"exp": None},
    "exp is no time": {"exp": "soon"},
    "no sub": {"sub": None},
    "integer sub": {"sub": 1},
    "sub is no id": {"sub": "admin"},
    "unknown user": {"sub": str(uuid4())},
    "no generation": {"generation": None},
    "another generation": {"generation": 2},
    "generation as text": {"generation": "1"},
    "generation as boolean": {"generation": True},
    "not yet valid": {"nbf": 2**40},
    "from the future": {"iat": 2**40},
    "for somebody else": {"aud": "another service"},
}


def test_a_token_with_wrong_claims_is_refused(send, claims, stored, subtests):
    for what, change in SPOILT.items():
        with subtests.test(what):
            spoilt = {key: value for key, value in {**claims, **change}.items() if value is not None}
            token = jwt.encode(spoilt, SECRET, "HS256", sort_headers=True)

            refused(send("POST", "/products", NEW, {"Authorization": f"Bearer {token}"}))
    assert stored() == 0


def forged(header, claims):
    """A token with a header of one's own, and no signature."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return f"{'.'.join(parts)}."


@only_sqlite
def test_a_token_that_is_not_signed_as_ours_are_is_refused(send, claims, stored, subtests):
    for what, token in (
        ("another key", jwt.encode(claims, SECRET + "!", "HS256")),
        ("unsigned", jwt.encode(claims, None, "none")),
        ("another algorithm", jwt.encode(claims, SECRET.ljust(64, "\0"), "HS512")),
        ("unsigned, in capitals", forged({"alg": "NONE"}, claims)),
        ("unsigned, with a signature", forged({"alg": "none"}, claims) + "c2lnbmF0dXJl"),
        ("no algorithm", forged({"typ": "JWT"}, claims)),
        ("a key that comes along", forged({"alg": "HS256", "jwk": {"kty": "oct", "k": ""}}, claims)),
        ("a key from elsewhere", forged({"alg": "HS256", "jku": "http://127.0.0.1:9/", "kid": "/dev/null"}, claims)),
        ("another algorithm, our key", jwt.encode(claims, SECRET.encode().ljust(64, b"\0"), "HS384")),
    ):
        with subtests.test(what):
            refused(send("POST", "/products", NEW, {"Authorization": f"Bearer {token}"}))
    assert stored() == 0


@only_sqlite
@pytest.mark.parametrize(("seconds", "status"), [(299, 201), (301, 401)])
def test_a_token_is_good_for_as_long_as_was_said(send, admin, seconds, status):
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds - 1), tick=False):
        answer = send("POST", "/products", NEW, admin)

    assert answer.status_int == status


@pytest.mark.parametrize(
    "end",
    [
        lambda session: users.disable(session, "admin"),
        lambda session: users.set_password(session, "admin", "another password"),
        lambda session: session.execute(update(User).values(disabled=True)),
        lambda session: session.delete(session.query(User).filter_by(username="admin").one()),
    ],
    ids=["disabled", "password changed", "only marked as disabled", "deleted"],
)
def test_a_users_tokens_end_with_what_they_stood_for(send, admin, database, stored, end):
    with database.sessions.begin() as session:
        end(session)

    refused(send("POST", "/products", NEW, admin))
    assert stored() == 0


def test_a_demoted_admin_may_no_longer_write_with_the_token_from_before(send, admin, database):
    with database.sessions.begin() as session:
        session.execute(update(User).where(User.username == "admin").values(role="reader"))

    assert_problem(send("POST", "/products", NEW, admin), "forbidden")


def test_a_bad_token_does_not_stand_in_the_way_of_what_is_public(send, create):
    path = f"/products/{create()['id']}"

    assert send("GET", path, None, {"Authorization": "Bearer nonsense"}).status_int == 200


@only_sqlite
def test_what_is_public_looks_no_account_up(client, send, database, admin, subtests):
    """With a token or without; only what shows an admin more has to find out whether one asks, if there is a token."""
    product_id = make_product(database)
    _, reader = client.services.engines

    def count_statements(method, where, headers):
        statements: list[str] = []
        with before_statement(reader, "", statements.append):
            send(method, where, None, headers)
        return len(statements)

    for method, path in [row for row, (nobody, _, _) in MATRIX.items() if nobody != 401]:
        with subtests.test(f"{method} {path}"):
            where = path.format(
                id=product_id, offer_id=product_id, source_id=product_id, code="not-found", name="start.js"
            )
            where += QUERIES.get((method, path), "")
            count_statements(method, where, NOBODY)  # with what is only looked up once
            without_token = count_statements(method, where, NOBODY)
            with_token = count_statements(method, where, admin)

            assert (with_token > without_token) == ((method, path) == ("GET", "/products/{id}"))
            assert count_statements(method, where, {"Authorization": "Bearer nonsense"}) == without_token


@only_sqlite
@pytest.mark.usefixtures("own_application")
def test_a_view_without_a_declared_permission_does_not_start(client):
    config = Configurator(registry=client.app.registry)
    config.add_route("forgotten", "/forgotten")
    config.add_view(lambda _request: None, route_name="forgotten")

    with pytest.raises(ConfigurationError, match="declares no permission"):
        config.commit()


def test_a_users_id_is_what_the_policy_calls_the_user(client, claims, add_view):
    add_view(client, "/whoami", lambda request: Response(str(request.authenticated_userid)))
    token = jwt.encode(claims, SECRET, "HS256")

    answers = [
        client.get("/whoami", headers=headers).text for headers in (NOBODY, {"Authorization": f"Bearer {token}"})
    ]

    assert answers == ["None", str(UUID(claims["sub"]))]
