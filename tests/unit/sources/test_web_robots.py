"""robots.txt: pages are asked for only if it permits that. Feeds and interfaces are made for machines."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from productagg.sources.web import WebError
from productagg.sources.web.pacing import Pacing
from productagg.sources.web.robots import MAX_ROBOTS_BYTES, Robots
from productagg.sources.web.urls import parse
from tests.scripted_server import RESET, always, answer
from tests.unit.sources.internet import OTHER, SHOP

DAY = 86_400


class Clock:
    now = 1000.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def begin(web_client, clock):
    """Call it for the requests of one fetch. All share what they know of sites."""
    client = web_client(robots=Robots(lambda: clock.now))
    return lambda: client.begin(5.0)


@pytest.fixture
def shop(internet, serve):
    """Call it with what a shop answers to /robots.txt (a body, or pieces) for the shop's address and server."""

    def make(robots, host="shop.test", address=SHOP):
        pieces = [answer(robots)] if isinstance(robots, bytes) else robots
        server = serve(lambda request: pieces if request.target == "/robots.txt" else [answer(b"a page")])
        return internet.shop(server, host, address), server

    return make


def page(web, url):
    with web.get(url, max_bytes=100, is_page=True) as response:
        return response.read()


def denied(web, url, code="robots"):
    with pytest.raises(WebError) as raised:
        page(web, url)
    assert raised.value.code == code
    return raised.value


def asked(server):
    return [request.target for request in server.requests]


class TestRules:
    def test_a_page_that_it_disallows_is_not_asked_for(self, shop, begin):
        url, server = shop(b"User-agent: *\nDisallow: /private")

        assert "/private/1" in denied(begin(), f"{url}/private/1").reason
        assert page(begin(), f"{url}/public") == b"a page"
        assert asked(server) == ["/robots.txt", "/public"]

    def test_rules_for_us_by_name_come_first(self, shop, begin):
        url, _ = shop(b"User-agent: *\nAllow: /\n\nUser-agent: ProductAgg\nDisallow: /\nAllow: /shop/*.html$")

        denied(begin(), f"{url}/other")
        assert page(begin(), f"{url}/shop/kettle.html") == b"a page"

    def test_rules_for_others_do_not_concern_us(self, shop, begin):
        url, _ = shop(b"User-agent: otherbot\nDisallow: /")

        assert page(begin(), url) == b"a page"

    def test_the_query_counts(self, shop, begin):
        url, _ = shop(b"User-agent: *\nDisallow: /*?variant=")

        denied(begin(), f"{url}/kettle?variant=1")

    @pytest.mark.parametrize("body", [b"", b"<html>not found</html>", b"\xff\xfe\x00", b"Disallow: /"])
    def test_one_without_rules_for_anybody_allows_everything(self, shop, begin, body):
        url, _ = shop(body)

        assert page(begin(), url) == b"a page"

    def test_a_byte_order_mark_hides_no_rule(self, shop, begin):
        url, _ = shop(b"\xef\xbb\xbfUser-agent: *\nDisallow: /")

        denied(begin(), url)

    def test_a_feed_is_asked_for_without_it(self, shop, begin):
        url, server = shop(b"User-agent: *\nDisallow: /")

        with begin().get(f"{url}/feed", max_bytes=100) as response:
            assert response.read() == b"a page"
        assert asked(server) == ["/feed"]

    def test_each_origin_has_its_own(self, shop, begin):
        url, _ = shop(b"User-agent: *\nDisallow: /")
        other, server = shop(b"", "other.test", OTHER)

        assert page(begin(), other) == b"a page"
        assert page(begin(), f"{other}:8080") == b"a page"
        denied(begin(), url)
        assert asked(server) == ["/robots.txt", "/", "/robots.txt", "/"]

    def test_a_redirect_does_not_lead_around_it(self, internet, serve, shop, begin):
        url, closed = shop(b"User-agent: *\nDisallow: /private")
        away = answer(b"", "302 Found", f"Location: {url}/private/1")
        server = serve(lambda request: [away if request.target == "/" else answer()])

        denied(begin(), internet.shop(server, "other.test", OTHER))
        assert asked(closed) == ["/robots.txt"]

    def test_no_secret_is_sent_to_it(self, shop, begin):
        url, server = shop(b"")

        with begin().get(url, headers={"Authorization": "Bearer a-secret"}, max_bytes=100, is_page=True):
            pass

        assert [request.header("Authorization") for request in server.requests] == [[], ["Bearer a-secret"]]

    def test_its_own_redirects_are_followed(self, internet, serve, shop, begin):
        rules = answer(b"User-agent: *\nDisallow: /")
        elsewhere = internet.shop(serve(always(rules)), "other.test", OTHER)
        url, _ = shop([answer(b"", "301 Moved", f"Location: {elsewhere}/robots.txt")])

        denied(begin(), url)

    def test_what_follows_the_limit_of_its_size_is_not_read(self, shop, begin):
        rules = b"User-agent: *\nDisallow: /a\n"
        filling = b"#" * (MAX_ROBOTS_BYTES - len(rules) - len(b"\nDisallow: /"))
        url, _ = shop(rules + filling + b"\nDisallow: /b\n" + b"Disallow: /c\n" * 10_000)

        denied(begin(), f"{url}/a")
        for path in ("/b", "/c", "/d"):
            assert page(begin(), url + path) == b"a page"


