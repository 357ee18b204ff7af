"""Behind a proxy: a real server believes what the trusted one says of its clients, and links begin as they should."""

import pytest

from tests.databases import only_sqlite
from tests.factories import make_product, make_products
from tests.functional.problems import assert_problem
from tests.functional.pserve import serving

pytestmark = [only_sqlite, pytest.mark.processes]

LIST = b"GET /products?limit=1 HTTP/1.1\r\nHost: shop.example\r\n"


@pytest.fixture(scope="module")
def proxied(migrated_database, tmp_path_factory):
    """A server that believes every proxy, as on Heroku."""
    with serving(
        migrated_database, tmp_path_factory.mktemp("proxied"), "trusted_proxy=*", LOGIN_ATTEMPTS="1"
    ) as server:
        yield server


def attempt(server, forwarded_for):
    """The status of a login that fails, from there."""
    return server.send(
        b"POST /login HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n"
        b"X-Forwarded-For: %s\r\nContent-Length: 36\r\n\r\n" % forwarded_for.encode(),
        b'{"username":"admin","password":"xx"}',
    ).status_int


def link(server, *headers):
    answer = server.send(LIST + b"".join(header + b"\r\n" for header in headers) + b"\r\n")
    assert answer.status_int == 200, answer
    return answer.headers["Link"].partition("/products?")[0]


@pytest.mark.parametrize(
    ("first", "same"),
    [
        ("[2001:db8::1]:4711", "[2001:db8::1]:4712"),
        ("[2001:db8::1]:4711", "2001:db8::2"),
        ("203.0.113.7:4711", "203.0.113.7:4712"),
        ('"203.0.113.7:1"', "::ffff:203.0.113.7"),
        ("unknown", "_hidden"),
    ],
)
def test_the_limits_on_logins_see_one_address_however_it_is_written(proxied, database, first, same):
    assert [attempt(proxied, each) for each in (first, same, "198.51.100.7")] == [401, 429, 401]


@pytest.mark.parametrize(
    "header", [b"X-Forwarded-Host: evil.example", b"Forwarded: host=evil.example;proto=https", b"X-Forwarded-Port: 99"]
)
def test_nobody_is_believed_about_the_host(proxied, database, header):
    make_products(database, 2)

    assert link(proxied, header) == "<http://shop.example"


@pytest.mark.parametrize("said", [b"https", b"http,https", b"http, https"])
def test_of_several_schemes_the_one_that_the_proxy_added_counts(proxied, database, said):
    make_products(database, 2)

    assert link(proxied, b"X-Forwarded-Proto: " + said) == "<https://shop.example"


def test_a_scheme_that_does_not_exist_is_a_problem(proxied):
    answer = proxied.send(LIST + b"X-Forwarded-Proto: wss\r\n\r\n")

    assert "X-Forwarded-Proto" in assert_problem(answer, "malformed-request")["detail"]


@pytest.mark.parametrize(
    ("variables", "believed"),
    [((), False), (("trusted_proxy=192.0.2.1",), False), (("trusted_proxy=127.0.0.1",), True)],
)
def test_only_the_trusted_proxy_is_heard(database, tmp_path, variables, believed):
    with serving(database, tmp_path, *variables, LOGIN_ATTEMPTS="1") as server:
        make_products(database, 2)
        secure = link(server, b"X-Forwarded-Proto: https")
        # A proxy appends the address that it sees; the client can invent the ones before it.
        forged = [attempt(server, f"203.0.113.{number}, 192.0.2.9") for number in range(2)]
        honest = attempt(server, "192.0.2.10")
        if not believed:
            wrong = b"X-Forwarded-Proto: nonsense", b"X-Forwarded-Host: a/b", b"X-Forwarded-For: ,,"
            assert link(server, *wrong) == "<http://shop.example"

    assert secure == ("<https://shop.example" if believed else "<http://shop.example")
    assert forged == [401, 429]
    assert honest == (401 if believed else 429)


@pytest.mark.parametrize(
    ("public", "begins"),
    [
        ("https://shop.example", "https://shop.example"),
        ("https://shop.example:8443/catalogue/", "https://shop.example:8443/catalogue"),
    ],
)
def test_all_urls_begin_with_the_public_one(make_client, database, users, public, begins):
    client = make_client(**{"public.url": public})
    make_product(database)
    headers = client.log_in()
    evil = {"Host": "evil.example"}

    links = [
        client.get("/products?limit=1", headers=evil).headers["Link"].partition(">")[0][1:],
        client.get("/", headers=evil).headers["Location"],
        client.post_json("/products", {"name": "Lamp", "description": ""}, headers={**headers, **evil}).location,
        client.post_json("/products/batch", [{"name": "A", "description": ""}], headers=headers).json[0]["location"],
    ]

    for each, path in zip(links, ("/products?", "/docs", "/products/", "/products/"), strict=True):
        assert each.startswith(begins + path)


def test_a_real_server_says_the_public_url_whatever_host_it_is_asked_by(database, tmp_path):
    with serving(database, tmp_path, PUBLIC_URL="https://shop.example/catalogue") as server:
        answer = server.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")

    assert answer.headers["Location"] == "https://shop.example/catalogue/docs"
