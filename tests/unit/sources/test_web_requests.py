"""What is sent, which responses are usable, and where redirects lead."""

from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest

from productagg.sources.web import Validators, WebError
from tests.scripted_server import RESET, always, answer
from tests.unit.sources.internet import OTHER, SHOP

SECRET = {"Authorization": "Bearer a-secret", "X-Api-Key": "a-secret", "Accept": "text/csv", "Accept-Language": "cs"}
HOLDS_A_SECRET = ("Authorization", "X-Api-Key")


def fetch(web, url, **options):
    """A response that was read to its end, and its body."""
    with web.get(url, max_bytes=1000, **options) as response:
        return response, response.read()


def fails(web, url, code, **options):
    with pytest.raises(WebError) as raised:
        fetch(web, url, **options)
    assert raised.value.code == code
    return raised.value


def redirect(location, status="302 Found"):
    return answer(b"", status, f"Location: {location}")


def routes(**answers):
    """A script: the answer to each path, without its slash; 'root' is that of '/'."""
    return lambda request: [answers[request.target.strip("/") or "root"]]


class TestWhatIsSent:
    def test_the_user_agent_says_who_asks(self, internet, web_client, serve):
        server = serve(always(answer()))

        fetch(web_client(contact_url="https://example.org/bot").begin(5.0), internet.shop(server))

        agent = f"productagg/{version('productagg')} (+https://example.org/bot)"
        assert server.requests[0].header("User-Agent") == [agent]

    def test_without_a_contact_it_is_the_name_and_the_version(self, internet, web, serve):
        server = serve(always(answer()))

        fetch(web, internet.shop(server))

        assert server.requests[0].header("User-Agent") == [f"productagg/{version('productagg')}"]

    def test_it_is_a_get_with_the_callers_headers_and_nothing_of_the_machine(self, internet, web, serve, tmp_path):
        (tmp_path / "netrc").write_text("machine shop.test login me password netrc-password")
        server = serve(always(answer(b"", "200 OK", "Set-Cookie: a=b")))
        url = internet.shop(server)

        for _ in range(2):
            fetch(web, f"{url}/feed?a=1&b=%20", headers={"X-Api-Key": "a-secret"})

        names = {"Host", "User-Agent", "Accept-Encoding", "Connection", "X-Api-Key"}
        for request in server.requests:
            assert (request.method, request.target, request.body) == ("GET", "/feed?a=1&b=%20", b"")
            assert {name for name, _ in request.headers} == names
            assert request.header("Accept-Encoding") == ["gzip"]

    @pytest.mark.parametrize("name", ["Host", "host", "User-Agent", "Connection", "Transfer-Encoding", "If-None-Match"])
    def test_a_header_that_is_not_the_callers_is_refused(self, internet, web, name):
        assert name in fails(web, "http://shop.test/", "bad_header", headers={name: "x"}).reason

    @pytest.mark.parametrize("value", ["a-secret\r\nHost: evil.test", "a-secret\n", "a-secret\0", "a-secret€"])
    def test_a_value_that_cannot_be_sent_is_refused_and_not_repeated(self, internet, web, value):
        assert "a-secret" not in repr(fails(web, "http://shop.test/", "bad_header", headers={"X-Api-Key": value}))

    @pytest.mark.parametrize("name", ["", "X Y", "X:", "X\r\nY"])
    def test_a_name_that_cannot_be_sent_is_refused(self, internet, web, name):
        fails(web, "http://shop.test/", "bad_header", headers={name: "x"})


class TestConditions:
    KNOWN = Validators('W/"1"', "Tue, 01 Dec 2026 10:00:00 GMT", "a digest")

    def test_the_response_says_which_version_it_is(self, internet, web, serve):
        url = internet.shop(serve(always(answer(b"new", "200 OK", 'ETag: "2"', "Last-Modified: yesterday"))))

        with web.get(url, validators=self.KNOWN, max_bytes=100) as response:
            assert not response.not_modified
            assert response.read() == b"new"
        assert response.validators == Validators('"2"', "yesterday")
        assert response.headers["etag"] == '"2"'

    def test_the_known_version_is_asked_about(self, internet, web, serve):
        server = serve(always(b"HTTP/1.1 304 Not Modified\r\nContent-Encoding: br\r\n\r\n"))

        with web.get(internet.shop(server), validators=self.KNOWN, max_bytes=100) as response:
            assert response.not_modified
            assert response.read() == b""
        assert server.requests[0].header("If-None-Match") == ['W/"1"']
        assert server.requests[0].header("If-Modified-Since") == ["Tue, 01 Dec 2026 10:00:00 GMT"]

    def test_it_is_asked_about_where_a_redirect_leads(self, internet, web, serve):
        elsewhere = serve(always(b"HTTP/1.1 304 Not Modified\r\n\r\n"))
        url = internet.shop(serve(always(redirect(internet.shop(elsewhere, "cdn.test", OTHER)))))

        with web.get(url, validators=self.KNOWN, max_bytes=100) as response:
            assert response.not_modified
        assert elsewhere.requests[0].header("If-None-Match") == ['W/"1"']

    def test_not_modified_without_a_condition_is_an_error(self, internet, web, serve):
        url = internet.shop(serve(always(b"HTTP/1.1 304 Not Modified\r\n\r\n")))

        fails(web, url, "status_304", validators=Validators(digest="a digest"))

    def test_a_validator_that_cannot_be_sent_is_left_out(self, internet, web, serve):
        server = serve(always(answer()))

        fetch(web, internet.shop(server), validators=Validators('"1"\r\nX: y', "Tue\n"))

        assert server.requests[0].header("If-None-Match") == server.requests[0].header("If-Modified-Since") == []

    @pytest.mark.parametrize("value", ["", "x" * 1001, "\x01"], ids=["empty", "long", "a control character"])
    def test_a_validator_that_nobody_should_store_is_none(self, internet, web, serve, value):
        url = internet.shop(serve(always(answer(b"", "200 OK", f"ETag: {value}"))))

        assert fetch(web, url)[0].validators == Validators()


