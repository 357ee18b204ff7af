"""A host is asked at intervals; whoever would have to wait for too long is told when to come back."""

import itertools
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.sources.web import WebError
from productagg.sources.web.pacing import Pacing
from tests.scripted_server import always, answer
from tests.unit.sources.internet import OTHER


class Clock:
    """Its time passes when somebody sleeps, and when a test says so."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def pacing(self, interval=1.0, longest_wait=10.0):
        return Pacing(interval, longest_wait, now=lambda: self.now, sleep=self.sleep)


@pytest.fixture
def clock():
    return Clock()


def too_soon(pacing, host, seconds_left=100.0):
    with pytest.raises(WebError) as raised:
        pacing.wait(host, seconds_left)
    assert raised.value.code == "paced"
    assert raised.value.retry_at is not None
    return round((raised.value.retry_at - datetime.now(UTC)) / timedelta(seconds=1))


def test_the_first_request_does_not_wait(clock):
    clock.pacing().wait("shop.test", 5.0)

    assert clock.slept == []


def test_the_next_one_waits_for_what_is_left_of_the_interval(clock):
    pacing = clock.pacing(interval=2.0)
    pacing.wait("shop.test", 5.0)
    clock.now += 0.5
    pacing.wait("shop.test", 5.0)
    clock.now += 2.0
    pacing.wait("shop.test", 5.0)

    assert clock.slept == [1.5]


def test_another_host_does_not_wait(clock):
    pacing = clock.pacing()
    pacing.wait("shop.test", 5.0)
    pacing.wait("other.test", 5.0)

    assert clock.slept == []


def test_a_wait_that_exceeds_the_deadline_is_an_error_with_the_time_to_come_back(clock):
    pacing = clock.pacing(interval=8.0)
    pacing.wait("shop.test", 5.0)

    assert too_soon(pacing, "shop.test", 5.0) == 8
    assert clock.slept == []


def test_nobody_waits_longer_than_the_longest_wait(clock):
    pacing = clock.pacing(interval=3.0, longest_wait=2.0)
    pacing.wait("shop.test", 100.0)

    assert too_soon(pacing, "shop.test") == 3


def test_who_does_not_wait_takes_nobodys_turn(clock):
    pacing = clock.pacing(interval=8.0)
    pacing.wait("shop.test", 5.0)
    for _ in range(10):
        too_soon(pacing, "shop.test", 5.0)
    clock.now += 8.0
    pacing.wait("shop.test", 5.0)

    assert clock.slept == []


def test_a_crawl_delay_holds_after_the_request_that_knew_of_it(clock):
    pacing = clock.pacing()
    pacing.wait("shop.test", 100.0)
    pacing.wait("shop.test", 100.0, crawl_delay=7.0)
    pacing.wait("shop.test", 100.0, crawl_delay=7.0)

    assert clock.slept == [1.0, 7.0]


def test_a_crawl_delay_does_not_shorten_the_interval(clock):
    pacing = clock.pacing(interval=2.0)
    pacing.wait("shop.test", 100.0, crawl_delay=0.5)
    pacing.wait("shop.test", 100.0)

    assert clock.slept == [2.0]


def test_a_redirect_within_a_visit_waits_only_for_the_interval(clock):
    pacing = clock.pacing()
    pacing.wait("shop.test", 5.0, crawl_delay=3600.0)
    pacing.wait("shop.test", 5.0, crawl_delay=3600.0, is_same_visit=True)

    assert clock.slept == [1.0]
    assert too_soon(pacing, "shop.test") == 3600


def test_a_redirect_of_a_feed_does_not_shorten_the_delay_between_pages(clock):
    pacing = clock.pacing()
    pacing.wait("shop.test", 5.0, crawl_delay=3600.0)
    pacing.wait("shop.test", 5.0, is_same_visit=True)

    assert too_soon(pacing, "shop.test") == 3599


@given(st.lists(st.floats(0, 3), min_size=2, max_size=30), st.floats(0, 2))
def test_requests_are_never_closer_than_the_interval(pauses, interval):
    clock = Clock()
    pacing = clock.pacing(interval)
    sent = []
    for pause in pauses:
        clock.now += pause
        pacing.wait("shop.test", 100.0)
        sent.append(clock.now)

    assert all(later - earlier >= interval - 1e-6 for earlier, later in itertools.pairwise(sent))


def test_threads_get_turns_of_their_own():
    lock, slept = threading.Lock(), []

    def sleep(seconds):
        with lock:
            slept.append(round(seconds))

    pacing = Pacing(1.0, 100.0, now=lambda: 1000.0, sleep=sleep)
    threads = [threading.Thread(target=pacing.wait, args=("shop.test", 100.0)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(slept) == [1, 2, 3, 4, 5, 6, 7]


class TestRequests:
    """Of which each is paced, that after a redirect as well."""

    @pytest.fixture
    def begin(self, web_client, clock):
        client = web_client(pacing=clock.pacing())
        return lambda: client.begin(30.0)

    def fetch(self, web, url, **options):
        with web.get(url, max_bytes=100, **options) as response:
            return response.read()

    def test_those_of_different_fetches_wait_for_each_other(self, internet, serve, begin, clock):
        url = internet.shop(serve(always(answer())))
        for _ in range(3):
            self.fetch(begin(), url)

        assert clock.slept == [1.0, 1.0]

    def test_a_redirect_waits_only_for_its_own_host(self, internet, serve, begin, clock):
        internet.shop(serve(always(answer())), "other.test", OTHER)
        there = answer(b"", "302 Found", "Location: http://other.test/")
        here = answer(b"", "302 Found", "Location: /away")
        url = internet.shop(serve(lambda request: [here if request.target == "/" else there]))
        self.fetch(begin(), url)

        assert clock.slept == [1.0]

    def test_a_host_is_the_same_at_every_port_and_scheme(self, internet, serve, begin, clock):
        internet.shop(serve(always(answer())))
        for url in ("http://shop.test/", "http://shop.test:8080/", "http://SHOP.test/"):
            self.fetch(begin(), url)

        assert clock.slept == [1.0, 1.0]

    def test_a_page_behind_a_redirect_is_reached_though_the_site_wants_long_delays(self, internet, serve, begin, clock):
        answers = {
            "/robots.txt": answer(b"User-agent: *\nCrawl-delay: 3600"),
            "/": answer(b"", "301 Moved", "Location: /page"),
            "/page": answer(b"a page"),
        }
        url = internet.shop(serve(lambda request: [answers[request.target]]))

        assert self.fetch(begin(), url, is_page=True) == b"a page"
        assert clock.slept == [1.0, 1.0]
        with pytest.raises(WebError) as raised:
            self.fetch(begin(), url, is_page=True)
        assert raised.value.code == "paced"

    def test_by_default_there_is_a_second_between_two_requests(self, internet, serve, web_client):
        client = web_client(pacing=None)
        url = internet.shop(serve(always(answer())))
        self.fetch(client.begin(5.0), url)

        began = time.monotonic()
        with pytest.raises(WebError) as raised:
            self.fetch(client.begin(0.5), url)
        assert time.monotonic() - began < 0.5
        assert raised.value.code == "paced"
