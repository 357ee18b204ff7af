"""Raw rows that are over age go, and the same questions get the same answers."""

import time
from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from uuid import UUID

import pytest
from sqlalchemy import insert

from productagg.db.models import OfferPrice, OfferPriceDaily, ProductPrice, ProductPriceDaily
from productagg.history import compaction
from productagg.history.asof import offers_at
from productagg.history.known import known
from productagg.history.series import product_series
from productagg.history.steps import INSTANT
from productagg.history.trends import trend
from productagg.history.verification import differences
from tests.factories import rows
from tests.integration.conftest import before_statement, crash
from tests.integration.shops import OBSERVED_FOR, Shop, compact, day, progress, rolled_up

ONE, OTHER = UUID(int=1), UUID(int=2)
JANUARY, FEBRUARY, MARCH = day(0), day(31), day(59)
# 90 days before is in February: January goes.
NOW = day(130, 12)


pytestmark = pytest.mark.usefixtures("no_readers")


@pytest.fixture
def shop(database):
    """Observed every few hours until now; its prices changed in January and once in March."""
    shop = Shop(database)
    shop.observe(day(0, 12), {ONE: (100, 5), OTHER: (300, 1)})
    shop.observe(day(0, 13), {ONE: (200, 5)})
    for number in range(1, 20):
        shop.keep(day(number))
        shop.observe(day(number), {ONE: (200 + number, 5)})
    shop.keep(FEBRUARY - INSTANT)
    shop.observe(FEBRUARY - INSTANT, {ONE: (90, 5)})
    shop.keep(MARCH)
    shop.observe(MARCH, {ONE: (80, 5)})
    shop.keep(NOW)
    return shop


def ask(database, shop, begin, end, now=NOW):
    with database.reader.connect() as connection:
        found = known(connection, shop.product_id, OBSERVED_FOR, now)
        assert found is not None
        return trend(connection, found, begin, end)


def test_whole_months_that_are_over_age_go_and_no_others(database, shop):
    report = compact(database, NOW)

    assert report.months == 1
    assert progress(database).raw_from == FEBRUARY
    assert [row.observed_at for row in rows(database, ProductPrice)] == [MARCH]
    assert [(row.offer_id, row.observed_at) for row in rows(database, OfferPrice)] == [(ONE, MARCH)]


def test_rows_are_kept_for_as_long_as_was_wished(database, shop):
    before = rows(database, ProductPrice)

    report = compact(database, NOW, raw_days=101)  # until a day in January

    assert report.months == 0
    assert rows(database, ProductPrice) == before


def test_what_a_product_is_observed_for_is_no_longer_than_rows_are_kept(database, shop):
    with database.reader.connect() as reader:
        long = timedelta(days=100)
        report = compaction.Compaction(reader, database.sessions, 31, long, NOW, closed_days=3660).run()

    assert (report.months, progress(database).raw_from) == (0, None)


def test_running_twice_drops_nothing_more(database, shop):
    compact(database, NOW)
    kept = [rows(database, ProductPrice), rows(database, OfferPrice), progress(database), rolled_up(database)]

    report = compact(database, NOW)

    assert (report.days, report.months) == (0, 0)
    assert [rows(database, ProductPrice), rows(database, OfferPrice), progress(database), rolled_up(database)] == kept


@pytest.mark.parametrize(
    ("begin", "end", "resolution"),
    [
        (day(0), day(20), "hour"),
        (day(3), day(33), "hour"),
        (day(4), day(60), "day"),
        (day(0), day(130), "day"),
    ],
)
def test_the_same_questions_get_the_same_answers(database, shop, begin, end, resolution):
    exact = ask(database, shop, begin, end)
    compact(database, NOW)

    rolled = ask(database, shop, begin, end)

    assert (exact.resolution, rolled.resolution) == ("raw", resolution)
    for name in ("mean", "out_of_stock_percent", "observed_percent", "end_price"):
        assert getattr(rolled, name) == getattr(exact, name), name
    assert rolled.minimum is not None and exact.minimum is not None
    assert rolled.maximum is not None and exact.maximum is not None
    assert (rolled.minimum.price, rolled.maximum.price) == (exact.minimum.price, exact.maximum.price)


def test_what_was_in_force_when_the_raw_rows_begin_is_known_from_the_roll_ups(database, shop):
    compact(database, NOW)

    with database.reader.connect() as connection:
        found = known(connection, shop.product_id, OBSERVED_FOR, NOW)
        assert found is not None
        series = product_series(connection, found, day(40), day(41), "raw")
        offers = offers_at(connection, found, day(40)).offers

    assert [point["lowest"] for point in series.points] == [90]
    assert [(each.id, each.price) for each in offers] == [(ONE, 90)]


def test_the_oldest_rows_go_first_and_few_at_once(database, shop, monkeypatch):
    monkeypatch.setattr(compaction, "_ROWS_AT_ONCE", 3)
    seen: list[list[datetime]] = []

    def look(_statement):
        seen.append([row.observed_at for row in rows(database, ProductPrice)])

    with before_statement(database.writer, ("DELETE FROM product_prices ", "DELETE FROM product_prices_default"), look):
        compact(database, NOW)

    assert len(seen) == 8  # of 22 rows
    for before, after in pairwise(seen):
        assert after == before[3:]


