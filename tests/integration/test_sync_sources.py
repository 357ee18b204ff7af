"""Sync runs with several sources: each is asked on its own, and what happens at one changes nothing at another."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from productagg.db.models import OFFERS_SOURCE, Offer, ProductSource, ProductSummary, Source, SyncRun
from productagg.sandbox.faults import Fault
from productagg.sources.base import Failure, NotModified, Snapshot
from productagg.sources.web import Validators
from productagg.sync import settling, sources
from productagg.sync.run import Synchronizer
from tests.databases import only_postgresql
from tests.factories import LONG_AGO, link, make_due, make_product, make_products, make_source, rows, states, sync_row
from tests.integration.conftest import before_call
from tests.integration.scripted_adapters import ScriptedAdapter, an_offer, complete, install, too_many_requests

NOW_OR_SO = timedelta(seconds=20)


@pytest.fixture
def shop(database, monkeypatch):
    """Make a source with an adapter that answers as told, one of whose products are all there are: `shop(answers)`."""

    def shop(answers, **values):
        adapter = ScriptedAdapter(answers)
        install(monkeypatch, jsonld=adapter)
        source_id = make_source(database, "shop", **values)
        for row in rows(database, ProductSource, source_id=OFFERS_SOURCE):
            link(database, row.product_id, source_id, locator=f"https://shop.test/{row.product_id}")
        return source_id, adapter

    return shop


def at(database, product_id, source_id):
    (row,) = rows(database, ProductSource, product_id=product_id, source_id=source_id)
    return row


def open_prices(database, **where):
    return {row.source_id: row.price for row in rows(database, Offer, **where) if row.closed_at is None}


def test_a_product_has_the_offers_of_all_its_sources_and_a_summary_of_them(database, upstream, synchronizer, shop):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    source_id, adapter = shop(lambda request: [complete(an_offer(request.locators[0], price=80, items=2))])

    result = synchronizer.run()

    assert (result.ended_by, result.leased, result.fetched, result.changed, result.failed) == ("done", 2, 2, 2, 0)
    assert open_prices(database) == {OFFERS_SOURCE: 100, source_id: 80}
    (summary,) = rows(database, ProductSummary)
    assert (summary.lowest, summary.offers, summary.items_in_stock) == (80, 2, 7)
    assert [request.locators for request in adapter.asked] == [[f"https://shop.test/{product_id}"]]
    assert at(database, product_id, source_id).registration is None


def test_without_a_locator_it_is_the_products_own_id(database, synchronizer, shop):
    product_id = make_product(database)
    _, adapter = shop(lambda _request: [complete()])
    with database.sessions.begin() as session:
        session.execute(update(ProductSource).values(locator=None))

    synchronizer.run()

    assert [request.locators for request in adapter.asked] == [[str(product_id)]]


def test_an_offer_has_the_same_id_at_each_sync(database, synchronizer, shop):
    make_product(database)
    prices = iter((80, 70))
    shop(lambda request: [complete(an_offer(request.locators[0], price=next(prices)))])
    synchronizer.run()
    make_due(database)

    synchronizer.run()

    assert [(row.price, row.closed_at) for row in rows(database, Offer)] == [(70, None)]


def test_a_failure_at_one_source_is_not_one_at_another(database, upstream, synchronizer, shop):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    source_id, _ = shop(lambda _request: [Failure("the page is gone", "status_404")])

    result = synchronizer.run()

    assert (result.fetched, dict(result.failures)) == (1, {"status_404": 1})
    assert at(database, product_id, source_id).last_error == "the page is gone"
    assert (sync_row(database, product_id).failures, open_prices(database)) == (0, {OFFERS_SOURCE: 100})


@pytest.mark.parametrize(
    "failure",
    [
        lambda _request: [Failure("broken off", "no_answer")],
        lambda request: [Snapshot([an_offer(request.locators[0])], False), Failure("broken off", "no_answer")],
        lambda _request: [Snapshot([], complete=False, incomplete_because="the page has two products")],
        lambda _request: [],
        lambda _request: 1 / 0,
        lambda _request: [too_many_requests()],
    ],
    ids=["failure", "snapshot-failure", "incomplete", "nothing", "fault", "429"],
)
def test_whatever_goes_wrong_at_a_shop_closes_nothing(database, upstream, synchronizer, shop, failure):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    answers = [lambda request: [complete(an_offer(request.locators[0]), an_offer(request.locators[0], "two"))]]
    source_id, _ = shop(lambda request: answers[0](request))
    synchronizer.run()
    before = {row.id: row.closed_at for row in rows(database, Offer)}
    answers[0] = failure
    make_due(database)

    result = synchronizer.run()

    assert result.failed == 1
    assert {row.id: row.closed_at for row in rows(database, Offer)} == before
    assert at(database, product_id, source_id).failures == 1


def test_a_busy_shop_ends_its_lane_even_if_the_database_cannot_be_told(database, synchronizer, shop, caplog):
    product_id = make_product(database)
    source_id, _ = shop(lambda _request: [too_many_requests()])

    def be_away(*_):
        raise OperationalError("", {}, Exception("the database is away"))

    with patch.object(sources, "block", be_away):
        result = synchronizer.run()

    assert result.ended_by == "shop: the shop answered 429"
    state = at(database, product_id, source_id)
    assert (state.failures, state.leased_until) == (1, None)
    assert "the database is out of reach" in caplog.text


def test_what_has_not_been_modified_counts_as_observed_and_stays(database, synchronizer, shop):
    product_id = make_product(database)
    validators = Validators(etag='"one"')
    answers = [[complete(an_offer("x"), validators=validators)]]
    source_id, adapter = shop(lambda _request: answers[0])
    synchronizer.run()
    first = at(database, product_id, source_id)
    answers[0] = [NotModified()]
    make_due(database)

    result = synchronizer.run()

    assert (result.failed, result.changed) == (0, 0)
    assert [request.validators for request in adapter.asked] == [Validators(), validators]
    again = at(database, product_id, source_id)
    assert again.last_synced_at > first.last_synced_at
    assert (again.validators, again.last_changed_at) == (first.validators, first.last_changed_at)
    assert open_prices(database, source_id=source_id) == {source_id: 100}


def test_a_shop_that_has_had_enough_is_asked_by_no_run_until_then_and_the_others_are(
    database, upstream, synchronizer, shop
):
    product_ids = make_products(database, 3)
    source_id, adapter = shop(lambda _request: [too_many_requests()])

    result = synchronizer.run()
    make_due(database)
    asked = len(adapter.asked)
    again = synchronizer.run()

    assert result.ended_by == "shop: the shop answered 429"
    (source,) = rows(database, Source, id=source_id)
    assert timedelta(seconds=550) < source.blocked_until - datetime.now(UTC) < timedelta(seconds=650)
    assert (again.ended_by, again.fetched, len(adapter.asked)) == ("done", 3, asked)
    assert all(upstream.asked[product_id] == 2 for product_id in product_ids)


def test_while_the_offers_service_has_had_enough_the_shop_is_asked(database, upstream, synchronizer, shop):
    make_product(database)
    limit = {"status": 429, "retry_after": 120, "form": "seconds"}
    upstream.faults.replace([Fault("rate_limit", limit, ("offers",), times=1)])
    source_id, _ = shop(lambda request: [complete(an_offer(request.locators[0]))])

    result = synchronizer.run()

    assert "429" in result.ended_by
    assert open_prices(database) == {source_id: 100}


def test_the_pacing_of_a_shop_does_not_delay_the_offers_service(database, upstream, make_synchronizer, shop):
    product_ids = make_products(database, 20)
    for product_id in product_ids:
        upstream.offer(product_id, states((100, 5)))

    _, adapter = shop(lambda request: [complete(an_offer(request.locators[0]))], requests_per_second=2.0)

    result = make_synchronizer(**{"sync.budget_seconds": "3"}).run()

    assert result.ended_by == "budget"
    assert set(open_prices(database)) >= {OFFERS_SOURCE}
    assert len(rows(database, Offer, source_id=OFFERS_SOURCE)) == 20
    assert len(adapter.asked) < 8
    assert {row.leased_until for row in rows(database, ProductSource)} == {None}


def test_a_secret_comes_from_the_variable_that_the_source_names(database, synchronizer, shop, monkeypatch):
    make_product(database)
    monkeypatch.setenv("SHOP_KEY", "a secret")
    _, adapter = shop(lambda _request: [complete()], secret_variable="SHOP_KEY")

    synchronizer.run()

    assert [request.secret for request in adapter.asked] == ["a secret"]
    assert "a secret" not in repr(adapter.asked)


def test_without_its_secret_a_source_is_not_asked_and_no_product_has_failed(database, synchronizer, shop, monkeypatch):
    product_id = make_product(database)
    monkeypatch.delenv("SHOP_KEY", raising=False)
    source_id, adapter = shop(lambda _request: [complete()], secret_variable="SHOP_KEY")

    result = synchronizer.run()

    assert result.ended_by == "shop: the environment variable SHOP_KEY is not set"
    assert adapter.asked == []
    row = at(database, product_id, source_id)
    assert (row.failures, row.leased_until, row.next_sync_at) == (0, None, LONG_AGO)


def test_a_source_that_is_disabled_is_not_asked(database, synchronizer, shop):
    make_product(database)
    _, adapter = shop(lambda _request: [complete()], enabled=False)

    assert synchronizer.run().ended_by == "done"
    assert adapter.asked == []


def test_a_source_without_an_adapter_is_reported_and_the_others_are_asked(database, upstream, synchronizer):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    link(database, product_id, make_source(database, "shop", kind="no_such_kind"))

    result = synchronizer.run()

    assert result.ended_by.startswith("shop: AdapterError: there is no adapter of the kind 'no_such_kind'")
    assert open_prices(database) == {OFFERS_SOURCE: 100}
    assert rows(database, SyncRun)[-1].ended_by == result.ended_by


def test_a_source_has_an_interval_of_its_own(database, synchronizer, shop):
    product_id = make_product(database)
    source_id, _ = shop(lambda _request: [complete()], interval_seconds=3600)

    synchronizer.run()

    later = at(database, product_id, source_id).next_sync_at - datetime.now(UTC)
    assert timedelta(minutes=50) < later < timedelta(minutes=61)


@only_postgresql
def test_runs_for_two_sources_that_write_one_product_at_once_leave_a_summary_of_both(
    database, upstream, synchronizer, make_synchronizer, shop
):
    # Given the list of the Offers service, read and about to be written, when the shop's is written
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    source_id, _ = shop(lambda request: [complete(an_offer(request.locators[0], price=80, items=2))])
    with database.sessions.begin() as session:
        mine = ProductSource.source_id == source_id
        session.execute(update(ProductSource).where(mine).values(next_sync_at=LONG_AGO + timedelta(days=9999)))
    shops: list[Synchronizer] = []

    def sync_the_shop():
        if not shops:
            shops.append(make_synchronizer())
            with database.sessions.begin() as session:
                session.execute(update(ProductSource).where(mine).values(next_sync_at=LONG_AGO))
                session.execute(
                    update(ProductSource).where(~mine).values(next_sync_at=datetime.now(UTC) + timedelta(days=1))
                )
            with ThreadPoolExecutor() as pool:
                assert pool.submit(shops[0].run).result(20).changed == 1

    with before_call(settling, "plan_updates", sync_the_shop):
        assert synchronizer.run().changed == 1

    (summary,) = rows(database, ProductSummary)
    assert (summary.lowest, summary.offers, summary.items_in_stock) == (80, 2, 7)
