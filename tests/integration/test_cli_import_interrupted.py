"""Imports that do not come to their end, and how they go on: nothing is missing, or there twice."""

import os
import re
import signal
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from productagg.catalog import import_export, products
from productagg.catalog.batch_creation import create_many
from productagg.cli import import_products, import_run
from productagg.cli.checkpoint import Checkpoint
from productagg.cli.import_records import new_product
from productagg.cli.import_rejects import RejectedLines
from productagg.db.models import Product, ProductSource, ProductSummary
from tests.databases import only_sqlite
from tests.factories import LONG_AGO, environment, make_product, rows
from tests.integration.conftest import wait_until

COUNT = 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "products.csv"


@pytest.fixture
def few_at_once(monkeypatch):
    """Two lines at once."""
    for name in ("RECORDS_PER_BATCH", "UPDATES_PER_BATCH"):
        monkeypatch.setattr(import_run, name, 2)


@pytest.fixture
def import_process(database, fork):
    """Start an import as a process, which takes ten lines at once: `import_process(file, option, …)`."""
    constants = {f"productagg.cli.import_run.{name}_PER_BATCH": 10 for name in ("RECORDS", "UPDATES")}

    def start(*arguments, **streams):
        command = ["productagg", "import", "development.ini", *arguments]
        return fork(*command, env=environment(database), constants=constants, **streams)

    return start


def write(path, count=COUNT, changed=None):
    """A file of products 0, 1, …; the number of each is that of its line less 2."""
    lines = [f'{number},"line\nbreak"' if number % 5 == 4 else f"{number},x" for number in range(count)]
    path.write_text("\n".join(["name,description", *lines, ""]))
    return path


def names(database):
    return sorted(int(row.name) for row in rows(database, Product))


def is_whole(database, count=COUNT):
    for model in (ProductSource, ProductSummary):
        assert {row.product_id for row in rows(database, model)} == {row.id for row in rows(database, Product)}
    return names(database) == [*range(count)]


def before_creating(act):
    """Call `act()` before each batch of products is created."""

    def create(*arguments):
        act()
        return create_many(*arguments)

    return patch.object(import_export, "create_many", create)


def in_batch(number, act):
    """Act before products are created for the number-th time."""
    batches = count(1)

    def act_once():
        if next(batches) == number:
            act()

    return before_creating(act_once)


def is_terminated():
    os.kill(os.getpid(), signal.SIGTERM)


def presses_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def database_is_away():
    raise OperationalError("", {}, Exception("the server closed the connection"))


def crashes():
    raise ZeroDivisionError


@pytest.fixture
def interrupted(run, path, few_at_once):
    """An import that was interrupted in its fourth batch."""
    with in_batch(4, is_terminated):
        done = run("import", str(write(path)))
    assert done.exit_code == 2
    return done


def batches(run, path, *options):
    """Run the import again: its result, and how many batches it creates."""
    created: list[None] = []
    with before_creating(lambda: created.append(None)):
        done = run("import", str(path), *options)
    return done, len(created)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (is_terminated, "Error: interrupted; run it again; it continues after line 8\n"),
        (presses_ctrl_c, "Error: interrupted; run it again; it continues after line 8\n"),
        (
            database_is_away,
            "import: run it again; it continues after line 8\n"
            "Error: the database cannot be used: the server closed the connection\n",
        ),
        (crashes, "import: run it again; it continues after line 8\n"),
    ],
)
def test_an_interrupted_import_keeps_what_is_done_and_goes_on_there(database, run, path, few_at_once, act, reason):
    with in_batch(4, act):
        done = run("import", str(write(path)))

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(reason)
    assert ("Traceback" in done.stderr) == (act is crashes)
    assert names(database) == [*range(6)]

    again, inserts = batches(run, path)

    assert again.exit_code == 0
    assert again.stderr == "import: continuing after line 8\n"
    assert again.stdout == "import: 20 products created, 0 existed already, 0 changed, 0 invalid lines\n"
    assert inserts == 7
    assert is_whole(database)
    assert [*path.parent.glob("products*")] == [path]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_comes_while_garbage_is_removed_is_not_lost(database, run, path, few_at_once):
    class Garbage:
        def __del__(self):
            is_terminated()

    with in_batch(2, Garbage):
        done = run("import", str(write(path)))

    assert done.exit_code == 2
    assert done.stderr == "Error: interrupted; run it again; it continues after line 5\n"
    assert names(database) == [*range(4)]


