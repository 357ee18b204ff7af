"""Output that cannot be written: one line on standard error and exit code 2, whatever the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from productagg.accounts import users
from productagg.catalog.batch_creation import NewProduct, create_many
from tests.conftest import PASSWORD
from tests.databases import only_sqlite
from tests.factories import LONG_AGO, environment, make_product

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
    with database.sessions.begin() as session:
        create_many(session, [NewProduct(str(number), "x" * 100) for number in range(3000)], LONG_AGO)


@pytest.fixture
def run(database, fork):
    """Run a command with a file as standard output: its exit code, and what it says on standard error."""

    def run(command, stdout):
        process = fork("productagg", *command, env=environment(database), stdout=stdout)
        _, error = process.communicate()
        return process.returncode, error

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(database, users, run, command):
    make_product(database)

    with Path("/dev/full").open("w") as full:
        assert run(command, full.fileno()) == (2, "Error: standard output: No space left on device\n")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_pipe_that_nobody_reads_is_one_line(database, users, run, command):
    make_product(database)
    reader, writer = os.pipe()
    os.close(reader)

    try:
        assert run(command, writer) == (2, "Error: standard output: Broken pipe\n")
    finally:
        os.close(writer)


@pytest.mark.usefixtures("filled")
def test_a_reader_that_leaves_after_the_first_line_gets_it_and_ends_the_export_with_one_line(database, fork):
    reader, writer = os.pipe()
    with os.fdopen(reader) as ours:
        process = fork("productagg", "export", "development.ini", env=environment(database), stdout=writer)
        os.close(writer)
        assert ours.readline() == "id,name,description,created_at,updated_at,gtin,brand,category,image_url\n"

    assert process.communicate() == (None, "Error: standard output: Broken pipe\n")
    assert process.returncode == 2


def test_standard_output_that_is_closed_is_one_line(database):
    script = f"{PRODUCTAGG} export development.ini >&-"

    done = subprocess.run(["/bin/bash", "-c", script], env=environment(database), capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (2, b"Error: standard output is closed\n")


def test_an_error_that_cannot_be_told_has_its_exit_code_all_the_same(database, fork):
    with Path("/dev/full").open("w") as full:
        process = fork("productagg", "status", "missing.ini", env=environment(database), stderr=full.fileno())

    assert process.communicate() == ("", None)
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("environ", "encoding"),
    [
        ({"PYTHONIOENCODING": "iso8859-2"}, "iso8859-2"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "utf-8"),
    ],
    ids=["latin-2", "C"],
)
def test_a_locale_that_lacks_the_characters_of_a_name_stops_nothing(database, environ, encoding):
    names = ["\u017dofie", "\u0141 \u65e5\u672c"]
    with database.sessions.begin() as session:
        for name in names:
            users.add(session, name, PASSWORD, "reader")

    done = subprocess.run(
        [PRODUCTAGG, "user", "list", "development.ini"],
        env={**environment(database), **environ},
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    lines = {f"{name}\treader\tactive".encode(encoding, "backslashreplace") for name in names}
    assert set(done.stdout.splitlines()) == lines