class TestAProductThatNobodyHasReachedForMonths:
    @pytest.fixture
    def lost(self, database, shop):
        lost = Shop(database, "Lamp")
        lost.observe(day(10, 12), {ONE: (100, 5)})
        lost.keep(day(11, 12))
        return lost

    def test_its_gap_is_in_the_roll_ups_before_its_beginning_goes(self, database, lost):
        compact(database, NOW)

        (_, gap) = rows(database, ProductPriceDaily, product_id=lost.product_id)
        assert (gap.at, gap.state, gap.observed_us) == (day(11), "not_observed", 12 * 3600 * 10**6 + 1)
        (_, gap) = rows(database, OfferPriceDaily, product_id=lost.product_id)
        assert (gap.at, gap.state, gap.items_in_stock) == (day(11), "not_observed", 5)
        assert rows(database, ProductPrice, product_id=lost.product_id) == []

    def test_it_counts_for_nothing_before_it_is_back_and_after(self, database, lost):
        before = ask(database, lost, day(10), day(110))
        compact(database, NOW)
        after = ask(database, lost, day(10), day(110))
        lost.observe(NOW, {ONE: (100, 5)})
        compact(database, day(132, 12))
        back = ask(database, lost, day(10), day(110), now=day(132, 12))

        assert before.observed_percent == after.observed_percent == back.observed_percent == 1.0
        assert before.mean == after.mean == back.mean == 100

    def test_it_is_in_a_gap_until_it_is_back(self, database, lost):
        compact(database, NOW)
        lost.observe(NOW, {ONE: (100, 5)})
        lost.keep(day(132, 12))
        compact(database, day(132, 12))

        (*_, resumed) = rows(database, OfferPriceDaily, product_id=lost.product_id)
        assert (resumed.at, resumed.open, resumed.in_stock_us) == (day(130), 100, 12 * 3600 * 10**6)


class TestBeforeAnythingGoes:
    def write_late(self, database, shop):
        """A host whose clock is far behind writes into days that are rolled up, and nobody is told."""
        late = {"product_id": shop.product_id, "observed_at": day(25)}
        values = {"lowest": 1, "average": 1, "offers": 1, "items_in_stock": 5, "observed": True}
        with database.sessions.begin() as session:
            session.execute(insert(ProductPrice).values(**late, **values))
            session.execute(insert(OfferPrice).values(**late, offer_id=ONE, price=1, items_in_stock=5))

    def test_late_rows_are_rolled_up_and_what_comes_after_them(self, database, shop):
        compact(database, NOW, raw_days=101)
        self.write_late(database, shop)

        compact(database, NOW)

        assert progress(database).raw_from == FEBRUARY
        found = {row.at: row for row in rows(database, ProductPriceDaily)}
        assert (found[day(25)].lowest, found[day(25)].changes) == (1, 1)
        assert (found[day(30)].open, found[day(30)].close) == (1, 90)

    def add_a_row(self, database):
        (wrong, *_) = rows(database, OfferPriceDaily)
        with database.sessions.begin() as session:
            session.execute(insert(OfferPriceDaily).values({**wrong._asdict(), "at": day(25)}))

    def test_a_roll_up_that_should_not_be_there_goes(self, database, shop):
        compact(database, NOW, raw_days=101)
        expected = rolled_up(database)
        self.add_a_row(database)

        compact(database, NOW)

        assert rolled_up(database) == expected
        assert progress(database).raw_from == FEBRUARY

    def test_what_cannot_be_made_right_keeps_the_rows(self, database, shop, monkeypatch):
        compact(database, NOW, raw_days=101)
        before = rows(database, OfferPrice)

        def find(*arguments):
            self.add_a_row(database)  # again and again
            return differences(*arguments)

        monkeypatch.setattr(compaction, "differences", find)
        with pytest.raises(compaction.Inconsistent, match=r"2026-01-26 00:00: there should be no row"):
            compact(database, NOW)

        assert rows(database, OfferPrice) == before
        assert progress(database).raw_from is None

    def test_readers_are_told_and_given_time(self, database, shop, monkeypatch):
        seen = []

        def look(seconds):
            seen.append((seconds, progress(database).raw_from, len(rows(database, ProductPrice)) > 1))

        monkeypatch.setattr(compaction, "_READERS_LEAVE_SECONDS", 7)
        # Not the module's own function: threads of other tests sleep, too.
        monkeypatch.setattr(compaction, "time", SimpleNamespace(sleep=look, monotonic=time.monotonic))
        compact(database, NOW)

        assert seen == [(7, FEBRUARY, True)]

    @pytest.mark.parametrize("table", ["offer_prices", "product_prices"])
    def test_killed_before_or_while_they_go_the_next_run_removes_them(self, database, shop, table):
        # On PostgreSQL, January may have a partition or not.
        removal = (f"DELETE FROM {table}", f"DROP TABLE IF EXISTS {table}")
        with before_statement(database.writer, removal, crash), pytest.raises(ZeroDivisionError):
            compact(database, NOW)
        assert progress(database).raw_from == FEBRUARY

        compact(database, NOW)

        assert [row.observed_at for row in rows(database, ProductPrice)] == [MARCH]
        assert ask(database, shop, day(40), day(41)).mean == 90
