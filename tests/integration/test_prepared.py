"""Statements that PostgreSQL plans once per connection; on SQLite they are the same statements, sent as ever."""

import psycopg2.extensions
import pytest
from sqlalchemy import Integer, bindparam, func, literal_column, select, text
from sqlalchemy.exc import DBAPIError

from productagg.catalog import products as catalog
from productagg.db import prepared_statements
from productagg.db.engines import is_out_of_reach, snapshot
from productagg.db.models import Product
from tests.factories import LONG_AGO, make_product, make_products
from tests.integration.conftest import only_postgresql

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
    """The statements that the connection has prepared, and how often each was executed."""
    return connection.execute(text("SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements")).all()


def test_the_rows_are_those_that_the_statement_finds(database, reader):
    first, second = make_products(database, 2)

    def found(product_id, below=100):
        return [
            tuple(row) for row in prepared_statements.rows(reader, NAMES, {"product_id": product_id, "below": below})
        ]

    assert (found(first), found(second), found(first, below=3)) == ([("Kettle 0",)], [("Kettle 1",)], [])
    assert prepared_statements.row(reader, NAMES, {"product_id": first, "below": 3}) is None


@only_postgresql
def test_a_connection_prepares_a_statement_once_and_executes_it_each_time(database, reader):
    product_id = make_product(database)
    catalog.get(reader, product_id)
    before = dict(kept(reader))

    for _ in range(7):
        catalog.get(reader, product_id)

    after = dict(kept(reader))
    assert after.keys() == before.keys()
    assert [after[each] - before[each] for each in after if after[each] != before[each]] == [7]


@only_postgresql
def test_a_connection_keeps_so_many_statements_and_forgets_those_that_were_not_used_for_the_longest(reader):
    statements = [select(literal_column(str(number), Integer)) for number in range(prepared_statements._MOST + 2)]

    for statement in statements[:-2]:
        prepared_statements.rows(reader, statement, {})
    prepared_statements.rows(reader, statements[0], {})
    found = [
        prepared_statements.rows(reader, each, {})[0][0] for each in (*statements[-2:], statements[0], statements[1])
    ]

    assert found == [prepared_statements._MOST, prepared_statements._MOST + 1, 0, 1]
    names = {statement.rpartition(" ")[2] for statement, _ in kept(reader)}
    assert len(kept(reader)) == prepared_statements._MOST
    assert {"2", "3"} & names == set()


def test_a_session_finds_what_it_has_written_itself(database):
    with database.sessions.begin() as session:
        product_id = catalog.create(session, "Kettle", "Boils water", LONG_AGO)
        catalog.change(session, product_id, LONG_AGO, description="Boils it fast")

        assert "Boils it fast" in catalog.get(session, product_id).json_members


def test_within_a_snapshot_nothing_is_newer_than_its_beginning(database, reader):
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
    with database.writer.begin() as connection:
        pids = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        for pid in connection.scalars(pids).all():
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    with database.reader.connect() as connection, pytest.raises(DBAPIError) as raised:
        catalog.get(connection, product_id)

    assert is_out_of_reach(raised.value)
    for _ in range(2):
        with database.reader.connect() as connection:
            assert catalog.get(connection, product_id).version == 1


@only_postgresql
def test_an_error_tells_what_happened_and_no_values(reader):
    statement = select(func.cast_of(bindparam("secret")))
    divided = select(1 / func.length(bindparam("secret")))

    for wrong, values in ((statement, {"secret": "abracadabra"}), (divided, {"secret": ""})):
        with pytest.raises(DBAPIError) as raised:
            prepared_statements.rows(reader, wrong, values)
        assert "abracadabra" not in str(raised.value)
        assert isinstance(raised.value.orig, psycopg2.Error)
        assert not raised.value.connection_invalidated
    assert prepared_statements.rows(reader, select(literal_column("1")), {})[0][0] == 1
