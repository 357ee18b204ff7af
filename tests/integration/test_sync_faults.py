"""Whatever goes wrong at a shop: nothing is closed, the prices stay, the reason is said, and the next answer counts.

The shops are the sandbox's, and misbehave by its faults; what each fault sends is in productagg/sandbox.
"""

from functools import partial

import pytest

from productagg.sandbox import Fault
from productagg.sources.web.client import WebClient
from productagg.sources.web.pacing import Pacing
from productagg.sync import documents, lanes
from tests.databases import only_sqlite
from tests.integration.synced_shops import LATER, SECRET, SyncedShop
from tests.unit.sources.internet import Internet

SHOPS = {"jsonld": "kellermann", "feed": "nordkiste", "json_api": "bazar24", "json_list": "bazar24"}
# More than a page and a page of JSON may have.
TOO_MANY_BYTES = 20_100_000


@pytest.fixture
def make_shop(database, make_synchronizer, monkeypatch):
    """Make a shop that a source of this kind has read: `make_shop(kind)`. Only its address is in the internet."""
    made = []

    def make(kind):
        internet = Internet(monkeypatch)
        monkeypatch.setenv("SHOP_SECRET", SECRET)
        monkeypatch.setattr(lanes, "WebClient", partial(WebClient, pacing=Pacing(interval_seconds=0)))
        shop = SyncedShop(kind, SHOPS[kind], database, make_synchronizer().run)
        shop.server.start()
        made.append(shop)
        internet.shop(shop.server)
        shop.link()
        assert (shop.sync().failed, shop.errors) == (0, "")
        assert shop.offers == shop.quoted
        return shop

    yield make
    for shop in made:
        shop.server.close()


@pytest.fixture
def _impatient(monkeypatch):
    """A shop has a fifth of a second to answer."""
    for module in (documents, lanes):
        monkeypatch.setattr(module, "FETCH_SECONDS", 0.2)


def error(status):
    return Fault("error", {"status": status})


def redirect(location):
    return Fault("redirect", {"location": location})


def malformed(form):
    return Fault("malformed", {"form": form})


# What may happen to any request, and a part of the reason that is then said.
ANYWHERE = [
    pytest.param(fault, reason, id=id_)
    for id_, fault, reason in (
        ("500", error(500), "answered 500"),
        ("503", error(503), "answered 503"),
        ("404", error(404), "answered 404"),
        ("403", error(403), "answered 403"),
        ("429", Fault("rate_limit", {"retry_after": 3600}), "answered 429"),
        ("503 with Retry-After", Fault("rate_limit", {"status": 503, "form": "date"}), "answered 503"),
        ("refused", Fault("refuse", {"seconds": 3600}), "no complete response"),
        ("reset", Fault("reset"), "no complete response"),
        ("cut body", Fault("truncated"), "no complete response"),
        ("cut chunks", Fault("truncated_chunked"), "no complete response"),
        ("loop of redirects", redirect("?"), "redirects once more, after 5 redirects"),
        ("to a private address", redirect("http://169.254.169.254/latest/"), "not in the public internet"),
        ("to a file", redirect("file:///etc/passwd"), "redirects to where no request can be sent"),
        ("304 that nobody asked for", Fault("not_modified"), "answered 304"),
    )
]
# All kinds of sources are asked by the same code, so `make test` shows these at pages only.
ANYWHERE_SLOW = [pytest.param(*param.values, id=param.id, marks=pytest.mark.slow) for param in ANYWHERE]
SLOW = [
    pytest.param(Fault("latency", {"seconds": 60}), id="hang"),
    pytest.param(Fault("dripping", {"drip_seconds": 60}), id="drip"),
]


def page(form):
    return Fault("wrong_page", {"form": form})


