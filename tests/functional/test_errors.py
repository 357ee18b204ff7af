"""Errors of every layer have one form, say what to do, and give nothing away."""

import logging

import pytest
from sqlalchemy.exc import IntegrityError

from productagg.api.core.errors import ErrorCode
from productagg.catalog import listing
from productagg.catalog import products as catalog
from tests.databases import only_sqlite
from tests.functional.problems import assert_problem


@only_sqlite
def test_there_is_nothing_at_an_unknown_path(send, subtests):
    for path in (
        "/nowhere",
        "/docs/",
        "/products/",
        "//products",
        "/Products",
        "/login/admin",
        "/problems",
        "/favicon.ico",
    ):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            with subtests.test(f"{method} {path}"):
                assert_problem(send(method, path), "not-found")


@only_sqlite
def test_a_path_that_is_not_utf_8_is_malformed(send):
    assert_problem(send("GET", "/products/%ff"), "malformed-request")


@only_sqlite
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/products", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("/products/1", {"GET", "HEAD", "OPTIONS", "PATCH", "DELETE"}),
        ("/products/1/offers", {"GET", "HEAD", "OPTIONS"}),
        ("/sync-runs", {"GET", "HEAD", "OPTIONS"}),
        ("/sync-runs/1", {"GET", "HEAD", "OPTIONS"}),
        ("/login", {"POST", "OPTIONS"}),
        ("/health/live", {"GET", "HEAD", "OPTIONS"}),
        ("/health/ready", {"GET", "HEAD", "OPTIONS"}),
        ("/problems/not-found", {"GET", "HEAD", "OPTIONS"}),
        ("/openapi.json", {"GET", "HEAD", "OPTIONS"}),
        ("/", {"GET", "HEAD", "OPTIONS"}),
        ("/docs", {"GET", "HEAD", "OPTIONS"}),
        ("/docs/start.js", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_does_not_work_is_answered_with_those_that_do(send, path, allowed, subtests):
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
        with subtests.test(method):
            answer = send(method, path)

            assert_problem(answer, "method-not-allowed")
            assert {each.strip() for each in answer.headers["Allow"].split(",")} == allowed


@only_sqlite
@pytest.mark.parametrize(("path", "status"), [("/login", 405), ("/nowhere", 404), ("/products/%ff", 400)])
def test_an_error_that_answers_head_has_no_body(send, path, status):
    answer = send("HEAD", path)

    assert (answer.status_int, answer.content_type, answer.body) == (status, "application/problem+json", b"")


@only_sqlite
@pytest.mark.parametrize(
    "unexpected",
    [RuntimeError("password=hunter2"), KeyError("hunter2"), IntegrityError("INSERT hunter2", {}, Exception())],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unexpected_error_is_logged_with_the_request_id_and_tells_nothing(
    send, admin, monkeypatch, caplog, method, unexpected
):
    def fails(*_, **__):
        raise unexpected

    monkeypatch.setattr(listing, "page", fails)
    monkeypatch.setattr(catalog, "create", fails)
    body = {"name": "Lamp", "description": ""} if method == "POST" else None

    answer = send(method, "/products", body, {**admin, "X-Request-ID": "find-me"})

    assert_problem(answer, "internal-error")
    assert answer.headers["X-Request-ID"] == "find-me"
    assert "hunter2" not in answer.text
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.request_id == "find-me"
    assert record.exc_info and record.exc_info[1] is unexpected


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/products", None),
        ("POST", "/products", {"name": "Lamp", "description": ""}),
        ("POST", "/login", {"username": "admin", "password": "x"}),
    ],
)
def test_a_lost_database_is_a_503_that_says_when_to_come_back(
    client, send, admin, lose_database, caplog, method, path, body
):
    lose_database(client)

    answer = send(method, path, body, {**admin, "X-Request-ID": "find-me"})

    assert_problem(answer, "unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert "db.internal" not in answer.text
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "db.internal" in record.getMessage()
    assert record.request_id == "find-me"


@pytest.mark.parametrize("migrated_database", ["postgresql"], indirect=True)
def test_after_the_server_dropped_the_connection_one_answer_is_a_503_and_the_next_is_well(database, client, send):
    send("GET", "/products")
    database.end_connections()
    database.close()  # the test's own connections were dropped, too

    assert_problem(send("GET", "/products"), "unavailable")
    assert send("GET", "/products").status_int == 200


@only_sqlite
def test_every_code_is_explained_where_its_type_points_to(client, subtests):
    for code in ErrorCode:
        with subtests.test(str(code)):
            answer = client.get(f"/problems/{code}", status=200)

            assert answer.content_type == "application/json"
            assert (answer.json["code"], answer.json["status"]) == (code, code.status)
            assert answer.json["title"] and answer.json["advice"]


@only_sqlite
def test_an_unknown_code_is_not_found(send, subtests):
    for code in ("nonsense", "Not-Found", "%00", "404"):
        with subtests.test(str(code)):
            assert_problem(send("GET", f"/problems/{code}"), "not-found")


@only_sqlite
def test_no_answer_is_guessed_at_by_a_browser(send):
    for path in ("/products", "/nowhere", "/products/%ff"):
        assert send("GET", path).headers["X-Content-Type-Options"] == "nosniff"
