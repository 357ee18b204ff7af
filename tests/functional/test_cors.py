"""CORS: closed unless CORS_ORIGINS opens it, and then every answer can be read, errors too."""

import pytest

from tests.databases import only_sqlite
from tests.functional.pserve import serving
from tests.functional.routes import MATRIX, READ

pytestmark = only_sqlite

SHOP = "https://shop.example"
OTHER = "https://other.example"
EXPOSED = {
    "ETag",
    "Location",
    "Link",
    "Next-Cursor",
    "Prev-Cursor",
    "Total-Count",
    "Retry-After",
    "X-Request-ID",
    "Last-Modified",
    "Last-Sequence",
    "Idempotency-Replayed",
    "WWW-Authenticate",
}


@pytest.fixture
def open_client(make_client, upstream, users):
    """An application that two origins may read."""
    return make_client(upstream, **{"cors.origins": f"{SHOP}, http://localhost:3000"})


def of_cors(answer):
    return {name for name in answer.headers if name.startswith("Access-Control-")}


def names(answer, header):
    return {each.strip() for each in answer.headers[header].split(",")}


def test_it_is_closed_unless_opened(send, there, admin, subtests):
    preflight = {"Origin": SHOP, "Access-Control-Request-Method": "GET"}

    for path in READ:
        for method, headers in (("GET", {**admin, "Origin": SHOP}), ("OPTIONS", preflight)):
            with subtests.test(f"{method} {path}"):
                answer = send(method, there(path), None, headers)

                assert of_cors(answer) == set()
                assert "Origin" not in answer.headers.get("Vary", "").split(", ")
                assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_page_of_a_named_origin_reads_every_route(send, there, admin, open_client, subtests):
    for path in READ:
        with subtests.test(path):
            answer = send("GET", there(path), None, {**admin, "Origin": SHOP}, open_client)

            assert answer.headers["Access-Control-Allow-Origin"] == SHOP
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert "Origin" in names(answer, "Vary")
            assert names(answer, "Access-Control-Expose-Headers") >= EXPOSED


@pytest.mark.parametrize(
    "origin",
    [None, OTHER, "null", f"{SHOP}/", f"{SHOP}.evil.example", "http://shop.example", SHOP.upper(), f"{SHOP}:8443"],
)
def test_any_other_origin_gets_the_answer_without_leave_to_read_it(send, open_client, origin):
    answer = send("GET", "/products", None, {} if origin is None else {"Origin": origin}, open_client)

    assert answer.status_int == 200
    assert of_cors(answer) == set()
    # Or a cache would hand this to a page that may read it.
    assert "Origin" in names(answer, "Vary")


def test_a_preflight_says_what_may_be_sent(send, there, open_client, subtests):
    sent = {"Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "X-Request-ID"}
    for method, path in MATRIX:
        with subtests.test(f"{method} {path}"):
            asked = {
                "Origin": SHOP,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "authorization",
            }

            answer = send("OPTIONS", there(path), None, asked, open_client)

            assert (answer.status_int, answer.body) == (204, b"")
            assert answer.headers["Access-Control-Allow-Origin"] == SHOP
            assert method in names(answer, "Access-Control-Allow-Methods")
            assert names(answer, "Access-Control-Allow-Headers") >= sent
            assert int(answer.headers["Access-Control-Max-Age"]) > 0
            assert "Access-Control-Expose-Headers" not in answer.headers


def test_a_preflight_of_another_origin_gets_nothing(send, open_client):
    asked = {"Origin": OTHER, "Access-Control-Request-Method": "POST"}

    assert of_cors(send("OPTIONS", "/products", None, asked, open_client)) == set()


def test_errors_can_be_read_too(client, send, there, admin, open_client, monkeypatch):
    path = there("/products/{id}")
    product = {"name": "Lamp", "description": ""}
    for status, request in {
        400: ("GET", "/products/%ff", None, {}),
        401: ("POST", "/products", product, {}),
        404: ("GET", "/nowhere", None, {}),
        405: ("PUT", "/products", product, {}),
        409: ("POST", "/products", product, admin),
        412: ("PATCH", path, product, {**admin, "If-Match": '"9-x"'}),
        415: ("POST", "/products", product, {**admin, "Content-Type": "text/plain"}),
        422: ("POST", "/products", {}, admin),
        304: ("GET", path, None, {"If-None-Match": "*"}),
    }.items():
        method, where, body, headers = request
        answer = send(method, where, body, {**headers, "Origin": SHOP}, open_client)

        assert answer.status_int == status
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert "X-Request-ID" in names(answer, "Access-Control-Expose-Headers")
        assert "Origin" in names(answer, "Vary")


def test_a_fault_of_ours_can_be_read_too(send, open_client, lose_database):
    lose_database(open_client)

    answer = send("GET", "/products", None, {"Origin": SHOP}, open_client)

    assert answer.status_int == 503
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize("origin", [None, SHOP, "null"])
def test_a_star_lets_everybody_read(send, make_client, users, origin):
    everybody = make_client(**{"cors.origins": "*"})

    answer = send("GET", "/products", None, {} if origin is None else {"Origin": origin}, everybody)

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    # It is the same for all.
    assert "Origin" not in answer.headers.get("Vary", "")


@pytest.mark.processes
def test_what_the_server_refuses_can_be_read_too(database, tmp_path, monkeypatch):
    monkeypatch.setenv("CORS_ORIGINS", SHOP)
    with serving(database, tmp_path) as server:
        answer = server.send(
            b"POST /products HTTP/1.1\r\nHost: x\r\nOrigin: https://shop.example\r\nContent-Length: 1048577\r\n\r\n"
        )

    assert answer.status_int == 413
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
