"""Engines and sessions on both databases: locks, transactions, times."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import StatementError

from productagg.catalog import products as catalog
from productagg.db.engines import reader_engine, writer_engine
from productagg.db.models import Product, ProductSource
from productagg.settings import database_url
from tests.databases import only_postgresql, only_sqlite
from tests.factories import LONG_AGO, make_product, rows, sync_row
from tests.integration.conftest import wait_until


@pytest.fixture(params=["writer", "reader"])
def connection(request, database):
    """A connection of either engine."""
    with getattr(database, request.param).connect() as connection:
        yield connection


@only_sqlite
def test_sqlite_enforces_foreign_keys_and_has_a_write_ahead_log(connection):
    pragmas = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("foreign_keys", "journal_mode")}

    assert pragmas == {"foreign_keys": 1, "journal_mode": "wal"}


@only_postgresql
def test_postgresql_limits_every_wait(connection):
    names = ("lock_timeout", "statement_timeout", "application_name", "default_transaction_isolation")
    options = {name: connection.execute(text(f"SHOW {name}")).scalar() for name in names}

    assert options == {
        "lock_timeout": "10s",
        "statement_timeout": "1min",
        "application_name": "productagg",
        "default_transaction_isolation": "read committed",
    }


@only_postgresql
@pytest.mark.parametrize("make_engine", [writer_engine, reader_engine])
@pytest.mark.parametrize("prepared", [True, False])
def test_parameters_of_the_url_override_ours(database, make_engine, prepared):
    given = {"application_name": "shop", "connect_timeout": "3", "keepalives_idle": "7"}
    url = database_url(database.url).update_query_dict({**given, "options": "-c work_mem=5MB -c lock_timeout=7s"})
    engine = make_engine(url, prepared=prepared)

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        names = ("work_mem", "lock_timeout", "statement_timeout", "application_name", "client_encoding")
        values = [connection.execute(text(f"SHOW {name}")).scalar() for name in names]
        driver = connection.connection.driver_connection
        assert driver is not None
        sent = driver.get_dsn_parameters()
    engine.dispose()

    assert values == ["5MB", "7s", "1min" if prepared else "0", "shop", "UTF8"]
    assert {name: sent[name] for name in ("connect_timeout", "keepalives_idle", "keepalives_count")} == {
        "connect_timeout": "3",
        "keepalives_idle": "7",
        "keepalives_count": "3",
    }


@only_postgresql
@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-c work_mem=5MB", ["10s", "1min", "read committed"]),
        ("-c lock_timeout=7s", ["7s", "1min", "read committed"]),
        ("--lock-timeout=7s -cstatement_timeout=8s", ["7s", "8s", "read committed"]),
        (
            r"-c lock_timeout=7s -c statement_timeout=8s -c default_transaction_isolation=repeatable\ read",
            ["7s", "8s", "repeatable read"],
        ),
    ],
)
def test_options_of_the_url_override_ours_in_transactions_that_write(database, prepared, options, expected):
    url = database_url(database.url).update_query_dict({"options": options})
    engine = writer_engine(url, prepared=prepared)

    with engine.begin() as connection:
        names = ("lock_timeout", "statement_timeout", "transaction_isolation")
        values = [connection.execute(text(f"SHOW {name}")).scalar() for name in names]
    engine.dispose()

    assert values == expected


@only_postgresql
def test_libpqs_environment_overrides_ours(database, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=5MB -c lock_timeout=7s")
    monkeypatch.setenv("PGAPPNAME", "shop")
    engine = reader_engine(database_url(database.url))

    with engine.connect() as connection:
        names = ("work_mem", "lock_timeout", "statement_timeout", "application_name")
        values = [connection.execute(text(f"SHOW {name}")).scalar() for name in names]
    engine.dispose()

    assert values == ["5MB", "7s", "1min", "shop"]


def test_two_writers_wait_for_each_other_and_both_succeed(database):
    make_product(database)

    def count_up(_number):
        for _ in range(25):
            with database.sessions.begin() as session:
                session.scalars(select(ProductSource).with_for_update()).one().failures += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count_up, range(4)))

    assert [row.failures for row in rows(database, ProductSource)] == [100]


def test_a_reader_does_not_wait_for_a_writer_and_sees_nothing_before_the_commit(database):
    with database.sessions.begin() as session:
        catalog.create(session, "Kettle", "Boils water", LONG_AGO)
        session.flush()
        assert rows(database, Product) == []

    assert len(rows(database, Product)) == 1


def test_a_reader_leaves_no_transaction_open(database):
    with database.reader.connect() as connection:
        connection.execute(select(Product.id)).all()
        make_product(database)

        assert len(connection.execute(select(Product.id)).all()) == 1


def test_rolling_back_a_savepoint_keeps_the_rest_of_the_transaction(database):
    with database.sessions.begin() as session:
        catalog.create(session, "Kept", "", LONG_AGO)
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            catalog.create(session, "Undone", "", LONG_AGO)
            session.flush()
            raise ZeroDivisionError

    assert [row.name for row in rows(database, Product)] == ["Kept"]


def test_rolling_back_a_transaction_includes_its_savepoints(database):
    with pytest.raises(ZeroDivisionError), database.sessions.begin() as session:
        with session.begin_nested():
            catalog.create(session, "Kettle", "", LONG_AGO)
        raise ZeroDivisionError

    assert rows(database, Product) == []


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=9))], ids=str
)
def test_a_time_is_kept_to_the_microsecond_and_comes_back_in_utc(database, zone):
    product_id = make_product(database)
    moment = datetime(2026, 10, 25, 1, 30, 0, 123456, tzinfo=UTC)

    with database.writer.begin() as connection:
        connection.execute(update(ProductSource).values(next_sync_at=moment.astimezone(zone)))

    next_sync_at = sync_row(database, product_id).next_sync_at
    assert (next_sync_at, next_sync_at.utcoffset()) == (moment, timedelta(0))
    with database.reader.connect() as connection:
        earlier = select(ProductSource.product_id).where(
            ProductSource.next_sync_at < moment + timedelta(microseconds=1)
        )
        assert connection.scalars(earlier).all() == [product_id]


def test_a_time_without_a_zone_is_refused(database):
    make_product(database)

    with database.writer.begin() as connection, pytest.raises(StatementError, match="naive"):
        connection.execute(update(ProductSource).values(next_sync_at=datetime(2026, 1, 1)))  # noqa: DTZ001


@only_postgresql
def test_a_connection_that_the_server_closed_is_replaced_silently(database):
    with database.writer.connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with database.reader.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        gone = text("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = :pid")
        wait_until(lambda: connection.execute(gone, {"pid": pid}).scalar_one())

    assert make_product(database)
