"""`productagg history compact` and `verify`, as cron and people call them."""

import os
import signal
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from click.testing import CliRunner
from sqlalchemy import delete

from productagg.catalog.change_feed import Event, record
from productagg.cli import main
from productagg.db.models import HistoryProgress, OfferPriceHourly, ProductChange, ProductPriceDaily
from productagg.history import compaction, partitions
from productagg.history.rolling import write
from tests.factories import environment, rows, start
from tests.integration.conftest import before_statement, only_postgresql
from tests.integration.shops import Shop

ONE = UUID(int=1)


@pytest.fixture
def shop(database):
    """Three days of prices until now."""
    shop = Shop(database)
    now = datetime.now(UTC)
    for number in range(60):
        shop.observe(now - timedelta(hours=60 - number), {ONE: (100 + number, 5)})
    return shop


@pytest.fixture
def history(database, run):
    """`history("compact")`: the command in this process."""

    def call(command, config="development.ini", **options):
        return CliRunner().invoke(main, ["history", command, config], env={**environment(database), **options})

    return call


def as_process(database, command):
    process = start("productagg", "history", command, "development.ini", env=environment(database))
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


@pytest.mark.processes
def test_as_cron_calls_them_one_rolls_up_and_the_other_finds_nothing_wrong(database, shop):
    compacted = as_process(database, "compact")
    verified = as_process(database, "verify")

    assert compacted[0] == verified[0] == 0
    assert compacted[1].startswith("history: ") and compacted[1].count("\n") == 1
    assert " days rolled up, " in compacted[1]
    assert verified[1].endswith("days are rolled up as the raw rows say\n") and verified[1].count("\n") == 1
    assert rows(database, ProductPriceDaily) != []


def test_without_products_there_is_nothing_to_do(database, history):
    done = history("compact")

    assert (done.exit_code, done.stderr) == (0, "")
    nothing = "history: 0 days rolled up, 0 rows written from 0, 0 months dropped, 0 closed offers removed, in 0."
    assert done.stdout.startswith(nothing)
    assert history("verify").stdout == "history: 0 days are rolled up as the raw rows say\n"


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


def test_what_is_wrong_is_shown_with_an_exit_code_and_nothing_is_changed(database, shop, history):
    history("compact")
    with database.sessions.begin() as session:
        session.execute(delete(OfferPriceHourly))
    before = rows(database, HistoryProgress)

    done = history("verify")

    assert done.exit_code == 1
    *shown, more = done.stdout.splitlines()
    assert len(shown) == 20
    assert all(line.startswith("history: offer_prices_hourly, product ") for line in shown)
    assert more == "history: there are more than these 20 differences"
    assert (rows(database, OfferPriceHourly), rows(database, HistoryProgress)) == ([], before)


@pytest.mark.processes
@only_postgresql
def test_a_second_one_at_the_same_time_ends_with_one_line(database, shop, history):
    ended = []

    def try_meanwhile(_statement):
        ended.append(as_process(database, "compact"))

    looking = before_statement(database.writer, "INSERT INTO product_prices_daily", try_meanwhile)
    with looking, database.reader.connect() as reader:
        compaction.Compaction(
            reader, database.sessions, 90, timedelta(minutes=5), datetime.now(UTC), closed_days=366
        ).run()

    assert set(ended) == {(1, "Error: history: another compaction is at work\n")}


@pytest.mark.parametrize(
    "reason", [compaction.Inconsistent("the roll-ups are wrong"), partitions.Locked("they are in use all the time")]
)
def test_what_stops_it_is_one_line(database, history, monkeypatch, reason):
    def stop(_self):
        raise reason

    monkeypatch.setattr(compaction.Compaction, "run", stop)

    done = history("compact")

    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"Error: history: {reason}\n")


def test_a_crash_is_logged_and_ends_with_2(database, history, monkeypatch):
    monkeypatch.setattr(compaction.Compaction, "run", lambda _self: 1 / 0)

    done = history("compact")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "the compaction crashed" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_sigterm_ends_it_with_one_line_and_the_next_run_goes_on(database, shop, history, monkeypatch):
    def be_stopped(*arguments):
        written = write(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return written

    monkeypatch.setattr("productagg.history.compaction.write", be_stopped)
    stopped = history("compact")
    assert (stopped.exit_code, stopped.stderr) == (2, "Error: history: interrupted; the next run goes on\n")
    assert [row.rolled_until for row in rows(database, HistoryProgress)] == [None]
    monkeypatch.undo()

    assert history("compact").exit_code == 0
    assert history("verify").exit_code == 0


def test_rows_are_kept_for_as_long_as_the_settings_say(database, history, monkeypatch):
    seen = []

    def look(_self, _reader, _sessions, raw_days, observed_for, *_, closed_days):
        seen.append((raw_days, observed_for, closed_days))
        raise compaction.Busy("seen")

    monkeypatch.setattr(compaction.Compaction, "__init__", look)

    history(
        "compact",
        HISTORY_RAW_DAYS="31",
        OFFERS_CLOSED_DAYS="40",
        SYNC_INTERVAL_SECONDS="60",
        SYNC_MAX_INTERVAL_SECONDS="3600",
    )

    assert seen == [(31, timedelta(hours=5), 40)]


@pytest.mark.parametrize("command", ["compact", "verify"])
def test_with_a_wrong_setting_nothing_is_done(history, command):
    done = history(command, HISTORY_RAW_DAYS="30")

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: HISTORY_RAW_DAYS (ini: history.raw_days) '30' is out of range")


def test_the_help_names_all_four(history):
    done = CliRunner().invoke(main, ["history", "--help"])

    assert [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines()] == [
        "compact",
        "verify",
        "export",
        "import",
    ]
