"""The watch for secrets in logs bites."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from productagg.accounts import users
from productagg.db.models import User
from tests.leaks import JWT_SECRET, PASSWORD, REFRESH_TOKEN, watch

ROOT = Path(__file__).parents[1]
SECRETS = {
    "a password": PASSWORD,
    "the JWT secret": JWT_SECRET,
    "the refresh token": REFRESH_TOKEN,
    "an access token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "a header": "Authorization: Bearer 0123456789abcdef",
    "a hash": users.UNKNOWN_USER_HASH,
    "a database's password": "postgresql+psycopg2://productagg:sesame@db:5432/productagg",
}
log = logging.getLogger("productagg.tests")


@pytest.fixture
def found():
    """Call it for what was found, which then fails no test."""
    yield watch.take
    watch.take()


@pytest.mark.parametrize("what", SECRETS)
@pytest.mark.parametrize(
    "write",
    [
        lambda secret: log.info("it is " + secret),
        lambda secret: log.info("it is %s", secret),
        lambda secret: log.info("it is %s", {"secret": [secret.encode()]}),
        lambda secret: log.info("%.1s", secret),
        lambda secret: log_error(ValueError(secret)),
        lambda secret: log_error(RuntimeError("outer"), ValueError(secret)),
        lambda secret: subprocess.run([sys.executable, "-c", f"print({secret!r})"], capture_output=True, check=True),
    ],
    ids=["message", "argument", "inside an argument", "argument not shown", "exception", "cause", "program"],
)
def test_a_secret_is_found(found, what, write):
    write(SECRETS[what])

    assert found()


def log_error(error, cause=None):
    try:
        raise error from cause  # noqa: TRY301
    except Exception:
        log.exception("it failed")


def test_it_is_found_whoever_logs_it_to_whomever(found):
    other = logging.getLogger("some.package")
    other.propagate = False
    try:
        other.warning(PASSWORD)
    finally:
        other.propagate = True

    assert found()


def test_what_is_no_secret_is_not_found(found):
    for harmless in (
        'Bearer realm="productagg", error="invalid_token"',
        "This needs an access token, in the header 'Authorization: Bearer <token>'.",
        "postgresql+psycopg2://productagg:***@db:5432/productagg",
        "postgresql://db/productagg",
        "eyJ",
    ):
        log.warning(harmless)

    assert found() == []


def test_the_test_that_logged_it_fails(tmp_path):
    (tmp_path / "conftest.py").write_text("from tests.leaks import _no_secret_in_logs, _watch_everything\n")
    (tmp_path / "test_it.py").write_text(
        "import logging\n\n"
        "def test_quiet():\n    logging.info('nothing')\n\n"
        f"def test_loud():\n    logging.info('%s', {PASSWORD!r})\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", tmp_path, "-p", "no:cacheprovider", tmp_path],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert watch.take()  # for it prints what it found

    assert done.returncode == 1
    assert "2 passed, 1 error" in done.stdout
    assert "ERROR" in done.stdout and "::test_loud" in done.stdout


@pytest.mark.parametrize("role", ["nobody", "admin"])
def test_a_row_that_the_database_refuses_does_not_show_its_password(database, caplog, role):
    """PostgreSQL says in an error which row it was, and SQLAlchemy with which parameters."""
    with database.sessions.begin() as session:
        users.add(session, "admin", PASSWORD, "admin")
    user = {"username": "admin", "password_hash": "sesame", "role": role, "disabled": False, "token_generation": 1}

    with pytest.raises(IntegrityError) as raised, database.writer.begin() as connection:
        connection.execute(insert(User).values(user))
    log_error(RuntimeError("unexpected"), raised.value)

    assert "role_known" in caplog.text if role == "nobody" else "username" in caplog.text
    assert "sesame" not in caplog.text
    assert "sesame" not in f"{raised.value} {raised.value!r} {raised.value.orig!r} {raised.value.args}"
