"""The `productagg` command: what it prints, what it does, how it exits."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from productagg.accounts.users import authenticate
from productagg.cli import main
from productagg.db.models import Product, ProductSource, SyncRun, User
from productagg.sandbox import Fault
from productagg.sync import lane
from tests.conftest import PASSWORD, REFRESH_TOKEN
from tests.databases import only_sqlite
from tests.factories import environment, make_product, make_products, rows, start, states
from tests.integration.conftest import before_call, crash

COMMANDS = [
    ["sync"],
    ["status"],
    ["repair-clock"],
    ["import"],
    ["export"],
    ["sample"],
    ["user"],
    ["user", "add"],
    ["user", "passwd"],
    ["user", "disable"],
    ["user", "enable"],
    ["user", "list"],
]


def is_one_line_without_secrets(output, *secrets):
    return output.count("\n") == 1 and "Traceback" not in output and not any(each in output for each in secrets)


def test_a_run_in_which_all_went_well_says_so_in_one_line(database, upstream, run):
    for product_id in make_products(database, 3):
        upstream.offer(product_id, states((100, 5)))

    done = run("sync")

    assert done.exit_code == 0
    assert done.stdout.startswith("sync: 3 products asked, 3 changed, 0 offers closed, 0 failed, in ")
    assert done.stdout.endswith(" s: done\n")
    assert done.stdout.count("\n") == 1


def test_a_run_in_which_a_product_failed_exits_with_1(database, upstream, run):
    make_products(database, 3)
    upstream.faults.replace([Fault("error", {}, ("offers",), times=1)])

    done = run("sync")

    assert done.exit_code == 1
    assert "3 products asked, 0 changed, 0 offers closed, 1 failed" in done.stdout


def test_a_run_that_could_not_run_exits_with_2_and_the_reason(database, run):
    make_product(database)

    done = run("sync", OFFERS_REFRESH_TOKEN="a wrong one")

    assert done.exit_code == 2
    assert "the Offers service does not accept the refresh token (OFFERS_REFRESH_TOKEN)" in done.stdout
    assert "a wrong one" not in done.output


def test_a_run_that_crashed_exits_with_2_and_leaves_the_traceback_to_the_log(database, run):
    make_product(database)

    with before_call(lane, "apply_outcomes", crash):
        done = run("sync")

    assert done.exit_code == 2
    assert "ZeroDivisionError" in done.stderr
    assert [row.ended_by for row in rows(database, SyncRun)] == ["crashed"]


@only_sqlite
@pytest.mark.parametrize(
    "command",
    [
        ["sync"],
        ["status"],
        ["repair-clock"],
        ["export"],
        ["import", "-"],
        ["sample"],
        ["user", "list"],
        ["user", "disable", "admin"],
    ],
)
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("missing.ini", "missing.ini: No such file or directory"),
        ("nonsense", "nonsense: "),
        ("pyproject.toml", "pyproject.toml: "),
        ("", ""),
    ],
)
def test_a_config_that_cannot_be_read_is_one_line(run, command, config, reason):
    done = run(*command, config=config)

    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {reason}")
    assert is_one_line_without_secrets(done.stderr)


@only_sqlite
def test_a_file_that_is_no_ini_file_is_one_line(run, tmp_path):
    broken = tmp_path / "broken.ini"
    broken.write_text("hello\n")

    done = run("sync", config=str(broken))

    assert done.exit_code == 2
    assert is_one_line_without_secrets(done.stderr)


@only_sqlite
def test_an_option_that_cannot_be_read_is_named_and_not_shown(run, tmp_path):
    path = tmp_path / "test.ini"
    path.write_text("[app:main]\njwt.secret = abc%hunter2\n")

    done = run("status", config=str(path))

    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {path}: [app:main] jwt.secret: ")
    assert is_one_line_without_secrets(done.stderr, "hunter2")


def test_an_unknown_key_of_the_ini_file_is_a_warning_with_the_nearest_one(database, run, tmp_path):
    path = tmp_path / "test.ini"
    path.write_text(Path("development.ini").read_text().replace("[app:main]", "[app:main]\nsync.worker = 4"))

    done = run("status", config=str(path))

    assert done.exit_code == 0
    assert "sync.worker in the ini file is not an option and has no effect; did you mean sync.workers?" in done.stderr


@only_sqlite
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SYNC_WORKERS", "many"),
        ("OFFERS_BASE_URL", "ftp://example.org"),
        ("DATABASE_URL", "mysql://user:hunter2@host/name"),
        ("JWT_SECRET", "hunter2"),
        ("OFFERS_REFRESH_TOKEN", "hunter2\x7f"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(run, variable, value):
    done = run("sync", **{variable: value})

    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {variable} ")
    assert is_one_line_without_secrets(done.stderr, "hunter2", REFRESH_TOKEN)


@only_sqlite
def test_a_schema_that_is_not_the_newest_is_refused_with_the_command_that_mends_it(blank_database, run):
    done = run("sync", DATABASE_URL=blank_database.url)

    assert done.exit_code == 2
    assert "alembic -c CONFIG_URI upgrade head" in done.stderr
    assert is_one_line_without_secrets(done.stderr)


@only_sqlite
def test_a_database_that_cannot_be_reached_is_one_line_without_its_password(run):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = nobody.getsockname()[1]

        done = run("sync", DATABASE_URL=f"postgresql://user:hunter2@127.0.0.1:{port}/name")

    assert done.exit_code == 2
    assert done.stderr.startswith("Error: the database cannot be used: ")
    assert is_one_line_without_secrets(done.stderr, "hunter2")


@only_sqlite
@pytest.mark.parametrize("place", ["below a file", "not a database"])
def test_a_file_that_cannot_be_a_database_is_one_line(run, tmp_path, place):
    (tmp_path / "file").write_text("This is not a database, however long it is. " * 50)
    path = tmp_path / "file" / "below" if place == "below a file" else tmp_path / "file"

    done = run("sync", DATABASE_URL=f"sqlite:///{path}")

    assert done.exit_code == 2
    assert done.stderr.startswith("Error: the database cannot be used: ")
    assert is_one_line_without_secrets(done.stderr)


def test_a_sample_catalogue_fills_an_empty_one(database, run):
    done = run("sample")

    assert (done.exit_code, done.stdout) == (0, "sample: 72 products added\n")
    products = rows(database, Product)
    assert len(products) == len(rows(database, ProductSource)) == 72
    assert all(len(row.description) > 40 for row in products)


def test_a_sample_leaves_any_other_catalogue_alone(database, run):
    make_product(database)

    done = run("sample")

    assert (done.exit_code, done.stdout) == (0, "sample: the catalogue has products already\n")
    assert len(rows(database, Product)) == 1


@pytest.mark.parametrize(("options", "role"), [([], "admin"), (["--role", "reader"], "reader")])
def test_a_user_is_added_with_a_password_that_is_asked_for_twice_and_not_shown(database, run, options, role):
    done = run("user", "add", "amber", *options, typed=f"{PASSWORD}\n{PASSWORD}\n")

    assert done.exit_code == 0, done.output
    assert f"user 'amber' has been added with the role {role}" in done.stdout
    assert PASSWORD not in done.output
    with database.sessions.begin() as session:
        account = authenticate(session, "amber", PASSWORD)
    assert account is not None
    assert account.role == role


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("short\nshort\n", "Error: the password has fewer than 8 characters"),
        ("        \n        \n", "Error: the password is empty"),
        (f"{PASSWORD}\nanother one\n", "do not match"),
        ("", "Aborted"),
    ],
    ids=["short", "blank", "mismatch", "none"],
)
@pytest.mark.parametrize("command", ["add", "passwd"])
def test_a_password_that_will_not_do_changes_nothing(database, users, run, command, typed, reason):
    before = rows(database, User)

    done = run("user", command, "reader" if command == "passwd" else "amber", typed=typed)

    assert done.exit_code == 1
    assert reason in done.output
    assert PASSWORD not in done.output
    assert rows(database, User) == before


@only_sqlite
@pytest.mark.parametrize("command", ["add", "passwd"])
def test_a_password_is_no_option(database, run, command):
    done = run("user", command, "amber", "--password", PASSWORD)

    assert done.exit_code == 2
    assert "No such option" in done.stderr
    assert rows(database, User) == []


def test_a_name_that_is_taken_is_refused(database, users, run):
    before = rows(database, User)

    done = run("user", "add", "admin", typed=f"{PASSWORD}\n{PASSWORD}\n")

    assert done.exit_code == 1
    assert "the user 'admin' already exists" in done.stderr
    assert rows(database, User) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        (" \u3000", "is empty"),
        ("\u3164", "is empty"),
        ("am\nber", "has control characters"),
        ("am\u200bber", "has invisible characters"),
    ],
)
def test_a_user_name_that_nobody_could_read_is_refused(database, run, name, reason):
    done = run("user", "add", name, typed=f"{PASSWORD}\n{PASSWORD}\n")

    assert (done.exit_code, done.stderr) == (1, f"Error: the user name {reason}\n")
    assert rows(database, User) == []


def test_a_user_name_has_one_spelling(database, run):
    typed = f"{PASSWORD}\n{PASSWORD}\n"

    assert run("user", "add", " rene\u0301", typed=typed).exit_code == 0
    done = run("user", "add", "ren\u00e9", typed=typed)

    assert (done.exit_code, done.stderr) == (1, "Error: the user 'ren\u00e9' already exists\n")
    assert run("user", "disable", "rene\u0301").exit_code == 0


def test_a_disabled_user_can_be_enabled(users, run):
    run("user", "disable", "reader")

    assert run("user", "enable", "reader").exit_code == 0
    assert "reader\treader\tactive" in run("user", "list").stdout


@pytest.mark.parametrize("command", ["passwd", "disable", "enable"])
def test_a_user_that_does_not_exist_cannot_be_changed(run, command):
    done = run("user", command, "nobody", typed=f"{PASSWORD}\n{PASSWORD}\n")

    assert done.exit_code == 1
    assert "Error: there is no user 'nobody'" in done.stderr


def test_a_changed_password_is_the_one_that_counts(database, users, run):
    done = run("user", "passwd", "reader", typed="another password\nanother password\n")

    assert done.exit_code == 0
    with database.sessions.begin() as session:
        assert authenticate(session, "reader", PASSWORD) is None
        assert authenticate(session, "reader", "another password") is not None


def test_users_are_listed_with_their_role_and_state(users, run):
    run("user", "disable", "reader")

    done = run("user", "list")

    assert done.stdout.splitlines() == ["admin\tadmin\tactive", "reader\treader\tdisabled"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself(command, option):
    done = CliRunner().invoke(main, [*command, option])

    assert done.exit_code == 0
    assert f"Usage: main {' '.join(command)}" in done.stdout


@pytest.mark.processes
@only_sqlite
def test_the_installed_command_makes_a_run(database, upstream):
    make_product(database)
    process = start("productagg", "sync", "development.ini", env=environment(database, upstream))

    output, _ = process.communicate(timeout=30)

    assert process.returncode == 0, output
    assert output.rstrip().endswith(": done")


@pytest.mark.processes
@only_sqlite
def test_the_installed_command_says_in_one_line_what_is_wrong(database):
    env = environment(database, SYNC_WORKERS="0")
    process = start("productagg", "sync", "development.ini", env=env)

    output, _ = process.communicate(timeout=30)

    assert process.returncode == 2
    assert output == "Error: SYNC_WORKERS (ini: sync.workers) '0' is out of range; allowed: 1 to 64\n"
