"""What bounds a sync run: its time, its pace, its selection of products, and what other processes learn meanwhile."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from productagg.db.models import ProductSource, SyncRun, UpstreamToken
from productagg.sandbox import Fault
from productagg.sandbox.service import Response
from productagg.sync.tokens import account_key
from tests.conftest import REFRESH_TOKEN
from tests.databases import only_sqlite
from tests.factories import LONG_AGO, make_due, make_product, make_products, rows, states, sync_row
from tests.integration.conftest import on_statement

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def test_a_run_ends_within_its_time_keeps_what_it_has_and_leaves_the_rest_due(database, upstream, make_synchronizer):
    product_ids = make_products(database, 60)
    upstream.faults.replace([Fault("latency", {"seconds": 0.1}, ("offers",))])
    synchronizer = make_synchronizer(**{"sync.workers": "2", "sync.budget_seconds": "1"})
    started = time.monotonic()

    result = synchronizer.run()

    assert time.monotonic() - started < 1.2
    assert (result.ended_by, result.exit_code, result.failed) == ("budget", 0, 0)
    after = [sync_row(database, product_id) for product_id in product_ids]
    done = [row for row in after if row.last_synced_at is not None]
    assert 4 <= len(done) == result.fetched < 60
    # The longest due came first; the others are as due as before, and free
    assert after[: len(done) - 2] == done[: len(done) - 2]
    assert all(row.next_sync_at < LONG_AGO + timedelta(minutes=2) for row in after if row.last_synced_at is None)
    assert {row.leased_until for row in after} == {None}


@only_sqlite
def test_an_exchange_that_hangs_at_the_end_of_a_run_is_left_and_is_no_failure(database, upstream, make_synchronizer):
    make_products(database, 3)
    # Registering takes nearly half of the time, so that the next exchange is cut off before its own time-out
    late, hanging = Fault("latency", {"seconds": 0.45}, ("register",)), Fault("latency", {"seconds": 5}, ("offers",))
    upstream.faults.replace([late, hanging])
    synchronizer = make_synchronizer(**{"sync.workers": "1", "sync.budget_seconds": "1"})

    result = synchronizer.run()

    assert (result.ended_by, result.fetched, result.failed) == ("budget", 0, 0)
    assert {(row.leased_until, row.failures) for row in rows(database, ProductSource)} == {(None, 0)}


@only_sqlite
def test_an_upstream_slower_than_the_run_is_recorded_as_such(database, upstream, make_synchronizer):
    product_id = make_product(database)
    make_synchronizer().run()
    make_due(database)
    upstream.faults.replace([Fault("latency", {"seconds": 5}, ("offers",))])
    synchronizer = make_synchronizer(**{"sync.budget_seconds": "1", "offers.timeout_seconds": "10"})

    result = synchronizer.run()

    assert (result.failed, result.failures) == (1, {"timeout": 1})
    assert "within 0.5 s" in sync_row(database, product_id).last_error


@only_sqlite
def test_requests_are_paced_evenly_across_all_threads(database, upstream, make_synchronizer):
    product_ids = make_products(database, 12)
    make_synchronizer().run()
    make_due(database)
    moments = []
    upstream.answer_with = lambda _request: moments.append(time.monotonic())
    synchronizer = make_synchronizer(**{"sync.workers": "8", "sync.max_requests_per_second": "20"})

    result = synchronizer.run()

    assert result.fetched == len(moments) == len(product_ids)
    moments.sort()
    gaps = [after - before for before, after in pairwise(moments)]
    assert moments[-1] - moments[0] > 0.4
    assert sorted(gaps)[len(gaps) // 2] > 0.035


@only_sqlite
def test_a_slow_pace_does_not_keep_a_run_from_ending(database, upstream, make_synchronizer):
    make_products(database, 10)
    options = {"sync.workers": "4", "sync.max_requests_per_second": "0.1", "sync.budget_seconds": "1"}
    started = time.monotonic()

    result = make_synchronizer(**options).run()

    assert time.monotonic() - started < 1.2
    assert result.ended_by == "budget"
    assert {row.leased_until for row in rows(database, ProductSource)} == {None}


def test_a_product_whose_offers_rest_is_asked_less_often_and_at_once_as_before_when_they_change(
    database, upstream, make_synchronizer, clock
):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    synchronizer = make_synchronizer(**{"sync.max_interval_seconds": "600"})
    synchronizer.run()

    def interval():
        row = sync_row(database, product_id)
        return (row.next_sync_at - row.last_asked_at).total_seconds()

    assert interval() <= 60
    clock.shift(3000)
    synchronizer.run()
    assert 240 <= interval() <= 300
    clock.shift(30_000)
    synchronizer.run()
    assert 480 <= interval() <= 600

    upstream.offer(product_id, states((90, 5)))
    clock.shift(600)
    assert synchronizer.run().changed == 1
    assert interval() <= 60


@pytest.mark.parametrize("way", ["everything", "products"])
def test_a_run_may_be_told_to_ask_for_what_is_not_due(database, upstream, one_by_one, way):
    product_ids = make_products(database, 50, next_sync_at=LATER)
    selected = product_ids if way == "everything" else product_ids[3:5]

    result = one_by_one.run(everything=True) if way == "everything" else one_by_one.run(products=selected)

    assert upstream.asked == dict.fromkeys(selected, 1)
    assert (result.fetched, result.ended_by) == (len(selected), "done")


def test_progress_is_told_as_it_is_made(database, upstream, make_synchronizer):
    make_products(database, 40)
    told = []

    make_synchronizer(**{"sync.workers": "1"}).run(progress=lambda done, total: told.append((done, total)))

    assert told[-1] == (40, 40)
    assert len(told) > 1
    assert told == sorted(told)


def test_a_run_heeds_what_another_process_learns_meanwhile(database, upstream, make_synchronizer):
    make_products(database, 60)
    account = account_key(upstream.base_url, REFRESH_TOKEN)

    def be_told(_product_id):
        with database.sessions.begin() as session:
            token = session.get_one(UpstreamToken, account)
            token.blocked_until, token.blocked_reason = datetime.now(UTC) + timedelta(minutes=2), "busy elsewhere"

    upstream.before_offers = be_told

    result = make_synchronizer(**{"sync.workers": "1"}).run()

    # Products that were leased before may still be asked for, and none after that
    assert "busy elsewhere" in result.ended_by
    assert result.exit_code == 2
    assert 1 <= result.fetched < 60
    assert {row.leased_until for row in rows(database, ProductSource)} == {None}


def test_a_product_that_waited_too_long_for_a_free_thread_is_not_begun_with_a_lease_too_short(
    database, upstream, make_synchronizer, clock
):
    first, second = make_products(database, 2)
    seen = []

    def dawdle(product_id):
        seen.append((product_id, sync_row(database, second).leased_until))
        clock.shift(31 if product_id == first else 0)

    upstream.before_offers = dawdle

    result = make_synchronizer(**{"sync.workers": "1"}).run()

    # Given back, and then taken once more with a lease that lasts
    assert (result.leased, result.fetched) == (3, 2)
    assert [product_id for product_id, _ in seen] == [first, second]
    assert seen[1][1] - seen[0][1] > timedelta(seconds=30)


def test_a_run_says_what_it_did(database, upstream, synchronizer):
    lucky, unlucky = make_products(database, 2)
    kept, sold_out = states((100, 5), (200, 5)).items()
    upstream.offer(lucky, dict([kept, sold_out]))
    synchronizer.run()
    make_due(database)
    upstream.offer(lucky, dict([kept]))
    upstream.answer_with = lambda request: Response(500, {}) if str(unlucky) in request.path else None

    result = synchronizer.run()

    _, run = rows(database, SyncRun)
    assert (run.started_at, run.finished_at) == (result.started_at, result.finished_at)
    assert (run.leased, run.fetched, run.changed, run.closed, run.failed) == (2, 1, 1, 1, 1)
    assert run.failures == {"status_500": 1}
    assert run.requests == 2
    assert 50 <= run.bytes < 500
    assert run.longest_wait_seconds == pytest.approx((run.started_at - LONG_AGO).total_seconds(), abs=10)
    assert run.ended_by == "done"


def test_runs_are_kept_for_three_months(database, upstream, synchronizer, clock):
    synchronizer.run()
    clock.shift(89 * 86400)
    synchronizer.run()
    clock.shift(2 * 86400)

    synchronizer.run()

    assert len(rows(database, SyncRun)) == 2


def test_however_many_products_a_batch_takes_the_same_few_statements(database, upstream, synchronizer):
    make_product(database)
    synchronizer.run()  # which gets the token
    counts = []
    for size in (4, 20):
        for product_id in make_products(database, size, name=f"Of {size}"):
            upstream.offer(product_id, states((100, 5), (200, size)))
        statements: list[str] = []
        with on_statement(database.writer, statements.append):
            assert synchronizer.run().changed == size
        counts.append(len(statements))

    assert counts[0] == counts[1]
    # Including those that record the run, find the sources, refresh the summaries and begin transactions
    assert counts[1] <= {"postgresql": 16, "sqlite": 22}[database.name]
