"""Compaction: what is left of old months, that answers stay the same, and that it may be killed anywhere."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from productagg.catalog import products as catalog
from productagg.db.models import OfferPrice, OfferPriceDay, Product, ProductPrice, ProductPriceDay
from productagg.history import compaction, day_summaries
from productagg.history.move_steps import move_steps
from productagg.history.offers_at import offers_at
from productagg.history.series import offer_series, product_series
from productagg.history.timeline import INSTANT
from productagg.history.trends import trend
from tests.databases import only_postgresql, only_sqlite
from tests.factories import rows
from tests.integration.conftest import before_commit, before_statement
from tests.integration.history_writer import examples
from tests.integration.observed_products import FIRST, OBSERVED_FOR, CopiedShop, Shop, compact, day, progress, recorded

ONE, OTHER = UUID(int=1), UUID(int=2)
JANUARY, FEBRUARY, MARCH = day(0), day(31), day(59)
# 90 days before is in February: January is compacted.
NOW = day(130, 12)


@CopiedShop
def kettle(database):
    """Observed until now. Its prices changed every hour of the first of January, then each day, and once in March."""
    shop = Shop(database)
    for hour in range(24):
        shop.observe(day(0, hour), {ONE: (100 + hour % 3, 5), OTHER: (300, 1)})
    for number in range(1, 20):
        shop.keep(day(number))
        shop.observe(day(number, 7), {ONE: (200 + number, 5)})
    shop.keep(MARCH)
    shop.observe(MARCH, {ONE: (80, 5)})
    shop.keep(NOW)
    return shop


@pytest.fixture
def shop(database):
    return kettle.put(database)


def ask(database, shop, question, *arguments, now=NOW):
    with database.reader.connect() as connection:
        return question(connection, shop.product_id, *arguments, now=now, observed_for=OBSERVED_FOR)


def days_of(database, shop, now=NOW):
    """All that is answered at the resolution of days: the product, its offers, and trends over some windows."""
    return [
        ask(database, shop, product_series, JANUARY, NOW, "day", now=now).points,
        *(ask(database, shop, offer_series, id_, JANUARY, NOW, "day", now=now) for id_ in (ONE, OTHER)),
    ]


def times(found):
    return [row.observed_at for row in found]


class TestWhatIsLeft:
    def test_a_busy_day_becomes_its_last_step_with_a_summary(self, database, shop):
        compact(database, NOW)

        midnight, last, *others = rows(database, ProductPriceDay)
        assert (midnight.observed_at, midnight.lowest, midnight.summary) == (day(0), 100, None)
        assert (last.observed_at, last.lowest, last.average, last.offers) == (day(0, 23), 102, 201, 2)
        # Hours at each price: 8 at 100, 101 and 102; of the average, rounded half up, 8 at 200 and 16 at 201.
        lowest, average = [23, 100, 102, 100, 102, 101, 0], [15, 200, 201, 200, 201, 200, 16 * 3600 * 10**6]
        assert last.summary == [0, 0, *lowest, *average]
        assert others == [row for row in rows(database, ProductPriceDay) if row.observed_at >= day(1)]

    def test_its_offers_have_summaries_of_their_own(self, database, shop):
        compact(database, NOW)

        (first, last), (other,) = (
            [row for row in rows(database, OfferPriceDay, offer_id=id_) if row.observed_at < day(1)]
            for id_ in (ONE, OTHER)
        )
        assert (first.observed_at, first.price, first.summary) == (day(0), 100, None)
        assert (last.observed_at, last.price, last.items_in_stock) == (day(0, 23), 102, 5)
        assert last.summary == [0, 0, 23, 100, 102, 100, 102, 101, 0]
        assert (other.observed_at, other.price, other.summary) == (day(0), 300, None)

    def test_days_with_few_steps_keep_them(self, database, shop):
        steps = [row for row in rows(database, ProductPrice) if day(1) <= row.observed_at < MARCH]

        compact(database, NOW)

        kept = [row for row in rows(database, ProductPriceDay) if row.observed_at >= day(1)]
        assert [row[:-1] for row in kept] == [tuple(row) for row in steps]
        assert {row.summary for row in kept} == {None}

    @pytest.mark.parametrize(("steps", "rows_left"), [(5, 5), (6, 2)])
    def test_a_day_is_summarised_if_that_replaces_four_steps(self, database, steps, rows_left):
        shop = Shop(database)
        for hour in range(steps):
            shop.observe(day(0, hour), {ONE: (100 + hour, 5)})
        shop.keep(NOW)

        compact(database, NOW)

        assert len(rows(database, ProductPriceDay)) == rows_left
        assert len(rows(database, OfferPriceDay)) == rows_left

    def test_the_ends_of_gaps_are_kept(self, database):
        shop = Shop(database)
        for minute in range(0, 60, 5):
            shop.observe(day(0, 1, minute), {ONE: (100 + minute, 5)})
        for minute in range(0, 60, 5):
            shop.observe(day(0, 9, minute), {ONE: (200 + minute, 5)})
        shop.keep(NOW)

        compact(database, NOW)

        kept = rows(database, ProductPriceDay)
        assert [(row.observed_at, row.observed) for row in kept] == [
            (day(0, 1), True),  # the first of all
            (day(0, 1, 55) + INSTANT, False),
            (day(0, 9), True),
            (day(0, 9, 55), True),
        ]
        assert [row.summary is not None for row in kept] == [False, False, False, True]
        (offer,) = rows(database, OfferPriceDay)
        assert offer.summary is not None

    def test_no_steps_are_more_than_there_were(self, database, shop):
        before = sum(map(len, recorded(database).values()))

        report = compact(database, NOW)

        assert sum(map(len, recorded(database).values())) == before - report.steps + report.rows
        assert report.rows < report.steps

    def test_whole_months_that_are_over_age_are_compacted_and_no_others(self, database, shop):
        compact(database, NOW)

        assert progress(database).raw_from == FEBRUARY
        assert times(rows(database, ProductPrice)) == times(rows(database, OfferPrice)) == [MARCH]
        assert max(times(rows(database, ProductPriceDay))) < FEBRUARY

    def test_steps_are_kept_for_as_long_as_was_wished(self, database, shop):
        before = recorded(database)

        report = compact(database, NOW, raw_days=101)  # until a day in January

        assert (report.steps, progress(database).raw_from) == (0, None)
        assert recorded(database) == before

    def test_steps_are_kept_for_as_long_as_a_product_counts_as_observed(self, database, shop):
        with database.reader.connect() as reader:
            long = timedelta(days=100)
            report = compaction.Compaction(reader, database.sessions, 31, long, NOW, closed_days=3660).run()

        assert (report.steps, progress(database).raw_from) == (0, None)


class TestAnswers:
    def test_those_at_the_resolution_of_days_stay_the_same(self, database, shop):
        before = days_of(database, shop)

        compact(database, NOW)

        assert days_of(database, shop) == before

    def test_a_trend_is_exact_but_for_the_times_in_a_summarised_day(self, database, shop):
        exact = ask(database, shop, trend, day(0), day(60))

        compact(database, NOW)

        found = ask(database, shop, trend, day(0), day(60))
        assert (exact.resolution, found.resolution) == ("raw", "day")
        for name in ("start_price", "end_price", "mean", "observed_percent", "longest_gap_seconds"):
            assert getattr(found, name) == getattr(exact, name), name
        assert (found.minimum, found.maximum) == (exact.minimum, exact.maximum)

    def test_a_window_without_a_summarised_day_is_answered_exactly(self, database, shop):
        windows = [(day(1), day(60)), (day(0, 23), day(20)), (day(40), day(41))]
        before = [ask(database, shop, trend, *window) for window in windows]

        compact(database, NOW)

        assert [ask(database, shop, trend, *window) for window in windows] == before

    def test_the_offers_of_a_summarised_day_are_those_at_its_end(self, database, shop):
        compact(database, NOW)

        found = ask(database, shop, offers_at, day(0, 5))

        assert (found.at, found.resolution, found.state) == (day(1), "day", "observed")
        assert [(offer.id, offer.price) for offer in found.offers] == [(ONE, 102), (OTHER, 300)]


offers = st.dictionaries(
    st.sampled_from([ONE, OTHER]), st.tuples(st.sampled_from([0, 100, 101]), st.integers(0, 2) | st.none())
)
pauses = st.sampled_from(
    [INSTANT, timedelta(minutes=1), timedelta(hours=1), OBSERVED_FOR, timedelta(hours=7), timedelta(days=20)]
)


@examples(40)  # each has products of its own
@given(
    timeline=st.lists(st.tuples(pauses, offers), min_size=1, max_size=12), months=st.sets(st.integers(1, 7), max_size=3)
)
def test_month_by_month_or_at_once_the_days_are_what_the_steps_said(database, timeline, months):
    shop, at, now = Shop(database, f"Kettle {uuid4()}"), FIRST, day(300)
    for pause, states in timeline:
        at += pause
        shop.observe(at, states)
    before = days_of(database, shop, now=now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(day_summaries, "FEWEST_REPLACED", 1)
        for month in sorted(months):
            compact(database, day(31 * month), raw_days=31)
        compact(database, now)

    after = days_of(database, shop, now=now)
    left = rows(database, ProductPrice) + rows(database, OfferPrice)
    database.empty()
    assert after == before
    assert left == []


class TestAProductThatNobodyHasReachedForMonths:
    @pytest.fixture
    def lost(self, database):
        lost = Shop(database, "Lamp")
        lost.observe(day(10, 12), {ONE: (100, 5)})
        lost.keep(day(11, 12))
        return lost

    def test_the_beginning_of_its_gap_is_recorded_and_compacted(self, database, lost):
        compact(database, NOW)

        _, gap = rows(database, ProductPriceDay)
        assert (gap.observed_at, gap.observed) == (day(11, 12) + INSTANT, False)
        assert rows(database, ProductPrice) == []

    def test_the_gap_is_recorded_once(self, database, lost):
        compact(database, NOW)
        assert compact(database, NOW).steps == 0

        lost.observe(NOW, {ONE: (100, 5)})

        assert len(rows(database, ProductPriceDay)) == 2
        assert times(rows(database, ProductPrice)) == [NOW]

    def test_it_counts_for_nothing_before_it_is_back_and_after(self, database, lost):
        before = ask(database, lost, trend, day(10), day(110))
        compact(database, NOW)
        after = ask(database, lost, trend, day(10), day(110))
        lost.observe(NOW, {ONE: (100, 5)})
        back = ask(database, lost, trend, day(10), day(110), now=day(132, 12))

        assert before == after == back
        assert (before.observed_percent, before.mean) == (1.0, 100)


class TestAgain:
    def test_running_twice_changes_nothing(self, database, shop):
        compact(database, NOW)
        once, then = recorded(database), progress(database)

        report = compact(database, NOW)

        assert (recorded(database), progress(database)) == (once, then)
        assert (report.steps, report.rows, report.months) == (0, 0, 0)

    def test_killed_anywhere_no_step_is_lost_and_the_next_run_goes_on(self, database, shop):
        Shop(database, "Lamp").observe(day(40), {ONE: (100, 5)})
        before = days_of(database, shop)

        for number in range(1000):
            if not killed_at(database, number):
                break
            assert days_of(database, shop) == before

        assert number > 5
        assert times(rows(database, ProductPrice, product_id=shop.product_id)) == [MARCH]
        assert days_of(database, shop) == before

    @only_sqlite
    def test_several_at_once_come_to_the_same_end(self, database, shop):
        before = days_of(database, shop)

        with ThreadPoolExecutor(3) as pool:
            reports = list(pool.map(lambda _number: compact(database, NOW), range(3)))

        assert sum(report.steps for report in reports) == 107
        assert days_of(database, shop) == before

    @only_postgresql
    def test_a_second_one_ends_at_once(self, database, shop):
        busy = []

        def try_meanwhile(_session):
            with pytest.raises(compaction.CompactionRunning) as raised:
                compact(database, NOW)
            busy.append(str(raised.value))

        with before_commit(database, try_meanwhile):
            compact(database, NOW)

        assert set(busy) == {"another compaction is running"}
        assert progress(database).raw_from == FEBRUARY


class TestBesideOthers:
    def test_a_removed_product_is_left_out(self, database, shop):
        with database.sessions.begin() as session:
            catalog.remove(session, shop.product_id, NOW)

            assert move_steps(session, [shop.product_id], FEBRUARY) == ([], 0, 0)

    @only_postgresql
    def test_a_product_of_which_something_is_imported_is_left_to_the_next_run(self, database, shop):
        with database.sessions.begin() as importing:
            importing.execute(select(Product.id).with_for_update(key_share=True))
            assert compact(database, NOW).steps == 0
        assert progress(database).raw_from == FEBRUARY

        assert compact(database, NOW).steps > 0

    def test_a_step_that_is_written_late_is_moved_by_the_next_run(self, database, shop):
        compact(database, NOW)
        late = Shop(database, "Lamp")
        late.observe(day(5), {ONE: (100, 5)})
        late.keep(NOW)

        assert compact(database, NOW).steps == 2
        assert times(rows(database, ProductPriceDay, product_id=late.product_id)) == [day(5)]


def killed_at(database, number):
    """Compact, but for a crash before the so-many-th statement; False: there are fewer."""
    sent = []

    def count(_statement):
        sent.append(1)
        if len(sent) == number + 1:
            raise ZeroDivisionError

    try:
        with before_statement(database.writer, "", count):
            compact(database, NOW)
    except ZeroDivisionError:
        return True
    return False