class TestStatuses:
    @pytest.mark.parametrize("status", [201, 204, 206, 300, 400, 401, 403, 404, 410, 418, 500, 502, 504])
    def test_another_status_is_an_error(self, internet, web, serve, status):
        error = fails(web, internet.shop(serve(always(answer(b"x", f"{status} So")))), f"status_{status}")

        assert error.retry_at is None
        assert str(status) in error.reason

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ([], 60),
            (["Retry-After: 120"], 120),
            (["Retry-After: 99999"], 3600),
            (["Date: Tue, 01 Dec 2026 10:00:00 GMT", "Retry-After: Tue, 01 Dec 2026 10:05:00 GMT"], 300),
        ],
        ids=["unsaid", "seconds", "too long", "date"],
    )
    def test_a_site_that_is_busy_says_when_to_come_back(self, internet, web, serve, status, headers, seconds):
        url = internet.shop(serve(always(answer(b"", f"{status} Busy", *headers))))

        error = fails(web, url, f"status_{status}")

        assert error.retry_at is not None
        assert abs(error.retry_at - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=5)

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found"])
    def test_a_redirect_to_nowhere_is_an_error_of_its_status(self, internet, web, serve, status):
        fails(web, internet.shop(serve(always(answer(b"", status)))), f"status_{status[:3]}")


class TestRedirects:
    def test_up_to_five_are_followed(self, internet, web, serve):
        hops = {"root": redirect("/1"), **{str(hop): redirect(f"/{hop + 1}") for hop in range(1, 5)}}
        url = internet.shop(serve(routes(**hops, **{"5": answer(b"there")})))

        response, body = fetch(web, url)

        assert body == b"there"
        assert response.url == "http://shop.test/5"

    def test_a_sixth_is_not(self, internet, web, serve):
        server = serve(always(redirect("/")))

        fails(web, internet.shop(server), "redirect")

        assert len(server.requests) == 6

    @pytest.mark.parametrize(
        ("location", "target"),
        [("/feed", "/feed"), ("feed?a=1#x", "/shop/feed?a=1"), ("?page=2", "/shop/?page=2"), ("/č", "/%C4%8D")],
    )
    def test_a_relative_one_is_relative_to_the_address_that_was_asked_for(self, internet, web, serve, location, target):
        moved = b"HTTP/1.1 301 Moved\r\nLocation: " + location.encode() + b"\r\nContent-Length: 0\r\n\r\n"
        server = serve(lambda request: [moved if request.target == "/shop/" else answer()])

        response, _ = fetch(web, f"{internet.shop(server)}/shop/")

        assert response.url == f"http://shop.test{target}"

    def test_its_body_is_not_read(self, internet, web, serve):
        endless = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 999999999\r\n\r\n"
        server = serve(lambda request: [endless, 60.0] if request.target == "/" else [answer(b"there")])

        assert fetch(web, internet.shop(server))[1] == b"there"

    @pytest.mark.parametrize(
        "location", ["file:///etc/passwd", "ftp://shop.test/", "http://[", "http://", "http://me:pw@shop.test/", "\xff"]
    )
    def test_one_to_what_is_no_address_is_refused(self, internet, web, serve, location):
        fails(web, internet.shop(serve(always(redirect(location)))), "redirect")

    def test_one_from_https_to_http_is_refused(self, internet, web, serve):
        internet.shop(serve(always(redirect("http://shop.test/"))), "shop.test", OTHER)
        internet.shop(serve(always(redirect("http://shop.test/")), tls=True), "localhost")

        fails(web, "https://localhost/", "redirect")
        assert internet.connected == [SHOP]

    def test_one_from_http_to_https_is_followed(self, internet, web, serve):
        internet.shop(serve(always(answer(b"safe")), tls=True), "localhost")
        url = internet.shop(serve(always(redirect("https://localhost/"))), "shop.test", OTHER)

        assert fetch(web, url)[1] == b"safe"


