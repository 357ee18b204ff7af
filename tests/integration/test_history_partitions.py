"""PostgreSQL: the monthly partitions are created ahead, where the default one has no rows, and dropped when empty."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID

import pytest
from sqlalchemy import text

from productagg.catalog import products as catalog
from productagg.db.models import OfferPrice, ProductPrice
from productagg.history import partitions
from productagg.history.partitions import month_of
from productagg.offers.reconcile import Observation
from tests.conftest import Database
from tests.factories import make_product, offer_state, rows
from tests.integration.conftest import wait_until
from tests.integration.observed_products import Shop, compact, day, progress, somebody_waits
from tests.integration.offer_history import write_down

ONE, OTHER = UUID(int=1), UUID(int=2)
LONG_AGO, MAY = datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 5, 11, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "20ms")
    # Not the module's own function: threads of other tests sleep, too.
    monkeypatch.setattr(partitions, "time", SimpleNamespace(sleep=lambda _seconds: None))


def partitions_of(database, table):
    """The names of a table's partitions, without the table's, and how many rows are in each."""
    with database.reader.connect() as connection:
        query = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = to_regclass(:table)"
        names = connection.scalars(text(query), {"table": table}).all()
        return {
            name.removeprefix(f"{table}_"): connection.scalar(text(f"SELECT count(*) FROM {name}"))
            for name in sorted(names)
        }


@pytest.fixture(scope="module")
def own_database(new_postgres_database):
    """Tests of other modules find the partitions that the migrations made."""
    database = Database("postgresql", new_postgres_database("partitions"))
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def bare(own_database):
    """A database with no partitions but the default ones."""
    for table in partitions.TABLES:
        for name in partitions_of(own_database, table).keys() - {"default"}:
            with own_database.writer.begin() as connection:
                connection.execute(text(f"DROP TABLE {table}_{name}"))
    yield own_database
    own_database.empty()


@pytest.mark.parametrize(
    ("time", "later", "month"),
    [
        (datetime(2026, 5, 31, 23, 59, tzinfo=UTC), 0, datetime(2026, 5, 1, tzinfo=UTC)),
        (datetime(2026, 12, 31, tzinfo=UTC), 0, datetime(2026, 12, 1, tzinfo=UTC)),
        (datetime(2026, 11, 15, tzinfo=UTC), 2, datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime(2024, 2, 29, tzinfo=UTC), 1, datetime(2024, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_month_begins_where_it_does_in_utc(time, later, month):
    assert month_of(time, later) == month


def test_this_month_and_the_next_two_have_partitions(bare):
    for _ in range(2):
        partitions.prepare(bare.sessions, MAY)

        for table in partitions.TABLES:
            assert partitions_of(bare, table) == {"2026_05": 0, "2026_06": 0, "2026_07": 0, "default": 0}


def test_a_month_that_has_rows_in_the_default_partition_stays_there(bare):
    shop = Shop(bare)
    for number in (70, 151):
        shop.observe(day(number), {ONE: (number, 5)})
    before = [rows(bare, OfferPrice), rows(bare, ProductPrice)]

    for _ in range(2):
        partitions.prepare(bare.sessions, MAY)

        assert [rows(bare, OfferPrice), rows(bare, ProductPrice)] == before
        assert partitions_of(bare, "offer_prices") == {"2026_05": 0, "2026_07": 0, "default": 2}


def test_a_row_that_comes_into_the_default_partition_meanwhile_stays_there(bare, monkeypatch):
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "0")
    observed = Observation(make_product(bare), {ONE: offer_state(100, 5)}, day(130), first=True)

    with ThreadPoolExecutor(1) as pool:
        with bare.sessions.begin() as session:
            write_down(session, observed)
            # It does not see the row yet, and waits for the partition that it is in.
            preparing = pool.submit(partitions.prepare, bare.sessions, MAY)
            wait_until(lambda: somebody_waits(bare))
        preparing.result()

    assert partitions_of(bare, "offer_prices") == {"2026_06": 0, "2026_07": 0, "default": 1}


def test_a_removed_product_takes_its_rows_along_from_a_month_that_was_made_later(bare):
    shop = Shop(bare)
    shop.observe(day(100), {ONE: (100, 5)})
    partitions.prepare(bare.sessions, MAY)
    shop.observe(day(130, 1), {ONE: (110, 5)})

    with bare.sessions.begin() as session:
        catalog.remove(session, shop.product_id, datetime.now(UTC))

    assert rows(bare, OfferPrice) == rows(bare, ProductPrice) == []


def test_a_compaction_drops_the_months_that_are_over_age_from_partitions_and_default(bare):
    shop = Shop(bare)
    partitions.prepare(bare.sessions, day(20))
    for number in (-5, 0, 35, 70):
        shop.observe(day(number), {ONE: (100 + number, 5)})
    shop.keep(day(130))

    compact(bare, day(130))

    for table in partitions.TABLES:
        assert partitions_of(bare, table)["default"] == 0
        assert min(partitions_of(bare, table)) == "2026_02"
    assert [row.observed_at for row in rows(bare, OfferPrice)] == [day(35), day(70)]


def test_a_month_with_rows_is_not_dropped(bare):
    partitions.prepare(bare.sessions, day(0))
    shop = Shop(bare)
    shop.observe(day(0), {ONE: (100, 5)})

    assert partitions.drop_empty(bare.sessions, day(31)) == 0
    assert partitions_of(bare, "offer_prices")["2026_01"] == 1


class TestInUse:
    @pytest.fixture
    def shop(self, bare):
        partitions.prepare(bare.sessions, day(0))
        shop = Shop(bare)
        shop.observe(day(0), {ONE: (100, 5)})
        shop.observe(day(70), {ONE: (110, 5)})
        shop.keep(day(130))
        return shop

    def test_a_month_that_is_read_all_the_time_keeps_its_partitions_until_the_next_run(self, bare, shop):
        with bare.writer.connect() as reader:
            reader.execute(text("SELECT count(*) FROM offer_prices"))
            with pytest.raises(partitions.Locked, match="a history table stayed locked"):
                compact(bare, day(130))
        assert "2026_01" in partitions_of(bare, "offer_prices")

        compact(bare, day(130))

        assert "2026_01" not in partitions_of(bare, "offer_prices")

    def test_its_months_are_compacted_all_the_same(self, bare, shop):
        with bare.writer.connect() as reader:
            reader.execute(text("SELECT count(*) FROM offer_prices"))
            with pytest.raises(partitions.Locked, match="a history table stayed locked"):
                compact(bare, day(130))

        assert progress(bare).raw_from == day(31)
        assert partitions_of(bare, "offer_prices")["2026_01"] == 0

    def test_what_cannot_be_dropped_does_not_keep_months_from_being_made(self, bare, shop):
        with bare.writer.connect() as reader:
            reader.execute(text("SELECT count(*) FROM offer_prices_2026_01"))
            with pytest.raises(partitions.Locked, match="a history table stayed locked"):
                compact(bare, day(130))

        assert {"2026_01", "2026_05", "2026_06", "2026_07"} <= partitions_of(bare, "offer_prices").keys()

    def test_a_default_partition_that_takes_long_to_look_through_is_left_alone(self, bare, shop, monkeypatch):
        """The wait for a lock stands for it: it is as long as the statement takes."""
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "0")
        monkeypatch.setattr(partitions, "STATEMENT_TIMEOUT", "50ms")
        with bare.writer.connect() as reader:
            reader.execute(text("SELECT count(*) FROM offer_prices"))
            with pytest.raises(partitions.Locked, match="too large to check in time"):
                partitions.prepare(bare.sessions, MAY)

    def test_runs_and_removals_go_on_beside_a_new_month(self, bare, shop):
        """What a sync run and a removal have locked, in their order: they are waited for, and nothing is a deadlock."""
        with bare.sessions.begin() as session:
            catalog.create(session, "Lamp", "", MAY)
            session.flush()
            with pytest.raises(partitions.Locked):
                partitions.prepare(bare.sessions, MAY)
            session.execute(text("SELECT 1 FROM offer_prices LIMIT 1"))

        partitions.prepare(bare.sessions, MAY)
        assert "2026_07" in partitions_of(bare, "offer_prices")
