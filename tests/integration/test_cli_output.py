"""Output that cannot be written: one line on standard error and exit code 2, whatever the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from productagg.accounts import users
from tests.conftest import PASSWORD
from tests.databases import only_sqlite
from tests.factories import environment, make_product, make_products
from tests.leaks import watch

PRODUCTAGG = Path(sys.executable).with_name("productagg")
COMMANDS = [
    ["export", "development.ini"],
    ["history", "export", "development.ini"],
    ["status", "development.ini"],
    ["status", "development.ini", "--json"],
    ["user", "list", "development.ini"],
    ["--help"],
]
# How output is written does not depend on the database.
pytestmark = [only_sqlite, pytest.mark.processes]


@pytest.fixture
def filled(database, users):
    """A catalogue with more than a pipe holds."""
    make_products(database, 3000, description="x" * 100)


def run(database, command, stdout, **environ):
    """Run the installed command: its exit code, and what it says on standard error."""
    done = subprocess.run(
        [PRODUCTAGG, *command],
        env={**environment(database), **environ},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    watch.look(done.stderr, "standard error")
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(database, users, command):
    make_product(database)

    with Path("/dev/full").open("w") as full:
        assert run(database, command, full) == (2, "Error: standard output: No space left on device\n")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_pipe_that_nobody_reads_is_one_line(database, users, command):
    make_product(database)
    reader, writer = os.pipe()
    os.close(reader)

    try:
        assert run(database, command, writer) == (2, "Error: standard output: Broken pipe\n")
    finally:
        os.close(writer)


@pytest.mark.usefixtures("filled")
def test_a_reader_that_leaves_after_the_first_line_gets_it_and_ends_the_export_with_one_line(database):
    script = f"{PRODUCTAGG} export development.ini | head -n 1; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(
        ["/bin/bash", "-c", script], env=environment(database), capture_output=True, text=True, check=False
    )

    assert done.stdout.splitlines() == ["id,name,description,created_at,updated_at", "2"]
    assert done.stderr == "Error: standard output: Broken pipe\n"


def test_standard_output_that_is_closed_is_one_line(database):
    script = f"{PRODUCTAGG} export development.ini >&-"

    done = subprocess.run(["/bin/bash", "-c", script], env=environment(database), capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (2, b"Error: standard output is closed\n")


def test_an_error_that_cannot_be_told_has_its_exit_code_all_the_same(database):
    script = f"{PRODUCTAGG} status missing.ini 2>/dev/full"

    done = subprocess.run(["/bin/bash", "-c", script], env=environment(database), capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        (
            {"PYTHONIOENCODING": "latin-1"},
            b"\\u017dofie".decode("unicode_escape").encode("latin-1", "backslashreplace"),
        ),
        ({"PYTHONIOENCODING": "iso8859-2"}, "\u017dofie".encode("iso8859-2")),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "\u017dofie".encode()),
    ],
    ids=["latin-1", "latin-2", "C"],
)
def test_a_locale_that_lacks_the_characters_of_a_name_stops_nothing(database, environ, shown):
    with database.sessions.begin() as session:
        users.add(session, "\u017dofie", PASSWORD, "reader")
        users.add(session, "\u0141 \u65e5\u672c", PASSWORD, "reader")

    done = subprocess.run(
        [PRODUCTAGG, "user", "list", "development.ini"],
        env={**environment(database), **environ},
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert shown + b"\treader\tactive" in done.stdout.splitlines()
    assert done.stdout.count(b"\n") == 2
