"""The connections that requests read with, which stay open between requests."""

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from productagg.db import prepared_statements
from productagg.db.engines import READER_POOL_SIZE, reader_engine
from productagg.db.readers import Readers
from tests.databases import only_postgresql


@pytest.fixture
def engine(database):
    """An engine of its own, without other users of its connections."""
    engine = reader_engine(database.reader.url)
    yield engine
    engine.dispose()


@pytest.fixture
def readers(engine):
    return Readers(engine)


def test_a_connection_is_kept_for_the_next_request(readers):
    first, give_back = readers.take()
    first.execute(select(1))
    give_back()

    again, give_back = readers.take()

    assert again is first
    assert not again.in_transaction()
    give_back()


def test_after_a_lost_connection_none_of_the_open_ones_is_kept(engine, readers):
    idle, in_use, broken = (readers.take() for _ in range(3))
    idle[1]()

    broken[0].invalidate()
    broken[1]()
    in_use[1]()

    assert [connection.closed for connection, _ in (idle, in_use, broken)] == [True, True, True]
    assert engine.pool.checkedout() == 0


@only_postgresql
def test_after_the_server_ended_a_connection_those_in_use_are_replaced_too(database, readers):
    in_use, broken = readers.take(), readers.take()
    pid = broken[0].scalar(text("SELECT pg_backend_pid()"))
    drivers = [connection.connection.dbapi_connection for connection, _ in (in_use, broken)]
    with database.writer.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    with pytest.raises(DBAPIError) as caught:
        prepared_statements.rows(broken[0], select(1), {})
    for _, give_back in (in_use, broken):
        give_back()
    again = [readers.take() for _ in range(2)]

    assert caught.value.connection_invalidated
    assert [connection.scalar(select(1)) for connection, _ in again] == [1, 1]
    assert all(driver is not None and driver.closed for driver in drivers)
    for _, give_back in again:
        give_back()


def test_a_connection_with_execution_options_is_not_kept(engine, readers):
    connection, give_back = readers.take()
    connection.execution_options(yield_per=10)

    give_back()

    assert connection.closed
    assert engine.pool.checkedout() == 0


def test_disposing_of_the_engine_closes_the_kept_connections(engine, readers):
    connection, give_back = readers.take()
    driver = connection.connection.dbapi_connection
    give_back()

    engine.dispose()

    with pytest.raises(Exception, match="closed"):
        driver.cursor()


def test_at_most_the_size_of_the_pool_is_kept(engine, readers):
    taken = [readers.take() for _ in range(READER_POOL_SIZE + 4)]

    for _, give_back in taken:
        give_back()

    assert engine.pool.checkedout() == READER_POOL_SIZE