AT_PAGES = [
    pytest.param(fault, reason, id=fault.params.get("form", fault.kind))
    for fault, reason in (
        (Fault("oversized", {"bytes": TOO_MANY_BYTES}), "more than 5000000 bytes"),
        (Fault("gzip_bomb", {"bytes": TOO_MANY_BYTES}), "more than 5000000 bytes"),
        (malformed("empty"), "no structured data"),
        (malformed("html"), "no structured data"),
        (page("cookie_wall"), "no structured data"),
        (page("damaged_data"), "JSON-LD"),
        (page("ends_in_data"), "the page ends within a block of JSON-LD"),
        (page("price_on_request"), "its price cannot be read: 'on request'"),
        (page("price_range"), "a range of prices"),
        (page("two_prices"), "several prices"),
        (page("currency_unknown"), "'ZZZ' is not a currency"),
        (page("currency_missing"), "the price has no currency"),
        (page("currency_contradicts"), "the page contradicts itself"),
        (page("two_products"), "several products"),
        (page("another_product"), "other addresses than the page"),
        (page("not_a_page"), "it is not a page but image/png"),
    )
]


def feed(form):
    return Fault("wrong_feed", {"form": form})


AT_FEEDS = [
    pytest.param(fault, reason, id=fault.params.get("form", fault.kind))
    for fault, reason in (
        (malformed("empty"), "the document is empty"),
        (malformed("html"), "found an HTML page"),
        (feed("empty_root"), "no items"),
        (feed("wrong_root"), "found the root urlset"),
        (feed("entities"), "declares entities"),
        (feed("broken_gzip"), "not compressed as its Content-Encoding says"),
        (feed("cut_gzip"), "damaged or cut"),
        (feed("wrong_encoding"), "not well-formed"),
        (feed("unknown_encoding"), "'x-shop' is not an encoding"),
        (feed("price_missing"), "it has no price"),
        (feed("price_on_request"), "None of its 19 items is an offer"),
        (feed("price_zero"), "the price is 0"),
        (feed("currency_unknown"), "None of its 19 items is an offer"),
        (feed("ids_missing"), "it has no id"),
        (feed("same_ids"), "has 0 items instead of 19"),
    )
]


def json(form):
    return Fault("wrong_json", {"form": form})


AT_JSON = [
    pytest.param(fault, reason, id=fault.params.get("form", fault.kind))
    for fault, reason in (
        (Fault("oversized", {"bytes": TOO_MANY_BYTES}), "more than 20000000 bytes"),
        (Fault("gzip_bomb", {"bytes": TOO_MANY_BYTES}), "more than 20000000 bytes"),
        (malformed("empty"), "it is not JSON"),
        (malformed("html"), "it is not JSON"),
        (malformed("cut"), "it is not JSON"),
        (json("not_utf8"), "it is not JSON"),
        (json("broken_gzip"), "not compressed as its Content-Encoding says"),
        (json("null"), "null, not a list"),
        (json("error_object"), "external_id: it is null"),
        (json("twice"), "several items have its id and differ"),
        (json("id_missing"), "external_id: it is null"),
        (json("price_missing"), "price: there is none"),
        (json("price_on_request"), "price: 'on request' is not a whole number"),
        (json("price_fraction"), "a number with a fraction"),
        (json("currency_unknown"), "'ZZZ' is not a currency"),
        (json("currency_missing"), "the price has no currency"),
    )
]


def nothing_changes_until_it_is_over(shop, fault, reason):
    """Sync while the shop misbehaves and has new prices, then once more when it is well again."""
    before = shop.offers
    shop.moment.move(LATER)
    assert shop.quoted != before
    shop.server.faults.replace([fault])
    # Otherwise 304 would be an honest answer.
    shop.forget_validators()

    result = shop.sync()

    assert (result.failed, result.closed) == (1, 0)
    assert shop.offers == before
    assert reason in shop.errors

    shop.server.faults.clear()
    shop.server.reopen()
    assert shop.sync().failed == 0
    assert (shop.offers, shop.errors) == (shop.quoted, "")


@only_sqlite
@pytest.mark.parametrize(("fault", "reason"), [*ANYWHERE, *AT_PAGES])
def test_what_may_happen_at_a_page_changes_nothing_until_it_is_over(make_shop, fault, reason):
    nothing_changes_until_it_is_over(make_shop("jsonld"), fault, reason)


