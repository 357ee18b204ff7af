"""The adapter: its configuration, its locators, and what a fetch yields."""

from datetime import UTC, datetime

import colander
import pytest

from productagg.sources.base import Failure, NotModified, Request
from productagg.sources.jsonld.adapter import MAX_BYTES, Configuration, ProductPage
from productagg.sources.web import NO_VALIDATORS, Validators, WebError
from tests.unit.sources.jsonld.pages import URL, html, offer, offer_of, product, script


class Response:
    """A response from memory."""

    def __init__(self, body=b"", *, url=URL, not_modified=False, error=None, content_type="text/html", etag=None):
        self.url, self.not_modified = url, not_modified
        self.headers = {"content-type": content_type} if content_type else {}
        self.validators = Validators(etag=etag)
        self._body, self._error = body, error

    def read(self, size=-1):
        if self._error:
            raise self._error
        return self._body

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Web:
    """Gives the same response, or error, to every request, and remembers the requests."""

    def __init__(self, response):
        self.response, self.requests = response, []

    def get(self, url, **options):
        self.requests.append((url, options))
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


def fetch(response, locator=URL, validators=NO_VALIDATORS, **configuration):
    """The outcomes of a fetch, and the requests that it made."""
    web = Web(response)
    deserialized = Configuration().deserialize(configuration)
    return list(ProductPage().fetch(Request(deserialized, "Source", [locator], web, None, validators))), web.requests


PAGE = html(product(offer())).encode()


class TestFetch:
    def test_a_page_is_one_complete_snapshot_with_its_validators(self):
        [snapshot], _ = fetch(Response(PAGE, etag='"1"'))

        assert offer_of(snapshot).price == 1999
        assert snapshot.validators == Validators(etag='"1"')

    def test_it_is_asked_for_as_a_page_of_limited_size_without_the_fragment(self):
        sent = Validators(etag='"1"')

        _, [(url, options)] = fetch(Response(PAGE), f"{URL}?a=1#/2-red", sent)

        assert url == f"{URL}?a=1"
        assert (options["max_bytes"], options["is_page"], options["validators"]) == (5_000_000, True, sent)
        assert MAX_BYTES == 5_000_000

    def test_what_has_not_changed_is_not_read(self):
        assert fetch(Response(not_modified=True))[0] == [NotModified()]

    @pytest.mark.parametrize("during_the_body", [False, True])
    def test_an_error_of_the_web_is_a_failure(self, during_the_body):
        at = datetime(2026, 1, 1, tzinfo=UTC)
        error = WebError("the shop answered 503", "status_503", at)

        outcomes, _ = fetch(Response(error=error) if during_the_body else error)

        assert outcomes == [Failure("the shop answered 503", "status_503", at)]

    @pytest.mark.parametrize("content_type", ["application/json", "image/png", "application/pdf"])
    def test_something_else_than_a_page_is_a_failure(self, content_type):
        [failure], _ = fetch(Response(PAGE, content_type=content_type))

        assert failure.code == "not_a_page"

    @pytest.mark.parametrize(
        "content_type", ["", "text/html; charset=x", "application/xhtml+xml", "TEXT/HTML", "text/plain"]
    )
    def test_other_names_for_a_page_are_not(self, content_type):
        [snapshot], _ = fetch(Response(PAGE, content_type=content_type))

        assert offer_of(snapshot).price == 1999

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html></html>",
            b"<html><h1>Checking your browser</h1></html>",
            b"\x00\xff\xfe",
            b"\xff\xfe",
            b'{"error": "rate limited"}',
            PAGE[: len(PAGE) // 2],
            script("null").encode(),
            script("[]").encode(),
            script('"Product"').encode(),
            script({"@type": "Product", "offers": 1}).encode(),
            script({"@type": "Product", "offers": ["x", None, [[]]]}).encode(),
            script(product({"@type": "Offer", "price": {}, "priceSpecification": "x"}, sku={})).encode(),
        ],
    )
    def test_a_page_without_an_offer_closes_none(self, body):
        [outcome], _ = fetch(Response(body))

        assert isinstance(outcome, Failure) or not outcome.offers

    def test_the_configuration_reaches_the_offers(self):
        shipped = {
            "shippingRate": {"value": "4.90", "currency": "CZK"},
            "shippingDestination": {"addressCountry": "CZ"},
        }
        page = html(product(offer(currency=None, shippingDetails=shipped))).encode()

        [snapshot], _ = fetch(Response(page), currency=" czk ", seller=" Mine ", country="cz")

        lamp = offer_of(snapshot)
        assert (lamp.currency, lamp.seller, lamp.shipping) == ("CZK", "Mine", 490)


class TestConfiguration:
    def test_all_of_it_is_optional(self):
        assert Configuration().deserialize({}) == {"seller": None, "currency": None, "country": None}

    @pytest.mark.parametrize(
        "wrong",
        [{"currency": "XAU"}, {"currency": "euro"}, {"country": "Czechia"}, {"country": "C1"}, {"seller": "x" * 201}],
    )
    def test_what_is_wrong_is_refused(self, wrong):
        with pytest.raises(colander.Invalid):
            Configuration().deserialize(wrong)


class TestLocator:
    @pytest.mark.parametrize(
        ("written", "normal"),
        [
            (" https://Shop.Example/p ", "https://shop.example/p"),
            ("HTTPS://shop.example:443/p", "https://shop.example/p"),
            ("http://shop.example:8080", "http://shop.example:8080/"),
            ("https://shop.example/p?variant=1&b=%20#reviews", "https://shop.example/p?variant=1&b=%20"),
            ("https://shop.example/p#/1-size-s", "https://shop.example/p#/1-size-s"),
            ("https://shop.example/žárovka?q=é", "https://shop.example/%C5%BE%C3%A1rovka?q=%C3%A9"),
            ("https://žárovky.example/", "https://xn--rovky-xqa3l.example/"),
            ("http://[::1]:80/", "http://[::1]/"),
        ],
    )
    def test_its_normal_form(self, written, normal):
        found = ProductPage().check_locator(written)

        if "xn--" in normal:
            assert found.isascii()
            assert found.startswith("https://xn--")
        else:
            assert found == normal
        assert ProductPage().check_locator(found) == found

    @pytest.mark.parametrize(
        ("written", "reason"),
        [
            ("ftp://shop.example/p", "does not begin with http"),
            ("/products/lamp", "does not begin with http"),
            ("", "does not begin with http"),
            ("javascript:alert(1)", "does not begin with http"),
            ("https://user:pw@shop.example/", "user name or password"),
            ("https:///p", "no host"),
            ("https://shop.example/a b", "a space"),
            ("https://shop.example/\x00", "control character"),
            ("https://shop.example\\@evil.example/", "backslash"),
            ("https://shop.example:99999/", "not an address"),
            ("https://[::1/", "not an address"),
            ("https://" + "ž" * 70 + ".example/", "not an address"),
            ("https://shop.example/" + "x" * 2000, "longer than 2000"),
        ],
    )
    def test_what_is_no_address_of_a_page(self, written, reason):
        with pytest.raises(ValueError, match=reason):
            ProductPage().check_locator(written)
