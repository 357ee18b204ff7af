"""Sync runs beside other runs, people who edit products, and locks."""

import sqlite3
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update

from productagg.catalog import products as catalog
from productagg.db.models import OFFERS_SOURCE, Offer, OfferPrice, Product, ProductSource, SyncRun
from productagg.sync import outcomes
from tests.databases import only_postgresql
from tests.factories import make_product, make_products, rows, states, sync_row
from tests.integration.conftest import before_call, wait_until


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_a_product_deleted_during_its_fetch_stays_deleted_and_the_run_ends_well(
    database, upstream, synchronizer, gate, pool
):
    product_id, other = make_products(database, 2)
    upstream.offer(product_id, states((100, 5)))
    under_way = pool.submit(synchronizer.run)
    assert gate.entered.wait(10)

    with database.sessions.begin() as session:
        catalog.remove(session, product_id, datetime.now(UTC))
    gate.open.set()

    assert under_way.result(10).exit_code == 0
    assert [row.id for row in rows(database, Product)] == [other]
    assert rows(database, Offer) == rows(database, OfferPrice) == []
    assert sync_row(database, other).last_synced_at is not None


def test_a_product_renamed_during_its_fetch_keeps_the_new_name(database, upstream, synchronizer, gate, pool):
    product_id = make_product(database, "Old")
    upstream.offer(product_id, states((100, 5)))
    under_way = pool.submit(synchronizer.run)
    assert gate.entered.wait(10)

    with database.sessions.begin() as session:
        catalog.change(session, product_id, datetime.now(UTC), name="New")
    gate.open.set()

    assert under_way.result(10).exit_code == 0
    assert [(row.name, row.version) for row in rows(database, Product)] == [("New", 2)]
    assert len(rows(database, Offer)) == 1


@only_postgresql
@pytest.mark.parametrize(
    "act",
    [
        lambda session, product_id: catalog.remove(session, product_id, datetime.now(UTC)),
        lambda session, product_id: catalog.change(session, product_id, datetime.now(UTC), description="Better"),
    ],
    ids=["remove", "change"],
)
def test_an_edit_of_a_product_whose_offers_are_being_written_waits_and_both_succeed(
    database, upstream, synchronizer, pool, act
):
    # Given a product whose offers are being written when an edit of it begins
    product_id = make_product(database, registration="failed")
    upstream.offer(product_id, states((100, 5)))
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    edits: list[Future[None]] = []

    def edit():
        with database.sessions.begin() as session:
            act(session, product_id)

    def begin_edit():
        if not edits:
            edits.append(pool.submit(edit))
            with database.reader.connect() as connection:
                wait_until(lambda: connection.execute(waiting).scalar_one() > 0)

    with before_call(outcomes, "apply_updates", begin_edit):
        result = synchronizer.run()

    assert result.exit_code == 0
    edits[0].result(10)


def test_a_run_that_lost_its_lease_writes_nothing(database, upstream, synchronizer):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    taken_over_until = datetime.now(UTC) + timedelta(hours=1)

    def take_over(_product_id):
        with database.sessions.begin() as session:
            session.execute(update(ProductSource).values(leased_until=taken_over_until))

    upstream.before_offers = take_over

    synchronizer.run()

    assert rows(database, Offer) == rows(database, OfferPrice) == []
    row = sync_row(database, product_id)
    assert (row.leased_until, row.last_synced_at, row.registration) == (taken_over_until, None, "pending")


def test_a_leased_product_is_left_to_its_holder_until_the_lease_runs_out(database, upstream, synchronizer, clock):
    held_until = datetime.now(UTC) + timedelta(seconds=60)
    product_id = make_product(database, leased_until=held_until)

    assert synchronizer.run().asked == 0
    clock.shift(61)

    assert synchronizer.run().asked == 1
    assert sync_row(database, product_id).leased_until is None


def test_a_lease_outlasts_the_work_and_no_more(database, upstream, make_synchronizer):
    synchronizer = make_synchronizer(**{"sync.workers": "2", "offers.timeout_seconds": "10"})
    product_id = make_product(database)
    leases = []
    upstream.before_offers = lambda _product_id: leases.append(sync_row(database, product_id).leased_until)
    asked_at = datetime.now(UTC)

    synchronizer.sync_products([product_id])

    # Authenticate, register, fetch, register again, fetch again: every exchange may take the whole time-out
    assert timedelta(seconds=50) <= leases[0] - asked_at <= timedelta(seconds=120)


def test_two_runs_at_once_share_the_work_and_ask_for_each_product_once(database, upstream, make_synchronizer, pool):
    product_ids = make_products(database, 60)
    for product_id in product_ids:
        upstream.offer(product_id, states((100, 5)))
    together = threading.Barrier(2)
    synchronizers = [make_synchronizer(**{"sync.workers": "2"}) for _ in range(2)]

    def run(synchronizer):
        together.wait(10)
        return synchronizer.run()

    results = list(pool.map(run, synchronizers))

    assert upstream.asked == dict.fromkeys(product_ids, 1)
    assert [result.exit_code for result in results] == [0, 0]
    assert sum(result.asked for result in results) == 60
    assert upstream.service.requests["register", 201] == 60
    assert upstream.count("register") == 60
    assert {row.leased_until for row in rows(database, ProductSource)} == {None}
    assert len(rows(database, SyncRun)) == 2


@only_postgresql
def test_a_run_does_not_wait_for_products_that_another_run_is_just_leasing(database, upstream, synchronizer):
    claimed, free = make_products(database, 2)

    with database.sessions.begin() as session:
        session.get_one(ProductSource, (claimed, OFFERS_SOURCE), with_for_update=True)
        result = synchronizer.run()

    assert result.exit_code == 0
    assert upstream.asked == {free: 1}


def test_a_run_and_the_background_ask_for_a_new_product_once(database, upstream, make_synchronizer, gate, pool):
    product_id = make_product(database)
    background, cron = make_synchronizer(), make_synchronizer()
    under_way = pool.submit(background.sync_products, [product_id])
    assert gate.entered.wait(10)

    assert cron.run().asked == 0
    gate.open.set()

    assert under_way.result(10).result.exit_code == 0
    assert upstream.asked == {product_id: 1}


def test_a_single_product_that_is_not_due_is_not_asked_for(database, upstream, synchronizer):
    product_id = make_product(database)
    synchronizer.sync_products([product_id])

    assert synchronizer.sync_products([product_id]).result.asked == 0

    assert upstream.asked == {product_id: 1}


def test_no_transaction_is_open_while_the_network_is_waited_for(database, upstream, one_by_one):
    make_products(database, 2)
    open_transactions = []

    def look(request):
        open_transactions.append((request.path.rsplit("/")[-1], _open_transactions(database)))

    upstream.answer_with = look

    assert one_by_one.run().exit_code == 0

    assert {path for path, _ in open_transactions} == {"auth", "register", "offers"}
    assert {count for _, count in open_transactions} == {0}


def _open_transactions(database):
    if database.name == "sqlite":
        with sqlite3.connect(database.writer.url.database, timeout=0, isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")  # fails at once if another connection writes
            connection.execute("ROLLBACK")
        connection.close()
        return 0
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'productagg'"
        " AND datname = current_database() AND state LIKE 'idle in transaction%'"
    )
    with database.reader.connect() as connection:
        return connection.execute(query).scalar_one()
