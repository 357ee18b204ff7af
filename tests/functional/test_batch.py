"""POST /products/batch: up to a thousand products in one request, an answer for each, or all or nothing."""

import json
import time
from uuid import UUID

import pytest
from sqlalchemy import event
from webtest import TestApp

from productagg import strict_json
from productagg.catalog import batch_creation
from productagg.db.models import ProductSource, ProductSummary
from tests.databases import only_sqlite
from tests.factories import rows
from tests.functional.problems import assert_problem

EMPTY, UNKNOWN, REQUIRED, OBJECT = "must not be empty", "is not known", "is required", "must be an object"
NOT_UNIQUE = "is not unique"
# A character that is as long as any in UTF-8.
BULB = "\N{ELECTRIC LIGHT BULB}"


def new(name, description=""):
    return {"name": name, "description": description}


@pytest.fixture
def post(send, admin):
    return lambda items, query="", **headers: send("POST", f"/products/batch{query}", items, {**admin, **headers})


def problem_of(item, code, errors):
    """An item's answer is this problem. Returns it."""
    assert item.keys() == {"status", "problem"}
    problem = item["problem"]
    assert (problem["code"], problem["status"], problem["type"]) == (code, item["status"], f"/problems/{code}")
    assert {each["pointer"]: each["detail"] for each in problem["errors"]} == errors
    return problem


@only_sqlite
def test_an_item_of_many_faults_lists_a_few(post, stored):
    odd = {f"{number}{'x' * 1000}": None for number in range(30)}

    for query in ("", "?atomic=true"):
        answer = post([new("Lamp") | odd], query)

        problem = answer.json if query else answer.json[0]["problem"]
        assert len(problem["errors"]) == 5
        assert len(answer.body) < 2000
    assert stored() == 0


@pytest.fixture
def parsed(monkeypatch):
    """What is parsed."""
    seen = []
    honest = strict_json.loads

    def loads(text):
        seen.append(text)
        return honest(text)

    monkeypatch.setattr(strict_json, "loads", loads)
    return seen


@only_sqlite
@pytest.mark.parametrize(
    "item", [b'{"name":"' + b'\\"' * 9 + b'"' + b',"a":1' * 30_000 + b"}", b"[" * 50_000, b'"a"' * 50_000]
)
def test_what_has_more_parts_than_a_thousand_products_is_not_parsed(post, parsed, item):
    assert_problem(post(b"[" + item + b"]"), "invalid-data", {"": "has too many items and members"})
    assert parsed == []


@only_sqlite
def test_no_more_than_a_thousand_items_are_parsed(post, parsed):
    body = b"[" + b"{}," * 500_000 + b"{}]"

    assert_problem(post(body), "invalid-data", {"": "must be an array of 1 to 1000 items"})
    assert len(parsed) == 1001


@only_sqlite
@pytest.mark.parametrize("body", [b'[{"name":"' + b'\\"' * 2_000_000, b'["' + b"\\" * 4_000_001, b" " * 4_000_000])
def test_a_text_without_an_end_is_found_in_a_moment(client, admin, body):
    started = time.process_time()

    answer = TestApp(client.app).post(
        "/products/batch", body, headers=admin, content_type="application/json", expect_errors=True
    )

    assert answer.status_int in (400, 422)
    assert time.process_time() - started < 2


def test_an_item_may_be_as_large_as_the_body_of_a_single_product(post, stored):
    padded = json.dumps(new("Lamp"))[:-1].encode()

    answer = post(b"[" + padded.ljust(262_143) + b"}," + padded.replace(b"Lamp", b"Chair").ljust(262_144) + b"}]")

    assert [item["status"] for item in answer.json] == [201, 422]
    problem_of(answer.json[1], "invalid-data", {"/1": "must have at most 262144 bytes"})
    assert stored() == 1


@pytest.fixture
def slices(monkeypatch):
    """A statement takes one product."""
    monkeypatch.setattr(batch_creation, "MAX_CHARACTERS", 1)


@pytest.mark.usefixtures("slices")
def test_texts_that_are_long_change_nothing_but_the_number_of_statements(client, create, post, stored):
    create(name="Taken")
    batch = [new("Zebra", "striped"), new("Taken"), new("Ant"), new("Zebra", "again"), new("", "x"), new("Bee")]

    none = post(batch, "?atomic=true")
    some = post(batch)

    assert_problem(none, "invalid-data", {"/1/name": NOT_UNIQUE, "/3/name": NOT_UNIQUE, "/4/name": EMPTY})
    assert [item["status"] for item in some.json] == [201, 409, 201, 409, 422, 201]
    assert client.get(some.json[0]["location"]).json["description"] == "striped"
    assert [each["name"] for each in client.get("/products").json] == ["Taken", "Zebra", "Ant", "Bee"]
    assert stored() == 4


