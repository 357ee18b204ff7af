"""`kill -9` of real runs at random moments: in the end, the database is as undisturbed runs leave it."""

import math
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import insert, text, update

from productagg.db.models import Product, ProductSource, SyncRun, UpstreamToken
from productagg.sandbox import Fault
from productagg.settings import Settings
from productagg.sync.run import Synchronizer
from tests.conftest import Database, Upstream, ini
from tests.databases import only_postgresql
from tests.factories import environment, make_due, make_products, rows
from tests.integration.conftest import wait_until
from tests.integration.offer_history import replay, stored, summaries
from tests.scale import ALL_TESTS, KILLED_RUNS

PHASES, PRODUCTS = (9, 60) if ALL_TESTS else (6, 30)
TIMEOUT_SECONDS = 2
# What a lease may last at most: the exchanges that one product can need, and a margin.
LEASE = timedelta(seconds=6 * TIMEOUT_SECONDS + 30)
OFFER_IDS = [UUID(int=number) for number in range(5)]


def offered(number, phase):
    """What is offered for the product with this number in this phase: some change, vanish and return, some stay."""
    chance = random.Random(f"{number} {phase // (1 + number % 3)}")
    return {id_: (chance.choice([100, 200, 300]), chance.randrange(1, 9)) for id_ in OFFER_IDS if chance.random() < 0.7}


@pytest.fixture
def calm(database, tmp_path):
    """Another database and another Offers service, whose runs are never killed."""
    calm = Database("sqlite", f"sqlite:///{tmp_path}/calm.sqlite")
    calm.migrate()
    upstream = Upstream()
    with upstream.server:
        yield calm, upstream
    calm.close()


def copy_products(source, target):
    with target.writer.begin() as connection:
        for model in (Product, ProductSource):
            connection.execute(insert(model), [row._asdict() for row in rows(source, model)])


def let_run_out(database):
    """Wait until the server has ended a killed run's connections, then move its leases and blocks into the past."""
    # Otherwise the killed run's last statement could still arrive.
    database.writer.dispose()
    database.reader.dispose()
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with database.reader.connect() as connection:
        wait_until(lambda: connection.execute(others).scalar_one() == 0)
    now = datetime.now(UTC)
    with database.sessions.begin() as session:
        for column in (ProductSource.leased_until, UpstreamToken.refreshing_until, UpstreamToken.blocked_until):
            session.execute(update(column.class_).where(column > now).values({column: now}))


def longest_lease(database):
    """How far away the end of the farthest lease is."""
    leases = [row.leased_until for row in rows(database, ProductSource) if row.leased_until is not None]
    return max(leases, default=datetime.now(UTC)) - datetime.now(UTC)


class Killer:
    """Starts two runs at a time and kills them when random numbers of offers have been asked for."""

    def __init__(self, upstream, start):
        self._upstream = upstream
        self._start = start
        self._chance = random.Random(0)
        self.kills = 0

    def start_and_kill_two(self):
        asked = self._upstream.asked.total()
        moments = sorted(asked + self._chance.randrange(PRODUCTS) for _ in range(2))
        processes = [self._start() for _ in moments]
        with ThreadPoolExecutor(2) as pool:
            self.kills += sum(pool.map(self._kill, processes, moments))

    def _kill(self, process, asked):
        """Kill the process at that number, or when no more requests come; return whether it was still alive."""
        last_asked, changed_at = self._upstream.asked.total(), math.inf

        def is_due():
            nonlocal last_asked, changed_at
            if last_asked != self._upstream.asked.total():
                last_asked, changed_at = self._upstream.asked.total(), time.monotonic()
            return last_asked >= asked or time.monotonic() > changed_at + 2 or not process.is_alive()

        wait_until(is_due, 60)
        process.kill()
        return process.wait() == -signal.SIGKILL


@pytest.fixture
def killer(database, upstream, fork):
    env = environment(database, upstream, SYNC_WORKERS="4", OFFERS_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS))
    return Killer(upstream, lambda: fork("productagg", "sync", "development.ini", env=env))


@only_postgresql
@pytest.mark.processes
def test_killed_runs_leave_what_undisturbed_ones_leave(database, upstream, make_synchronizer, calm, killer):
    database.end_connections()  # those of other tests' applications would look like a killed run's
    database.close()
    calm_database, calm_upstream = calm
    product_ids = make_products(database, PRODUCTS)
    copy_products(database, calm_database)
    upstream.faults.replace([Fault("latency", {"seconds": 0.005})])

    with Synchronizer(
        Settings.load(ini(calm_database, calm_upstream), environ={}), calm_database.sessions
    ) as undisturbed:
        for phase in range(PHASES):
            for number, product_id in enumerate(product_ids):
                upstream.offer(product_id, offered(number, phase))
                calm_upstream.offer(product_id, offered(number, phase))
            if phase % 3 == 2:
                upstream.service.forget_products()
            while killer.kills < KILLED_RUNS * (phase + 1) / PHASES:
                # A killed run may have held the only token: let it expire
                upstream.service.end_token()
                make_due(database)
                killer.start_and_kill_two()
                assert longest_lease(database) <= LEASE
                let_run_out(database)

            upstream.service.end_token()
            make_due(database)
            assert make_synchronizer().run().exit_code == 0
            make_due(calm_database)
            assert undisturbed.run().exit_code == 0

    for product_id in product_ids:
        assert stored(database, product_id) == stored(calm_database, product_id)
        assert replay(database, product_id) == replay(calm_database, product_id)
        assert summaries(database, product_id) == summaries(calm_database, product_id)
    assert {(row.registration, row.failures, row.leased_until) for row in rows(database, ProductSource)} == {
        ("registered", 0, None)
    }
    ended_by = Counter(run.ended_by for run in rows(database, SyncRun))
    assert ended_by.keys() == {None, "done"}
    assert ended_by[None] > KILLED_RUNS / 4
