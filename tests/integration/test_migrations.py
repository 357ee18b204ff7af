"""The migrations make the tables that the code works with, and the tables hold what they promise."""

import re
import shutil
import threading
import time
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import delete, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from alembic import command
from productagg.catalog import products as catalog
from productagg.catalog import search_text
from productagg.db.models import (
    SCHEMA_REVISION,
    Base,
    HistoryLate,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDaily,
    OfferPriceHourly,
    Product,
    ProductChange,
    ProductPrice,
    ProductPriceDaily,
    ProductPriceHourly,
    ProductPriceWeekly,
    ProductSummary,
    ProductSync,
    SyncRun,
    User,
)
from productagg.db.startup_checks import SchemaError, check_schema
from tests.factories import LONG_AGO, environment, make_product, make_products, rows, start, sync_row
from tests.integration.conftest import wait_until

OURS = {table.name for table in Base.metadata.sorted_tables}


def tables(database):
    # But for the partitions.
    return {
        name for name in inspect(database.writer).get_table_names() if not re.search(r"_(default|\d{4}_\d\d)$", name)
    }


def test_the_migrations_run_up_down_and_up_again(blank_database):
    blank_database.migrate()
    assert tables(blank_database) == OURS | {"alembic_version"}

    blank_database.migrate("base")
    assert tables(blank_database) == {"alembic_version"}

    blank_database.migrate()
    assert tables(blank_database) == OURS | {"alembic_version"}


def test_the_migrated_tables_are_those_of_the_models(blank_database, monkeypatch):
    blank_database.migrate()
    monkeypatch.setenv("DATABASE_URL", blank_database.url)

    command.check(Config("development.ini"))


def test_what_was_there_before_a_pass_counted_more_is_kept(blank_database):
    # Given a database of the first release, with a product that was asked and a pass that asked for it
    blank_database.migrate("0001")
    then = LONG_AGO.replace(microsecond=123456)
    product_id = uuid4()
    with blank_database.writer.begin() as connection:
        connection.execute(
            insert(Product),
            {
                "id": product_id,
                "name": "Kettle",
                "description": "",
                "version": 1,
                "created_at": then,
                "updated_at": then,
            },
        )
        connection.execute(
            text(
                "INSERT INTO product_sync (product_id, registration, next_sync_at, last_synced_at, failures)"
                " SELECT id, 'registered', created_at, created_at, 0 FROM products"
            )
        )
        connection.execute(
            text(
                "INSERT INTO sync_runs (id, host, started_at, claimed, changed, failed)"
                " SELECT id, 'cron-1', created_at, 5, 2, 1 FROM products"
            )
        )

    blank_database.migrate()

    assert sync_row(blank_database, product_id).last_asked_at == then
    (run,) = rows(blank_database, SyncRun)
    assert (run.started_at, run.claimed, run.fetched, run.changed, run.failed) == (then, 5, 4, 2, 1)
    assert (run.closed, run.failures, run.requests, run.bytes, run.longest_wait_seconds) == (0, {}, 0, 0, 0)


def test_the_change_feed_begins_with_the_creation_of_what_is_there(blank_database):
    blank_database.migrate("0004")
    products = [
        {"id": uuid7(), "name": name, "description": "", "version": 1, "created_at": LONG_AGO, "updated_at": LONG_AGO}
        for name in ("Pan", "Kettle", "Lamp")
    ]
    with blank_database.writer.begin() as connection:
        connection.execute(insert(Product), products[::-1])

    blank_database.migrate()

    found = rows(blank_database, ProductChange)
    assert [(row.kind, row.product_id, row.at) for row in found] == [
        ("created", each["id"], LONG_AGO) for each in products
    ]
    make_product(blank_database, "Pot")
    assert rows(blank_database, ProductChange)[-1].sequence > found[-1].sequence


def test_products_of_before_are_found_and_sorted_as_new_ones(blank_database):
    blank_database.migrate("0005")
    values = {"id": uuid4(), "description": "Hořký", "version": 1, "created_at": LONG_AGO, "updated_at": LONG_AGO}
    with blank_database.writer.begin() as connection:
        connection.execute(insert(Product), {**values, "name": "Čaj"})
        connection.execute(insert(Product), {**values, "id": uuid4(), "name": "ﷺ" * 200})

    blank_database.migrate()

    found = {(row.search_text, row.sort_name) for row in rows(blank_database, Product)}
    assert found == {
        (search_text.search_text(name, "Hořký"), search_text.sort_name(name)) for name in ("Čaj", "ﷺ" * 200)
    }


