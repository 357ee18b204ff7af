"""Rolling up and dropping: what the roll-ups hold, and that neither a kill nor a late row makes them wrong."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from productagg.catalog import products as catalog
from productagg.db.models import (
    OfferPriceDaily,
    OfferPriceHourly,
    ProductPriceDaily,
    ProductPriceHourly,
    ProductPriceWeekly,
)
from productagg.history import compaction
from productagg.history.rolling import first_day, rollups_of
from productagg.history.steps import INSTANT, microseconds
from tests.factories import rows
from tests.integration.conftest import before_statement, crash, only_postgresql, only_sqlite
from tests.integration.shops import (
    FIRST,
    OBSERVED_FOR,
    Shop,
    bucket,
    compact,
    day,
    from_raw,
    late,
    make_late,
    progress,
    rolled_up,
)

ONE, OTHER = UUID(int=1), UUID(int=2)


pytestmark = pytest.mark.usefixtures("no_readers")


@pytest.fixture
def shop(database):
    return Shop(database)


class TestWhatIsRolledUp:
    def test_a_day_that_is_over_for_an_hour_and_no_later_one(self, database, shop):
        shop.observe(day(0, 12), {ONE: (100, 5)})
        shop.keep(day(2, 3))

        compact(database, day(2, 0, 59))
        assert progress(database).rolled_until == day(1)
        compact(database, day(2, 1))
        assert progress(database).rolled_until == day(2)

        assert rolled_up(database) == from_raw(database, day(2))

    def test_an_hour_and_a_day_and_a_week_sum_up_what_the_price_did(self, database, shop):
        shop.observe(day(0, 12), {ONE: (100, 5)})
        shop.observe(day(0, 12, 30), {ONE: (200, 5)})
        shop.observe(day(0, 12, 45), {})
        shop.keep(day(1))

        compact(database, day(1, 2))

        hour = bucket(database, ProductPriceHourly, day(0, 12))
        assert (hour.open, hour.close, hour.lowest, hour.highest, hour.mean, hour.remainder) == (
            100,
            200,
            100,
            200,
            133,
            2700 * 10**6 // 3,  # (1800 s * 100 + 900 s * 200) / 2700 s is 133 1/3
        )
        assert (hour.in_stock_us, hour.observed_us, hour.changes) == (2700 * 10**6, 3600 * 10**6, 2)
        assert (hour.state, hour.offers, hour.items_in_stock) == ("sold_out", 0, 0)
        whole = bucket(database, ProductPriceDaily, day(0))
        assert (whole.in_stock_us, whole.observed_us) == (2700 * 10**6, 12 * 3600 * 10**6)
        week = bucket(database, ProductPriceWeekly, day(-3))  # whose Monday is in December
        assert (week.in_stock_us, week.observed_us) == (2700 * 10**6, (12 + 3 * 24) * 3600 * 10**6)
        offer = bucket(database, OfferPriceHourly, day(0, 12), offer_id=ONE)
        assert (offer.in_stock_us, offer.close, offer.items_in_stock, offer.state) == (2700 * 10**6, 200, 0, "sold_out")

    def test_what_was_in_force_is_carried_over_days_without_a_row(self, database, shop):
        shop.observe(day(0, 12), {ONE: (100, 5), OTHER: (300, 1)})
        shop.keep(day(9, 12))
        compact(database, day(8, 2))
        shop.observe(day(9, 12), {ONE: (150, 5), OTHER: (300, 1)})

        compact(database, day(10, 2))

        rolled = bucket(database, ProductPriceDaily, day(9))
        assert (rolled.open, rolled.close, rolled.mean, rolled.changes) == (100, 150, 125, 1)
        assert (rolled.average_open, rolled.average_close, rolled.average_changes) == (200, 225, 1)
        assert [row.at for row in rows(database, ProductPriceDaily)] == [day(0), day(9)]
        assert [(row.offer_id, row.at) for row in rows(database, OfferPriceDaily)] == [
            (ONE, day(0)),
            (ONE, day(9)),
            (OTHER, day(0)),
        ]
        assert rolled_up(database) == from_raw(database, day(10))

    def test_a_gap_of_many_days_is_neither_in_stock_nor_sold_out_for_the_product_and_its_offers(self, database, shop):
        shop.observe(day(0), {ONE: (100, 5), OTHER: (300, 1)})
        shop.observe(day(3, 12), {ONE: (100, 5)})
        shop.keep(day(4))

        for number in range(1, 5):  # each day by itself, so that gaps are carried
            compact(database, day(number, 2))

        gap_begins, gap_ends = rows(database, OfferPriceDaily, offer_id=ONE)
        assert (gap_begins.at, gap_begins.state, gap_begins.observed_us) == (day(0), "not_observed", 1)
        assert (gap_ends.at, gap_ends.state, gap_ends.open, gap_ends.changes) == (day(3), "in_stock", 100, 0)
        assert gap_ends.in_stock_us == gap_ends.observed_us == 12 * 3600 * 10**6
        assert rolled_up(database) == from_raw(database, day(4))

    def test_an_offer_that_is_sold_out_since_an_earlier_day_takes_no_gap(self, database, shop):
        shop.observe(day(0), {ONE: (100, 5), OTHER: (300, 1)})
        shop.observe(day(0, 1), {ONE: (100, 5)})
        shop.keep(day(1, 3))
        shop.observe(day(1, 4), {})
        shop.observe(day(1, 12), {})
        shop.keep(day(2))

        compact(database, day(2, 2))

        assert [row.at for row in rows(database, OfferPriceDaily, offer_id=OTHER)] == [day(0)]
        taken = rows(database, OfferPriceDaily, offer_id=ONE)
        hours = [row.at for row in rows(database, OfferPriceHourly, offer_id=ONE)]
        assert [(row.at, row.observed_us) for row in taken][1] == (day(1), 16 * 3600 * 10**6 + 1)
        assert hours == [day(0), day(1, 4), day(1, 12)]

    def test_an_offer_whose_price_only_the_day_before_its_gap_knew_is_back_at_that_price(self, database, shop):
        shop.observe(day(0), {ONE: (100, 5)})
        shop.keep(day(1) - INSTANT)
        shop.observe(day(2, 12), {ONE: (100, 5)})  # the gap began with day 1, of which nothing was in stock
        shop.keep(day(3))

        for number in range(1, 4):
            compact(database, day(number, 2))

        assert rolled_up(database) == from_raw(database, day(3))

    def test_a_product_that_was_removed_meanwhile_is_left_out(self, database, shop, monkeypatch):
        shop.observe(day(0), {ONE: (100, 5)})
        kept = Shop(database, "Lamp")
        kept.observe(day(0), {ONE: (100, 5)})

        def remove_it_first(*arguments):
            with database.sessions.begin() as session:
                catalog.remove(session, shop.product_id, day(1))
            return rollups_of(*arguments)

        monkeypatch.setattr("productagg.history.compaction.rollups_of", remove_it_first)
        compact(database, day(1, 2))

        assert {row.product_id for row in rows(database, ProductPriceDaily)} == {kept.product_id}


offers = st.dictionaries(st.sampled_from([ONE, OTHER]), st.tuples(st.sampled_from([0, 100, 101]), st.integers(0, 2)))
pauses = st.sampled_from(
    [INSTANT, timedelta(minutes=1), timedelta(hours=1), OBSERVED_FOR, timedelta(hours=7), timedelta(days=2)]
)


# The fixture is shared by a test's examples because each has products of its own.
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    timeline=st.lists(st.tuples(pauses, offers), min_size=1, max_size=12), runs=st.sets(st.integers(1, 30), max_size=3)
)
def test_rolled_up_day_by_day_or_at_once_it_is_what_the_raw_rows_say(database, timeline, runs):
    shop, at, last = Shop(database, f"Kettle {uuid4()}"), FIRST, day(31)
    listed = {ONE, OTHER}
    for pause, states in timeline:
        at += pause
        shop.observe(at, states)
        # Those that a gap finds sold out since an earlier day are left out: they take no gap.
        listed -= {id_ for id_ in (ONE, OTHER) if not states.get(id_, (0, 0))[1]}

    for number in sorted(runs):
        compact(database, day(number, 2))
    compact(database, last)

    until = progress(database).rolled_until
    expected = {key: row for key, row in from_raw(database, until).items() if len(key) == 3 or key[2] in listed}
    found = {key: row for key, row in rolled_up(database).items() if len(key) == 3 or key[2] in listed}
    database.empty()
    assert found == expected


class TestAgain:
    def make_days(self, shop):
        shop.observe(day(0), {ONE: (100, 5), OTHER: (300, 1)})
        for number in range(10):
            shop.observe(day(number, 1), {ONE: (100 + number, 5), OTHER: (300, 1)})
            shop.keep(day(number + 1))

    def test_running_twice_changes_nothing(self, database, shop):
        self.make_days(shop)
        compact(database, day(9, 2))
        once, then = rolled_up(database), progress(database)

        report = compact(database, day(9, 2))

        assert (rolled_up(database), progress(database)) == (once, then)
        assert (report.days, report.rows, report.months) == (0, 0, 0)

    def test_rolling_up_all_days_again_changes_nothing(self, database, shop):
        self.make_days(shop)
        compact(database, day(9, 2))
        once = rolled_up(database)
        make_late(database, shop.product_id, day(0))

        report = compact(database, day(9, 2))

        assert (rolled_up(database), late(database)) == (once, {})
        assert (report.days, report.rows) == (0, len(once))

    @pytest.mark.parametrize(
        "where", ["INSERT INTO product_prices_hourly", "INSERT INTO offer_prices_daily", "UPDATE history_progress"]
    )
    def test_killed_anywhere_the_next_run_goes_on(self, database, shop, where):
        self.make_days(shop)
        with before_statement(database.writer, where, crash), pytest.raises(ZeroDivisionError):
            compact(database, day(9, 2))

        compact(database, day(9, 2))

        assert progress(database).rolled_until == day(9)
        assert rolled_up(database) == from_raw(database, day(9))

    def test_a_gap_that_is_recorded_late_changes_the_days_that_were_rolled_up(self, database, shop):
        shop.observe(day(0), {ONE: (100, 5)})
        other = Shop(database, "Lamp")
        self.make_days(other)
        compact(database, day(5, 2))
        shop.observe(day(6, 12), {ONE: (100, 5)})  # and nobody had known since day 0
        shop.keep(day(7))
        assert (progress(database).rolled_until, late(database)) == (day(5), {shop.product_id: day(0)})

        compact(database, day(7, 2))

        assert progress(database).rolled_until == day(7)
        assert rolled_up(database) == from_raw(database, day(7))

    def test_a_gap_that_is_recorded_meanwhile_is_not_missed(self, database, shop, monkeypatch):
        shop.observe(day(0), {ONE: (100, 5)})
        late = [lambda: shop.observe(day(6, 12), {ONE: (100, 5)})]

        def be_late(*arguments):
            if late:
                late.pop()()
            return rollups_of(*arguments)

        monkeypatch.setattr("productagg.history.compaction.rollups_of", be_late)
        compact(database, day(7, 2))

        assert progress(database).rolled_until == day(7)
        assert rolled_up(database) == from_raw(database, day(7))


class TestTheFirstDay:
    def first_day(self, database):
        with database.reader.connect() as connection:
            return first_day(connection)

    def test_it_is_that_of_the_product_that_was_observed_first(self, database, shop):
        assert self.first_day(database) is None
        shop.observe(day(3, 12), {ONE: (100, 5)})
        Shop(database, "Lamp").observe(day(1, 12), {})

        assert self.first_day(database) == microseconds(day(1))

    @only_sqlite
    def test_no_history_is_gone_through_for_it(self, database):
        statements: list[str] = []
        with before_statement(database.reader, "SELECT", statements.append):
            self.first_day(database)

        with database.reader.connect() as connection:
            plan = [
                row.detail for each in statements for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}")
            ]
        assert [each for each in plan if "_prices" in each] == [
            "SEARCH product_prices USING COVERING INDEX sqlite_autoindex_product_prices_1 (product_id=?)"
        ]


class TestTwoAtOnce:
    @only_postgresql
    def test_the_second_one_ends_at_once(self, database, shop):
        shop.observe(day(0), {ONE: (100, 5)})
        busy = []

        def try_meanwhile(_statement):
            with pytest.raises(compaction.Busy) as raised:
                compact(database, day(9, 2))
            busy.append(str(raised.value))

        with before_statement(database.writer, "INSERT INTO product_prices_hourly", try_meanwhile):
            compact(database, day(9, 2))

        assert set(busy) == {"another compaction is at work"}
        assert progress(database).rolled_until == day(9)
        compact(database, day(10, 2))
        assert progress(database).rolled_until == day(10)

    def test_without_that_lock_they_come_to_the_same_end(self, database, shop, monkeypatch):
        TestAgain().make_days(shop)
        monkeypatch.setattr(compaction.Compaction, "_alone", lambda _self: nullcontext())

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _number: compact(database, day(9, 2)), range(3)))

        assert progress(database).rolled_until == day(9)
        assert rolled_up(database) == from_raw(database, day(9))