def test_an_import_that_is_interrupted_before_its_first_batch_leaves_nothing(database, run, path, few_at_once):
    with in_batch(1, is_terminated):
        done = run("import", str(write(path)))

    assert done.stderr == "Error: interrupted; run it again; it skips the products that exist\n"
    assert names(database) == []
    assert [*path.parent.glob("products*")] == [path]


def test_a_second_interruption_changes_nothing(database, run, path, few_at_once, monkeypatch):
    save = Checkpoint.save

    def twice(*arguments):
        is_terminated()
        presses_ctrl_c()
        save(*arguments)

    monkeypatch.setattr(Checkpoint, "save", twice)
    with in_batch(4, is_terminated):
        done = run("import", str(write(path)))

    assert (done.exit_code, done.stderr) == (2, "Error: interrupted; run it again; it continues after line 8\n")
    assert "continuing after line 8" in run("import", str(path)).stderr


def test_an_import_may_be_interrupted_before_it_begins(database, run, path, monkeypatch):
    monkeypatch.setattr(import_products, "starting_point", lambda *_: is_terminated())

    done = run("import", str(write(path)))

    assert done.exit_code == 2
    assert done.stderr == "Error: interrupted; run it again; it skips the products that exist\n"


def test_it_may_be_interrupted_again_and_again(database, run, path, few_at_once):
    write(path)
    for _ in range(COUNT):
        with in_batch(2, is_terminated):
            done = run("import", str(path))
        if done.exit_code == 0:
            break

    assert done.stdout == "import: 20 products created, 0 existed already, 0 changed, 0 invalid lines\n"
    assert is_whole(database)


def test_invalid_lines_before_the_interruption_count_and_are_reported_once(database, run, path, few_at_once, tmp_path):
    path.write_text("name,description\n0,x\n?\n" + "".join(f"{number},x\n" for number in range(1, 12)) + "0,x\n")
    rejects = str(tmp_path / "rejects.txt")

    with in_batch(4, is_terminated):
        run("import", str(path), "--rejects", rejects)
    done = run("import", str(path), "--rejects", rejects)

    assert done.exit_code == 1
    assert done.stdout == "import: 12 products created, 0 existed already, 0 changed, 2 invalid lines\n"
    assert Path(rejects).read_text().splitlines() == [
        f"{path}:3: it has 1 fields, not 2",
        f"{path}:15: line 2 has the same name",
    ]


@pytest.mark.processes
@only_sqlite
def test_bad_lines_are_in_their_file_once_though_it_is_killed(database, run, path, tmp_path, import_process):
    rejects = tmp_path / "rejects.txt"
    bad = "?\n" * 10
    good = "".join(f"{number},x\n" for number in range(4000))
    path.write_text(f"name,description\n{bad}{good}?\n")
    process = import_process(str(path), "--rejects", str(rejects))
    wait_until(lambda: stored(database) >= 500)  # and so it has saved a checkpoint
    process.kill()
    process.wait()
    assert rejects.read_text().count("\n") == 10
    with rejects.open("a") as file:
        file.write("written after the checkpoint\n")

    done = run("import", str(path), "--rejects", str(rejects))

    assert "continuing after line" in done.stderr
    numbers = [*range(2, 12), 4012]
    expected = [f"{path}:{number}: it has 1 fields, not 2" for number in numbers]
    assert rejects.read_text().splitlines() == expected


