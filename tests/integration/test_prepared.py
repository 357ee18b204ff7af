"""Prepared statements on PostgreSQL. On SQLite the same statements are executed without being prepared."""

import psycopg2.extensions
import pytest
from sqlalchemy import Integer, bindparam, func, literal_column, select, text
from sqlalchemy.exc import DBAPIError

from productagg.catalog import products as catalog
from productagg.db import prepared_statements
from productagg.db.engines import snapshot
from productagg.db.errors import is_unavailable
from productagg.db.models import Product
from productagg.db.prepared_statements import MAX_STATEMENTS
from tests.databases import only_postgresql
from tests.factories import LONG_AGO, make_product, make_products

NAMES = (
    select(func.coalesce(Product.name, "nameless"))
    .where(Product.id == bindparam("product_id"), func.length(Product.name) < bindparam("below", type_=Integer))
    .order_by(Product.id)
)


@pytest.fixture
def reader(database):
    with database.reader.connect() as connection:
        yield connection


def kept(connection):
    """The statements that the connection has prepared, and how often it executed them."""
    return connection.execute(text("SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements")).all()


def test_the_rows_of_a_statement_are_returned(database, reader):
    first, second = make_products(database, 2)

    def names(product_id, below=100):
        return [
            tuple(row) for row in prepared_statements.rows(reader, NAMES, {"product_id": product_id, "below": below})
        ]

    assert (names(first), names(second), names(first, below=3)) == ([("Kettle 0",)], [("Kettle 1",)], [])
    assert prepared_statements.row(reader, NAMES, {"product_id": first, "below": 3}) is None


@only_postgresql
def test_a_connection_prepares_a_statement_once(database, reader):
    product_id = make_product(database)
    catalog.get(reader, product_id)
    before = dict(kept(reader))

    for _ in range(7):
        catalog.get(reader, product_id)

    after = dict(kept(reader))
    assert after.keys() == before.keys()
    assert [after[text] - before[text] for text in after if after[text] != before[text]] == [7]


@only_postgresql
def test_a_connection_drops_the_least_recently_used_of_too_many_statements(reader):
    statements = [select(literal_column(str(number), Integer)) for number in range(MAX_STATEMENTS + 2)]

    for statement in statements[:-2]:
        prepared_statements.rows(reader, statement, {})
    prepared_statements.rows(reader, statements[0], {})
    numbers = [
        prepared_statements.rows(reader, statement, {})[0][0]
        for statement in (*statements[-2:], statements[0], statements[1])
    ]

    assert numbers == [MAX_STATEMENTS, MAX_STATEMENTS + 1, 0, 1]
    names = {statement.rpartition(" ")[2] for statement, _ in kept(reader)}
    assert len(kept(reader)) == MAX_STATEMENTS
    assert {"2", "3"} & names == set()


def test_a_session_reads_its_own_writes(database):
    with database.sessions.begin() as session:
        product_id = catalog.create(session, "Kettle", "Boils water", LONG_AGO)
        catalog.change(session, product_id, LONG_AGO, description="Boils it fast")

        assert "Boils it fast" in catalog.get(session, product_id).json_members


def test_a_snapshot_shows_no_later_commits(database, reader):
    product_id = make_product(database)

    with snapshot(reader):
        before = catalog.get(reader, product_id).version
        with database.sessions.begin() as session:
            catalog.change(session, product_id, LONG_AGO, description="Boils it fast")
        within = catalog.get(reader, product_id).version

    assert (before, within) == (1, 1)


@only_postgresql
def test_after_a_lost_connection_one_read_fails_and_the_next_works(database):
    product_id = make_product(database)
    with database.reader.connect() as one, database.reader.connect() as other:
        for connection in (one, other):
            catalog.get(connection, product_id)
    database.end_connections()

    with database.reader.connect() as connection, pytest.raises(DBAPIError) as raised:
        catalog.get(connection, product_id)

    assert is_unavailable(raised.value)
    for _ in range(2):
        with database.reader.connect() as connection:
            assert catalog.get(connection, product_id).version == 1


@only_postgresql
def test_an_error_message_has_no_values(reader):
    statement = select(func.cast_of(bindparam("secret")))
    divided = select(1 / func.length(bindparam("secret")))

    for wrong, values in ((statement, {"secret": "abracadabra"}), (divided, {"secret": ""})):
        with pytest.raises(DBAPIError) as raised:
            prepared_statements.rows(reader, wrong, values)
        assert "abracadabra" not in str(raised.value)
        assert isinstance(raised.value.orig, psycopg2.Error)
        assert not raised.value.connection_invalidated
    assert prepared_statements.rows(reader, select(literal_column("1")), {})[0][0] == 1
