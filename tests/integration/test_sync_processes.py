"""`productagg sync` as cron runs it: real processes, side by side, stopped and killed."""

import signal

import pytest

from productagg.db.models import ProductSource, SyncRun
from tests.factories import environment, make_product, make_products, rows, sync_row
from tests.integration.conftest import wait_until

pytestmark = pytest.mark.processes
# The same handler for both, on any database.
each_signal = pytest.mark.parametrize(
    ("migrated_database", "number"),
    [("sqlite", signal.SIGTERM), ("postgresql", signal.SIGINT)],
    indirect=["migrated_database"],
)


@pytest.fixture
def start_run(database, upstream, fork):
    """Start a real run."""
    return lambda **options: fork(
        "productagg", "sync", "development.ini", env=environment(database, upstream, **options)
    )


def test_two_processes_at_once_share_the_work_and_the_token(database, upstream, gate, start_run):
    product_ids = make_products(database, 50)
    processes = [start_run(SYNC_WORKERS="2") for _ in range(2)]
    # Both have claimed their first batch before either has an answer
    wait_until(lambda: len({row.leased_until for row in rows(database, ProductSource)} - {None}) == 2)

    gate.open.set()
    outputs = [process.communicate(timeout=30)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], outputs
    assert upstream.asked == dict.fromkeys(product_ids, 1)
    assert upstream.count("register") == 50
    assert (upstream.service.requests["auth", 201], upstream.count("auth")) == (1, 1)
    assert [(run.ended_by, run.failed) for run in rows(database, SyncRun)] == [("done", 0)] * 2
    assert sum(run.leased for run in rows(database, SyncRun)) == 50
    assert all("0 failed" in output and output.rstrip().endswith("done") for output in outputs)


def test_a_killed_run_leaves_leases_that_run_out(database, upstream, gate, start_run, synchronizer, clock):
    product_id = make_product(database)
    process = start_run()
    assert gate.entered.wait(15)

    process.send_signal(signal.SIGKILL)
    process.wait(10)
    gate.open.set()

    # Nobody takes the product before its lease is over, and its run says that it never ended
    assert synchronizer.run().asked == 0
    assert [run.ended_by for run in rows(database, SyncRun)] == [None, "done"]
    clock.move_to(sync_row(database, product_id).leased_until)
    assert synchronizer.run().asked == 1
    row = sync_row(database, product_id)
    assert (row.leased_until, row.registration, row.failures) == (None, "registered", 0)


@each_signal
def test_a_run_that_is_told_to_stop_ends_in_good_order(database, upstream, gate, start_run, number):
    make_products(database, 50)
    process = start_run(SYNC_WORKERS="1")
    assert gate.entered.wait(15)

    process.send_signal(number)
    gate.open.set()
    output, _ = process.communicate(timeout=15)

    assert process.returncode == 2, output
    assert output.rstrip().endswith("interrupted")
    assert [run.ended_by for run in rows(database, SyncRun)] == ["interrupted"]
    after = rows(database, ProductSource)
    assert {row.leased_until for row in after} == {None}
    answered = {row.product_id for row in after if row.last_synced_at is not None}
    assert set(upstream.asked) == answered
    assert 1 <= len(answered) < 50
