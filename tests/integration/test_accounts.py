"""Users: adding them, their passwords, and the end of their tokens."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher

from productagg.accounts import users
from productagg.db.models import User
from tests.conftest import PASSWORD
from tests.factories import rows


def log_in(database, username="reader"):
    with database.sessions.begin() as session:
        account = users.authenticate(session, username, PASSWORD)
    assert account is not None
    return account


def account_of_token(database, account):
    with database.reader.connect() as connection:
        return users.account_of_token(connection, account.id, account.token_generation)


@pytest.mark.usefixtures("users")
def test_a_user_logs_in_with_the_right_password(database):
    account = log_in(database, "admin")

    assert (account.username, account.role) == ("admin", "admin")
    assert account_of_token(database, account) == account


@pytest.mark.parametrize(("username", "password"), [("reader", "wrong"), ("nobody", PASSWORD), ("reader", "")])
@pytest.mark.usefixtures("users")
def test_a_wrong_password_or_an_unknown_user_is_refused(session, username, password):
    assert users.authenticate(session, username, password) is None


@pytest.mark.usefixtures("users")
def test_a_disabled_user_cannot_log_in_and_the_tokens_end(database):
    account = log_in(database)

    with database.sessions.begin() as session:
        users.disable(session, "reader")

    assert account_of_token(database, account) is None
    with database.sessions.begin() as session:
        assert users.authenticate(session, "reader", PASSWORD) is None


@pytest.mark.usefixtures("users")
def test_an_enabled_user_can_log_in_again_but_the_old_tokens_stay_ended(database):
    account = log_in(database)
    with database.sessions.begin() as session:
        users.disable(session, "reader")

    with database.sessions.begin() as session:
        users.enable(session, "reader")

    assert account_of_token(database, account) is None
    with database.sessions.begin() as session:
        assert users.authenticate(session, "reader", PASSWORD) is not None


@pytest.mark.usefixtures("users")
def test_a_new_password_replaces_the_old_one_and_ends_the_tokens(database):
    account = log_in(database)

    with database.sessions.begin() as session:
        users.set_password(session, "reader", "another password")

    assert account_of_token(database, account) is None
    with database.sessions.begin() as session:
        assert users.authenticate(session, "reader", PASSWORD) is None
        assert users.authenticate(session, "reader", "another password") is not None


@pytest.mark.usefixtures("users")
def test_a_taken_name_is_refused_and_the_session_stays_usable(database):
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
    "change", [users.disable, users.enable, lambda session, name: users.set_password(session, name, "x")]
)
def test_an_unknown_user_cannot_be_changed(session, change):
    with pytest.raises(users.UnknownUser):
        change(session, "nobody")


def test_the_first_admin_is_added_only_where_there_is_no_user(database):
    for name in ("first", "second"):
        with database.sessions.begin() as session:
            users.add_first_admin(session, name, PASSWORD)

    assert [(row.username, row.role, row.disabled) for row in rows(database, User)] == [("first", "admin", False)]


def test_if_several_processes_add_the_first_admin_concurrently_one_succeeds_and_none_fails(database):
    def add(_number):
        with database.sessions.begin() as session:
            users.add_first_admin(session, "admin", PASSWORD)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))

    assert [row.username for row in rows(database, User)] == ["admin"]


@pytest.mark.usefixtures("users")
def test_users_are_listed_by_name(database, session):
    users.add(session, "amber", PASSWORD, "reader")

    assert [user.username for user in users.list_users(session)] == ["admin", "amber", "reader"]


COMPOSED, DECOMPOSED = "pass\u00e9 simple", "passe\u0301 simple"


@pytest.mark.parametrize("stored", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("sent", [COMPOSED, DECOMPOSED])
def test_a_name_and_a_password_are_the_same_from_every_keyboard(session, stored, sent):
    users.add(session, stored, "to be replaced", "reader")
    users.set_password(session, sent, stored)

    account = users.authenticate(session, sent, sent)

    assert account is not None
    assert (account.username, account.hash_is_outdated) == (COMPOSED, False)


def test_a_hash_of_a_password_in_another_form_still_verifies_and_is_renewed(database):
    with database.sessions.begin() as session:
        hashed = users.password_hasher.hash(DECOMPOSED)
        session.add(User(username=DECOMPOSED, password_hash=hashed, role="reader", disabled=False, token_generation=1))
        session.flush()
        account = users.authenticate(session, DECOMPOSED, DECOMPOSED)
        assert account is not None
        assert account.hash_is_outdated
        users.renew_hash(session, account, DECOMPOSED)

    with database.sessions.begin() as session:
        assert users.authenticate(session, DECOMPOSED, COMPOSED) == account


@pytest.fixture
def weak(database):
    """A reader whose password was hashed with weaker parameters than today's."""
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with database.sessions.begin() as session:
        session.add(User(username="reader", password_hash=weak, role="reader", disabled=False, token_generation=1))
    return weak


def test_renewing_a_hash_with_weaker_parameters_keeps_the_tokens(database, weak):
    account = log_in(database)
    assert account.hash_is_outdated

    with database.sessions.begin() as session:
        users.renew_hash(session, account, PASSWORD)

    assert not log_in(database).hash_is_outdated
    assert account_of_token(database, account) == account


def test_a_hash_is_not_renewed_if_the_password_was_changed_meanwhile(database, weak):
    account = log_in(database)
    with database.sessions.begin() as session:
        users.set_password(session, "reader", "another password")

    with database.sessions.begin() as session:
        users.renew_hash(session, account, PASSWORD)

    with database.sessions.begin() as session:
        assert users.authenticate(session, "reader", PASSWORD) is None