NAMES = [
    "ŁÓDŹ",
    "Ærø, straße",
    "a/b_c",
    "हिन्दी x_",
    "Лампа",
    "電灯",
    "IŞIK ışık",
    *(f"Lamp {number}" for number in range(5)),
]


def test_products_are_folded_anew_batch_by_batch_and_nothing_else_of_them_changes(blank_database):
    # Given products as the release before found and sorted them
    blank_database.migrate("0008")
    values = {"version": 3, "created_at": LONG_AGO, "updated_at": LONG_AGO, "search_text": "old", "sort_name": "old"}
    columns = (Product.id, Product.name, Product.description, Product.version, Product.created_at, Product.updated_at)
    with blank_database.writer.begin() as connection:
        new = [{"id": uuid7(), "name": name, "description": f"{name}\n{name}.", **values} for name in NAMES]
        connection.execute(insert(Product), new)
        before = connection.execute(select(*columns).order_by(Product.id)).all()

    with a_batch_of(5):
        blank_database.migrate("0009")

    with blank_database.reader.connect() as connection:
        assert connection.execute(select(*columns).order_by(Product.id)).all() == before
        found = connection.execute(select(Product.name, Product.description, Product.search_text, Product.sort_name))
        for name, description, search_text, sort_name in found:
            assert (search_text, sort_name) == (search_text.search_text(name, description), search_text.sort_name(name))


@contextmanager
def a_batch_of(size):
    """The migrations' modules are loaded for each run: make this one's batches small."""
    read = ScriptDirectory._load_revisions

    def load(directory):
        for script in read(directory):
            if hasattr(script.module, "_BATCH"):
                setattr(script.module, "_BATCH", size)  # noqa: B010 - for the type checker
            yield script

    with patch.object(ScriptDirectory, "_load_revisions", load):
        yield


def test_a_migration_that_rebuilds_a_table_keeps_the_rows_that_refer_to_it(blank_database, tmp_path, monkeypatch):
    blank_database.migrate()
    make_products(blank_database, 3)
    shutil.copytree("alembic", tmp_path / "alembic")
    (tmp_path / "alembic" / "versions" / "next.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision = 'next', '{SCHEMA_REVISION}'\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('products', recreate='auto') as table:\n"
        "        table.alter_column('name', existing_type=sa.Text(), type_=sa.String(300), existing_nullable=False)\n"
    )
    config = Config("development.ini")
    config.set_main_option("script_location", str(tmp_path / "alembic"))
    monkeypatch.setenv("DATABASE_URL", blank_database.url)

    command.upgrade(config, "next")

    assert len(rows(blank_database, Product)) == len(rows(blank_database, ProductSync)) == 3


def test_the_code_expects_the_newest_migration():
    assert ScriptDirectory.from_config(Config("development.ini")).get_heads() == [SCHEMA_REVISION]


def test_the_check_accepts_the_newest_schema(database):
    with database.reader.connect() as connection:
        check_schema(connection)


@pytest.mark.parametrize("state", ["blank", "base", "unknown"])
def test_any_other_schema_is_refused_with_the_command_that_mends_it(blank_database, state):
    if state != "blank":
        blank_database.migrate()
    if state == "base":
        blank_database.migrate("base")
    if state == "unknown":
        with blank_database.writer.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = 'from the future'"))

    with blank_database.reader.connect() as connection, pytest.raises(SchemaError) as raised:
        check_schema(connection)

    assert "alembic -c CONFIG_URI upgrade head" in str(raised.value)
    assert ("from the future" if state == "unknown" else "none") in str(raised.value)


@pytest.mark.processes
def test_the_command_that_pyramid_users_expect_migrates(blank_database):
    done = start("alembic", "-c", "development.ini", "upgrade", "head", env=environment(blank_database))
    output, _ = done.communicate(timeout=30)

    assert done.returncode == 0, output
    with blank_database.reader.connect() as connection:
        check_schema(connection)


