"""How long an observation counts: five intervals of the source that made it, for whoever reads or writes a history."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import update

from productagg.db.models import OFFERS_SOURCE, ProductPrice, ProductPriceDay, ProductSource, ProductSummary
from productagg.history import movers
from productagg.history.queries import StepQueries
from productagg.history.timeline import microseconds
from productagg.sources.base import Snapshot
from tests.factories import LONG_AGO, link, make_due, make_product, make_source, rows, states
from tests.integration.observed_products import Shop, compact, day
from tests.integration.scripted_adapters import ScriptedAdapter, an_offer, complete, install

# As of the settings in these tests.
OBSERVED_FOR = timedelta(minutes=5)
DAY = timedelta(days=1)
DAILY = int(DAY.total_seconds())


class DailyShop(ScriptedAdapter):
    """A source that is asked once a day, and whose page has a kettle."""

    def __init__(self, database):
        super().__init__(lambda _request: [complete(an_offer("kettle", price=80))])
        self._database = database
        self.id = make_source(database, "shop", interval_seconds=DAILY)

    def link(self, product_id):
        link(self._database, product_id, self.id, locator="kettle")


@pytest.fixture
def shop(database, monkeypatch):
    shop = DailyShop(database)
    install(monkeypatch, jsonld=shop)
    return shop


@pytest.fixture
def is_observed(database):
    """Whether the history of a product says that it is observed at a time."""

    def is_observed(product_id, at):
        with database.reader.connect() as connection:
            queries = StepQueries(connection, product_id, at, OBSERVED_FOR)
            end = microseconds(at)
            *_, last = queries.product_steps(end - 1, end).steps
        return last.observed

    return is_observed


def last_synced(database, product_id, source_id):
    (row,) = rows(database, ProductSource, product_id=product_id, source_id=source_id)
    return row.last_synced_at


def gaps(database, product_id):
    return [row for row in rows(database, ProductPrice, product_id=product_id) if not row.observed]


def test_a_product_of_a_daily_source_is_observed_for_five_days(database, synchronizer, shop, is_observed):
    product_id = make_product(database)
    shop.link(product_id)
    synchronizer.run(sources=[shop.id])
    at = last_synced(database, product_id, shop.id)

    observed = [is_observed(product_id, at + span) for span in (2 * OBSERVED_FOR, 5 * DAY, 5 * DAY + OBSERVED_FOR)]

    assert observed == [True, True, False]


def test_a_daily_source_of_other_products_changes_nothing(database, upstream, synchronizer, shop, is_observed):
    product_id, other = make_product(database), make_product(database, "Lamp")
    shop.link(other)
    upstream.offer(product_id, states((100, 5)))
    synchronizer.run()
    at = last_synced(database, product_id, OFFERS_SOURCE)

    observed = [is_observed(product_id, at + span) for span in (OBSERVED_FOR, 2 * OBSERVED_FOR)]

    assert observed == [True, False]


def test_a_daily_source_that_has_never_listed_a_product_does_not_make_it_observed(
    database, upstream, synchronizer, shop, is_observed
):
    product_id = make_product(database)
    shop.link(product_id)
    upstream.offer(product_id, states((100, 5)))
    synchronizer.run(sources=[OFFERS_SOURCE])
    at = last_synced(database, product_id, OFFERS_SOURCE)

    assert not is_observed(product_id, at + 2 * OBSERVED_FOR)


@pytest.mark.parametrize(("days", "number"), [(1, 0), (6, 1)])
def test_the_next_list_of_a_daily_source_leaves_a_gap_only_after_five_days(
    database, synchronizer, shop, database_clock, days, number
):
    product_id = make_product(database)
    shop.link(product_id)
    synchronizer.run(sources=[shop.id])
    database_clock.shift(days * DAY)
    make_due(database)

    synchronizer.run(sources=[shop.id])

    assert len(gaps(database, product_id)) == number


def test_between_two_lists_of_a_daily_source_the_offers_service_may_be_away(
    database, upstream, synchronizer, shop, database_clock
):
    product_id = make_product(database)
    shop.link(product_id)
    upstream.offer(product_id, states((100, 5)))
    synchronizer.run()
    database_clock.shift(DAY / 2)
    make_due(database)

    synchronizer.run(sources=[OFFERS_SOURCE])

    assert gaps(database, product_id) == []


def test_a_product_of_the_offers_service_has_a_gap_though_others_have_a_daily_source(
    database, upstream, synchronizer, shop, database_clock
):
    product_id, other = make_product(database), make_product(database, "Lamp")
    shop.link(other)
    upstream.offer(product_id, states((100, 5)))
    synchronizer.run()
    database_clock.shift(DAY)
    make_due(database)

    synchronizer.run()

    assert len(gaps(database, product_id)) == 1
    assert gaps(database, other) == []


def test_a_product_that_a_daily_source_listed_hours_ago_is_among_the_movers(database, synchronizer, shop):
    product_id = make_product(database)
    shop.link(product_id)
    synchronizer.run(sources=[shop.id])
    with database.sessions.begin() as session:
        session.execute(update(ProductSummary).values(lowest_24h=100, compared_at=LONG_AGO))
    now = datetime.now(UTC)

    def moved(at):
        with database.reader.connect() as connection:
            found = movers.movers(connection, "24h", "down", 9, at=at, observed_for=OBSERVED_FOR)
        return [each.product_id for each in found]

    assert [moved(now + DAY / 2), moved(now + 6 * DAY)] == [[product_id], []]


@pytest.mark.parametrize(("offers", "times"), [([], 1), ([an_offer("kettle", price=80)], 2)], ids=["none", "the same"])
def test_lists_that_are_not_complete_end_a_gap_once_if_they_have_offers(
    database, synchronizer, shop, database_clock, is_observed, offers, times
):
    product_id = make_product(database)
    shop.link(product_id)
    synchronizer.run(sources=[shop.id])
    shop.fetch = lambda _request: [Snapshot(offers, complete=False)]
    database_clock.shift(6 * DAY)
    for _ in range(3):
        make_due(database)
        synchronizer.run(sources=[shop.id])

    steps = rows(database, ProductPrice, product_id=product_id)

    assert [row.observed for row in steps].count(True) == times
    last = last_synced(database, product_id, shop.id)
    assert last >= steps[-1].observed_at
    assert not is_observed(product_id, last + 6 * DAY)


def test_a_list_without_offers_that_is_not_complete_begins_no_history(database, synchronizer, shop):
    product_id = make_product(database)
    shop.link(product_id)
    shop.fetch = lambda _request: [Snapshot([], complete=False)]

    synchronizer.run(sources=[shop.id])

    assert (rows(database, ProductPrice), last_synced(database, product_id, shop.id)) == ([], None)


@pytest.mark.parametrize(("interval_days", "number"), [(1, 1), (30, 0)])
def test_a_compaction_records_no_gap_that_may_not_have_begun(database, interval_days, number):
    kettle = Shop(database)
    kettle.observe(day(0), {UUID(int=1): (100, 5)})
    link(database, kettle.product_id, make_source(database, "shop", interval_seconds=interval_days * DAILY))

    compact(database, day(130))

    recorded = [*rows(database, ProductPrice), *rows(database, ProductPriceDay)]
    assert len([row for row in recorded if not row.observed]) == number