@pytest.mark.parametrize(("act", "batch"), [(is_terminated, 1), (is_terminated, 4), (crashes, 4)])
@pytest.mark.parametrize(
    ("options", "summary"), [((), "14 existed already (14"), (("--update",), "0 existed already, 14 ch")]
)
def test_what_was_committed_when_it_ended_counts_as_what_it_did(
    database, run, path, few_at_once, monkeypatch, act, batch, options, summary
):
    for number in range(14):
        make_product(database, str(number), "another description")
    batches, flush = [], RejectedLines.flush

    def end(rejected):
        batches.append(rejected)
        if len(batches) == batch:
            act()
        flush(rejected)

    monkeypatch.setattr(RejectedLines, "flush", end)
    assert run("import", str(write(path)), *options).exit_code == 2

    done = run("import", str(path), *options)

    assert done.stdout.startswith(f"import: 6 products created, {summary}")
    assert is_whole(database)


def test_what_was_imported_before_a_line_that_ends_it_counts(database, run, path):
    path.write_text('name,description\n0,x\n?\n1,x\n2,"x\n3,x\n')
    broken = run("import", str(path))
    path.write_text('name,description\n0,x\n?\n1,x\n2,"x"\n3,x\n')

    done = run("import", str(path))

    assert broken.stderr.endswith("correct the file, then run it again; it continues after line 4\n")
    assert done.stderr == "import: continuing after line 4\n"
    assert done.stdout == "import: 4 products created, 0 existed already, 0 changed, 1 invalid lines\n"
    assert is_whole(database, 4)


def test_if_the_disk_is_full_for_the_bad_lines_the_good_ones_are_in_and_it_goes_on(
    database, run, path, few_at_once, tmp_path
):
    path.write_text("name,description\n0,x\n1,x\n?\n2,x\n3,x\n4,x\n")
    rejects = tmp_path / "rejects.txt"
    rejects.symlink_to("/dev/full")

    full = run("import", str(path), "--rejects", str(rejects))

    assert full.exit_code == 2
    assert full.stderr == (
        f"import: run it again; it continues after line 3\nError: {rejects}: No space left on device\n"
    )
    assert names(database) == [0, 1, 2]
    rejects.unlink()

    done = run("import", str(path), "--rejects", str(rejects))

    assert done.exit_code == 1
    assert done.stdout == "import: 5 products created, 0 existed already, 0 changed, 1 invalid lines\n"
    assert rejects.read_text() == f"{path}:4: it has 1 fields, not 2\n"


def test_later_lines_may_be_corrected_before_it_continues(database, run, path, interrupted):
    text = path.read_text()
    path.write_text(text.replace("\n6,x", "\nmore,x\n6,x").replace("19,", "twenty,"))

    done, inserts = batches(run, path)

    assert (done.exit_code, done.stderr) == (0, "import: continuing after line 8\n")
    assert inserts == 8
    assert {row.name for row in rows(database, Product)} == {*map(str, range(19)), "more", "twenty"}


def test_if_the_file_has_changed_before_it_begins_again(database, run, path, interrupted):
    path.write_text(path.read_text().replace("\n0,x", "\nnew,x"))

    done, inserts = batches(run, path)

    assert (done.exit_code, inserts) == (0, 10)
    assert (
        done.stderr == "import: starting from the beginning, not after line 8: the file has changed before this line\n"
    )
    assert len(rows(database, Product)) == 21


def test_if_the_file_is_shorter_now_it_begins_again(database, run, path, interrupted):
    done, inserts = batches(run, write(path, 3))

    assert (done.exit_code, inserts) == (0, 2)
    assert "the file has changed before this line" in done.stderr


def test_if_what_it_created_last_is_gone_it_begins_again(database, run, path, interrupted):
    with database.sessions.begin() as session:
        products.remove(session, rows(database, Product, name="5")[0].id, LONG_AGO)

    done, _ = batches(run, path)

    assert done.stderr == "import: starting from the beginning, not after line 8: the product '5' no longer exists\n"
    assert is_whole(database)


def test_if_what_it_found_there_last_is_gone_it_begins_again(database, run, path, few_at_once):
    for number in range(COUNT):
        make_product(database, str(number), "x")
    with in_batch(4, is_terminated):
        assert run("import", str(write(path))).exit_code == 2
    database.empty()

    done, _ = batches(run, path)

    assert done.stderr == "import: starting from the beginning, not after line 8: the product '5' no longer exists\n"
    assert is_whole(database)


