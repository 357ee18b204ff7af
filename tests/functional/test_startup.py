"""Configurations with which the web service does not start: a line per fault, no traceback, no secret."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import text

from alembic import command
from productagg.accounts import users
from productagg.app import main
from productagg.db.models import SCHEMA_REVISION
from tests.conftest import ini
from tests.databases import only_sqlite

PSERVE = Path(sys.executable).with_name("pserve")


def start(database, **options):
    """Start with an unusable configuration and return the lines of the message."""
    with pytest.raises(SystemExit) as stopped:
        main({}, **ini(database, None, **options))
    message = stopped.value.code
    assert isinstance(message, str)
    assert stopped.value.__suppress_context__
    return message.splitlines()


def test_a_database_without_tables_is_refused_with_the_command_that_creates_them(blank_database):
    [line] = start(blank_database)

    assert "revision none" in line and SCHEMA_REVISION in line
    assert "alembic -c CONFIG_URI upgrade head" in line


def test_a_database_of_another_version_is_refused(blank_database):
    with blank_database.writer.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))

    [line] = start(blank_database)

    assert "revision 9999" in line and "upgrade head" in line


@only_sqlite
def test_each_wrong_setting_has_a_line_and_no_secret_is_shown(database):
    lines = start(
        database,
        **{
            "jwt.secret": "hunter2",
            "offers.refresh_token": "hunter2\n",
            "sqlalchemy.url": "mysql://root:hunter2@db/x",
            "sync.workers": "many",
            "log.format": "xml",
        },
    )

    assert all(line.startswith("productagg: ") for line in lines)
    named = ["DATABASE_URL", "JWT_SECRET", "SYNC_WORKERS", "LOG_FORMAT"]
    assert sorted(line.split()[1] for line in lines if "allowed" in line) == sorted(named)
    assert "hunter2" not in "".join(lines)


@only_sqlite
def test_published_secrets_are_refused_in_production(database):
    lines = start(
        database,
        **{
            "productagg.mode": "production",
            "jwt.secret": "development-jwt-secret-that-everybody-knows",
            "offers.refresh_token": "development-refresh-token",
            "admin.password": "admin",
        },
    )

    assert sorted(line.split()[1] for line in lines) == ["ADMIN_PASSWORD", "JWT_SECRET", "OFFERS_REFRESH_TOKEN"]


def test_an_unreachable_database_is_given_as_the_reason(postgresql):
    url = "postgresql://somebody:hunter2@127.0.0.1:9/nowhere"

    lines = start(postgresql, **{"sqlalchemy.url": url})

    assert lines
    assert "127.0.0.1" in lines[0] and "refused" in lines[0]
    assert "hunter2" not in "".join(lines)


def test_only_the_first_start_adds_the_admin(make_client, database):
    for password in ("first password", "second password"):
        client = make_client(**{"admin.username": "root", "admin.password": password})

    client.log_in("root", "first password")
    client.post_json("/login", {"username": "root", "password": "second password"}, status=401)
    with database.sessions() as session:
        assert [user.username for user in users.list_users(session)] == ["root"]


def test_without_a_password_no_admin_is_added(make_client, database):
    make_client()

    with database.sessions() as session:
        assert users.list_users(session) == []


@pytest.fixture
def write_ini(tmp_path, pytestconfig):
    """Write a copy of development.ini with another value: `write_ini("jwt.secret", "…")`."""

    def write(key, value):
        content = (
            (pytestconfig.rootpath / "development.ini").read_text().replace("%(here)s", str(pytestconfig.rootpath))
        )
        assert re.search(rf"(?m)^{key} =", content)
        path = tmp_path / "test.ini"
        path.write_text(re.sub(rf"(?m)^{key} = .*", f"{key} = {value}", content))
        return str(path)

    return write


@pytest.mark.processes
def test_pserve_names_an_option_with_a_wrong_percent_sign_and_does_not_show_it(write_ini):
    path = write_ini("jwt.secret", "abc%hunter2")

    done = subprocess.run([PSERVE, path], capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"productagg: {path}: [app:main] jwt.secret: write a literal '%' as '%%'"
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_the_migrations_name_an_option_with_a_wrong_percent_sign_and_do_not_show_it(write_ini):
    path = write_ini("jwt.secret", "abc%hunter2")

    with pytest.raises(CommandError) as refused:
        command.upgrade(Config(path), "head")

    assert str(refused.value) == f"{path}: [app:main] jwt.secret: write a literal '%' as '%%'"


@only_sqlite
def test_an_unknown_key_of_the_ini_file_is_a_warning_with_the_nearest_option(make_client, caplog):
    with caplog.at_level("WARNING"):
        make_client(**{"snyc.workers": "4"})

    assert "snyc.workers in the ini file is not an option and has no effect; did you mean sync.workers?" in caplog.text
