"""A sync run whose time is up, or that is interrupted, at any moment: it keeps the outcomes that came in, gives its
leases back, and records what ended it."""

from contextlib import contextmanager
from itertools import count

import pytest
from sqlalchemy.exc import OperationalError

from productagg.db.models import ProductSource, SyncRun
from productagg.sync import lane, leases
from tests.factories import make_products, rows, states
from tests.integration.conftest import before_call, on_statement, wait_until
from tests.integration.offer_history import offer_to_all, stored

OFFERS = states((100, 5))
BUDGET = 50


@pytest.fixture
def synchronizer(make_synchronizer):
    return make_synchronizer(**{"sync.workers": "2", "sync.budget_seconds": str(BUDGET)})


@pytest.fixture
def product_ids(database, upstream):
    product_ids = make_products(database, 60)
    offer_to_all(upstream, product_ids, OFFERS)
    return product_ids


@contextmanager
def during(step, act, *, number=1):
    """Call `act` in the nth transaction that acquires leases, or that applies outcomes."""
    calls = count(1)
    module, function = {"acquire": (leases, "acquire"), "apply": (lane, "apply_outcomes")}[step]

    with before_call(module, function, lambda: act() if next(calls) == number else None):
        yield
    assert next(calls) > number


def check(database, product_ids, ended_by):
    """All fetched products are stored, the others are as due as before, none is leased."""
    table = rows(database, ProductSource)
    assert {(row.leased_until, row.failures) for row in table} == {(None, 0)}
    fetched = {row.product_id for row in table if row.last_synced_at is not None}
    for product_id in product_ids:
        assert stored(database, product_id) == (OFFERS if product_id in fetched else {})
    run = rows(database, SyncRun)[-1]
    assert (run.ended_by, run.finished_at is None, run.fetched) == (ended_by, False, len(fetched))
    return fetched


def be_out_of_reach(*_):
    raise OperationalError("a statement", None, Exception("the database went away"))


class TestTimeRunsOut:
    def test_while_outcomes_are_applied(self, database, upstream, synchronizer, product_ids, run_time):
        def take_long():
            # Meanwhile all leased products are fetched, except those on their way to the two threads
            wait_until(lambda: upstream.asked.total() == 8)
            run_time.go_by(BUDGET)

        with during("apply", take_long):
            result = synchronizer.run()

        fetched = check(database, product_ids, "budget")
        assert result.exit_code == 0
        assert 6 <= len(fetched) <= 8

    def test_while_outcomes_are_applied_while_an_exchange_hangs(
        self, database, upstream, synchronizer, product_ids, run_time, gate
    ):
        hanging = product_ids[7]
        upstream.before_offers = lambda product_id: gate() if product_id == hanging else None

        with during("apply", lambda: gate.entered.wait(10) and run_time.go_by(BUDGET)):
            synchronizer.run()

        assert hanging not in check(database, product_ids, "budget")

    def test_while_leases_are_acquired(self, database, upstream, synchronizer, product_ids, run_time):
        with during("acquire", lambda: run_time.go_by(BUDGET), number=2):
            result = synchronizer.run()

        fetched = check(database, product_ids, "budget")
        assert result.leased > 8 >= upstream.asked.total() >= len(fetched) >= 4

    def test_while_the_first_leases_are_acquired(self, database, upstream, synchronizer, product_ids, run_time):
        with during("acquire", lambda: run_time.go_by(BUDGET)):
            synchronizer.run()

        assert check(database, product_ids, "budget") == set()
        assert upstream.asked == {}

    def test_while_the_database_is_away(self, database, upstream, synchronizer, product_ids, run_time):
        def go_away():
            run_time.go_by(20)
            be_out_of_reach()

        # It comes back when there is time left to apply outcomes, and none to fetch
        with during("acquire", lambda: run_time.go_by(BUDGET - 21.5)), during("apply", go_away):
            synchronizer.run()

        assert len(check(database, product_ids, "budget")) >= 4

    def test_of_some_products_that_are_synced_at_once(
        self, database, upstream, synchronizer, product_ids, run_time, gate
    ):
        *answered, hanging = some = product_ids[:5]

        def hang(product_id):
            if product_id == hanging:
                wait_until(lambda: upstream.asked.total() == 5)
                run_time.go_by(1)  # long enough to apply what came in
                gate()

        upstream.before_offers = hang

        with during("apply", lambda: run_time.go_by(BUDGET)):
            synced = synchronizer.sync_products(some)

        fetched = synced.fetched
        assert synced.result.ended_by == "budget"
        assert fetched == {row.product_id for row in rows(database, ProductSource) if row.last_synced_at is not None}
        assert fetched <= set(answered)
        assert {row.leased_until for row in rows(database, ProductSource)} == {None}


class TestInterrupted:
    @pytest.mark.parametrize(("step", "number", "least"), [("apply", 1, 4), ("acquire", 2, 4), ("acquire", 1, 0)])
    def test_during_a_step(self, database, upstream, synchronizer, product_ids, step, number, least):
        with during(step, synchronizer.interrupt, number=number):
            result = synchronizer.run()

        fetched = check(database, product_ids, "interrupted")
        assert result.exit_code == 2
        assert least <= len(fetched) < 60

    @pytest.mark.parametrize("step", ["apply", "acquire"])
    def test_while_the_database_is_away_for_a_moment(
        self, database, upstream, synchronizer, product_ids, run_time, step
    ):
        def go_away():
            synchronizer.interrupt()
            be_out_of_reach()

        with during(step, go_away):
            synchronizer.run()

        fetched = check(database, product_ids, "interrupted")
        assert len(fetched) >= (4 if step == "apply" else 0)

    def test_while_the_database_stays_away_it_gives_up_within_5_seconds(
        self, database, upstream, synchronizer, product_ids, run_time
    ):
        interrupted_at: list[float] = []

        def interrupt():
            interrupted_at.append(run_time.monotonic())
            synchronizer.interrupt()

        def stay_away(_statement):
            if interrupted_at:
                be_out_of_reach()

        with (
            on_statement(database.writer, stay_away),
            during("apply", interrupt),
            pytest.raises(OperationalError),
        ):
            synchronizer.run()

        assert run_time.monotonic() - interrupted_at[0] < 5
