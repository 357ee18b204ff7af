"""What is not fit to be stored: every fault of a body is named, with where it is, and nothing is written."""

import json
from typing import Any

import pytest

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem

EMPTY, TEXT, CONTROL = "must not be empty", "must be a string", "must not contain control characters"
INVISIBLE = "must not contain invisible characters"
UNKNOWN, REQUIRED, OBJECT = "is not known", "is required", "must be an object"
GOOD = {"name": "Lamp", "description": "Bright"}

# For POST and PATCH alike: what is wrong in an otherwise good body, and the faults to be named.
FAULTY: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"name": 3}, {"/name": TEXT}),
    ({"name": 3.9}, {"/name": TEXT}),
    ({"name": True}, {"/name": TEXT}),
    ({"name": ["Lamp"]}, {"/name": TEXT}),
    ({"name": {"en": "Lamp"}}, {"/name": TEXT}),
    ({"description": 0}, {"/description": TEXT}),
    ({"description": False}, {"/description": TEXT}),
    ({"name": ""}, {"/name": EMPTY}),
    ({"name": " \t\n "}, {"/name": EMPTY}),
    ({"name": "\u3000\u00a0"}, {"/name": EMPTY}),
    ({"name": "\u200b\u2060"}, {"/name": f"{EMPTY}; {INVISIBLE}"}),
    ({"name": "\u200d"}, {"/name": f"{EMPTY}; {INVISIBLE}"}),
    ({"name": "\u115f"}, {"/name": f"{EMPTY}; {INVISIBLE}"}),
    ({"name": "\u2800"}, {"/name": EMPTY}),
    ({"name": "x" * 201}, {"/name": "must have at most 200 characters"}),
    ({"description": "x" * 10_001}, {"/description": "must have at most 10000 characters"}),
    ({"name": "La\0mp"}, {"/name": CONTROL}),
    ({"name": "La\nmp"}, {"/name": CONTROL}),
    ({"name": "La\x1bmp"}, {"/name": CONTROL}),
    ({"name": "La\x7fmp"}, {"/name": CONTROL}),
    ({"name": "La\x85mp"}, {"/name": CONTROL}),
    ({"description": "Bri\0ght"}, {"/description": CONTROL}),
    ({"description": "Bri\x08ght"}, {"/description": CONTROL}),
    ({"id": "1"}, {"/id": UNKNOWN}),
    ({"Name": "Lamp"}, {"/Name": UNKNOWN}),
    ({"": 1}, {"/": UNKNOWN}),
    ({"a/b~c": 1}, {"/a~1b~0c": UNKNOWN}),
    (
        {"price": 1, "tags": [], "name": 1, "description": 2},
        dict.fromkeys(["/price", "/tags", "/name", "/description"]),
    ),
    ({"name": "\0" + "x" * 300}, {"/name": f"must have at most 200 characters; {CONTROL}"}),
]

# What cannot even be read: the bytes and the code.
UNREADABLE = [
    (b"", "malformed-json"),
    (b"{", "malformed-json"),
    (b'{"name": "Lamp", "descr', "malformed-json"),
    (b'{"name": "Lamp",}', "malformed-json"),
    (b"{'name': 'Lamp'}", "malformed-json"),
    (b'{"name": NaN}', "malformed-json"),
    (b'{"name": "La\nmp"}', "malformed-json"),
    (b'{"name": "Lamp"} {}', "malformed-json"),
    (b'\xef\xbb\xbf{"name": "Lamp"}', "malformed-json"),
    ('{"name": "Lämp"}'.encode("latin-1"), "malformed-json"),
    (b'{"name": "\xed\xa0\x80"}', "malformed-json"),
    (rb'{"name": "\ud800"}', "malformed-json"),
    (rb'{"name": "\udc00\ud800", "description": ""}', "malformed-json"),
    (b"[" * 100_000, "malformed-json"),
    (b'[{"name": "Lamp", "description": ""}]', "invalid-data"),
    (b'"Lamp"', "invalid-data"),
    (b"3", "invalid-data"),
    (b"null", "invalid-data"),
    (b"true", "invalid-data"),
]


