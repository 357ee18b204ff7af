"""How PostgreSQL and SQLite come to a page: from an index, never by sorting the catalogue."""

import random
import re
from datetime import UTC, datetime, timedelta

import psycopg2.extensions
import pytest
from sqlalchemy import text

from productagg.catalog import listing
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.product_query import SORTS, ProductQuery
from tests.databases import only_postgresql

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
PRODUCTS = 3_000
INDEXES = {
    "name": "ix_products_sort_name_id",
    "created_at": "ix_products_created_at_id",
    "updated_at": "ix_products_updated_at_id",
    "lowest_price": "ix_product_summaries_lowest_product_id",
    "items_in_stock": "ix_product_summaries_items_in_stock_product_id",
}


@pytest.fixture(scope="module")
def catalogue(migrated_database):
    """Some thousand products, most of them with a price; the planner knows of them."""
    some = random.Random(1)
    words = ["brass", "copper", "desk", "garden", "kettle", "lamp", "oak", "pine", "steel", "table"]
    new = [
        NewProduct(
            f"{some.choice(words)} {number:05}", " ".join(some.choices(words, k=20)), brand=f"Maker {number % 100}"
        )
        for number in range(PRODUCTS)
    ]
    with migrated_database.sessions.begin() as session:
        for start in range(0, PRODUCTS, 1000):
            create_many(session, new[start : start + 1000], NOON + timedelta(seconds=start))
        session.execute(text("UPDATE product_summaries SET lowest = abs(random() * 1000), items_in_stock = 1"))
    with migrated_database.reader.connect() as connection:
        # VACUUM puts the trigrams that wait into their index.
        connection.execute(text("VACUUM ANALYZE" if migrated_database.name == "postgresql" else "ANALYZE"))
        yield connection
    migrated_database.empty()


def plan(connection, query, cursor=None, options="COSTS ON"):
    """The lines of the page's plan."""
    driver = connection.connection.dbapi_connection
    sent: list[str] = []
    if connection.dialect.name == "sqlite":
        driver.set_trace_callback(sent.append)
        listing.page(connection, query, 20, cursor)
        driver.set_trace_callback(None)
        return [str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sent[-1]}")]

    class Cursor(psycopg2.extensions.cursor):
        def execute(self, query, parameters=None):
            sent.append(self.mogrify(query, parameters).decode())
            super().execute(query, parameters)

    driver.cursor_factory = Cursor
    for _ in range(6):  # after five times PostgreSQL may plan for all values at once
        listing.page(connection, query, 20, cursor)
    driver.cursor_factory = None
    with driver.cursor() as cursor:
        cursor.execute(f"EXPLAIN ({options}) {sent[-1]}")
        return [str(row[0]) for row in cursor]


@pytest.mark.parametrize("sort", [sort for sort in SORTS if sort != "relevance"])
def test_a_page_deep_in_the_catalogue_is_a_range_of_the_sorts_index(catalogue, sort):
    middle = listing.page(catalogue, ProductQuery(sort=sort, fields=("id",)), PRODUCTS // 2).following
    assert middle is not None

    for cursor in (None, middle, middle._replace(backward=True)):
        lines = plan(catalogue, ProductQuery(sort=sort), cursor)
        keys = lines[: next(number for number, line in enumerate(lines) if INDEXES[sort.removeprefix("-")] in line) + 2]
        assert not any(re.search(r"Seq Scan on product(s|_summaries)|SCAN product\w*$", line) for line in keys), lines
        if cursor is not None:
            assert re.search(r"(Index Cond: .*ROW\(\w+, \w+\) [<>] ROW|\(\w+,\w+\)[<>]\(\?,\?\))", "\n".join(keys)), (
                lines
            )


@only_postgresql
@pytest.mark.parametrize("sort", ["created_at", "relevance"])
@pytest.mark.parametrize("word", ["0123", "01999"])
def test_a_word_that_few_have_is_found_by_its_trigrams(catalogue, word, sort):
    lines = plan(catalogue, ProductQuery(sort, words=[word]))

    assert any("Bitmap Index Scan on ix_products_search_text" in line for line in lines), lines


@only_postgresql
def test_a_price_that_few_have_is_found_by_its_index_whatever_the_sort(catalogue):
    lines = plan(catalogue, ProductQuery(sort="name", min_price=10, max_price=11))

    assert any(INDEXES["lowest_price"] in line for line in lines), lines


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
def test_a_brand_is_a_range_of_its_index_which_is_in_the_default_order(catalogue, sort):
    cursor = listing.page(catalogue, ProductQuery(sort, brands=["maker 7"]), 5).following

    for place in (None, cursor):
        lines = plan(catalogue, ProductQuery(sort, brands=["maker 7"]), place)
        assert any("ix_products_brand_key_created_at_id" in line for line in lines), lines


@only_postgresql
def test_edits_since_the_first_page_are_found_by_their_own_index(catalogue):
    cursor = listing.page(catalogue, ProductQuery(sort="name"), 20).following

    assert any("ix_changes_changed" in line for line in plan(catalogue, ProductQuery(sort="name"), cursor))


@only_postgresql
def test_by_relevance_a_level_is_not_read_once_those_before_it_fill_the_page(catalogue):
    lines = plan(catalogue, ProductQuery("relevance", words=["lamp"]), options="ANALYZE")

    # A product in ten has it as a word of its name, nine in ten in their descriptions.
    assert any("One-Time Filter" in line for line in lines)
    assert sum("never executed" in line for line in lines) >= 5
