"""The database goes away or is locked, or the run is told to stop: nothing is lost, and the run ends."""

import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from productagg.db.models import ProductSource, SyncRun
from productagg.settings import Settings
from productagg.sync import transactions
from productagg.sync.run import Synchronizer
from tests.conftest import Database, ini
from tests.databases import only_postgresql, only_sqlite
from tests.factories import environment, make_due, rows, states
from tests.integration.conftest import Gate, wait_until
from tests.integration.offer_history import make_synced, offer_to_all, recorded, replay, stored

OLD = states((100, 5), (200, 3))
NEW = states((90, 4))


def check_that_all_have_the_new_offers_once(database, product_ids):
    closed = {id_: (price, 0) for id_, (price, _) in OLD.items()}
    for product_id in product_ids:
        assert stored(database, product_id) == NEW
        assert replay(database, product_id) == [OLD, closed | NEW]
    check_that_all_are_well(database)


def check_that_all_are_well(database):
    assert {(row.leased_until, row.failures, row.last_error) for row in rows(database, ProductSource)} == {
        (None, 0, None)
    }
    assert {(run.ended_by, run.finished_at is None) for run in rows(database, SyncRun)} == {("done", False)}


# --- PostgreSQL restarted in the middle of a run ---


@pytest.fixture
def own(own_postgres_server, upstream):
    """The server, its database, empty but for products that are due, with new offers, and a way to make a run.

    The run takes several batches.
    """
    database = Database("postgresql", own_postgres_server.url("postgres"))
    database.migrate()
    settings = Settings.load(ini(database, upstream, **{"sync.workers": "2"}), environ={})

    def run():
        with Synchronizer(settings, database.sessions) as synchronizer:
            return synchronizer.run()

    product_ids = make_synced(database, upstream, run, 12, OLD, NEW)
    yield own_postgres_server, database, run, product_ids
    database.close()
    database.empty()
    database.close()


@pytest.fixture
def tries_often(monkeypatch):
    monkeypatch.setattr(transactions, "POLL_SECONDS", 0.01)


@contextmanager
def at_each(engine, name, act):
    event.listen(engine, name, act)
    try:
        yield
    finally:
        event.remove(engine, name, act)


@pytest.mark.postgresql
def test_a_run_goes_on_after_a_database_that_was_away_while_offers_were_fetched(own, upstream, tries_often):
    server, database, run, product_ids = own
    gate = upstream.before_offers = Gate()
    attempts = []

    def count(*_):
        attempts.append(time.monotonic())

    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(run)
        assert gate.entered.wait(10)
        server.stop("fast")
        # It stays away until the run has missed it
        with at_each(database.writer, "do_connect", count):
            gate.open.set()
            wait_until(lambda: attempts or under_way.done())
            server.start()
            database.reader.dispose()
            result = under_way.result(30)

    assert (result.exit_code, result.ended_by) == (0, "done")
    check_that_all_have_the_new_offers_once(database, product_ids)


@only_postgresql
def test_a_run_goes_on_wherever_in_it_the_database_is_restarted(database, upstream, make_synchronizer, tries_often):
    run = make_synchronizer(**{"sync.workers": "2"}).run
    product_ids = make_synced(database, upstream, run, 9, OLD, OLD)  # two batches
    history = [OLD]
    moments: list[str] = []
    restart_at = 0

    def restart_once(moment):
        # Without a database a run does not begin; once it has written down that it has, it goes on
        if moments or moment == "commit":
            moments.append(moment)
        if len(moments) == restart_at + 1:
            database.end_connections()
            database.reader.dispose()

    # At the begin or the end of its first transaction after that, of its second one … until it has no more
    while len(moments) >= restart_at:
        restart_at += 1
        moments.clear()
        offers = (OLD, NEW)[restart_at % 2]
        gone = {id_: (price, 0) for id_, (price, _) in history[-1].items()}
        history.append(gone | offers)
        offer_to_all(upstream, product_ids, offers)
        make_due(database)

        with (
            at_each(database.writer, "begin", lambda _: restart_once("begin")),
            at_each(database.writer, "commit", lambda _: restart_once("commit")),
        ):
            result = run()

        assert (result.exit_code, result.ended_by) == (0, "done"), restart_at
        check_that_all_are_well(database)
        assert [replay(database, product_id) == history for product_id in product_ids] == [True] * len(product_ids), (
            restart_at
        )


# --- SQLite locked by another writer ---


@pytest.mark.processes
@only_sqlite
def test_a_run_waits_for_another_writer(database, upstream, synchronizer):
    product_ids = make_synced(database, upstream, synchronizer.run, 3, OLD, NEW)
    writer = sqlite3.connect(database.writer.url.database, isolation_level=None, check_same_thread=False)
    locked_at: list[float] = []

    def lock_for_a_second(_product_id):
        if not locked_at:
            locked_at.append(time.monotonic())
            writer.execute("BEGIN IMMEDIATE")
            threading.Timer(1, writer.rollback).start()

    upstream.before_offers = lock_for_a_second

    result = synchronizer.run()

    assert time.monotonic() - locked_at[0] >= 1
    writer.close()
    assert (result.exit_code, result.ended_by) == (0, "done")
    check_that_all_have_the_new_offers_once(database, product_ids)


# --- A run that is told to stop ---


@pytest.mark.parametrize(
    ("migrated_database", "number"),
    [("sqlite", signal.SIGTERM), ("postgresql", signal.SIGINT)],
    indirect=["migrated_database"],
)
def test_a_run_that_is_told_to_stop_ends_within_5_seconds_even_if_an_exchange_hangs(
    database, upstream, synchronizer, fork, number
):
    # Given a run of which some exchanges are answered and some are not
    product_ids = make_synced(database, upstream, synchronizer.run, 40, OLD, NEW)
    before = {product_id: recorded(database, product_id) for product_id in product_ids}
    upstream.asked.clear()
    gate = Gate()
    hanging = product_ids[5::3]
    upstream.before_offers = lambda product_id: gate() if product_id in hanging else None
    process = fork(
        "productagg",
        "sync",
        "development.ini",
        env=environment(database, upstream, SYNC_WORKERS="4", OFFERS_TIMEOUT_SECONDS="60"),
    )
    try:
        wait_until(lambda: sum(upstream.asked[product_id] for product_id in hanging) == 4)
        told_at = time.monotonic()

        process.send_signal(number)
        output, _ = process.communicate(timeout=15)

        assert time.monotonic() - told_at < 5
    finally:
        gate.open.set()
    assert process.returncode == 2, output
    assert rows(database, SyncRun)[-1].ended_by == "interrupted"
    assert rows(database, SyncRun)[-1].finished_at is not None
    # What was answered is kept, the rest is as it was and free
    answered = [product_id for product_id in product_ids if upstream.asked[product_id] and product_id not in hanging]
    assert len(answered) >= 5
    for product_id in product_ids:
        if product_id in answered:
            assert stored(database, product_id) == NEW
        else:
            assert recorded(database, product_id) == before[product_id]
    table = rows(database, ProductSource)
    assert {(row.leased_until, row.failures) for row in table} == {(None, 0)}
    assert {row.product_id for row in table if row.next_sync_at < rows(database, SyncRun)[-1].started_at} == set(
        product_ids
    ) - set(answered)