@pytest.mark.processes
@pytest.mark.parametrize("blank_database", ["postgresql"], indirect=True)
def test_two_releases_that_migrate_at_once_both_succeed(blank_database):
    env = environment(blank_database)
    processes = [start("alembic", "-c", "development.ini", "upgrade", "head", env=env) for _ in range(2)]

    outputs = [process.communicate(timeout=30)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], outputs
    with blank_database.reader.connect() as connection:
        check_schema(connection)


@pytest.mark.parametrize("blank_database", ["postgresql"], indirect=True)
def test_a_migration_waits_for_another_one_longer_than_for_a_tables_lock(blank_database, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=100ms")
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")
    long_enough = text(
        "SELECT coalesce(max(clock_timestamp() - waitstart), '0') > '0.3 s' FROM pg_locks WHERE NOT granted"
    )
    migration = threading.Thread(target=blank_database.migrate)

    with blank_database.writer.begin() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(7306544)"))
        migration.start()
        wait_until(lambda: other.execute(waiting).scalar_one() == 1)
        wait_until(lambda: other.execute(long_enough).scalar_one())
    migration.join(20)

    assert tables(blank_database) == OURS | {"alembic_version"}


@pytest.mark.parametrize("blank_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("prepared", ["true", "false"])
def test_a_migration_waits_for_a_tables_lock_as_long_as_the_options_say(blank_database, monkeypatch, prepared):
    blank_database.migrate()
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=100ms")
    monkeypatch.setenv("DATABASE_PREPARED", prepared)

    with blank_database.writer.begin() as other:
        other.execute(text("LOCK TABLE products, offers"))
        began = time.monotonic()
        with pytest.raises(CommandError, match="lock timeout"):
            blank_database.migrate("base")

    assert time.monotonic() - began < 5


OFFER = {"id": uuid4(), "price": 1, "items_in_stock": 1, "first_seen_at": LONG_AGO, "changed_at": LONG_AGO}
LINE = {"offer_id": uuid4(), "observed_at": LONG_AGO, "price": 1, "items_in_stock": 1}
SUMMARY = {"observed_at": LONG_AGO, "lowest": 1, "average": 1, "offers": 1, "items_in_stock": 1, "observed": True}
GAP = {**SUMMARY, "lowest": None, "average": None, "offers": 0, "items_in_stock": 0, "observed": False}
_DURATIONS = {"at": LONG_AGO, "state": "sold_out", "in_stock_us": 0, "observed_us": 1}
_PRICES = {"open": None, "close": None, "lowest": None, "highest": None, "mean": 0, "remainder": 0, "changes": 0}
PRODUCT_BUCKET = {
    **_DURATIONS,
    **_PRICES,
    **{f"average_{name}": value for name, value in _PRICES.items()},
    "offers": 0,
    "items_in_stock": 0,
}
OFFER_BUCKET = {**_DURATIONS, **_PRICES, "offer_id": uuid4(), "items_in_stock": 0}
PROGRESS = {"id": 1, "rolled_until": LONG_AGO, "raw_from": None}
NEWEST = {"observed_at": LONG_AGO, "lowest": None, "average": None, "offers": 0, "items_in_stock": 0}
SYNC = {"registration": "pending", "next_sync_at": LONG_AGO, "failures": 0}
PRODUCT = {
    "name": "Toaster",
    "description": "",
    "version": 1,
    "created_at": LONG_AGO,
    "updated_at": LONG_AGO,
    "search_text": " toaster \n  ",
    "sort_name": "toaster",
}
USER = {"id": uuid4(), "username": "u", "password_hash": "", "role": "admin", "disabled": False, "token_generation": 1}

WRONG: list[tuple[type[Base], dict[str, Any], dict[str, Any]]] = [
    (Offer, OFFER, {"price": -1}),
    (Offer, OFFER, {"items_in_stock": -1}),
    (Offer, OFFER, {"price": None}),
    (OfferPrice, LINE, {"price": -1}),
    (OfferPrice, LINE, {"items_in_stock": -1}),
    (ProductPrice, SUMMARY, {"lowest": -1}),
    (ProductPrice, SUMMARY, {"average": 0}),
    (ProductPrice, SUMMARY, {"items_in_stock": -1}),
    (ProductPrice, SUMMARY, {"offers": -1}),
    (ProductPrice, SUMMARY, {"offers": 0}),
    (ProductPrice, SUMMARY, {"lowest": None}),
    (ProductPrice, SUMMARY, {"average": None}),
    (ProductPrice, GAP, {"items_in_stock": 1}),
    (ProductPrice, GAP, {"observed": None}),
    (ProductPrice, SUMMARY, {"observed": False}),
    (ProductPriceHourly, PRODUCT_BUCKET, {"state": "unknown"}),
    (ProductPriceDaily, PRODUCT_BUCKET, {"state": "unknown"}),
    (ProductPriceWeekly, PRODUCT_BUCKET, {"state": "unknown"}),
    (OfferPriceHourly, OFFER_BUCKET, {"state": "unknown"}),
    (OfferPriceDaily, OFFER_BUCKET, {"state": "unknown"}),
    (HistoryProgress, PROGRESS, {"id": 2}),
    (ProductSync, SYNC, {"registration": "unknown"}),
    (ProductSync, SYNC, {"failures": -1}),
    (Product, PRODUCT, {"name": ""}),
    (Product, PRODUCT, {"name": "   "}),
    (Product, PRODUCT, {"name": None}),
    (Product, PRODUCT, {"name": "Kettle"}),
    (Product, PRODUCT, {"version": 0}),
    (User, USER, {"role": "god"}),
]


def prepared(database, model, row):
    """A product `Kettle` without the rows that every product has, and the row completed with the key."""
    product_id = make_product(database, "Kettle")
    with database.writer.begin() as connection:
        for companion in (ProductSync, ProductSummary):
            connection.execute(delete(companion))
    if model is Product:
        return {"id": uuid4(), **row}
    return row if model in (User, HistoryProgress) else {"product_id": product_id, **row}


@pytest.mark.parametrize(
    ("model", "row", "wrong"),
    WRONG,
    ids=[f"{model.__tablename__}-{name}-{value!r}" for model, _, wrong in WRONG for name, value in wrong.items()],
)
def test_the_database_refuses_what_makes_no_sense(database, model, row, wrong):
    row = prepared(database, model, row)

    with pytest.raises(IntegrityError), database.writer.begin() as connection:
        connection.execute(insert(model).values(**{**row, **wrong}))


@pytest.mark.parametrize(
    ("model", "row"),
    [
        (Offer, OFFER),
        (OfferPrice, LINE),
        (ProductPrice, SUMMARY),
        (ProductPrice, GAP),
        (ProductPriceHourly, PRODUCT_BUCKET),
        (ProductPriceDaily, PRODUCT_BUCKET),
        (ProductPriceWeekly, PRODUCT_BUCKET),
        (OfferPriceHourly, OFFER_BUCKET),
        (OfferPriceDaily, OFFER_BUCKET),
        (ProductSummary, NEWEST),
        (HistoryLate, {"since": LONG_AGO}),
        (ProductSync, SYNC),
        (Product, PRODUCT),
        (User, USER),
    ],
)
def test_the_database_takes_what_makes_sense(database, model, row):
    row = prepared(database, model, row)

    with database.writer.begin() as connection:
        connection.execute(insert(model).values(**row))


OF_A_PRODUCT: dict[type[Base], dict[str, Any]] = {
    Offer: OFFER,
    OfferPrice: LINE,
    ProductPrice: SUMMARY,
    ProductPriceHourly: PRODUCT_BUCKET,
    ProductPriceDaily: PRODUCT_BUCKET,
    ProductPriceWeekly: PRODUCT_BUCKET,
    OfferPriceHourly: OFFER_BUCKET,
    OfferPriceDaily: OFFER_BUCKET,
    HistoryLate: {"since": LONG_AGO},
}


def test_whatever_belongs_to_a_product_goes_with_it(database):
    doomed, kept = make_products(database, 2)
    with database.writer.begin() as connection:
        for product_id in (doomed, kept):
            for model, row in OF_A_PRODUCT.items():
                connection.execute(insert(model).values(product_id=product_id, **row))

    with database.sessions.begin() as session:
        catalog.remove(session, doomed, LONG_AGO)

    for dependent in (*OF_A_PRODUCT, ProductSummary, ProductSync):
        assert [row.product_id for row in rows(database, dependent)] == [kept]
