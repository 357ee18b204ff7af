"""Every answer has the headers that keep browsers out of trouble, whoever gives it, and none that says who we are."""

import re
from importlib.metadata import version

import pytest

from tests.databases import only_sqlite
from tests.functional.pserve import serving
from tests.functional.refused_requests import REFUSED
from tests.functional.routes import BODIES, MATRIX, READ

pytestmark = only_sqlite

API_POLICY = {"default-src": "'none'", "frame-ancestors": "'none'"}
PAGE_POLICY = {
    **API_POLICY,
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
}


def assert_secure(answer, policy=API_POLICY, *, https=False):
    assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.getall("Referrer-Policy") == ["no-referrer"]
    assert answer.headers.getall("Cross-Origin-Resource-Policy") == ["same-origin"]
    [found] = answer.headers.getall("Content-Security-Policy")
    assert dict(each.strip().split(" ", 1) for each in found.split(";")) == policy
    assert re.fullmatch(r"(no-store|no-cache|private|public)\b.*", answer.headers["Cache-Control"])
    assert ("Strict-Transport-Security" in answer.headers) == https
    for name in ("Server", "X-Powered-By", "Via"):
        assert name not in answer.headers
    for each in ("pyramid", "waitress", "webob", "python", version("pyramid"), version("waitress")):
        assert each not in str(dict(answer.headers)).lower()


def test_every_route_has_them(send, there, admin, subtests):
    # A product that was deleted has no answers but one.
    every = sorted([*MATRIX, *(("HEAD", path) for path in READ)], key=lambda each: each[0] == "DELETE")
    for method, path in every:
        with subtests.test(f"{method} {path}"):
            check_route(send, there, admin, method, path)


def check_route(send, there, admin, method, path):
    policy = PAGE_POLICY if path == "/docs" else API_POLICY

    # As what it is for, without a token, with nonsense, and for what does not work.
    assert_secure(send(method, there(path), BODIES.get((method, path)), admin), policy)
    for headers in ({}, {"If-Match": '"x"', "If-None-Match": '"x"'}):
        answer = send(method, there(path), b"nonsense", headers)
        assert_secure(answer, policy if answer.status_int == 200 else API_POLICY)
    assert_secure(send("PUT", there(path), b"nonsense"))
    assert_secure(send("OPTIONS", there(path)))


@pytest.mark.parametrize("path", ["/products/{id}", "/openapi.json", "/docs"])
def test_a_304_has_them(send, there, path):
    answer = send("GET", there(path), None, {"If-None-Match": "*"})

    assert answer.status_int == 304
    assert_secure(answer, PAGE_POLICY if path == "/docs" else API_POLICY)


@pytest.mark.parametrize("path", ["/nowhere", "/products/%ff", "/docs/", "/docs/nothing.js"])
def test_what_is_not_there_has_them(send, path):
    assert_secure(send("GET", path))


def test_a_fault_of_ours_has_them(client, send, add_view):
    def fails(_request):
        raise RuntimeError

    add_view(client, "/fails", fails)

    answer = send("GET", "/fails")

    assert answer.status_int == 500
    assert_secure(answer)


def test_https_is_to_stay_https(client):
    answer = client.get("/products", extra_environ={"wsgi.url_scheme": "https"})

    assert_secure(answer, https=True)
    assert int(answer.headers["Strict-Transport-Security"].removeprefix("max-age=")) >= 180 * 24 * 3600


@pytest.fixture(scope="module")
def server(migrated_database, tmp_path_factory):
    with serving(migrated_database, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.mark.processes
@pytest.mark.parametrize("what", REFUSED)
def test_what_the_server_refuses_has_them(server, what):
    assert_secure(server.send(REFUSED[what][0]))


@pytest.mark.processes
@pytest.mark.parametrize("path", [b"/products", b"/docs/start.js", b"/nowhere", b"/health/ready"])
def test_a_real_server_sends_them_and_no_name(server, path):
    assert_secure(server.send(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path))


@pytest.mark.processes
def test_a_client_cannot_say_that_it_came_by_https(server):
    request = b"GET /products HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n\r\n"

    assert_secure(server.send(request))


@pytest.mark.processes
def test_a_trusted_proxy_can(database, tmp_path):
    with serving(database, tmp_path, "trusted_proxy=127.0.0.1") as server:
        answer = server.send(b"GET /products HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n\r\n")

    assert_secure(answer, https=True)


@pytest.mark.processes
def test_what_escapes_the_application_altogether_has_them(database, tmp_path):
    """As an error in a tween would."""
    broken = "import productagg.api.core.tweens as it\ndef fails(*_): raise RuntimeError\nit.add_security = fails\n"
    with serving(database, tmp_path, before=broken) as server:
        answer = server.send(b"GET /products HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert answer.status_int == 500
    assert answer.json["code"] == "internal-error"
    assert_secure(answer)
