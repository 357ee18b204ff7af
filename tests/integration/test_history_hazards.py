"""A clock that was ahead, and products that are removed: a compaction neither crashes nor loses anything."""

from uuid import UUID

import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import OperationalError

from productagg.history import compaction
from productagg.models import (
    OfferPrice,
    Product,
    ProductPriceDaily,
)
from tests.factories import rows
from tests.integration.conftest import before_statement, only_postgresql
from tests.integration.shops import (
    Shop,
    bucket,
    compact,
    day,
    from_raw,
    progress,
    rolled_up,
)

ONE = UUID(int=1)


@pytest.fixture(autouse=True)
def no_readers(monkeypatch):
    monkeypatch.setattr(compaction, "_READERS_LEAVE_SECONDS", 0)


@pytest.fixture
def shop(database):
    return Shop(database)


class TestAClockThatWasAhead:
    def test_what_was_rolled_up_before_its_time_is_rolled_up_again(self, database, shop, caplog):
        shop.observe(day(0), {ONE: (100, 5)})
        shop.keep(day(3, 10))
        compact(database, day(300), raw_days=999)
        shop.observe(day(3, 12), {ONE: (110, 5)})
        shop.keep(day(5))

        compact(database, day(5, 2), raw_days=999)
        compact(database, day(5, 3), raw_days=999)

        assert progress(database).rolled_until == day(5)
        assert rolled_up(database) == from_raw(database, day(5))
        assert [each.getMessage().partition(":")[0] for each in caplog.records] == ["the clock was set back"]

    def test_what_is_written_after_rows_were_dropped_is_neither_lost_nor_left_out(self, database, shop):
        shop.observe(day(0), {ONE: (100, 5)})
        shop.keep(day(3, 10))
        compact(database, day(300))
        assert (rows(database, OfferPrice), progress(database).raw_from) == ([], day(181))
        shop.observe(day(3, 12), {ONE: (110, 5)})
        shop.keep(day(5))

        compact(database, day(5, 2))

        assert (progress(database).rolled_until, progress(database).raw_from) == (day(5), day(3))
        assert [row.observed_at for row in rows(database, OfferPrice)] == [day(3, 12)]
        whole = bucket(database, ProductPriceDaily, day(3))
        assert (whole.open, whole.close, whole.mean) == (100, 110, 105)

    def test_without_any_rows_left_they_begin_with_now(self, database, shop):
        shop.observe(day(0), {ONE: (100, 5)})
        compact(database, day(300))

        compact(database, day(5, 2))

        assert (progress(database).rolled_until, progress(database).raw_from) == (day(5), day(5))


class TestRemovals:
    @only_postgresql
    @pytest.mark.parametrize(
        "where",
        ["INSERT INTO product_prices_hourly", "INSERT INTO product_prices_weekly", "INSERT INTO product_prices ("],
    )
    def test_nobody_can_remove_a_product_between_looking_and_writing(self, database, shop, where):
        shop.observe(day(10, 12), {ONE: (100, 5)})
        shop.keep(day(11, 12))
        refused = []

        def remove(_statement):
            with pytest.raises(OperationalError) as raised, database.writer.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '20ms'"))
                connection.execute(delete(Product))
            refused.append(raised.value.orig)

        with before_statement(database.writer, where, remove):
            compact(database, day(130))

        assert refused
        assert {getattr(each, "pgcode", None) for each in refused} == {"55P03"}

    def test_weeks_are_written_of_products_of_which_anything_happened(self, database, shop):
        shop.observe(day(0), {ONE: (100, 5)})
        other = Shop(database, "Lamp")
        other.observe(day(0), {ONE: (100, 5)})
        for each in (shop, other):
            each.keep(day(1, 12))
        compact(database, day(1, 2))
        other.observe(day(1, 12), {ONE: (110, 5)})

        assert compact(database, day(2, 2)).rows == 5
