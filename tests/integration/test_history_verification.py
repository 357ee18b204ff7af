"""The roll-ups are compared with the raw rows, and every difference is told as what it is."""

from uuid import UUID

import pytest
from sqlalchemy import delete, insert, update

from productagg.db.models import (
    HistoryProgress,
    OfferPriceDaily,
    OfferPriceHourly,
    ProductPriceDaily,
    ProductPriceHourly,
    ProductPriceWeekly,
)
from productagg.history import compaction
from productagg.history.steps import DAY, microseconds
from productagg.history.verification import differences, rolled_up_days
from tests.factories import make_products, rows
from tests.integration.shops import Shop, compact, day

ONE, OTHER = UUID(int=1), UUID(int=2)
MODELS = [ProductPriceHourly, ProductPriceDaily, ProductPriceWeekly, OfferPriceHourly, OfferPriceDaily]


@pytest.fixture
def shop(database):
    """Three days that are rolled up, with a gap."""
    shop = Shop(database)
    shop.observe(day(0, 12), {ONE: (100, 5), OTHER: (300, 1)})
    shop.observe(day(0, 18), {ONE: (100, 5)})
    shop.observe(day(1, 3), {ONE: (110, 5)})
    shop.keep(day(3, 2))
    compact(database, day(3, 2))
    return shop


def verify(database):
    with database.reader.connect() as connection:
        return list(differences(connection, *rolled_up_days(connection)))


def change(database, statement):
    with database.sessions.begin() as session:
        assert session.execute(statement).rowcount == 1


def test_what_compaction_wrote_is_what_the_raw_rows_say(database, shop):
    assert verify(database) == []


@pytest.mark.parametrize("model", MODELS)
def test_a_value_that_is_wrong_is_named_with_what_it_should_be(database, shop, model):
    (row, *_) = rows(database, model)
    which = [column == getattr(row, column.name) for column in model.__table__.primary_key]
    change(database, update(model.__table__).where(*which).values(changes=7))

    [found] = [each for each in verify(database) if each.table == model.__tablename__]

    assert str(found).startswith(f"{model.__tablename__}, product {found.product_id}")
    assert str(found).endswith(f" {row.at:%Y-%m-%d %H:%M}: changes is 7, should be {row.changes}")
    assert UUID(found.product_id) == shop.product_id
    assert found.offer_id is None or UUID(found.offer_id) == row.offer_id


@pytest.mark.parametrize("model", MODELS)
def test_a_row_that_is_missing_is_told(database, shop, model):
    (*_, row) = rows(database, model)
    change(database, delete(model.__table__).where(*(column == getattr(row, column.name) for column in _keys(model))))

    assert any(
        each.table == model.__tablename__ and str(each).endswith("the row is missing") for each in verify(database)
    )


@pytest.mark.parametrize("model", MODELS)
def test_a_row_that_should_not_be_there_is_told(database, shop, model):
    (*_, row) = rows(database, model)
    change(database, insert(model.__table__).values({**row._asdict(), "at": _empty_bucket(model)}))

    assert any(
        each.table == model.__tablename__ and str(each).endswith("there should be no row") for each in verify(database)
    )


def test_days_that_are_not_rolled_up_or_have_no_raw_rows_are_left_alone(database, shop, monkeypatch):
    monkeypatch.setattr(compaction, "_READERS_LEAVE_SECONDS", 0)
    shop.observe(day(40), {ONE: (120, 5)})
    shop.keep(day(130))
    compact(database, day(130))
    (row, *_) = rows(database, ProductPriceDaily)
    change(database, update(ProductPriceDaily).where(ProductPriceDaily.at == row.at).values(changes=7))
    shop.observe(day(130, 1), {ONE: (130, 5)})

    with database.reader.connect() as connection:
        begin, end = rolled_up_days(connection)
    assert (begin, end) == (microseconds(day(31)), microseconds(day(129)))
    assert [each for each in verify(database) if each.table != "product_prices_weekly"] == []


@pytest.mark.parametrize("rolled_until", [None, day(0)])
def test_where_nothing_is_rolled_up_nothing_can_be_wrong(database, rolled_until):
    if rolled_until is not None:
        change(database, update(HistoryProgress).values(rolled_until=rolled_until))

    assert verify(database) == []


def test_the_progress_is_told_in_products_week_by_week(database, shop):
    make_products(database, 3, "Lamp")
    told: list[int] = []

    with database.reader.connect() as connection:
        begin, end = rolled_up_days(connection)
        list(differences(connection, begin, end + 7 * DAY, told.append))

    assert sum(told) == 4 * 2


def _keys(model):
    return list(model.__table__.primary_key)


def _empty_bucket(model):
    """A bucket among the days that are rolled up in which nothing happened; of weeks, one that is rolled up in part."""
    return day(2, 5) if "hourly" in model.__tablename__ else day(2)
