"""Revision 0002 adds facts to the products that a database of 0001 has, and takes nothing from them."""

from uuid import uuid4

import pytest

from productagg.catalog import listing, products
from productagg.catalog.product_query import ProductQuery
from productagg.catalog.product_values import FACTS
from productagg.catalog.search_text import search_text, sort_name
from productagg.db.models import Product
from tests.factories import LONG_AGO, rows
from tests.integration.migrated_tables import columns, contents, reflected


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
    all_columns = columns(old)
    before = contents(old, all_columns)

    old.migrate("0002")

    assert len(before["products"]) == len(before["offers"]) == len(before["changes"]) == 3
    assert contents(old, all_columns) == before
    assert contents(old, {"products": FACTS})["products"] == [(None,) * 4] * 3


def test_upgraded_products_are_found_and_edited_like_new_ones(old):
    old.migrate()
    first, *_ = rows(old, Product)

    with old.sessions.begin() as session:
        products.change(session, first.id, brand="Halvorn")
    with old.reader.connect() as connection:
        by_word = listing.page(connection, ProductQuery("relevance", words=["lamp"]), 10).products
        by_brand = listing.page(connection, ProductQuery(brands=["halvorn"]), 10).products

    assert (len(by_word), len(by_brand)) == (3, 1)


def test_a_downgrade_takes_the_facts_only(old):
    all_columns = columns(old)
    before = contents(old, all_columns)
    old.migrate("0002")

    old.migrate("0001", down=True)

    assert contents(old, all_columns) == before
    assert not set(FACTS) & set(reflected(old)["products"].columns.keys())
