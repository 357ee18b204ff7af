"""The web service's threads, which sync a new product without waiting for the next run."""

import logging
import queue
import threading
from datetime import UTC, datetime
from itertools import count
from types import SimpleNamespace
from uuid import uuid4

import pytest
from sqlalchemy.exc import OperationalError

from productagg.db.models import Offer
from productagg.logs import request_id
from productagg.sandbox import Fault
from productagg.sync import background as background_module
from productagg.sync.background import Background
from productagg.sync.run import SyncedProducts, Synchronizer
from productagg.sync.run_log import RunResult
from tests.factories import make_product, make_products, rows, states, sync_row


@pytest.fixture
def background(synchronizer):
    background = Background(synchronizer)
    yield background
    background.close()


def pile_up(background, gate, product_ids):
    """Submit the products while the first ones hold both threads up; then let the threads deal with all of them."""
    background.submit(product_ids[0])
    assert gate.entered.wait(10)
    for product_id in product_ids[1:]:
        background.submit(product_id)
    gate.open.set()
    background.wait()


def test_a_submitted_product_is_registered_and_fetched(database, upstream, background):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))

    background.submit(product_id)
    background.wait()

    assert sync_row(database, product_id).registration == "registered"
    assert [row.price for row in rows(database, Offer)] == [100]


def test_submitting_does_not_wait_for_the_service(database, upstream, background, gate):
    product_id = make_product(database)

    background.submit(product_id)

    assert gate.entered.wait(10)
    assert sync_row(database, product_id).last_synced_at is None


def test_a_product_that_was_deleted_does_not_stop_the_others(database, upstream, background):
    product_id = make_product(database)

    background.submit(uuid4())
    background.submit(product_id)
    background.wait()

    assert upstream.asked == {product_id: 1}


def test_an_exception_ends_no_thread_and_is_logged(database, background, monkeypatch, caplog):
    synced = []

    def fail(_synchronizer, product_ids, _on_fetch):
        synced.extend(product_ids)
        raise ZeroDivisionError

    monkeypatch.setattr(Synchronizer, "sync_products", fail)
    product_ids = [uuid4() for _ in range(10)]

    for product_id in product_ids:
        background.submit(product_id)
    background.wait()

    assert sorted(synced) == sorted(product_ids)
    assert caplog.text.count("waits for the next sync run") == 10


def test_waiting_products_are_leased_together(database, upstream, background, gate, monkeypatch):
    product_ids = make_products(database, 12)
    taken = []
    real = Synchronizer.sync_products

    def watched(synchronizer, product_ids, on_fetch):
        taken.append(len(product_ids))
        return real(synchronizer, product_ids, on_fetch)

    monkeypatch.setattr(Synchronizer, "sync_products", watched)
    pile_up(background, gate, product_ids)

    # The first product held one thread up, and the next batch the other one.
    assert sum(taken) == 12
    assert len(taken) <= 4
    assert upstream.asked == dict.fromkeys(product_ids, 1)


def test_every_product_is_synced_under_the_id_of_its_own_request():
    came_from = {uuid4(): f"request-{number}" for number in range(50)}
    seen = {}

    class Watching(Synchronizer):
        def __init__(self):
            pass

        def sync_products(self, product_ids, on_fetch=lambda _product_id: None):
            for product_id in product_ids:
                on_fetch(product_id)
                seen[product_id] = request_id.get()
            return SyncedProducts(RunResult(datetime.now(UTC), datetime.now(UTC)), set(product_ids), 0.0)

    background = Background(Watching())
    for product_id, name in came_from.items():
        token = request_id.set(name)
        background.submit(product_id)
        request_id.reset(token)
    background.wait()

    assert seen == came_from


def test_a_thread_rests_in_proportion_to_the_processor_that_it_took(monkeypatch):
    monkeypatch.setattr(background_module, "REST_FACTOR", 3)
    rests: queue.Queue[float] = queue.Queue()
    # Not the module's own function: other threads sleep, too.
    monkeypatch.setattr(background_module, "time", SimpleNamespace(sleep=rests.put))

    class Busy(Synchronizer):
        def __init__(self):
            pass

        def sync_products(self, product_ids, on_fetch=lambda _product_id: None):
            return SyncedProducts(RunResult(datetime.now(UTC), datetime.now(UTC)), set(product_ids), 0.5)

    Background(Busy()).submit(uuid4())

    assert rests.get(timeout=10) == pytest.approx(0.5 * 3)


def test_the_reason_why_a_product_must_wait_is_logged(database, upstream, background, caplog):
    product_id = make_product(database)
    upstream.faults.replace([Fault("rate_limit", {"retry_after": 60})])

    background.submit(product_id)
    background.wait()

    assert f"product {product_id} waits for the next sync run: the Offers service answered 429" in caplog.text


def test_a_database_that_cannot_be_used_is_told_without_a_traceback(
    database, background, synchronizer, caplog, monkeypatch
):
    def fails(*_):
        raise OperationalError("UPDATE", {}, Exception("the server closed the connection"))

    product_id = make_product(database)
    monkeypatch.setattr(synchronizer, "sync_products", fails)
    background.submit(product_id)
    background.wait()

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the database cannot be used: the server closed the connection",
        f"product {product_id} waits for the next sync run",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_its_threads_end_when_what_was_submitted_is_done(database, upstream, synchronizer):
    product_ids = make_products(database, 30)
    background = Background(synchronizer)
    before = set(threading.enumerate())
    for product_id in product_ids:
        background.submit(product_id)
    begun = {thread for thread in threading.enumerate() if thread.name.startswith("background")} - before

    background.close()

    assert begun
    assert not any(thread.is_alive() for thread in begun)
    assert upstream.asked == dict.fromkeys(product_ids, 1)


def test_only_products_that_were_not_fetched_are_logged_as_waiting(database, upstream, background, gate, caplog):
    first, *others = make_products(database, 12)
    asked = count(1)

    def before_offers(*_):
        gate()
        if next(asked) == 5:
            upstream.faults.replace([Fault("rate_limit", {"retry_after": 60})])

    upstream.before_offers = before_offers
    pile_up(background, gate, [first, *others])

    waiting = [product_id for product_id in (first, *others) if f"product {product_id} waits" in caplog.text]
    assert waiting == [
        product_id for product_id in (first, *others) if sync_row(database, product_id).last_synced_at is None
    ]
    assert 0 < len(waiting) < 12


def test_a_full_backlog_blocks_no_one_and_dropped_products_are_due_in_the_next_run(
    database, upstream, background, synchronizer, gate
):
    product_ids = make_products(database, 150)
    pile_up(background, gate, product_ids)
    assert 100 <= len(upstream.asked) < 150

    synchronizer.run()

    assert upstream.asked == dict.fromkeys(product_ids, 1)