@pytest.fixture(params=["POST", "PATCH"])
def write(request, send, create, admin):
    """Send a body for a new product, and for a change of one."""
    path = f"/products/{create(name='Stored')['id']}" if request.param == "PATCH" else "/products"
    return lambda body, headers=(): send(request.param, path, body, {**admin, **dict(headers)})


@pytest.fixture
def unchanged(database, stored):
    """Nothing was written: neither a new product nor a change."""
    yield
    assert stored() == stored("Stored")


@only_sqlite
@pytest.mark.usefixtures("unchanged")
def test_every_fault_of_a_body_is_named(write, subtests):
    for fault, errors in FAULTY:
        with subtests.test(json.dumps(fault)[:60]):
            assert_problem(write({**GOOD, **fault}), "invalid-data", errors)


@only_sqlite
@pytest.mark.usefixtures("unchanged")
def test_a_body_that_cannot_be_read_is_refused(write, subtests):
    for body, code in UNREADABLE:
        with subtests.test(repr(body[:40])):
            assert_problem(write(body), code, {"": OBJECT} if code == "invalid-data" else None)


@only_sqlite
@pytest.mark.usefixtures("unchanged")
def test_a_body_that_is_not_declared_as_json_is_refused(write, subtests):
    for declared in (
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/json-patch+json",
        "",
        "nonsense",
        "*/*",
    ):
        with subtests.test(declared):
            answer = write(GOOD, {"Content-Type": declared})

            assert_problem(answer, "unsupported-media-type")
            assert answer.headers["Accept"].startswith("application/json")


@only_sqlite
@pytest.mark.parametrize(
    "declared", ["application/json;charset=utf-8", "Application/JSON", "application/json; charset=x"]
)
def test_what_is_declared_as_json_may_say_more_or_shout(write, stored, declared):
    assert write({**GOOD, "name": "Lämp"}, {"Content-Type": declared}).status_int in (200, 201)

    assert stored("Lämp") == 1


@only_sqlite
@pytest.mark.usefixtures("unchanged")
def test_a_form_is_not_taken_for_json(write):
    answer = write(b"name=Lamp&description=Bright", {"Content-Type": "application/x-www-form-urlencoded"})

    assert_problem(answer, "unsupported-media-type")


@only_sqlite
@pytest.mark.usefixtures("unchanged")
def test_a_body_over_the_limit_is_refused(write):
    assert_problem(write(b" " * (256 * 1024 + 1)), "body-too-large")


@only_sqlite
def test_a_body_at_the_limit_is_read(write, stored):
    assert write(json.dumps(GOOD).encode().ljust(256 * 1024)).status_int in (200, 201)

    assert stored("Lamp") == 1


def test_names_and_descriptions_may_be_as_long_as_they_may_be(write, stored):
    # Characters count, not bytes.
    name = "\N{ELECTRIC LIGHT BULB}" * 200
    assert write({"name": name, "description": "\N{ELECTRIC LIGHT BULB}" * 10_000}).status_int in (200, 201)

    assert stored(name) == 1


@only_sqlite
def test_a_new_product_needs_both_fields_and_says_so_at_once(send, admin, stored):
    answer = send("POST", "/products", {"nmae": "Lamp"}, admin)

    assert_problem(answer, "invalid-data", {"/name": REQUIRED, "/description": REQUIRED, "/nmae": UNKNOWN})
    assert stored() == 0


@only_sqlite
def test_a_login_is_read_as_strictly(send, users, subtests):
    for body, errors in (
        ({}, {"/username": REQUIRED, "/password": REQUIRED}),
        ({"username": 1, "password": None}, {"/username": TEXT, "/password": TEXT}),
        ({"username": "a" * 1001, "password": "b" * 1001}, dict.fromkeys(["/username", "/password"])),
        ({"username": "admin\0", "password": "x"}, {"/username": CONTROL}),
        ({"username": "admin", "password": "x", "otp": "1"}, {"/otp": UNKNOWN}),
        ([], {"": OBJECT}),
    ):
        with subtests.test(json.dumps(body)[:60]):
            assert_problem(send("POST", "/login", body), "invalid-data", errors)
