"""The page rules: every page is read once, and only an end that is certain is one."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from productagg.sources.base import Failure, NotModified, Snapshot
from productagg.sources.json_api.adapter import JsonList
from productagg.sources.json_api.pages import MAX_PAGE_BYTES, MAX_PAGES
from productagg.sources.testing import MemoryResponse, MemoryWeb
from productagg.sources.web import NO_VALIDATORS, Validators, WebError
from tests.unit.sources.json_api.documents import HOST, URL, configuration, fetch_list, json_response, listed, request

NEXT = {"rule": "next_link", "expression": "next"}
CURSOR = {"rule": "cursor", "expression": "next", "parameter": "after"}
NUMBER = {"rule": "number", "parameter": "page"}
LINK = {"rule": "link_header"}


def item(number):
    return {"id": number, "sku": "A", "price": number}


def page(*numbers, **members):
    """A document with items of these ids and prices."""
    return {"items": [item(number) for number in numbers], **members}


def paged(rule, **changes):
    return configuration(**{"items": "items", "pages": rule, **changes})


def fetch(rule, responses, **changes):
    """The outcomes, and the addresses that were asked for."""
    web = MemoryWeb({url: json_response(body) if isinstance(body, dict) else body for url, body in responses.items()})
    outcomes = list(JsonList().fetch(request(JsonList(), paged(rule, **changes), web)))
    return outcomes, [sent.url for sent in web.requests]


def ids(outcomes):
    return [[offer.external_id for offer in snapshot.offers] for snapshot in outcomes]


class TestNextLink:
    def test_each_page_is_a_snapshot_and_the_last_one_is_complete(self):
        outcomes, urls = fetch(
            NEXT, {URL: page(1, 2, next="?p=2"), f"{URL}?p=2": page(3, next="/items?p=3"), f"{URL}?p=3": page(4)}
        )

        assert ids(outcomes) == [["1", "2"], ["3"], ["4"]]
        assert [snapshot.complete for snapshot in outcomes] == [False, False, True]
        assert urls == [URL, f"{URL}?p=2", f"{URL}?p=3"]

    @pytest.mark.parametrize("end", [None, "", False])
    def test_the_end_is_null_or_empty_or_false(self, end):
        [snapshot], _ = fetch(NEXT, {URL: page(1, next=end)})

        assert snapshot.complete

    def test_an_empty_page_is_not_the_end(self):
        outcomes, _ = fetch(NEXT, {URL: page(1, next="?2"), f"{URL}?2": page(next="?3"), f"{URL}?3": page(4)})

        assert ids(outcomes) == [["1"], [], ["4"]]

    @pytest.mark.parametrize("link", [True, 1.5, [], {}, ["?2"], "ftp://x/", "javascript:alert(1)", "http://[", "//[x"])
    def test_what_is_no_link_is_a_failure(self, link):
        [failure], _ = fetch(NEXT, {URL: page(1, next=link)})

        assert failure.code == "bad_next_page"


class TestCursor:
    def test_it_replaces_the_parameter(self):
        url = f"{URL}?after=0&size=2"
        responses = {
            url: page(1, next="a b&c"),
            f"{URL}?size=2&after=a+b%26c": page(2, next=7),
            f"{URL}?size=2&after=7": page(3, next=None),
        }

        outcomes, urls = fetch(CURSOR, responses, url=url)

        assert ids(outcomes) == [["1"], ["2"], ["3"]]
        assert urls == list(responses)
        assert outcomes[-1].complete

    def test_a_cursor_that_comes_again_is_a_loop(self):
        outcomes, urls = fetch(CURSOR, {URL: page(1, next="x"), f"{URL}?after=x": page(2, next="x")})

        assert outcomes[-1].code == "loop"
        assert len(urls) == 2


class TestNumber:
    def test_it_counts_up_until_an_empty_page(self):
        outcomes, urls = fetch(NUMBER, {f"{URL}?page={n}": page(*([n] if n < 4 else [])) for n in (1, 2, 3, 4)})

        assert ids(outcomes) == [["1"], ["2"], ["3"], []]
        assert [snapshot.complete for snapshot in outcomes] == [False, False, False, True]
        assert urls[0] == f"{URL}?page=1"

    def test_it_may_begin_with_0(self):
        outcomes, _ = fetch({**NUMBER, "first": 0}, {f"{URL}?page=0": page(1), f"{URL}?page=1": page()})

        assert outcomes[-1].complete

    def test_a_source_that_ignores_the_parameter_is_a_loop(self):
        outcomes, urls = fetch(NUMBER, {f"{URL}?page={n}": page(1, 2) for n in range(1, 9)})

        assert outcomes[-1] == Failure("page 2 has the same items as the page before", "loop")
        assert len(urls) == 2

    def test_a_page_of_which_a_filter_leaves_nothing_is_not_the_end(self):
        responses = {
            f"{URL}?page=1": {"items": [item(1) | {"price": 0}]},
            f"{URL}?page=2": page(2),
            f"{URL}?page=3": page(),
        }

        outcomes, _ = fetch({**NUMBER, "expression": "items"}, responses, items="items[?price > `0`]")

        assert ids(outcomes) == [[], ["2"], []]
        assert outcomes[-1].complete

    def test_without_the_list_that_says_so_it_is_a_failure(self):
        outcomes, _ = fetch({**NUMBER, "expression": "all"}, {f"{URL}?page=1": page(1)})

        assert outcomes[-1].code == "bad_next_page"


class TestLinkHeader:
    def test_the_relation_next_is_followed_until_there_is_none(self):
        links = f'<{URL}?p=1>; rel="first", <{URL}?p=2>; title="a, b"; rel="last NEXT"'
        responses = {
            URL: json_response(page(1), headers={"link": links}),
            f"{URL}?p=2": json_response(page(2), headers={"link": f"<{URL}>; rel=prev, <?p=3>; rel=next"}),
            f"{URL}?p=3": json_response(page(3), headers={"link": f'<{URL}>; rel="first"'}),
        }

        outcomes, _ = fetch(LINK, responses)

        assert ids(outcomes) == [["1"], ["2"], ["3"]]
        assert outcomes[-1].complete

    @pytest.mark.parametrize("header", ["", " ", "<", "x", ";;;,,<>;=", '<a>; rel="prev"'])
    def test_a_header_without_it_is_the_end(self, header):
        [snapshot], _ = fetch(LINK, {URL: json_response(page(1), headers={"link": header})})

        assert snapshot.complete


class TestLimits:
    def test_links_in_a_circle_are_a_loop(self):
        outcomes, urls = fetch(NEXT, {URL: page(1, next="?2"), f"{URL}?2": page(2, next="/items")})

        assert outcomes[-1] == Failure("page 3 is one that was read before", "loop")
        assert len(urls) == 2

    def test_pages_without_an_end_are_a_failure(self):
        responses = {f"{URL}?page={n}": page(n) for n in range(1, MAX_PAGES + 2)}

        outcomes, urls = fetch(NUMBER, responses)

        assert outcomes[-1] == Failure("it has more than 1000 pages", "too_many_pages")
        assert len(urls) == MAX_PAGES == 1000

    def test_a_page_is_bounded(self):
        web = MemoryWeb({URL: listed(item(1))})

        list(JsonList().fetch(request(JsonList(), configuration(), web)))

        assert [sent.max_bytes for sent in web.requests] == [MAX_PAGE_BYTES] == [20_000_000]

    def test_it_is_asked_for_as_data_not_as_a_page_for_people(self):
        web = MemoryWeb({URL: listed(item(1))})

        list(JsonList().fetch(request(JsonList(), configuration(), web)))

        assert not web.requests[0].is_page
        assert web.requests[0].headers == {"Accept": "application/json"}


class TestFailures:
    AT = datetime(2026, 1, 1, tzinfo=UTC)
    ERROR = WebError("shop.example answered 503", "status_503", AT)

    @pytest.mark.parametrize("response", [ERROR, MemoryResponse(error=ERROR)], ids=["request", "body"])
    def test_an_error_of_the_web_is_a_failure_with_its_time(self, response):
        assert fetch_list(configuration(), {URL: response}) == [
            Failure("shop.example answered 503", "status_503", self.AT)
        ]

    def test_what_was_read_before_stays_and_nothing_is_complete(self):
        [snapshot, failure], _ = fetch(NEXT, {URL: page(1, next="?2"), f"{URL}?2": self.ERROR})

        assert ids([snapshot]) == [["1"]]
        assert not snapshot.complete
        assert failure.code == "status_503"

    def test_a_second_page_that_is_missing_is_a_failure(self):
        [_, failure], _ = fetch(NEXT, {URL: page(1, next="?2")})

        assert failure.code == "status_404"


class TestUnchanged:
    SENT = Validators(etag='"1"', last_modified="Tue, 01 Dec 2026 00:00:00 GMT")

    def test_a_single_document_is_asked_for_with_validators(self):
        web = MemoryWeb({URL: MemoryResponse(not_modified=True)})

        outcomes = list(JsonList().fetch(request(JsonList(), configuration(), web, validators=self.SENT)))

        assert outcomes == [NotModified()]
        assert web.requests[0].validators == self.SENT

    def test_the_snapshot_has_its_validators_and_a_digest(self):
        [snapshot] = fetch_list(configuration(), {URL: MemoryResponse(listed(item(1)), validators=self.SENT)})

        assert snapshot.validators[:2] == self.SENT[:2]
        assert len(snapshot.validators.digest) == 64

    def test_the_same_body_again_is_not_modified(self):
        [first] = fetch_list(configuration(), listed(item(1)))

        assert fetch_list(configuration(), listed(item(1)), validators=first.validators) == [NotModified()]
        [changed] = fetch_list(configuration(), listed(item(2)), validators=first.validators)
        assert changed.complete

    def test_the_version_of_the_first_of_many_pages_says_nothing_about_the_others(self):
        web = MemoryWeb({URL: json_response(page(1), validators=self.SENT)})

        [snapshot] = JsonList().fetch(request(JsonList(), paged(NEXT), web, validators=self.SENT))

        assert web.requests[0].validators == NO_VALIDATORS
        assert isinstance(snapshot, Snapshot)
        assert snapshot.validators == NO_VALIDATORS

    def test_a_document_with_doubts_is_read_again(self):
        response = MemoryResponse(listed(), validators=self.SENT)

        [snapshot] = fetch_list(configuration(), {URL: response})

        assert not snapshot.complete
        assert snapshot.validators == NO_VALIDATORS


class TestSecret:
    def sent_to(self, pages, secret="s3cret", **changes):
        """The headers that were sent, by address."""
        web = MemoryWeb({url: json_response(body) for url, body in pages.items()})
        list(JsonList().fetch(request(JsonList(), paged(NEXT, **changes), web, secret=secret)))
        return {sent.url: sent.headers for sent in web.requests}

    def test_it_is_sent_as_the_configuration_says(self):
        headers = self.sent_to({URL: page(1)}, secret_header="X-Key", secret_template="key={secret}")

        assert headers[URL]["X-Key"] == "key=s3cret"
        assert "Authorization" not in headers[URL]

    def test_by_default_it_is_a_bearer_token(self):
        assert self.sent_to({URL: page(1)})[URL]["Authorization"] == "Bearer s3cret"

    def test_without_a_secret_no_header_is_sent(self):
        assert self.sent_to({URL: page(1)}, secret=None)[URL] == {"Accept": "application/json"}

    def test_it_goes_to_the_next_page_of_the_same_origin(self):
        second = "https://SHOP.example:443/2"

        assert "Authorization" in self.sent_to({URL: page(1, next=second), second: page(2)})[second]

    @pytest.mark.parametrize(
        "elsewhere",
        [
            "https://other.example/items",
            "http://shop.example/items",
            "https://shop.example:8443/items",
            "https://shop.example.other.example/items",
            "https://shop.example@other.example/items",
            "https://other.example\\@shop.example/items",
            "//other.example/items",
        ],
    )
    def test_it_goes_to_no_other_origin(self, elsewhere):
        absolute = f"https:{elsewhere}" if elsewhere.startswith("//") else elsewhere

        headers = self.sent_to({URL: page(1, next=elsewhere), absolute: page(2)})

        assert "Authorization" in headers[URL]
        assert "Authorization" not in headers.get(absolute, {})

    @pytest.mark.parametrize(
        ("body", "rule"),
        [
            (WebError("no such host: s3cret.example", "unknown_host"), NEXT),
            (page(1, next="ftp://x/?key=s3cret"), NEXT),
            ({"items": "s3cret"}, NEXT),
            ({"items": [], "next": {"s3cret": 1}}, NEXT),
            ({"items": [], "next": "s3cret"}, {**NEXT, "expression": "abs(next)"}),
        ],
    )
    def test_no_failure_shows_it(self, body, rule):
        response = body if isinstance(body, WebError) else json_response(body)

        outcomes = list(JsonList().fetch(request(JsonList(), paged(rule), MemoryWeb({URL: response}), secret="s3cret")))

        assert isinstance(outcomes[-1], Failure)
        assert "s3cret" not in str(outcomes)

    def test_the_request_does_not_show_it(self):
        assert "s3cret" not in repr(request(JsonList(), configuration(), MemoryWeb({}), secret="s3cret"))


def test_a_next_page_after_a_redirect_is_relative_to_where_it_led():
    moved = replace(json_response(page(1, next="2")), url=f"{HOST}/v2/1")

    outcomes, urls = fetch(NEXT, {URL: moved, f"{HOST}/v2/2": page(2)})

    assert urls == [URL, f"{HOST}/v2/2"]
    assert outcomes[-1].complete
