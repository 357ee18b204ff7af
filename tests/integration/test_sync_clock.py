"""A clock that jumps or stands still: products are asked for all the same, and their history stays in order."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import time_machine

from productagg.credentials import account_key
from productagg.models import OfferPrice, ProductPrice, ProductSummary, SyncRun, UpstreamToken
from productagg.sandbox import Fault
from tests.conftest import REFRESH_TOKEN
from tests.factories import make_due, make_product, make_products, rows, states, sync_row
from tests.integration.histories import replay, stored

HOUR = timedelta(hours=1)
# The longest lease with the tests' time-out of 2 s.
LEASE = timedelta(seconds=6 * 2 + 30)
(OFFER_ID,) = states((0, 0))


@pytest.fixture
def told(upstream, clock):
    """The Offers service has a clock of its own, which is right."""
    ahead = time.time() - time.monotonic()
    upstream.service.clock = lambda: time.monotonic() + ahead


def times_of(database, model, product_id):
    return sorted(row.observed_at for row in rows(database, model, product_id=product_id))


def check_the_history(database, product_id, prices):
    """One observation for each of these prices, in this order."""
    assert [state[OFFER_ID][0] for state in replay(database, product_id)] == prices
    for model in (OfferPrice, ProductPrice):
        times = times_of(database, model, product_id)
        assert len(times) == len(prices)
        assert all(early < late for early, late in pairwise(times))


def test_after_the_clock_was_set_back_what_prices_were_a_while_ago_is_looked_up_again(
    database, upstream, synchronizer, clock, told
):
    product_id = make_product(database)
    upstream.offer(product_id, {OFFER_ID: (100, 5)})
    synchronizer.run()
    clock.shift(-2 * HOUR)

    synchronizer.run()

    (summary,) = rows(database, ProductSummary)
    assert summary.compared_at <= datetime.now(UTC)
    assert summary.compare_at <= datetime.now(UTC) + timedelta(minutes=15)


@pytest.mark.parametrize("jump", [-HOUR, -24 * HOUR], ids=["an hour", "a day"])
def test_after_the_clock_was_set_back_products_are_asked_as_usual_and_their_history_stays_in_order(
    database, upstream, synchronizer, clock, told, jump
):
    product_id = make_product(database)
    upstream.offer(product_id, {OFFER_ID: (100, 5)})
    assert synchronizer.run().exit_code == 0

    clock.shift(jump)
    for price in (90, 80):
        upstream.offer(product_id, {OFFER_ID: (price, 5)})
        assert synchronizer.run().exit_code == 0
        # Asked at once, and then a minute later
        assert stored(database, product_id) == {OFFER_ID: (price, 5)}
        assert synchronizer.run().exit_code == 0
        clock.shift(61)

    assert upstream.asked[product_id] == 3
    check_the_history(database, product_id, [100, 90, 80])
    row = sync_row(database, product_id)
    assert row.next_sync_at - datetime.now(UTC) <= timedelta(minutes=1)


def test_an_hour_in_which_the_clock_was_wrong_does_not_keep_anybody_waiting(
    database, upstream, synchronizer, clock, told
):
    product_id = make_product(database)
    upstream.offer(product_id, {OFFER_ID: (100, 5)})
    clock.shift(HOUR)
    synchronizer.run()
    upstream.offer(product_id, {OFFER_ID: (90, 5)})

    clock.shift(-HOUR)
    assert synchronizer.run().exit_code == 0

    check_the_history(database, product_id, [100, 90])


def test_one_product_whose_history_is_ahead_does_not_take_the_others_along(
    database, upstream, synchronizer, clock, told
):
    product_ids = make_products(database, 5)
    for product_id in product_ids:
        upstream.offer(product_id, {OFFER_ID: (100, 5)})
    # Given one that was asked on a host whose clock is wrong
    clock.shift(HOUR)
    synchronizer.sync_products(product_ids[:1])
    clock.shift(-HOUR)
    make_due(database)

    assert synchronizer.run().exit_code == 0

    now = datetime.now(UTC)
    for product_id in product_ids[1:]:
        assert times_of(database, OfferPrice, product_id)[-1] <= now
        assert times_of(database, ProductPrice, product_id)[-1] <= now
        assert sync_row(database, product_id).last_synced_at <= now


def test_changes_at_the_same_moment_are_observed_one_after_the_other(database, upstream, synchronizer):
    product_id = make_product(database)
    prices = [100, 90, 80]

    with time_machine.travel(datetime.now(UTC), tick=False):
        for price in prices:
            upstream.offer(product_id, {OFFER_ID: (price, 5)})
            make_due(database)
            assert synchronizer.run().exit_code == 0

    check_the_history(database, product_id, prices)


def test_what_a_clock_that_was_ahead_left_behind_is_not_in_the_way(database, upstream, synchronizer, clock, told):
    # Given somebody who died at work and whose clock was two hours ahead
    then = datetime.now(UTC) + 2 * HOUR
    leased = make_product(database, leased_until=then + LEASE)
    upstream.offer(leased, {OFFER_ID: (100, 5)})
    with database.sessions.begin() as session:
        account = account_key(upstream.base_url, REFRESH_TOKEN)
        session.add(
            UpstreamToken(
                account=account,
                refreshing_until=then + timedelta(seconds=7),
                blocked_until=then + timedelta(seconds=60),
                blocked_reason="it was busy",
            )
        )

    report = synchronizer.run()

    assert (report.exit_code, report.ended_by) == (0, "done")
    assert stored(database, leased) == {OFFER_ID: (100, 5)}


def test_what_can_be_true_is_respected(database, upstream, synchronizer, clock):
    # Given a lease as long as there can be, and a product that has to wait as long as one ever has to
    now = datetime.now(UTC)
    make_product(database, "Leased", leased_until=now + LEASE)
    make_product(
        database,
        "Failing",
        next_sync_at=now + HOUR,
        last_asked_at=now,
        failures=9,
        last_error="it was not there",
    )
    free = make_product(database, "Free")

    synchronizer.run()

    assert set(upstream.asked) == {free}


def test_the_longest_time_to_wait_that_a_service_can_name_is_respected(database, upstream, one_by_one, clock):
    make_products(database, 2)
    upstream.faults.replace([Fault("rate_limit", {"retry_after": 3600}, ("offers",), times=1)])
    one_by_one.run()
    asked = upstream.service.requests.total()

    clock.shift(1)
    one_by_one.run()

    assert upstream.service.requests.total() == asked
    assert "429" in rows(database, SyncRun)[-1].ended_by
