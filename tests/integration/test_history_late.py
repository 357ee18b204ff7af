"""What is written into days that are rolled up is its product's matter alone; nothing of it is missed or left over."""

from contextlib import nullcontext
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select

from productagg.db.models import HistoryLate, OfferPriceDaily, ProductPriceDaily
from productagg.history import compaction, verification
from productagg.history.again import roll_up_again
from productagg.history.known import known
from productagg.history.late import mark as make_it_late
from productagg.history.rolling import rollups_of
from productagg.history.steps import microseconds
from productagg.history.verification import differences, rolled_up_days
from tests.factories import rows
from tests.integration.conftest import before_statement, crash, only_postgresql
from tests.integration.shops import (
    OBSERVED_FOR,
    Shop,
    compact,
    day,
    from_raw,
    late,
    make_late,
    progress,
    rolled_up,
)
from tests.integration.transfers import A, bring, create_on, line

ONE, OTHER = UUID(int=1), UUID(int=2)


pytestmark = pytest.mark.usefixtures("no_readers")


@pytest.fixture
def shop(database):
    """Nobody has reached it since the middle of a week."""
    shop = Shop(database)
    shop.observe(day(0, 12), {ONE: (100, 5)})
    for number in (4, 6):
        shop.keep(day(number, 12))
        shop.observe(day(number, 12), {ONE: (100 + number, 5)})
    return shop


@pytest.fixture
def other(database):
    """Its price changes every day."""
    other = Shop(database, "Lamp")
    for number in range(9):
        other.observe(day(number), {ONE: (100 + number, 5), OTHER: (300, 1)})
        other.keep(day(number + 1))
    return other


def rolled_until(database, shop, now):
    with database.reader.connect() as connection:
        found = known(connection, shop.product_id, OBSERVED_FOR, now)
    assert found is not None
    return found.rolled_until


def verify(database):
    with database.reader.connect() as connection:
        return list(differences(connection, *rolled_up_days(connection)))


def meanwhile(monkeypatch, module, name, act):
    """Call `act` once, the first time that a module calls one of its functions."""
    function, acts = getattr(module, name), [act]

    def look(*arguments):
        if acts:
            acts.pop()()
        return function(*arguments)

    monkeypatch.setattr(module, name, look)


def test_a_late_gap_is_the_matter_of_its_product_alone(database, shop, other):
    compact(database, day(9, 2))
    shop.observe(day(9, 3), {ONE: (120, 5)})

    assert late(database) == {shop.product_id: day(6)}
    assert progress(database).rolled_until == day(9)
    assert rolled_until(database, shop, day(9, 4)) == microseconds(day(6))
    assert rolled_until(database, other, day(9, 4)) == microseconds(day(9))
    report = compact(database, day(9, 5))

    assert late(database) == {}
    assert (report.days, report.raw_rows) == (0, 3)  # the two of the price of day 6, and the gap
    assert rolled_until(database, shop, day(9, 5)) == microseconds(day(9))
    assert rolled_up(database) == from_raw(database, day(9))


@pytest.mark.parametrize(
    ("begin", "end", "is_late"),
    [
        (day(9, 1), day(9, 20), False),
        (day(9, 1), day(10, 0, 29), False),
        (day(9, 1), day(10, 0, 30), True),
        (day(9, 23), day(10, 5), True),
    ],
)
def test_a_gap_that_begins_in_a_day_that_nobody_can_be_rolling_up_makes_nothing_late(
    database, shop, begin, end, is_late
):
    shop.keep(begin)

    shop.observe(end, {ONE: (120, 5)})

    assert late(database) == ({shop.product_id: day(9)} if is_late else {})


def test_a_long_past_is_rolled_up_again_week_by_week(database, shop, other):
    compact(database, day(9, 2))
    expected = rolled_up(database)
    for each in (shop, other):
        make_late(database, each.product_id, day(1))

    with before_statement(database.writer, "DELETE FROM history_late", crash), pytest.raises(ZeroDivisionError):
        compact(database, day(9, 2))

    monday = day(4)
    assert late(database) == dict.fromkeys((shop.product_id, other.product_id), monday)
    assert rolled_until(database, other, day(9, 2)) == microseconds(monday)
    compact(database, day(9, 2))
    assert (rolled_up(database), late(database)) == (expected, {})


def test_the_earliest_day_is_kept(database, shop):
    for number in (5, 3, 7):
        make_late(database, shop.product_id, day(number, 12))

    assert late(database) == {shop.product_id: day(3)}


def test_gaps_that_begin_and_end_all_the_time_do_not_keep_a_compaction_from_its_end(database, shop, other, monkeypatch):
    reads: list[Any] = []

    def interrupted_again(*arguments):
        shop.keep(day(9, len(reads) % 12))
        shop.observe(day(9, len(reads) % 12 + 8), {ONE: (len(reads), 5)})
        reads.append(arguments)
        assert len(reads) < 10
        return rollups_of(*arguments)

    monkeypatch.setattr(compaction, "rollups_of", interrupted_again)
    report = compact(database, day(9, 2))

    assert (report.days, len(reads)) == (9, 2)


