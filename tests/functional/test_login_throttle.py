"""Too many failed logins: 429 with a correct Retry-After for the client that fails, and for no other client."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import func, select, update

from productagg.accounts import users
from productagg.db.models import LoginCounter, User
from tests.conftest import PASSWORD
from tests.databases import only_sqlite
from tests.factories import rows
from tests.functional.problems import assert_problem

WINDOW = 60
LIMITS = {
    "login.attempts": "3",
    "login.attempts_per_address": "5",
    "login.attempts_per_account": "8",
    "login.window_seconds": str(WINDOW),
}
MINE, OTHER = "192.0.2.1", "198.51.100.7"


class Verifier:
    """Replaces argon2, which is slow, and counts verifications."""

    def __init__(self):
        self.verified = 0

    def verify(self, hashed, password):
        self.verified += 1
        if password != PASSWORD or hashed == users.UNKNOWN_USER_HASH:
            raise VerifyMismatchError

    def check_needs_rehash(self, _hashed):
        return False


@pytest.fixture
def verifier(monkeypatch):
    verifier = Verifier()
    monkeypatch.setattr(users, "password_hasher", verifier)
    return verifier


@pytest.fixture
def clock():
    """A clock that stands still until it is shifted."""
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        yield clock


@pytest.fixture
def log_in(make_client, users, verifier):
    client = make_client(**LIMITS)

    def log_in(username="admin", password="wrong", address=MINE, client=client, **environ):
        environ = {"REMOTE_ADDR": address, **environ}
        body = {"username": username, "password": password}
        return client.post_json("/login", body, extra_environ=environ, expect_errors=True)

    return log_in


def statuses(answers):
    return [answer.status_int for answer in answers]


def fail(log_in, times, **how):
    assert statuses(log_in(**how) for _ in range(times)) == [401] * times


def somewhere(number):
    return f"203.0.113.{number}"


def fail_everywhere(log_in, times, username="admin"):
    """Fail from a new address each time."""
    for number in range(times):
        fail(log_in, 1, username=username, address=somewhere(number))


def test_a_name_in_another_unicode_form_is_the_same_account(log_in):
    fail(log_in, 2, username="ren\u00e9")
    fail(log_in, 1, username="rene\u0301")

    assert statuses([log_in(username="ren\u00e9"), log_in(username="rene\u0301")]) == [429, 429]


def test_after_too_many_failures_even_the_right_password_is_not_verified(log_in, verifier):
    fail(log_in, 3)

    answers = [log_in(password=PASSWORD), log_in()]

    for answer in answers:
        assert_problem(answer, "too-many-logins")
        assert "Set-Cookie" not in answer.headers
    assert verifier.verified == 3


@pytest.mark.parametrize("wait", [0, 0.4, 30, 59.9])
def test_retry_after_is_the_first_second_at_which_a_login_is_possible(log_in, clock, wait):
    fail(log_in, 1)
    clock.shift(1)
    fail(log_in, 2)
    clock.shift(wait - 1)

    retry_after = int(log_in().headers["Retry-After"])

    assert 1 <= retry_after <= WINDOW
    clock.shift(retry_after - 1)
    if retry_after > 1:
        assert_problem(log_in(), "too-many-logins")
    clock.shift(1)
    fail(log_in, 3)
    assert_problem(log_in(), "too-many-logins")


def test_retry_after_is_the_longest_of_all_limits_that_are_reached(log_in, clock):
    for name in ("a", "b"):
        fail(log_in, 1, username=name)
    clock.shift(30)
    fail(log_in, 3)

    assert log_in().headers["Retry-After"] == "60"
    assert log_in(username="c").headers["Retry-After"] == "30"


def test_a_refused_login_is_not_counted(log_in, clock):
    fail(log_in, 3)
    assert set(statuses(log_in() for _ in range(10))) == {429}

    # Neither towards the address's limit, nor the account's.
    fail(log_in, 2, username="reader")
    assert_problem(log_in(username="reader"), "too-many-logins")
    fail_everywhere(log_in, 5)
    assert_problem(log_in(address=OTHER), "too-many-logins")
    clock.shift(WINDOW)
    fail(log_in, 3)


def test_only_failures_count(log_in):
    assert set(statuses(log_in(password=PASSWORD) for _ in range(9))) == {200}

    fail(log_in, 3)


def test_a_success_forgets_the_failures_before_it(log_in):
    for _ in range(2):
        fail(log_in, 2)
        assert log_in(password=PASSWORD).status_int == 200

    # Only those of this account: logging in to an own account must allow no more guesses at others.
    fail(log_in, 1, username="reader")
    assert_problem(log_in(username="reader"), "too-many-logins")


@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_failures_at_another_address_lock_out_no_user(log_in, password):
    fail(log_in, 3)

    assert log_in(password=password, address=OTHER).status_int == (200 if password == PASSWORD else 401)


def test_one_address_cannot_try_many_accounts(log_in, verifier):
    fail(log_in, 1, username="admin")
    for number in range(4):
        fail(log_in, 1, username=f"user {number}")

    assert_problem(log_in(username="another"), "too-many-logins")
    assert_problem(log_in(username="reader", password=PASSWORD), "too-many-logins")
    assert verifier.verified == 5
    assert log_in(username="reader", password=PASSWORD, address=OTHER).status_int == 200


def test_many_addresses_cannot_try_one_account_but_its_owner_can(log_in):
    assert log_in(password=PASSWORD).status_int == 200

    fail_everywhere(log_in, 8)

    assert_problem(log_in(address=OTHER), "too-many-logins")
    assert_problem(log_in(address=OTHER, password=PASSWORD), "too-many-logins")
    assert log_in(password=PASSWORD).status_int == 200
    # Even from this address, no more guesses than from any other.
    fail(log_in, 3)
    assert_problem(log_in(), "too-many-logins")


def test_an_account_remembers_its_addresses_for_30_days(log_in, clock):
    assert log_in(password=PASSWORD).status_int == 200
    clock.shift(timedelta(days=20))
    assert log_in(password=PASSWORD).status_int == 200
    clock.shift(timedelta(days=29))
    fail_everywhere(log_in, 8)
    fail_everywhere(log_in, 8, username="reader")

    assert log_in(password=PASSWORD).status_int == 200
    assert_problem(log_in(username="reader", password=PASSWORD), "too-many-logins")
    clock.shift(timedelta(days=31))
    fail_everywhere(log_in, 8)
    assert_problem(log_in(password=PASSWORD), "too-many-logins")


def test_logins_of_the_owner_allow_no_more_guesses_elsewhere(log_in):
    assert log_in(password=PASSWORD).status_int == 200
    fail_everywhere(log_in, 7)

    assert set(statuses(log_in(password=PASSWORD) for _ in range(5))) == {200}

    fail(log_in, 1, address=OTHER)
    assert_problem(log_in(address=OTHER), "too-many-logins")


def test_one_site_with_many_ipv6_networks_cannot_use_up_the_limit_of_an_account(log_in):
    fail(log_in, 3, address="2001:db8:1::1")
    for number in range(1, 3):
        fail(log_in, 1, address=f"2001:db8:1:{number}::1")

    answers = statuses(log_in(address=f"2001:db8:1:{number:x}::1") for number in range(3, 15))

    assert set(answers) == {429}
    # The limit of the account is 8, and 5 are counted: the owner can log in, even from a new address.
    assert log_in(password=PASSWORD, address="2001:db8:2::1").status_int == 200
    fail(log_in, 3, address=OTHER)
    assert_problem(log_in(address=MINE), "too-many-logins")


def test_ipv6_networks_of_one_site_share_the_limit_of_an_address(log_in):
    fail(log_in, 3, address="2001:db8:1::1")

    assert log_in(password=PASSWORD, address="2001:db8:1:1::1").status_int == 200
    # A success is given back to the site's limit, too.
    fail(log_in, 2, address="2001:db8:1:1::1")
    assert_problem(log_in(address="2001:db8:1:2::1"), "too-many-logins")


def test_unknown_and_disabled_accounts_behave_like_others(log_in, database, verifier):
    with database.sessions.begin() as session:
        session.execute(update(User).where(User.username == "reader").values(disabled=True))
    seen = []
    for number, username in enumerate(("admin", "nobody", "reader")):
        answers = [log_in(username=username, address=somewhere(number)) for _ in range(5)]
        seen.append([(answer.status_int, answer.body, answer.headers.get("Retry-After")) for answer in answers])

    assert seen[0] == seen[1] == seen[2]
    assert verifier.verified == 9


def test_names_that_differ_in_case_are_counted_apart(log_in):
    fail(log_in, 3, username="admin")

    assert log_in(username="Admin").status_int == 401


@only_sqlite
@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:3::1"),
        ("localhost", "localhost", "192.0.2.1"),
        ("", "", "192.0.2.1"),
    ],
)
def test_one_host_is_one_address(log_in, address, same, other):
    fail(log_in, 3, address=address)

    assert log_in(address=same).status_int == 429
    assert log_in(address=other).status_int == 401


@only_sqlite
def test_headers_cannot_forge_the_address(log_in):
    for number in range(3):
        fail(log_in, 1, HTTP_X_FORWARDED_FOR=somewhere(number), HTTP_FORWARDED=f"for={somewhere(number)}")

    for header in ("X_FORWARDED_FOR", "FORWARDED", "X_REAL_IP", "CLIENT_IP", "TRUE_CLIENT_IP", "CF_CONNECTING_IP"):
        assert log_in(**{f"HTTP_{header}": OTHER}).status_int == 429


def test_two_processes_count_together(log_in, make_client):
    other = make_client(**LIMITS)

    fail(log_in, 2)
    fail(log_in, 1, client=other)

    assert statuses([log_in(), log_in(client=other)]) == [429, 429]


def test_concurrent_logins_get_no_more_guesses_than_sequential_ones(log_in, make_client, verifier):
    """Half of them in another process, which shares only the database with the first."""
    other = make_client(**LIMITS)
    with ThreadPoolExecutor(20) as pool:
        attempts = [pool.submit(log_in, **({"client": other} if number % 2 else {})) for number in range(20)]
        answers = statuses(attempt.result() for attempt in attempts)

    assert sorted(answers) == [401] * 3 + [429] * 17
    assert verifier.verified == 3


def test_concurrent_logins_to_many_accounts_stay_within_all_limits(log_in, database, verifier):
    """Their transactions lock overlapping rows, and none of them deadlocks."""
    pairs = [(f"user {number % 5}", somewhere(number // 5 % 5)) for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = statuses(pool.map(lambda pair: log_in(pair[0], address=pair[1]), pairs))

    assert set(answers) <= {401, 429}
    assert verifier.verified == answers.count(401)
    counted = {row.key: row.count for row in rows(database, LoginCounter)}
    assert all(
        count <= {"pair": 3, "address": 5, "account": 8}[key.partition("/")[0]] for key, count in counted.items()
    )
    assert sum(count for key, count in counted.items() if key.startswith("pair/")) == verifier.verified


def test_expired_rows_are_removed(log_in, database, clock):
    for number in range(8):
        fail(log_in, 1, username=f"user {number}", address=somewhere(number))
    assert count(database) == 24

    clock.shift(WINDOW)
    fail(log_in, 1)

    assert count(database) == 3


def test_a_key_is_short_and_reveals_neither_name_nor_address(log_in, database):
    fail(log_in, 1, username="n" * 1000)
    assert log_in(password=PASSWORD).status_int == 200

    for row in rows(database, LoginCounter):
        assert len(row.key) <= 100
        assert "nn" not in row.key and "admin" not in row.key and MINE not in row.key


@only_sqlite
def test_the_log_names_the_address_and_not_the_user(log_in, caplog):
    with caplog.at_level("INFO"):
        fail(log_in, 3, username="kangaroo")
        log_in(username="kangaroo")

    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line == f"a login from {MINE} is refused: too many failed; the next try is possible in 60 s"
    assert "kangaroo" not in caplog.text


def test_an_invalid_login_request_is_not_counted(log_in, database):
    assert_problem(log_in(username=3), "invalid-data")

    assert count(database) == 0


def test_without_a_database_no_password_is_verified(make_client, users, verifier, lose_database):
    client = make_client(**LIMITS)
    lose_database(client)

    answer = client.post_json("/login", {"username": "admin", "password": PASSWORD}, expect_errors=True)

    assert_problem(answer, "unavailable")
    assert verifier.verified == 0


def count(database):
    with database.reader.connect() as connection:
        return connection.execute(select(func.count()).select_from(LoginCounter)).scalar_one()
