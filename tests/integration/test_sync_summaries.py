"""What prices were a while ago is looked up again by every pass, also by one that never has time left."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from productagg.db.models import ProductSummary
from productagg.sync import run as sync_module
from tests.factories import make_due, make_products, rows, states
from tests.integration.conftest import before_statement
from tests.integration.histories import offer_to_all

MINUTE = timedelta(minutes=1)
QUARTER = 15 * MINUTE
(OFFER_ID,) = states((0, 0))


@pytest.fixture
def product_ids(database, upstream, synchronizer):
    """Products with a price, of which a first pass has made the summaries."""
    product_ids = make_products(database, 20)
    offer_to_all(upstream, product_ids, {OFFER_ID: (100, 5)})
    assert synchronizer.run().ended_by == "done"
    return product_ids


@pytest.fixture
def hasty(make_synchronizer, upstream, pass_time):
    """A synchronizer whose time is up after three of many products."""
    upstream.before_offers = lambda _product_id: pass_time.go_by(0.3)
    return make_synchronizer(**{"sync.workers": "1", "sync.budget_seconds": "1"})


def look_ups(database, act=lambda: None):
    """Call `act` whenever some summaries are looked up again."""
    return before_statement(
        database.writer, "WITH due", lambda statement: act() if "UPDATE product_summaries" in statement else None
    )


def test_passes_that_always_end_by_their_budget_keep_them_fresh(database, upstream, hasty, product_ids, clock):
    for price in (90, 80, 70):
        offer_to_all(upstream, product_ids, {OFFER_ID: (price, 5)})
        clock.shift(QUARTER)
        make_due(database)

        report = hasty.run()

        assert report.ended_by == "budget"
        assert 1 <= report.fetched < 20
        looked_up = [row.compared_at for row in rows(database, ProductSummary)]
        assert all(at is not None and at >= report.started_at for at in looked_up)


def test_a_day_later_they_say_what_it_cost_a_day_ago(database, upstream, hasty, product_ids, clock):
    clock.shift(timedelta(days=1) + MINUTE)

    assert hasty.run().ended_by == "budget"

    assert {row.lowest_24h for row in rows(database, ProductSummary)} == {100}


def test_many_that_are_due_get_a_share_of_each_pass_the_longest_due_first(
    database, upstream, hasty, product_ids, pass_time, monkeypatch
):
    # Given summaries of which looking up two takes six hundredths of a pass's time
    monkeypatch.setattr(sync_module, "_SUMMARIES_AT_ONCE", 2)
    newest = rows(database, ProductSummary)[0].observed_at
    with database.sessions.begin() as session:
        for number, product_id in enumerate(product_ids):
            mine = ProductSummary.product_id == product_id
            session.execute(update(ProductSummary).where(mine).values(compare_at=newest - number * MINUTE))

    looked_up = []
    for _ in range(2):
        make_due(database)
        with look_ups(database, lambda: pass_time.go_by(0.06)):
            report = hasty.run()
        # Most of the time is left for the products
        assert (report.ended_by, report.fetched >= 2) == ("budget", True)
        looked_up.append([row.product_id for row in rows(database, ProductSummary) if row.compared_at is not None])

    assert looked_up == [sorted(product_ids[-4:]), sorted(product_ids[-8:])]


def test_even_the_shortest_pass_looks_some_up(database, upstream, hasty, product_ids, pass_time, monkeypatch):
    monkeypatch.setattr(sync_module, "_SUMMARIES_AT_ONCE", 2)

    with look_ups(database, lambda: pass_time.go_by(1)):
        report = hasty.run()

    assert (report.ended_by, report.claimed) == ("budget", 0)
    assert sum(row.compared_at is not None for row in rows(database, ProductSummary)) == 2


def test_an_interrupted_pass_does_not_go_on_looking_up(database, upstream, hasty, product_ids, monkeypatch):
    monkeypatch.setattr(sync_module, "_SUMMARIES_AT_ONCE", 2)

    with look_ups(database, hasty.interrupt):
        report = hasty.run()

    assert (report.ended_by, report.claimed) == ("interrupted", 0)
    assert sum(row.compared_at is not None for row in rows(database, ProductSummary)) == 2
