"""Users: adding them, their passwords, and what ends their tokens."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher

from productagg.accounts import users
from productagg.db.models import User
from tests.conftest import PASSWORD
from tests.factories import rows


def account(database, username="reader"):
    with database.sessions.begin() as session:
        found = users.authenticate(session, username, PASSWORD)
    assert found is not None
    return found


def is_active(database, known):
    with database.reader.connect() as connection:
        return users.active(connection, known.id, known.token_generation)


def test_a_user_logs_in_with_the_right_password(database, users):
    known = account(database, "admin")

    assert (known.username, known.role) == ("admin", "admin")
    assert is_active(database, known) == known


@pytest.mark.parametrize(("username", "password"), [("reader", "wrong"), ("nobody", PASSWORD), ("reader", "")])
def test_a_wrong_password_and_an_unknown_user_do_not(users, session, username, password):
    assert users.authenticate(session, username, password) is None


def test_a_disabled_user_logs_in_no_more_and_the_tokens_end(database, users):
    known = account(database)

    with database.sessions.begin() as session:
        users.disable(session, "reader")

    assert is_active(database, known) is None
    with database.sessions.begin() as session:
        assert users.authenticate(session, "reader", PASSWORD) is None


def test_an_enabled_user_logs_in_again_but_the_old_tokens_stay_ended(database, users):
    known = account(database)
    with database.sessions.begin() as session:
        users.disable(session, "reader")

    with database.sessions.begin() as session:
        users.enable(session, "reader")

    assert is_active(database, known) is None
    with database.sessions.begin() as session:
        assert users.authenticate(session, "reader", PASSWORD) is not None


def test_a_new_password_replaces_the_old_one_and_ends_the_tokens(database, users):
    known = account(database)

    with database.sessions.begin() as session:
        users.set_password(session, "reader", "another password")

    assert is_active(database, known) is None
    with database.sessions.begin() as session:
        assert users.authenticate(session, "reader", PASSWORD) is None
        assert users.authenticate(session, "reader", "another password") is not None


def test_a_taken_name_is_refused_and_the_session_stays_usable(database, users):
    with database.sessions.begin() as session:
        with pytest.raises(users.DuplicateUser):
            users.add(session, "admin", PASSWORD, "reader")
        users.add(session, "another", PASSWORD, "reader")

    assert {(row.username, row.role) for row in rows(database, User)} == {
        ("admin", "admin"),
        ("reader", "reader"),
        ("another", "reader"),
    }


@pytest.mark.parametrize(
    "act", [users.disable, users.enable, lambda session, name: users.set_password(session, name, "x")]
)
def test_an_unknown_user_cannot_be_changed(session, act):
    with pytest.raises(users.UnknownUser):
        act(session, "nobody")


def test_the_first_admin_is_added_only_where_there_is_no_user(database):
    for name in ("first", "second"):
        with database.sessions.begin() as session:
            users.add_first_admin(session, name, PASSWORD)

    assert [(row.username, row.role, row.disabled) for row in rows(database, User)] == [("first", "admin", False)]


def test_of_several_processes_that_add_the_first_admin_at_once_one_succeeds_and_none_fails(database):
    def add(_number):
        with database.sessions.begin() as session:
            users.add_first_admin(session, "admin", PASSWORD)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))

    assert [row.username for row in rows(database, User)] == ["admin"]


def test_users_are_listed_by_name(database, users, session):
    users.add(session, "amber", PASSWORD, "reader")

    assert [each.username for each in users.listing(session)] == ["admin", "amber", "reader"]


COMPOSED, DECOMPOSED = "pass\u00e9 simple", "passe\u0301 simple"


@pytest.mark.parametrize("given", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("sent", [COMPOSED, DECOMPOSED])
def test_a_name_and_a_password_are_the_same_from_every_keyboard(session, given, sent):
    users.add(session, given, "to be replaced", "reader")
    users.set_password(session, sent, given)

    found = users.authenticate(session, sent, sent)

    assert found is not None
    assert (found.username, found.hash_is_outdated) == (COMPOSED, False)


def test_a_hash_of_a_password_in_another_form_still_verifies_and_is_renewed(database):
    with database.sessions.begin() as session:
        hashed = users.password_hasher.hash(DECOMPOSED)
        session.add(User(username=DECOMPOSED, password_hash=hashed, role="reader", disabled=False, token_generation=1))
        session.flush()
        known = users.authenticate(session, DECOMPOSED, DECOMPOSED)
        assert known is not None
        assert known.hash_is_outdated
        users.renew_hash(session, known, DECOMPOSED)

    with database.sessions.begin() as session:
        assert users.authenticate(session, DECOMPOSED, COMPOSED) == known


@pytest.fixture
def weak(database):
    """A reader whose password was hashed with weaker parameters than today's."""
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with database.sessions.begin() as session:
        session.add(User(username="reader", password_hash=weak, role="reader", disabled=False, token_generation=1))
    return weak


def test_a_hash_made_with_weaker_parameters_can_be_made_anew_and_keeps_the_tokens(database, weak):
    known = account(database)
    assert known.hash_is_outdated

    with database.sessions.begin() as session:
        users.renew_hash(session, known, PASSWORD)

    assert not account(database).hash_is_outdated
    assert is_active(database, known) == known


def test_a_hash_is_not_made_anew_of_a_password_that_was_changed_meanwhile(database, weak):
    known = account(database)
    with database.sessions.begin() as session:
        users.set_password(session, "reader", "another password")

    with database.sessions.begin() as session:
        users.renew_hash(session, known, PASSWORD)

    with database.sessions.begin() as session:
        assert users.authenticate(session, "reader", PASSWORD) is None
