"""Products that are removed meanwhile: a compaction neither crashes nor loses anything."""

from uuid import UUID

import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import OperationalError

from productagg.db.models import Product
from tests.integration.conftest import before_statement, only_postgresql
from tests.integration.shops import (
    Shop,
    compact,
    day,
)

ONE = UUID(int=1)


pytestmark = pytest.mark.usefixtures("no_readers")


@pytest.fixture
def shop(database):
    return Shop(database)


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
