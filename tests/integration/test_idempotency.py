"""The table of keys does not grow for ever, and a lease is lost to whoever took it over."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from productagg.accounts import users
from productagg.db import clock, idempotency_keys
from productagg.db.idempotency_keys import Answer, Claim, InProgress
from productagg.db.models import IdempotencyKey
from tests.factories import rows

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ANSWER = Answer(201, [["Content-Type", "text/plain"], ["Link", "a"], ["Link", "b"]], b"\x00\xff")


@pytest.fixture
def user_id(database):
    with database.sessions.begin() as session:
        return users.add(session, "somebody", "a password", "admin")


@pytest.fixture
def claim(database, user_id, monkeypatch):
    """Claim a key in a transaction of its own, at a time by the database's clock."""

    def claim(key, now=NOW, fingerprint="it"):
        monkeypatch.setattr(clock, "now_parameter", lambda _dialect: now)
        with database.sessions.begin() as session:
            return idempotency_keys.claim(session, user_id, key, fingerprint)

    return claim


def keys(database):
    return sorted(row.key for row in rows(database, IdempotencyKey))


def test_what_is_over_is_removed_bit_by_bit_the_oldest_first(database, claim):
    for number in range(25):
        claim(f"old {number:02}", NOW - timedelta(hours=24, minutes=30 - number))
    claim("young", NOW - timedelta(hours=23, minutes=59))

    claim("new 1")
    assert keys(database) == ["new 1", *(f"old {number}" for number in range(10, 25)), "young"]
    claim("new 2")
    claim("new 3")

    assert keys(database) == ["new 1", "new 2", "new 3", "young"]


def test_an_answer_comes_back_as_it_was_given(database, claim):
    taken = claim("a")
    with database.sessions.begin() as session:
        idempotency_keys.answered(session, taken, ANSWER)

    assert claim("a", NOW + timedelta(hours=23)) == ANSWER


def test_a_lease_can_be_taken_over_when_it_is_over_and_not_before(claim):
    first = claim("a")

    with pytest.raises(InProgress):
        claim("a", first.leased_until - timedelta(microseconds=1))
    second = claim("a", first.leased_until)

    assert isinstance(second, Claim)
    assert second.leased_until > first.leased_until


def test_who_lost_the_lease_can_neither_answer_nor_release(database, claim):
    lost = claim("a")
    held = claim("a", lost.leased_until)

    with database.sessions.begin() as session:
        idempotency_keys.release(session, lost)
        with pytest.raises(InProgress):
            idempotency_keys.answered(session, lost, ANSWER)
        idempotency_keys.answered(session, held, ANSWER)

    assert claim("a") == ANSWER


def test_what_is_answered_cannot_be_answered_again_or_released(database, claim):
    held = claim("a")
    with database.sessions.begin() as session:
        idempotency_keys.answered(session, held, ANSWER)
        idempotency_keys.release(session, held)
        with pytest.raises(InProgress):
            idempotency_keys.answered(session, held, Answer(409, [], b""))

    assert claim("a") == ANSWER


def test_a_released_key_may_stand_for_another_request(database, claim):
    held = claim("a")
    with database.sessions.begin() as session:
        idempotency_keys.release(session, held)

    assert isinstance(claim("a", fingerprint="another"), Claim)


def test_an_unanswered_key_has_no_answer(database, claim):
    claim("a")

    with database.sessions() as session:
        row = session.scalars(select(IdempotencyKey)).one()
    assert (row.status, row.headers, row.body) == (None, None, None)
