"""Every run refreshes the earlier prices of summaries, even a run that never has time left."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from productagg.db.models import ProductSummary
from productagg.history import movers
from productagg.sync import run as sync_run
from tests.factories import make_due, make_products, rows, states
from tests.integration.conftest import before_call
from tests.integration.offer_history import offer_to_all

MINUTE = timedelta(minutes=1)
QUARTER = 15 * MINUTE
(OFFER_ID,) = states((0, 0))


@pytest.fixture
def product_ids(database, upstream, synchronizer):
    """Products with a price, of which a first run has made the summaries."""
    product_ids = make_products(database, 20)
    offer_to_all(upstream, product_ids, {OFFER_ID: (100, 5)})
    assert synchronizer.run().ended_by == "done"
    return product_ids


@pytest.fixture
def hasty(make_synchronizer, upstream, run_time):
    """A synchronizer whose time is up after three products."""
    upstream.before_offers = lambda _product_id: run_time.go_by(1.5)
    return make_synchronizer(**{"sync.workers": "1", "sync.budget_seconds": "5"})


def before_refresh(act):
    """Call `act` before every batch of summaries that is refreshed."""
    return before_call(movers, "refresh", act)


def test_runs_that_always_end_by_their_budget_keep_them_fresh(database, upstream, hasty, product_ids, clock):
    for price in (90, 80, 70):
        offer_to_all(upstream, product_ids, {OFFER_ID: (price, 5)})
        clock.shift(QUARTER)
        make_due(database)

        result = hasty.run()

        assert result.ended_by == "budget"
        assert 1 <= result.fetched < 20
        refreshed = [row.compared_at for row in rows(database, ProductSummary)]
        assert all(at is not None and at >= result.started_at for at in refreshed)


def test_a_day_later_they_say_what_it_cost_a_day_ago(database, upstream, hasty, product_ids, clock):
    clock.shift(timedelta(days=1) + MINUTE)

    assert hasty.run().ended_by == "budget"

    assert {row.lowest_24h for row in rows(database, ProductSummary)} == {100}


def test_many_that_are_due_get_a_share_of_each_run_the_longest_due_first(
    database, upstream, hasty, product_ids, run_time, monkeypatch
):
    # Given summaries of which refreshing two takes six hundredths of a run's time
    monkeypatch.setattr(sync_run, "SUMMARIES_PER_BATCH", 2)
    newest = rows(database, ProductSummary)[0].observed_at
    with database.sessions.begin() as session:
        for number, product_id in enumerate(product_ids):
            mine = ProductSummary.product_id == product_id
            session.execute(update(ProductSummary).where(mine).values(compare_at=newest - number * MINUTE))

    refreshed = []
    for _ in range(2):
        make_due(database)
        with before_refresh(lambda: run_time.go_by(0.3)):
            result = hasty.run()
        # Most of the time is left for the products
        assert (result.ended_by, result.fetched >= 2) == ("budget", True)
        refreshed.append([row.product_id for row in rows(database, ProductSummary) if row.compared_at is not None])

    assert refreshed == [sorted(product_ids[-4:]), sorted(product_ids[-8:])]


def test_even_the_shortest_run_refreshes_some(database, upstream, hasty, product_ids, run_time, monkeypatch):
    monkeypatch.setattr(sync_run, "SUMMARIES_PER_BATCH", 2)

    with before_refresh(lambda: run_time.go_by(5)):
        result = hasty.run()

    assert (result.ended_by, result.leased) == ("budget", 0)
    assert sum(row.compared_at is not None for row in rows(database, ProductSummary)) == 2


def test_an_interrupted_run_does_not_go_on_refreshing(database, upstream, hasty, product_ids, monkeypatch):
    monkeypatch.setattr(sync_run, "SUMMARIES_PER_BATCH", 2)

    with before_refresh(hasty.interrupt):
        result = hasty.run()

    assert (result.ended_by, result.leased) == ("interrupted", 0)
    assert sum(row.compared_at is not None for row in rows(database, ProductSummary)) == 2
