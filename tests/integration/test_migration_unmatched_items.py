"""Revision 0007 keeps every source and product, and no source creates products by itself."""

from uuid import uuid4

import pytest
from sqlalchemy import inspect

from tests.factories import LONG_AGO
from tests.integration.migrated_tables import columns, contents, reflected


@pytest.fixture
def old(blank_database):
    """A database of 0004 with a source and a product at it."""
    blank_database.migrate("0004")
    tables = reflected(blank_database)
    product_id, source_id = uuid4(), uuid4()
    times = {"created_at": LONG_AGO, "updated_at": LONG_AGO}
    texts = {"name": "Kettle", "description": "", "search_text": " kettle \n  ", "sort_name": "kettle"}
    source = {"kind": "feed", "name": "shop", "configuration": {}, "enabled": True, "failures": 2}
    with blank_database.writer.begin() as connection:
        for table, row in {
            "products": {"id": product_id, "version": 3, "gtin": "4006381333931", **texts, **times},
            "sources": {"id": source_id, "version": 5, "unmatched_count": 7, **source, **times},
            "product_sources": {"product_id": product_id, "source_id": source_id, "locator": "A", "failures": 0},
        }.items():
            connection.execute(tables[table].insert().values(**row))
    return blank_database


def test_the_upgrade_keeps_every_row(old):
    all_columns = columns(old)
    before = contents(old, all_columns)

    old.migrate("0007")

    assert len(before["sources"]) == 2
    assert contents(old, all_columns) == before
    assert [bool(value) for (value,) in contents(old, {"sources": ["creates_products"]})["sources"]] == [False, False]


def test_a_downgrade_takes_what_is_new_only(old):
    all_columns = columns(old)
    before = contents(old, all_columns)
    old.migrate("0007")

    old.migrate("0004", down=True)

    assert contents(old, all_columns) == before
    assert set(columns(old)) == set(all_columns)
    with old.reader.connect() as connection:
        assert "ix_products_gtin" not in {index["name"] for index in inspect(connection).get_indexes("products")}