@only_sqlite
def test_commas_in_texts_are_no_parts(post):
    assert post([new("Lamp", 'a\\,"b",' * 900) for _ in range(1)]).status_int == 201
    assert post([new(f"Lamp {number}", ',"' * 4000) for number in range(10)]).status_int == 201


@pytest.mark.parametrize("query", ["", "?atomic=false", "?atomic=true"])
def test_good_products_are_all_created_and_answered_in_their_order(client, post, database, query):
    answer = post([new("Zebra", "striped"), new("Ant"), new(" Lamp \n", "x\ty\n")], query)

    assert answer.status_int == 201
    assert [item["status"] for item in answer.json] == [201, 201, 201]
    found = [client.get(item["location"]).json for item in answer.json]
    assert [(each["name"], each["description"]) for each in found] == [
        ("Zebra", "striped"),
        ("Ant", ""),
        ("Lamp", "x\ty\n"),
    ]
    assert [each["id"] for each in found] == [item["id"] for item in answer.json]
    assert len(rows(database, ProductSource)) == len(rows(database, ProductSummary)) == 3


def test_the_list_has_them_in_the_order_of_the_batch(client, post):
    post([new(name) for name in "DACB"])

    assert [each["name"] for each in client.get("/products").json] == list("DACB")


def test_what_is_good_is_created_though_others_are_not(client, create, post, stored):
    create(name="Taken")

    answer = post(
        [new("Lamp"), new(""), new("Taken"), {"nmae": "x"}, 7, new("Lamp", "again"), new("Chair"), [], new(" Taken ")]
    )

    assert answer.status_int == 207
    items = answer.json
    assert [item["status"] for item in items] == [201, 422, 409, 422, 422, 409, 201, 422, 409]
    problem_of(items[1], "invalid-data", {"/1/name": EMPTY})
    assert "'Taken'" in problem_of(items[2], "duplicate-name", {"/2/name": NOT_UNIQUE})["detail"]
    problem_of(items[3], "invalid-data", {"/3/name": REQUIRED, "/3/description": REQUIRED, "/3/nmae": UNKNOWN})
    problem_of(items[4], "invalid-data", {"/4": OBJECT})
    problem_of(items[5], "duplicate-name", {"/5/name": NOT_UNIQUE})
    problem_of(items[7], "invalid-data", {"/7": OBJECT})
    problem_of(items[8], "duplicate-name", {"/8/name": NOT_UNIQUE})
    assert stored() == 3
    assert client.get(items[0]["location"]).json["description"] == ""
    assert client.get(items[6]["location"]).json["name"] == "Chair"


def test_if_nothing_is_good_nothing_is_created_and_each_says_why(post, stored):
    answer = post([new(""), {}])

    assert answer.status_int == 207
    assert [item["status"] for item in answer.json] == [422, 422]
    assert stored() == 0


def test_atomic_creates_nothing_if_anything_is_wrong_and_lists_all_of_it(create, post, stored):
    create(name="Taken")

    answer = post([new("Lamp"), new(""), new("Taken"), {"name": "x" * 201}, 7, new("Lamp")], "?atomic=true")

    faults = {
        "/1/name": EMPTY,
        "/2/name": NOT_UNIQUE,
        "/3/name": "must have at most 200 characters",
        "/3/description": REQUIRED,
        "/4": OBJECT,
        "/5/name": NOT_UNIQUE,
    }
    assert "5 of the 6 products" in assert_problem(answer, "invalid-data", faults)["detail"]
    assert stored() == stored("Taken") == 1


def test_atomic_says_so_if_it_is_only_for_the_names(create, post, stored):
    create(name="Taken")

    answer = post([new("Lamp"), new("Taken"), new("Lamp")], "?atomic=true")

    assert_problem(answer, "duplicate-name", {"/1/name": NOT_UNIQUE, "/2/name": NOT_UNIQUE})
    assert stored() == 1


