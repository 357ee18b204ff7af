"""POST /login: the claims of a token, and what a failed login does not reveal."""

import jwt
import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from productagg.accounts import users
from productagg.db.models import User
from tests.conftest import PASSWORD
from tests.functional.problems import assert_problem

SECRET = "a secret of the tests, long enough for HS256"
# Before the tests make passwords cheap.
PRODUCTION_HASHER, PRODUCTION_HASH = users.password_hasher, users.UNKNOWN_USER_HASH


def test_a_login_returns_a_bearer_token_that_must_not_be_cached(client):
    answer = client.post_json("/login", {"username": "admin", "password": PASSWORD}, status=200)

    assert answer.json.keys() == {"access_token", "token_type", "expires_in"}
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 300)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.content_type == "application/json"


@pytest.mark.parametrize("lifetime", [1, 86400])
@pytest.mark.usefixtures("users")
def test_a_token_names_its_user_and_lives_as_long_as_configured(make_client, database, lifetime):
    client = make_client(**{"jwt.lifetime_seconds": str(lifetime)})

    answer = client.post_json("/login", {"username": "reader", "password": PASSWORD}).json

    claims = jwt.decode(answer["access_token"], SECRET, algorithms=["HS256"])
    with database.reader.connect() as connection:
        user_id = connection.execute(select(User.id).where(User.username == "reader")).scalar_one()
    assert claims["sub"] == str(user_id)
    assert claims["exp"] - claims["iat"] == answer["expires_in"] == lifetime


def test_the_token_of_a_login_works(client):
    headers = client.log_in()

    client.post_json("/products", {"name": "Lamp", "description": ""}, headers=headers, status=201)


class CountingHasher:
    def __init__(self, hasher):
        self._hasher = hasher
        self.verified = []

    def verify(self, hashed, password):
        self.verified.append((hashed, password))
        return self._hasher.verify(hashed, password)

    def check_needs_rehash(self, hashed):
        return self._hasher.check_needs_rehash(hashed)


def test_all_failed_logins_get_the_same_bytes_after_one_verification(send, database, monkeypatch):
    with database.sessions.begin() as session:
        session.execute(update(User).where(User.username == "reader").values(disabled=True))
    hasher = CountingHasher(users.password_hasher)
    monkeypatch.setattr(users, "password_hasher", hasher)

    attempts = (("admin", "wrong"), ("nobody", "wrong"), ("reader", PASSWORD), ("ADMIN", PASSWORD), ("", ""))
    answers = [send("POST", "/login", {"username": name, "password": password}) for name, password in attempts]

    for answer in answers:
        assert_problem(answer, "wrong-credentials")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="productagg"'
    assert len({answer.body for answer in answers}) == 1
    assert len({frozenset(answer.headers) for answer in answers}) == 1
    assert [password for _, password in hasher.verified] == [password for _, password in attempts]


def test_the_hash_for_unknown_users_takes_as_much_work_as_a_real_one():
    assert not PRODUCTION_HASHER.check_needs_rehash(PRODUCTION_HASH)


def test_a_login_renews_a_hash_with_outdated_parameters(client, database):
    past = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with database.sessions.begin() as session:
        session.execute(update(User).where(User.username == "reader").values(password_hash=past))

    client.log_in("reader")

    with database.reader.connect() as connection:
        stored = connection.execute(select(User.password_hash).where(User.username == "reader")).scalar_one()
    assert not users.password_hasher.check_needs_rehash(stored)
    client.log_in("reader")


def test_a_login_locks_nothing_while_the_password_is_verified(client, monkeypatch):
    """On SQLite there is one writer at a time: an attacker who guesses passwords must not block it."""
    writer, _ = client.services.engines
    taken = []

    class Hasher(CountingHasher):
        def verify(self, hashed, password):
            taken.append(writer.pool.checkedout())
            return super().verify(hashed, password)

    monkeypatch.setattr(users, "password_hasher", Hasher(users.password_hasher))

    client.log_in("admin")
    client.post_json("/login", {"username": "admin", "password": "wrong"}, status=401)

    assert taken == [0, 0]


def test_a_password_is_compared_character_by_character(client, database, send):
    with database.sessions.begin() as session:
        users.add(session, "Žofie", " pä ss\0\n", "reader")

    assert send("POST", "/login", {"username": "Žofie", "password": " pä ss\0\n"}).status_int == 200
    for wrong in ("pä ss\0\n", " pä ss", " PÄ SS\0\n"):
        assert_problem(send("POST", "/login", {"username": "Žofie", "password": wrong}), "wrong-credentials")


def test_a_password_is_not_in_the_log(send, caplog):
    caplog.set_level("DEBUG")

    send("POST", "/login", {"username": "admin", "password": "hunter2"})

    assert caplog.records
    assert "hunter2" not in caplog.text