class TestSecrets:
    """The caller's headers are for the origin that they were configured for."""

    def test_they_are_sent_on_within_the_origin(self, internet, web, serve):
        server = serve(routes(root=redirect("/next"), next=answer()))

        fetch(web, internet.shop(server), headers=SECRET)

        assert [request.header("Authorization") for request in server.requests] == [["Bearer a-secret"]] * 2

    @pytest.mark.parametrize(
        "location", ["http://other.test/", "http://shop.test:8080/", "http://shop.test.evil.test/", "//other.test/"]
    )
    def test_they_are_not_sent_to_another_origin(self, internet, web, serve, location):
        target = serve(always(answer()))
        for host in ("other.test", "shop.test.evil.test"):
            internet.shop(target, host, OTHER)
        shop = serve(lambda request: [redirect(location) if ":" not in request.header("Host")[0] else answer()])

        fetch(web, internet.shop(shop), headers=SECRET)

        last = [*shop.requests, *target.requests][-1]
        assert [last.header(name) for name in HOLDS_A_SECRET] == [[], []]
        assert (last.header("Accept"), last.header("Accept-Language")) == (["text/csv"], ["cs"])

    def test_they_are_not_sent_to_https_of_the_same_host(self, internet, web, serve):
        internet.name("localhost", SHOP, OTHER)
        internet.serve(SHOP, serve(always(redirect("https://localhost/"))))
        safe = serve(always(answer()), tls=True)
        internet.serve(OTHER, safe)

        fetch(web, "http://localhost/", headers=SECRET)

        assert safe.requests[0].header("Authorization") == []

    def test_they_do_not_return_when_another_origin_leads_back(self, internet, web, serve):
        back = serve(always(redirect("http://shop.test/chosen-by-others")))
        url = internet.shop(back, "other.test", OTHER)
        shop = serve(lambda request: [answer() if request.target != "/" else redirect(url)])

        fetch(web, internet.shop(shop), headers=SECRET)

        assert [request.header("Authorization") for request in shop.requests] == [["Bearer a-secret"], []]

    @pytest.mark.parametrize(
        "echo",
        [b"HTTP/1.1 a-secret\r\n\r\n", b"a-secret\r\n\r\n", b"HTTP/1.1 500 a-secret\r\nContent-Length: 0\r\n\r\n"],
    )
    def test_an_error_does_not_repeat_what_the_server_sends(self, internet, web, serve, echo):
        with pytest.raises(WebError) as raised:
            fetch(web, internet.shop(serve(always(echo, None))), headers=SECRET)

        assert "a-secret" not in raised.value.reason


class TestCertificates:
    def test_one_for_the_host_name_is_accepted(self, internet, web, serve):
        internet.shop(serve(always(answer(b"safe")), tls=True), "localhost")

        assert fetch(web, "https://localhost/")[1] == b"safe"

    def test_one_for_another_name_is_refused(self, internet, web, serve):
        internet.shop(serve(always(answer()), tls=True), "shop.test")

        assert "shop.test" in fails(web, "https://shop.test/", "invalid_certificate").reason

    def test_one_of_an_unknown_authority_is_refused(self, internet, web_client, serve, monkeypatch):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        internet.shop(serve(always(answer()), tls=True), "localhost")

        fails(web_client().begin(5.0), "https://localhost/", "invalid_certificate")

    def test_authorities_may_be_a_folder(self, internet, web_client, serve, monkeypatch, tmp_path):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
        internet.shop(serve(always(answer()), tls=True), "localhost")

        fails(web_client().begin(5.0), "https://localhost/", "invalid_certificate")


@pytest.mark.parametrize(
    "pieces",
    [
        [None],
        [RESET],
        [b"HTTP/1.1 200 OK\r\nContent-Le", None],
        [b"SSH-2.0-OpenSSH_9.6\r\n", None],
        [b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", None],
        [b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", None],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab", None],
        [b"\x16\x03\x03\x00\x02\x02\x28", None],
    ],
    ids=["nothing", "reset", "half a head", "ssh", "many headers", "a long header", "two lengths", "tls"],
)
def test_what_is_not_a_response_is_an_error(internet, web, serve, pieces):
    assert "shop.test" in fails(web, internet.shop(serve(always(*pieces))), "no_answer").reason


def test_a_host_that_does_not_accept_connections_is_an_error(internet, web):
    internet.name("shop.test", SHOP)

    assert "unreachable" in fails(web, "http://shop.test/", "no_answer").reason


def test_interim_responses_are_not_the_answer(internet, web, serve):
    url = internet.shop(serve(always(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", answer(b"the shop"))))

    assert fetch(web, url)[1] == b"the shop"