@only_sqlite
@pytest.mark.parametrize("body", [[], {}, {"products": []}, None, "Lamp", 1])
@pytest.mark.parametrize("query", ["", "?atomic=true"])
def test_what_is_no_array_of_something_is_refused(post, stored, body, query):
    answer = post(json.dumps(body).encode(), query)

    assert_problem(answer, "invalid-data", {"": "must be an array of 1 to 1000 items"})
    assert stored() == 0


@only_sqlite
def test_more_than_a_thousand_are_refused(post, stored):
    assert_problem(post([new(str(number)) for number in range(1001)]), "invalid-data", {"": None})
    assert stored() == 0


@only_sqlite
@pytest.mark.parametrize("query", ["?atomic=1", "?atomic=", "?atomic=true&atomic=true", "?all=true"])
def test_a_query_that_means_nothing_is_refused(post, stored, query):
    assert_problem(post([new("Lamp")], query), "invalid-data", {query[1:].partition("=")[0]: None})
    assert stored() == 0


@only_sqlite
@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"[{", {}, "malformed-json"),
        (b"", {}, "malformed-json"),
        (b"[]", {"Content-Type": "text/csv"}, "unsupported-media-type"),
        (b"[]", {"Content-Type": "application/merge-patch+json"}, "unsupported-media-type"),
    ],
)
def test_what_cannot_be_read_is_refused(post, body, headers, code):
    assert_problem(post(body, **headers), code)


@only_sqlite
def test_a_batch_has_a_limit_of_its_own(post, send, admin):
    over = 40 * 1024 * 1024 + 1

    assert_problem(post(b" " * over), "body-too-large")
    assert_problem(send("POST", "/products", b" " * (256 * 1024 + 1), admin), "body-too-large")


@pytest.fixture
def submitted(client, monkeypatch, stored):
    """What is handed to the background: for each product, whether others could see them all by then."""
    seen = []
    monkeypatch.setattr(client.background, "submit", lambda product_id: seen.append((product_id, stored() == 2)))
    return seen


def test_each_is_handed_to_the_background_after_the_commit(post, submitted):
    answer = post([new("Lamp"), new(""), new("Chair")])

    assert submitted == [(UUID(answer.json[index]["id"]), True) for index in (0, 2)]


def test_what_was_rolled_back_is_not_handed_over(post, submitted):
    post([new("Lamp"), new("")], "?atomic=true")

    assert submitted == []


def test_more_than_the_backlog_takes_waits_for_the_next_run(client, post, database):
    assert post([new(str(number)) for number in range(300)]).status_int == 201
    client.background.wait()

    waiting = [row for row in rows(database, ProductSource) if row.registration == "pending"]
    assert 0 < len(waiting) < 300
    assert all(row.leased_until is None for row in waiting)


def test_a_batch_that_failed_has_created_nothing(post, stored, monkeypatch):
    honest = batch_creation.create_many

    def fails(*arguments):
        honest(*arguments)
        raise RuntimeError

    monkeypatch.setattr(batch_creation, "create_many", fails)

    assert_problem(post([new("Lamp"), new("Chair")]), "internal-error")
    assert stored() == 0


@pytest.mark.usefixtures("own_application")
def test_a_thousand_take_as_many_statements_as_one(client, post):
    writer, _ = client.services.engines
    statements = []
    client.services.background.submit = lambda _: None
    event.listen(writer, "after_cursor_execute", lambda *given: statements.append(given[2]))

    def cost(items):
        statements.clear()
        assert post(items).status_int == 201
        return len(statements)

    assert cost([new("Lamp")]) == cost([new(str(number)) for number in range(1000)])


LONG = BULB * 10_000
FULL = [new(f"{number:04} ".ljust(200, BULB), LONG) for number in range(1000)]


@pytest.mark.parametrize(
    ("items", "seconds"),
    [
        pytest.param([new(f"Lamp {number}", "Bright") for number in range(1000)], 1, id="usual"),
        pytest.param(FULL, 5, id="as large as can be", marks=pytest.mark.slow),
    ],
)
def test_a_thousand_are_created_in_a_moment(client, admin, stored, monkeypatch, items, seconds):
    monkeypatch.setattr(client.background, "submit", lambda _: None)
    body = json.dumps(items, ensure_ascii=False).encode()
    # Without the check of the contract, which takes longer than the request.
    web = TestApp(client.app)
    started = time.process_time()

    answer = web.post("/products/batch", body, headers=admin, content_type="application/json")

    took = time.process_time() - started
    assert (answer.status_int, stored()) == (201, 1000)
    assert took < seconds
