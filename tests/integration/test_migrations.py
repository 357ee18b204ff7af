"""The migrations make the tables that the code works with, and the tables hold what they promise."""

import re
import shutil
import threading
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import delete, insert, inspect, text
from sqlalchemy.exc import IntegrityError

from alembic import command
from productagg.catalog import products as catalog
from productagg.db.models import (
    OFFERS_SOURCE,
    SCHEMA_REVISION,
    Base,
    Catalogue,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDay,
    Product,
    ProductPrice,
    ProductPriceDay,
    ProductSource,
    ProductSummary,
    User,
)
from productagg.db.startup_checks import SchemaError, check_schema
from productagg.history.partitions import month_of
from tests.factories import LONG_AGO, environment, make_product, make_products, rows, start
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


@pytest.mark.parametrize("blank_database", ["postgresql"], indirect=True)
def test_steps_of_this_month_and_the_next_two_have_partitions_and_all_others_a_default_one(blank_database):
    blank_database.migrate()

    with blank_database.reader.connect() as connection:
        found = set(connection.scalars(text("SELECT inhrelid::regclass::text FROM pg_inherits")))
    months = [month_of(datetime.now(UTC), later) for later in range(3)]
    names = ["default", *(f"{month:%Y_%m}" for month in months)]
    assert {f"{table}_{name}" for table in ("offer_prices", "product_prices") for name in names} <= found


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

    assert len(rows(blank_database, Product)) == len(rows(blank_database, ProductSource)) == 3


def test_the_code_expects_the_newest_migration():
    assert ScriptDirectory.from_config(Config("development.ini")).get_heads() == [SCHEMA_REVISION]


def test_the_check_accepts_the_newest_schema(database):
    with database.reader.connect() as connection:
        check_schema(connection)


@pytest.mark.parametrize("state", ["blank", "base", "unknown"])
def test_any_other_schema_is_refused_with_the_command_that_migrates_it(blank_database, state):
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
@pytest.mark.parametrize("blank_database", ["sqlite"], indirect=True)
def test_the_command_that_pyramid_users_expect_migrates(blank_database):
    done = start("alembic", "-c", "development.ini", "upgrade", "head", env=environment(blank_database))
    output, _ = done.communicate(timeout=30)

    assert done.returncode == 0, output
    with blank_database.reader.connect() as connection:
        check_schema(connection)


@pytest.mark.processes
@pytest.mark.parametrize("blank_database", ["postgresql"], indirect=True)
def test_two_releases_that_migrate_at_once_both_succeed(blank_database, fork):
    env = environment(blank_database)
    processes = [fork("alembic", "-c", "development.ini", "upgrade", "head", env=env) for _ in range(2)]

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


FACTS = {"currency": "EUR", "condition": "new", "availability": "in_stock"}
OFFER = {
    "id": uuid4(),
    "source_id": OFFERS_SOURCE,
    "price": 1,
    "items_in_stock": 1,
    "first_seen_at": LONG_AGO,
    "changed_at": LONG_AGO,
    **FACTS,
}
LINE = {"offer_id": uuid4(), "observed_at": LONG_AGO, "price": 1, "items_in_stock": 1}
SUMMARY = {"observed_at": LONG_AGO, "lowest": 1, "average": 1, "offers": 1, "items_in_stock": 1, "observed": True}
GAP = {**SUMMARY, "lowest": None, "average": None, "offers": 0, "items_in_stock": 0, "observed": False}
PRODUCT_DAY = {**SUMMARY, "summary": [0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0]}
OFFER_DAY = {**LINE, "summary": None}
PROGRESS = {"id": 1, "raw_from": None}
NEWEST = {"observed_at": LONG_AGO, "lowest": None, "average": None, "offers": 0, "items_in_stock": 0}
SYNC = {"source_id": OFFERS_SOURCE, "registration": "pending", "next_sync_at": LONG_AGO, "failures": 0}
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
    (Offer, OFFER, {"currency": None}),
    (Offer, OFFER, {"shipping": -1}),
    (Offer, OFFER, {"condition": "good"}),
    (Offer, OFFER, {"availability": "soon"}),
    (Catalogue, {"id": 1, "currency": "EUR"}, {"id": 2}),
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
    (HistoryProgress, PROGRESS, {"id": 2}),
    (ProductSource, SYNC, {"registration": "unknown"}),
    (ProductSource, SYNC, {"failures": -1}),
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
        for companion in (ProductSource, ProductSummary):
            connection.execute(delete(companion))
    if model is Product:
        return {"id": uuid4(), **row}
    return row if model in (User, HistoryProgress, Catalogue) else {"product_id": product_id, **row}


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
        (Offer, {**OFFER, "items_in_stock": None, "shipping": 0, "seller": "A shop"}),
        (OfferPrice, LINE),
        (OfferPrice, {**LINE, "items_in_stock": None}),
        (ProductPrice, SUMMARY),
        (ProductPrice, GAP),
        (ProductPriceDay, PRODUCT_DAY),
        (OfferPriceDay, OFFER_DAY),
        (ProductSummary, NEWEST),
        (ProductSource, SYNC),
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
    ProductPriceDay: PRODUCT_DAY,
    OfferPriceDay: OFFER_DAY,
}


def test_whatever_belongs_to_a_product_goes_with_it(database):
    doomed, kept = make_products(database, 2)
    with database.writer.begin() as connection:
        for product_id in (doomed, kept):
            for model, row in OF_A_PRODUCT.items():
                connection.execute(insert(model).values(product_id=product_id, **row))

    with database.sessions.begin() as session:
        catalog.remove(session, doomed, LONG_AGO)

    for dependent in (*OF_A_PRODUCT, ProductSummary, ProductSource):
        assert [row.product_id for row in rows(database, dependent)] == [kept]