@only_sqlite
@pytest.mark.parametrize(("fault", "reason"), [*ANYWHERE_SLOW, *AT_FEEDS])
def test_what_may_happen_at_a_feed_changes_nothing_until_it_is_over(make_shop, fault, reason):
    nothing_changes_until_it_is_over(make_shop("feed"), fault, reason)


@only_sqlite
@pytest.mark.parametrize(("fault", "reason"), [*ANYWHERE_SLOW, *AT_JSON])
def test_what_may_happen_at_an_api_changes_nothing_until_it_is_over(make_shop, fault, reason):
    nothing_changes_until_it_is_over(make_shop("json_api"), fault, reason)


@pytest.mark.parametrize("kind", SHOPS)
def test_an_outage_changes_nothing_until_it_is_over_on_both_databases(make_shop, kind):
    nothing_changes_until_it_is_over(make_shop(kind), error(500), "answered 500")


@only_sqlite
@pytest.mark.parametrize("kind", SHOPS)
@pytest.mark.parametrize("fault", SLOW)
def test_a_shop_that_is_too_slow_changes_nothing(make_shop, request, kind, fault):
    shop = make_shop(kind)
    before = shop.offers
    request.getfixturevalue("_impatient")
    shop.moment.move(LATER)
    shop.server.faults.replace([fault])

    assert shop.sync().failures == {"timeout": 1}
    assert shop.offers == before
    assert "no complete response from shop.test within 0.2 s" in shop.errors


@only_sqlite
@pytest.mark.parametrize(
    ("kind", "fault", "reason"),
    [
        ("feed", feed("shrunk"), "has 6 items instead of 19"),
        ("feed", feed("breaks_off"), "not well-formed"),
        ("json_list", json("fewer_products"), "it says that it has 18 items, and has 2"),
        ("json_list", json("next_is_first"), "same items as the page before"),
    ],
    ids=["shrunk", "breaks_off", "fewer_products", "next_is_first"],
)
def test_what_was_read_of_a_list_that_breaks_off_counts_and_nothing_is_closed(make_shop, kind, fault, reason):
    shop = make_shop(kind)
    shop.moment.move(LATER)
    shop.server.faults.replace([fault])

    result = shop.sync()

    assert (result.failed, result.closed) == (1, 0)
    assert reason in shop.errors
    assert shop.offers[0] == shop.quoted[0]
    assert shop.offers[1][-1] is None

    shop.server.faults.clear()
    assert shop.sync().failed == 0
    assert (shop.offers, shop.errors) == (shop.quoted, "")


@only_sqlite
def test_a_page_that_states_no_price_any_more_offers_nothing_until_it_does_again(make_shop):
    shop = make_shop("jsonld")
    shop.server.faults.replace([page("price_missing")])
    shop.forget_validators()

    assert (shop.sync().closed, shop.errors) == (1, "")

    shop.server.faults.clear()
    shop.sync()
    assert shop.offers == shop.quoted


@only_sqlite
def test_in_stock_without_a_number_is_a_number_that_is_not_told(make_shop):
    shop = make_shop("json_api")
    shop.moment.move(LATER)
    [(product_id, price, _, _)] = shop.quoted
    shop.server.faults.replace([json("stock_not_told")])

    assert shop.sync().failed == 0
    assert shop.offers == [(product_id, price, None, None)]


@only_sqlite
@pytest.mark.parametrize("kind", ["jsonld", "feed", "json_api"])
def test_a_304_after_a_price_has_changed_is_believed(make_shop, kind):
    shop = make_shop(kind)
    before = shop.offers
    shop.moment.move(LATER)
    shop.server.faults.replace([Fault("not_modified")])

    assert shop.sync().failed == 0
    assert (shop.offers, shop.errors) == (before, "")

    shop.server.faults.clear()
    shop.sync()
    assert shop.offers == shop.quoted