class TestUnreadable:
    @pytest.mark.parametrize("status", ["400 Bad", "401 Unauthorized", "403 Forbidden", "404 Not Found", "410 Gone"])
    def test_4xx_allows_everything(self, shop, begin, status):
        url, server = shop([answer(b"", status)])

        assert [page(begin(), url), page(begin(), url)] == [b"a page"] * 2
        assert asked(server) == ["/robots.txt", "/", "/"]

    @pytest.mark.parametrize("status", [500, 502, 503, 429])
    def test_5xx_and_429_allow_nothing_for_now(self, shop, begin, status):
        url, server = shop([answer(b"", f"{status} Sorry", "Retry-After: 300")])

        error = denied(begin(), url, f"status_{status}")

        assert "robots.txt" in error.reason
        assert abs(error.retry_at - datetime.now(UTC) - timedelta(minutes=5)) < timedelta(seconds=5)
        assert asked(server) == ["/robots.txt"]

    @pytest.mark.parametrize(
        ("pieces", "code"),
        [
            ([RESET], "no_answer"),
            ([answer(b"User-agent: *")[:-1], None], "no_answer"),
            ([answer(b"x", "200 OK", "Content-Encoding: br")], "bad_encoding"),
            ([answer(b"", "302 Found", "Location: /robots.txt")], "redirect"),
        ],
        ids=["reset", "broken off", "another encoding", "a loop"],
    )
    def test_one_that_cannot_be_read_allows_nothing_for_now(self, shop, begin, pieces, code):
        url, _ = shop(pieces)

        error = denied(begin(), url, code)

        assert error.retry_at > datetime.now(UTC)

    def test_a_host_that_is_not_reached_is_not_reached_again_at_once(self, internet, begin, clock):
        internet.name("shop.test", OTHER)
        errors = [denied(begin(), "http://shop.test/", "no_answer") for _ in range(3)]

        assert internet.connected == [OTHER]
        assert len({error.retry_at for error in errors}) == 1
        clock.now += 301
        denied(begin(), "http://shop.test/", "no_answer")
        assert internet.connected == [OTHER, OTHER]

    def test_when_the_time_has_come_it_is_asked_for_again(self, internet, serve, begin, clock):
        robots = iter([answer(b"", "503 Busy", "Retry-After: 120"), answer(b"")])
        url = internet.shop(
            serve(lambda request: [next(robots) if request.target == "/robots.txt" else answer(b"a page")])
        )

        for _ in range(2):
            denied(begin(), url, "status_503")
        clock.now += 121
        assert page(begin(), url) == b"a page"

    def test_a_refused_address_is_the_reason_itself(self, internet, begin):
        internet.name("shop.test", "10.0.0.1")

        assert "robots" not in denied(begin(), "http://shop.test/", "address_refused").reason
        assert internet.connected == []

    def test_one_at_a_private_address_is_not_asked_for(self, internet, shop, begin):
        url, server = shop([answer(b"", "302 Found", "Location: http://10.0.0.1/robots.txt")])

        denied(begin(), url, "address_refused")
        assert asked(server) == ["/robots.txt"]

    def test_a_fetch_without_time_for_it_says_nothing_about_the_site(self, shop, web_client):
        client = web_client(pacing=Pacing(interval_seconds=0.4, now=lambda: 0.0, sleep=lambda _: None))
        url, server = shop(b"")
        with client.begin(5.0).get(f"{url}/feed", max_bytes=100):
            pass

        denied(client.begin(0.1), url, "paced")
        assert page(client.begin(5.0), url) == b"a page"
        assert asked(server) == ["/feed", "/robots.txt", "/"]


