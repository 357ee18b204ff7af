"""The database's clock decides; histories stay in order when it jumps or stands still."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import time_machine

from productagg.catalog import products as catalog
from productagg.db import clock as database_time
from productagg.db.models import Offer, OfferPrice, Product, ProductChange, ProductPrice, ProductSource, SyncRun
from productagg.sandbox import Fault
from tests.databases import only_postgresql
from tests.factories import make_due, make_product, make_products, rows, states, sync_row
from tests.integration.offer_history import replay, stored

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
# The longest lease with the tests' time-out of 2 s.
LEASE = timedelta(seconds=6 * 2 + 30)
(OFFER_ID,) = states((0, 0))


def times_of(database, model, product_id):
    return sorted(row.observed_at for row in rows(database, model, product_id=product_id))


def check_the_history(database, product_id, prices):
    """The history holds one observation per price, in this order."""
    assert [state[OFFER_ID][0] for state in replay(database, product_id)] == prices
    for model in (OfferPrice, ProductPrice):
        times = times_of(database, model, product_id)
        assert len(times) == len(prices)
        assert all(early < late for early, late in pairwise(times))


def written(database):
    """Every time that a run and an editor wrote."""
    found = [
        *(row.observed_at for model in (OfferPrice, ProductPrice) for row in rows(database, model)),
        *(time for row in rows(database, Offer) for time in (row.first_seen_at, row.changed_at)),
        *(time for row in rows(database, Product) for time in (row.created_at, row.updated_at)),
        *(row.at for row in rows(database, ProductChange)),
        *(time for row in rows(database, SyncRun) for time in (row.started_at, row.finished_at)),
    ]
    for row in rows(database, ProductSource):
        found += [row.registered_at, row.last_asked_at, row.last_synced_at, row.last_changed_at]
    return found


class TestTheHostsClock:
    @pytest.mark.parametrize("ahead", [2 * HOUR, -2 * HOUR], ids=["ahead", "behind"])
    def test_all_written_times_are_the_databases(self, database, upstream, synchronizer, database_clock, ahead):
        began = database_clock.now()
        with time_machine.travel(datetime.now(UTC) + ahead):
            with database.sessions.begin() as session:
                product_id = catalog.create(session, "Kettle", "Boils water")
            upstream.offer(product_id, {OFFER_ID: (100, 5)})
            assert synchronizer.run().exit_code == 0
            with database.sessions.begin() as session:
                catalog.change(session, product_id, description="Better")

        times = written(database)
        assert len(times) > 10
        assert began <= min(times) <= max(times) <= database_clock.now()

    @only_postgresql
    def test_postgresql_is_asked_for_its_time(self, database, upstream, synchronizer, monkeypatch):
        monkeypatch.setattr(database_time, "now_parameter", lambda _dialect: None)
        began = datetime.now(UTC)
        with time_machine.travel(began + 2 * HOUR):
            with database.sessions.begin() as session:
                product_id = catalog.create(session, "Kettle", "Boils water")
                assert database_time.now(session) == rows_in(session)
            upstream.offer(product_id, {OFFER_ID: (100, 5)})
            assert synchronizer.run().exit_code == 0

        assert began <= min(written(database)) <= max(written(database)) <= datetime.now(UTC)

    def test_two_hosts_whose_clocks_differ_ask_once_and_keep_one_history(
        self, database, upstream, make_synchronizer, database_clock
    ):
        product_ids = make_products(database, 5)
        host, other = make_synchronizer(), make_synchronizer()

        for minute in range(4):
            for product_id in product_ids:
                upstream.offer(product_id, {OFFER_ID: (100 + minute, 5)})
            assert host.run().exit_code == 0
            with time_machine.travel(datetime.now(UTC) + 100 * SECOND):
                assert other.run().exit_code == 0
            database_clock.shift(61 * SECOND)

        assert upstream.asked == dict.fromkeys(product_ids, 4)
        for product_id in product_ids:
            check_the_history(database, product_id, [100, 101, 102, 103])

    def test_a_host_whose_clock_jumps_during_an_exchange_finishes_its_work(
        self, database, upstream, one_by_one, database_clock
    ):
        product_ids = make_products(database, 3)
        with time_machine.travel(datetime.now(UTC)) as host:
            upstream.before_offers = lambda _product_id: host.shift(3600)
            # So is the Offers service's, by which the token ends
            upstream.service.clock = lambda: database_clock.now().timestamp()

            result = one_by_one.run()

        assert (result.leased, result.fetched, result.ended_by) == (3, 3, "done")
        assert upstream.asked == dict.fromkeys(product_ids, 1)

    def test_a_lease_and_a_wait_end_by_the_databases_clock(self, database, upstream, one_by_one, database_clock):
        leased = make_product(database, "Leased", leased_until=database_clock.now() + LEASE)
        free = make_product(database, "Free")
        upstream.faults.replace([Fault("rate_limit", {"retry_after": 120}, ("offers",), times=1)])
        one_by_one.run()
        with time_machine.travel(datetime.now(UTC) + 24 * HOUR):
            assert "429" in one_by_one.run().ended_by
        assert upstream.asked == {}

        database_clock.shift(121 * SECOND)

        assert one_by_one.run().exit_code == 0
        assert upstream.asked == {leased: 1, free: 1}


def rows_in(session):
    """The creation of the only product, as its transaction sees it."""
    return session.query(Product.created_at).scalar()


class TestTheDatabasesClock:
    @pytest.mark.parametrize("jump", [HOUR, 24 * HOUR], ids=["an hour", "a day"])
    def test_after_it_was_set_back_all_products_can_be_synced_and_histories_stay_in_order(
        self, database, upstream, synchronizer, database_clock, jump
    ):
        product_ids = make_products(database, 3)
        for product_id in product_ids:
            upstream.offer(product_id, {OFFER_ID: (100, 5)})
        assert synchronizer.run().exit_code == 0

        database_clock.shift(-jump)
        for price in (90, 80):
            for product_id in product_ids:
                upstream.offer(product_id, {OFFER_ID: (price, 5)})
            result = synchronizer.run(everything=True)
            assert (result.fetched, result.ended_by) == (3, "done")
            database_clock.shift(61 * SECOND)

        for product_id in product_ids:
            check_the_history(database, product_id, [100, 90, 80])
            assert stored(database, product_id) == {OFFER_ID: (80, 5)}

    def test_one_product_whose_history_is_ahead_does_not_take_the_others_along(
        self, database, upstream, synchronizer, database_clock
    ):
        product_ids = make_products(database, 5)
        for product_id in product_ids:
            upstream.offer(product_id, {OFFER_ID: (100, 5)})
        database_clock.shift(HOUR)
        synchronizer.sync_products(product_ids[:1])
        database_clock.shift(-HOUR)
        make_due(database)

        assert synchronizer.run().exit_code == 0

        now = database_clock.now()
        for product_id in product_ids[1:]:
            assert times_of(database, OfferPrice, product_id)[-1] <= now
            assert times_of(database, ProductPrice, product_id)[-1] <= now
            assert sync_row(database, product_id).last_synced_at <= now

    def test_changes_at_the_same_moment_are_observed_one_after_the_other(self, database, upstream, synchronizer):
        product_id = make_product(database)
        prices = [100, 90, 80]

        with time_machine.travel(datetime.now(UTC), tick=False):
            for price in prices:
                upstream.offer(product_id, {OFFER_ID: (price, 5)})
                make_due(database)
                assert synchronizer.run().exit_code == 0

        check_the_history(database, product_id, prices)


def test_the_longest_time_to_wait_that_a_service_can_name_is_respected(database, upstream, one_by_one, clock):
    make_products(database, 2)
    upstream.faults.replace([Fault("rate_limit", {"retry_after": 3600}, ("offers",), times=1)])
    one_by_one.run()
    asked = upstream.service.requests.total()

    clock.shift(3590)
    one_by_one.run()

    assert upstream.service.requests.total() == asked
    assert "429" in rows(database, SyncRun)[-1].ended_by
