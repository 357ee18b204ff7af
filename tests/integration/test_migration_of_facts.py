"""Revision 0002 adds facts to the products that a database of 0001 has, and takes nothing from them."""

from uuid import uuid4

import pytest
from alembic.config import Config
from sqlalchemy import MetaData, select

from alembic import command
from productagg.catalog import listing, products
from productagg.catalog.product_query import ProductQuery
from productagg.catalog.product_values import FACTS
from productagg.catalog.search_text import search_text, sort_name
from productagg.db.models import Base, Product
from tests.factories import LONG_AGO, rows


def reflected(database):
    """The tables as the database has them, with the types of the models where there are some."""
    found = MetaData()
    with database.reader.connect() as connection:
        found.reflect(connection)
    for name, table in found.tables.items():
        for column in table.columns:
            if name in Base.metadata.tables and column.name in Base.metadata.tables[name].columns:
                column.type = Base.metadata.tables[name].columns[column.name].type
    return found.tables


def contents(database, columns):
    """All rows of tables: of each, the columns that are named."""
    tables = reflected(database)
    with database.reader.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(select(*(tables[name].c[column] for column in wanted)))]
            for name, wanted in columns.items()
        }


@pytest.fixture
def old(blank_database):
    """A database of 0001 with some products, and all that belongs to one."""
    blank_database.migrate("0001")
    tables = reflected(blank_database)
    ids = [uuid4() for _ in range(3)]
    offer = {"price": 1, "items_in_stock": 2}
    with blank_database.writer.begin() as connection:
        for number, product_id in enumerate(ids):
            name, description, key = f"Łamp {number}", "Shines", {"product_id": product_id}
            texts = {"search_text": search_text(name, description), "sort_name": sort_name(name)}
            times = {"created_at": LONG_AGO, "updated_at": LONG_AGO}
            product = {"id": product_id, "name": name, "description": description, "version": 3, **texts, **times}
            for table, row in {
                "products": product,
                "product_sync": {**key, "registration": "registered", "next_sync_at": LONG_AGO, "failures": 0},
                "product_summaries": {**key, "lowest": 1, "offers": 1, "items_in_stock": 2},
                "offers": {**key, **offer, "id": uuid4(), "first_seen_at": LONG_AGO, "changed_at": LONG_AGO},
                "offer_prices": {**key, **offer, "offer_id": uuid4(), "observed_at": LONG_AGO},
                "changes": {**key, "kind": "changed", "at": LONG_AGO, "sort_name": "lamp", "updated_at": LONG_AGO},
            }.items():
                connection.execute(tables[table].insert().values(**row))
    return blank_database


def test_the_upgrade_keeps_every_row(old):
    columns = {name: [*table.columns.keys()] for name, table in reflected(old).items() if name != "alembic_version"}
    before = contents(old, columns)

    old.migrate()

    assert len(before["products"]) == len(before["offers"]) == len(before["changes"]) == 3
    assert contents(old, columns) == before
    assert [[getattr(row, fact) for fact in FACTS] for row in rows(old, Product)] == [[None] * 4] * 3


def test_upgraded_products_are_found_and_edited_like_new_ones(old):
    old.migrate()
    first, *_ = rows(old, Product)

    with old.sessions.begin() as session:
        products.change(session, first.id, brand="Halvorn")
    with old.reader.connect() as connection:
        by_word = listing.page(connection, ProductQuery("relevance", words=["lamp"]), 10).products
        by_brand = listing.page(connection, ProductQuery(brands=["halvorn"]), 10).products

    assert (len(by_word), len(by_brand)) == (3, 1)


def test_a_downgrade_takes_the_facts_only(old, monkeypatch):
    columns = {name: [*table.columns.keys()] for name, table in reflected(old).items() if name != "alembic_version"}
    before = contents(old, columns)
    old.migrate()

    monkeypatch.setenv("DATABASE_URL", old.url)
    command.downgrade(Config("development.ini"), "0001")

    assert contents(old, columns) == before
    assert not set(FACTS) & set(reflected(old)["products"].columns.keys())
