"""The connections that requests read with, which stay open from one to the next."""

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from productagg.db import prepared_statements
from productagg.db.engines import READER_POOL_SIZE, reader_engine
from productagg.db.session import Readers


@pytest.fixture
def engine(database):
    """An engine that nobody else has connections of."""
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


def test_if_one_breaks_none_is_kept_that_was_open_then(engine, readers):
    idle, at_work, broken = (readers.take() for _ in range(3))
    idle[1]()

    broken[0].invalidate()
    broken[1]()
    at_work[1]()

    assert [connection.closed for connection, _ in (idle, at_work, broken)] == [True, True, True]
    assert engine.pool.checkedout() == 0


def test_when_the_server_ends_one_those_at_work_are_replaced_as_well(postgresql):
    engine = reader_engine(postgresql.reader.url)
    readers = Readers(engine)
    at_work, broken = readers.take(), readers.take()
    pid = broken[0].scalar(text("SELECT pg_backend_pid()"))
    drivers = [connection.connection.dbapi_connection for connection, _ in (at_work, broken)]
    with postgresql.writer.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    with pytest.raises(DBAPIError) as caught:
        prepared_statements.rows(broken[0], select(1), {})
    for _, give_back in (at_work, broken):
        give_back()
    again = [readers.take() for _ in range(2)]

    assert caught.value.connection_invalidated
    assert [connection.scalar(select(1)) for connection, _ in again] == [1, 1]
    assert all(driver is not None and driver.closed for driver in drivers)
    for _, give_back in again:
        give_back()
    engine.dispose()


def test_one_with_options_of_its_own_is_not_kept(engine, readers):
    connection, give_back = readers.take()
    connection.execution_options(yield_per=10)

    give_back()

    assert connection.closed
    assert engine.pool.checkedout() == 0


def test_when_the_engine_is_disposed_of_nothing_stays_open(engine, readers):
    connection, give_back = readers.take()
    driver = connection.connection.dbapi_connection
    give_back()

    engine.dispose()

    with pytest.raises(Exception, match="closed"):
        driver.cursor()


def test_no_more_are_kept_than_leave_room_for_those_that_wait(engine, readers):
    taken = [readers.take() for _ in range(READER_POOL_SIZE + 4)]

    for _, give_back in taken:
        give_back()

    assert engine.pool.checkedout() == READER_POOL_SIZE