class TestCache:
    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            (None, DAY),
            ("Cache-Control: max-age=600", 600),
            ("Cache-Control: public, Max-Age=3600", 3600),
            ("Cache-Control: max-age=999999999", DAY),
            ("Cache-Control: max-age=0", 300),
            ("Cache-Control: s-maxage=600", DAY),
            ("Cache-Control: max-age=soon", DAY),
        ],
    )
    def test_it_holds_as_long_as_it_says_and_for_a_day_at_most(self, shop, begin, clock, header, seconds):
        url, server = shop([answer(b"", "200 OK", *[header] if header else [])])
        for pause in (0, seconds - 1, 2):
            clock.now += pause
            page(begin(), url)

        assert asked(server) == ["/robots.txt", "/", "/", "/robots.txt", "/"]

    def test_threads_that_need_it_at_once_ask_for_it_once(self, internet, serve, begin):
        may_answer = threading.Event()
        answers = {"/robots.txt": [may_answer, answer()], "/": [answer(b"a page")]}
        server = serve(lambda request: answers[request.target])
        url = internet.shop(server)
        threads = [threading.Thread(target=page, args=(begin(), url)) for _ in range(8)]
        for thread in threads:
            thread.start()
        server.wait_until(lambda server: server.connections)
        may_answer.set()
        for thread in threads:
            thread.join()

        assert sorted(asked(server)) == ["/"] * 8 + ["/robots.txt"]

    def test_who_waits_for_another_thread_waits_no_longer_than_its_own_deadline(self, internet, serve, web_client):
        may_answer = threading.Event()
        answers = {"/robots.txt": [may_answer, answer()], "/": [answer(b"a page")]}
        server = serve(lambda request: answers[request.target])
        url = internet.shop(server)
        client = web_client()
        first = threading.Thread(target=page, args=(client.begin(5.0), url))
        first.start()
        server.wait_until(lambda server: server.connections)

        denied(client.begin(0.1), url, "timeout")
        may_answer.set()
        first.join()

    def test_of_many_sites_those_are_forgotten_whose_visit_is_longest_ago(self):
        robots, calls = Robots(), []

        def get(address):
            calls.append(address)
            raise WebError("gone", "status_404")

        for site in [*range(500), 499, 0, 500, 0, 1]:
            robots.crawl_delay(parse(f"http://{site}.test/"), get, 1.0)

        assert calls[500:] == ["http://500.test/robots.txt", "http://1.test/robots.txt"]


@pytest.mark.parametrize(
    ("rule", "seconds"),
    [
        (b"", 0),
        (b"Crawl-delay: 2.5", 2.5),
        (b"Crawl-delay: soon", 0),
        (b"Crawl-delay: -3", 0),
        (b"Crawl-delay: 1e300", DAY),
    ],
)
def test_a_crawl_delay_sets_the_pace(internet, serve, web_client, rule, seconds):
    slept: list[float] = []
    now = 0.0
    client = web_client(pacing=Pacing(1.0, 10.0, now=lambda: now, sleep=slept.append))
    pages = {"/robots.txt": answer(b"User-agent: *\n" + rule)}
    url = internet.shop(serve(lambda request: [pages.get(request.target, answer(b"a page"))]))

    page(client.begin(60.0), url)
    now = 1.0
    if seconds == DAY:
        denied(client.begin(60.0), url, "paced")
    else:
        page(client.begin(60.0), url)
        assert slept == [1.0, max(1.0, seconds)]
