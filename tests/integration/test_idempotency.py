"""Keys do not accumulate, and a lease can be taken over."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from productagg.accounts import users
from productagg.db import clock, idempotency_keys
from productagg.db.idempotency_keys import InProgress, KeyLease, StoredResponse
from productagg.db.models import IdempotencyKey
from tests.databases import only_postgresql
from tests.factories import rows

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
RESPONSE = StoredResponse(201, [["Content-Type", "text/plain"], ["Link", "a"], ["Link", "b"]], b"\x00\xff")


@pytest.fixture
def user_id(database):
    with database.sessions.begin() as session:
        return users.add(session, "somebody", "a password", "admin")


@pytest.fixture
def acquire(database, user_id, monkeypatch):
    """Lease a key in a transaction of its own, at a time by the database's clock."""

    def acquire(key, now=NOW, fingerprint="it"):
        monkeypatch.setattr(clock, "now_parameter", lambda _dialect: now)
        with database.sessions.begin() as session:
            return idempotency_keys.acquire(session, user_id, key, fingerprint)

    return acquire


def keys(database):
    return sorted(row.key for row in rows(database, IdempotencyKey))


def test_what_is_over_is_removed_bit_by_bit_the_oldest_first(database, acquire):
    for number in range(25):
        acquire(f"old {number:02}", NOW - timedelta(hours=24, minutes=30 - number))
    acquire("young", NOW - timedelta(hours=23, minutes=59))

    acquire("new 1")
    assert keys(database) == ["new 1", *(f"old {number}" for number in range(10, 25)), "young"]
    acquire("new 2")
    acquire("new 3")

    assert keys(database) == ["new 1", "new 2", "new 3", "young"]


@only_postgresql
def test_no_more_are_removed_at_once_where_the_planner_takes_the_table_for_tiny(database, acquire):
    """It then looks through the table row by row, and might ask anew for each row which ones are to be removed."""
    acquire("young", NOW - timedelta(hours=23, minutes=59))
    with database.writer.begin() as connection:
        connection.execute(text("ANALYZE idempotency_keys"))
    for number in range(25):
        acquire(f"old {number:02}", NOW - timedelta(hours=24, minutes=30 - number))

    acquire("new")

    assert keys(database) == ["new", *(f"old {number}" for number in range(10, 25)), "young"]


def test_an_answer_comes_back_as_it_was_given(database, acquire):
    taken = acquire("a")
    with database.sessions.begin() as session:
        idempotency_keys.store_response(session, taken, RESPONSE)

    assert acquire("a", NOW + timedelta(hours=23)) == RESPONSE


def test_a_lease_can_be_taken_over_when_it_is_over_and_not_before(acquire):
    first = acquire("a")

    with pytest.raises(InProgress):
        acquire("a", first.leased_until - timedelta(microseconds=1))
    second = acquire("a", first.leased_until)

    assert isinstance(second, KeyLease)
    assert second.leased_until > first.leased_until


def test_who_lost_the_lease_can_neither_answer_nor_release(database, acquire):
    lost = acquire("a")
    held = acquire("a", lost.leased_until)

    with database.sessions.begin() as session:
        idempotency_keys.release(session, lost)
        with pytest.raises(InProgress):
            idempotency_keys.store_response(session, lost, RESPONSE)
        idempotency_keys.store_response(session, held, RESPONSE)

    assert acquire("a") == RESPONSE


def test_what_is_answered_cannot_be_answered_again_or_released(database, acquire):
    held = acquire("a")
    with database.sessions.begin() as session:
        idempotency_keys.store_response(session, held, RESPONSE)
        idempotency_keys.release(session, held)
        with pytest.raises(InProgress):
            idempotency_keys.store_response(session, held, StoredResponse(409, [], b""))

    assert acquire("a") == RESPONSE


def test_a_released_key_may_stand_for_another_request(database, acquire):
    held = acquire("a")
    with database.sessions.begin() as session:
        idempotency_keys.release(session, held)

    assert isinstance(acquire("a", fingerprint="another"), KeyLease)


def test_an_unanswered_key_has_no_answer(database, acquire):
    acquire("a")

    with database.sessions() as session:
        row = session.scalars(select(IdempotencyKey)).one()
    assert (row.status, row.headers, row.body) == (None, None, None)
