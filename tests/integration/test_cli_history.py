"""`productagg history compact`, as cron and people call it."""

import os
import signal
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from click.testing import CliRunner

from productagg.catalog.change_feed import Event, record
from productagg.cli import main
from productagg.db.models import ProductChange, ProductPrice, ProductPriceDay
from productagg.history import compaction, partitions
from productagg.history.move_steps import move_steps
from tests.databases import only_postgresql
from tests.factories import environment, rows
from tests.integration.conftest import before_commit
from tests.integration.observed_products import Shop

ONE = UUID(int=1)


@pytest.fixture
def shop(database):
    """A price each hour of a day half a year ago, and until now the last one."""
    shop = Shop(database)
    now = datetime.now(UTC)
    for number in range(24):
        shop.observe(now - timedelta(days=180) + timedelta(hours=number), {ONE: (100 + number, 5)})
    shop.keep(now)
    return shop


@pytest.fixture
def history(database, run):
    """`history("compact")`: the command in this process."""

    def call(command, config="development.ini", **options):
        return CliRunner().invoke(main, ["history", command, config], env={**environment(database), **options})

    return call


@pytest.fixture
def as_process(database, fork):
    """Run the command as cron does: exit code, standard output and standard error."""

    def run(command):
        process = fork("productagg", "history", command, "development.ini", env=environment(database))
        output, error = process.communicate()
        return process.returncode, output, error

    return run


@pytest.mark.processes
def test_as_cron_calls_it_it_compacts_and_says_so_in_one_line(database, shop, as_process):
    code, output, error = as_process("compact")

    assert (code, error) == (0, "")
    assert output.startswith("history: 48 steps compacted to ") and output.count("\n") == 1
    assert rows(database, ProductPrice) == []
    assert any(row.summary for row in rows(database, ProductPriceDay))


def test_without_products_there_is_nothing_to_do(history):
    done = history("compact")

    assert (done.exit_code, done.stderr) == (0, "")
    nothing = "history: 0 steps compacted to 0 rows, 0 months dropped, 0 closed offers removed, in 0."
    assert done.stdout.startswith(nothing)


def test_compacting_removes_superseded_changes_that_are_older_than_the_settings_say(database, history):
    now = datetime.now(UTC)
    with database.sessions.begin() as session:
        for days in (4, 3, 2, 1):
            record(session, [Event(ONE, "offers", now - timedelta(days=days, minutes=1), items_in_stock=1)])

    first = history("compact")
    second = history("compact", CHANGES_RAW_DAYS="2")

    assert first.stdout.endswith("; 0 changes removed\n")
    assert second.stdout.endswith("; 3 changes removed\n")
    assert len(rows(database, ProductChange)) == 1


@only_postgresql
def test_a_second_one_at_the_same_time_ends_with_one_line(database, shop, as_process):
    ended = []

    def try_meanwhile(_session):
        ended.append(as_process("compact"))

    with before_commit(database, try_meanwhile), database.reader.connect() as reader:
        compaction.Compaction(
            reader, database.sessions, 90, timedelta(minutes=5), datetime.now(UTC), closed_days=366
        ).run()

    assert set(ended) == {(1, "", "Error: history: another compaction is running\n")}


def test_what_stops_it_is_one_line(database, history, monkeypatch):
    def stop(_self):
        raise partitions.Locked("they are in use all the time")

    monkeypatch.setattr(compaction.Compaction, "run", stop)

    done = history("compact")

    assert (done.exit_code, done.stdout, done.stderr) == (2, "", "Error: history: they are in use all the time\n")


def test_a_crash_is_logged_and_ends_with_2(database, history, monkeypatch):
    monkeypatch.setattr(compaction.Compaction, "run", lambda _self: 1 / 0)

    done = history("compact")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "the compaction crashed" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_sigterm_ends_it_with_one_line_and_the_next_run_goes_on(database, shop, history, monkeypatch):
    def be_stopped(*arguments):
        moved = move_steps(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return moved

    monkeypatch.setattr(compaction, "move_steps", be_stopped)
    stopped = history("compact")
    assert (stopped.exit_code, stopped.stderr) == (2, "Error: history: interrupted; run it again to continue\n")
    assert rows(database, ProductPriceDay) == []
    monkeypatch.undo()

    assert history("compact").exit_code == 0
    assert rows(database, ProductPrice) == []


def test_rows_are_kept_for_as_long_as_the_settings_say(database, history, monkeypatch):
    seen = []

    def look(_self, _reader, _sessions, raw_days, observed_for, *_, closed_days):
        seen.append((raw_days, observed_for, closed_days))
        raise compaction.CompactionRunning("seen")

    monkeypatch.setattr(compaction.Compaction, "__init__", look)

    history(
        "compact",
        HISTORY_RAW_DAYS="31",
        OFFERS_CLOSED_DAYS="40",
        SYNC_INTERVAL_SECONDS="60",
        SYNC_MAX_INTERVAL_SECONDS="3600",
    )

    assert seen == [(31, timedelta(hours=5), 40)]


def test_with_a_wrong_setting_nothing_is_done(history):
    done = history("compact", HISTORY_RAW_DAYS="30")

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: HISTORY_RAW_DAYS (ini: history.raw_days) '30' is out of range")


def test_the_help_names_all_three(history):
    done = CliRunner().invoke(main, ["history", "--help"])

    assert [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines()] == [
        "compact",
        "export",
        "import",
    ]