def test_with_other_options_it_begins_again(database, run, path, interrupted):
    done, inserts = batches(run, path, "--update")

    assert (done.exit_code, inserts) == (0, 10)
    assert "the interrupted import was into another database, or with other options" in done.stderr


@pytest.mark.parametrize("blank_database", ["sqlite"], indirect=True)
def test_in_another_database_it_begins_again(tmp_path, database, run, path, interrupted, blank_database):
    blank_database.migrate()

    done = run("import", str(path), DATABASE_URL=blank_database.url)

    assert done.exit_code == 0
    assert "the interrupted import was into another database, or with other options" in done.stderr
    assert is_whole(blank_database)


def test_two_imports_of_a_file_at_once_are_refused(database, run, path, monkeypatch):
    began: list[bool] = []
    done: list[Any] = []

    def meanwhile(*arguments):
        if not began:
            began.append(True)
            done.append(run("import", str(path)))
        return new_product(*arguments)

    monkeypatch.setattr(import_run, "new_product", meanwhile)

    first = run("import", str(write(path)))

    assert first.exit_code == 0
    assert done[0].exit_code == 2
    assert done[0].stderr == f"Error: another import is using {path}.resume\n"
    assert is_whole(database)


def test_a_file_of_that_name_that_is_not_an_imports_is_left_alone(database, run, path):
    other = path.with_name("products.csv.resume")
    other.write_text("A resume, not a database. " * 50)

    done = run("import", str(write(path)))

    assert done.exit_code == 2
    assert "products.csv.resume cannot be used: file is not a database" in done.stderr
    assert other.read_text().startswith("A resume")
    assert names(database) == []


def stored(database):
    with database.reader.connect() as connection:
        return connection.execute(select(func.count()).select_from(Product)).scalar_one()


@pytest.mark.processes
def test_a_killed_import_of_a_file_goes_on(database, run, path, import_process):
    write(path, 3000)
    process = import_process(str(path))
    wait_until(lambda: stored(database) >= 200)
    process.kill()
    process.wait()
    there = stored(database)

    done = run("import", str(path))

    assert there < 3000, "it was killed too late"
    assert done.exit_code == 0
    assert done.stdout == "import: 3000 products created, 0 existed already, 0 changed, 0 invalid lines\n"
    assert is_whole(database, 3000)
    assert [*path.parent.glob("products*")] == [path]


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_import_from_a_pipe_that_is_ended_can_be_run_again(database, run, path, import_process, number):
    text = write(path, 25).read_text()
    reader, writer = os.pipe()
    process = import_process("-", stdin=reader)
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        pipe.write(text)
        pipe.flush()
        wait_until(lambda: stored(database) == 20)  # for the next ten it waits
        process.send_signal(number)
        _, error = process.communicate()
    # Before that, Python tells what a finalizer dropped, if the signal found one.
    said = re.sub(r"\AException ignored in: .*?\n\S+Interrupted: \n", "", error, flags=re.DOTALL)

    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 2)
    assert said == (
        "" if number == signal.SIGKILL else "Error: interrupted; run it again; it skips the products that exist\n"
    )

    done = run("import", "-", typed=text)

    assert done.stdout == "import: 5 products created, 20 existed already, 0 changed, 0 invalid lines\n"
    assert is_whole(database, 25)


def test_what_was_committed_after_the_checkpoint_existed_already(database, run, path, interrupted):
    for name in ("6", "7"):
        make_product(database, name, "x")

    done, _ = batches(run, path)

    assert done.stdout == "import: 18 products created, 2 existed already, 0 changed, 0 invalid lines\n"
    assert is_whole(database)


def test_without_a_checkpoint_it_begins_again(database, run, path, interrupted):
    path.with_name("products.csv.resume").unlink()

    done, _ = batches(run, path)

    assert (done.exit_code, done.stderr) == (0, "")
    assert is_whole(database)