def test_products_that_are_late_again_and_again_do_not_either(database, shop, monkeypatch):
    compact(database, day(9, 2))
    shop.observe(day(9, 3), {ONE: (120, 5)})
    done: list[Any] = []

    def again(session):
        done.append(roll_up_again(session))
        make_it_late(session, {shop.product_id: day(6)})
        assert len(done) < 10
        return done[-1]

    monkeypatch.setattr(compaction, "roll_up_again", again)
    compact(database, day(9, 5))

    assert (len(done), late(database)) == (1, {shop.product_id: day(6)})


def test_of_a_day_that_is_late_nothing_stays_that_should_not_be_there(database, shop, other):
    compact(database, day(9, 2))
    expected = rolled_up(database)
    (wrong, *_) = rows(database, OfferPriceDaily, product_id=shop.product_id)
    with database.sessions.begin() as session:
        session.execute(insert(OfferPriceDaily).values({**wrong._asdict(), "at": day(7)}))
    make_late(database, shop.product_id, day(7))

    compact(database, day(9, 2))

    assert rolled_up(database) == expected


def test_what_was_imported_and_replaced_while_days_were_rolled_up_leaves_nothing(database, other, monkeypatch):
    create_on(database, other.product_id, day(0))
    bring(database, [line(other.product_id, A, day(-9), 1, 1), line(other.product_id, A, day(-5, 6), 2, 1)])

    def replace():
        bring(database, [line(other.product_id, A, day(-7), 3, 1)], replace=True)

    meanwhile(monkeypatch, compaction, "rollups_of", replace)
    compact(database, day(9, 2))

    assert rolled_up(database) == from_raw(database, day(9))
    assert verify(database) == []


def test_who_comes_second_does_not_write_what_it_read_before(database, shop, monkeypatch):
    monkeypatch.setattr(compaction.Compaction, "_alone", lambda _self: nullcontext())

    def be_faster():
        shop.observe(day(9, 1), {ONE: (120, 5)})
        compact(database, day(9, 2))

    meanwhile(monkeypatch, compaction, "rollups_of", be_faster)
    compact(database, day(9, 2))

    assert late(database) == {}
    assert rolled_up(database) == from_raw(database, day(9))


class TestVerification:
    def test_a_pass_beside_it_is_no_false_alarm(self, database, shop, other):
        compact(database, day(9, 2))
        with database.reader.connect() as connection:
            begin, end = rolled_up_days(connection)
            shop.observe(day(9, 3), {ONE: (120, 5)})

            assert list(differences(connection, begin, end)) == []

    def test_nor_is_a_compaction_that_mends_it_meanwhile(self, database, shop, other, monkeypatch):
        compact(database, day(9, 2))
        shop.observe(day(9, 3), {ONE: (120, 5)})
        meanwhile(monkeypatch, verification, "_compare", lambda: compact(database, day(9, 5)))

        assert verify(database) == []
        assert late(database) == {}

    def test_roll_ups_that_are_older_than_all_raw_rows_are_told(self, database, shop):
        compact(database, day(9, 2))
        (row, *_) = rows(database, ProductPriceDaily)
        with database.sessions.begin() as session:
            session.execute(insert(ProductPriceDaily).values({**row._asdict(), "at": day(-30)}))

        (first, *_) = verify(database)
        assert (first.table, first.at, first.expected) == ("product_prices_daily", microseconds(day(-30)), None)


class TestBeforeRawRowsGo:
    NOW = day(130, 12)

    @pytest.fixture
    def ready(self, database, shop, other):
        """January is rolled up, and its rows are there."""
        for each in (shop, other):
            each.keep(self.NOW)
        compact(database, self.NOW, raw_days=101)

    def test_nothing_is_read_from_raw_rows_that_are_gone(self, database, shop, ready):
        compact(database, self.NOW)

        make_late(database, shop.product_id, day(5))

        assert rolled_until(database, shop, self.NOW) == microseconds(day(31))

    @only_postgresql
    def test_while_somebody_holds_on_to_a_late_product_they_stay(self, database, shop, other, ready):
        make_late(database, shop.product_id, day(5))
        make_late(database, other.product_id, day(5))
        with database.sessions.begin() as session:
            session.execute(select(HistoryLate).filter_by(product_id=shop.product_id).with_for_update()).all()
            report = compact(database, self.NOW)

            assert (report.months, progress(database).raw_from) == (0, None)
            assert set(late(database)) == {shop.product_id}

        assert compact(database, self.NOW).months == 1

    def test_what_is_late_after_they_were_compared_is_rolled_up_before(self, database, shop, other, ready, monkeypatch):
        compared: list[Any] = []

        def find(*arguments):
            found = list(differences(*arguments))
            if not compared:
                make_late(database, shop.product_id, day(5))
            compared.append(found)
            return found

        monkeypatch.setattr(compaction, "differences", find)
        report = compact(database, self.NOW)

        assert (report.months, late(database)) == (1, {})
        assert compared == [[], []]
