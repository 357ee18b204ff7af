"""However a pass ends, in time or told to, at whatever moment: what came in is kept, leases are given back, and the run
says what ended it."""

from contextlib import contextmanager

import pytest
from sqlalchemy.exc import OperationalError

from productagg.db.models import ProductSync, SyncRun
from tests.factories import make_products, rows, states
from tests.integration.conftest import before_statement, wait_until
from tests.integration.histories import offer_to_all, stored

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
def during_a(step, database, act, *, number=1):
    """Call `act` while the so-manyth claim, or settling, is under way."""
    seen = []

    def look(statement):
        if ("SET registration" in statement) if step == "settle" else ("SET leased_until" in statement):
            seen.append(statement)
            if len(seen) == number:
                act()

    with before_statement(database.writer, "", look):
        yield
    assert len(seen) >= number


def check(database, product_ids, ended_by):
    """All that was fetched is stored, all that was not is as due as before, nothing is leased."""
    table = rows(database, ProductSync)
    assert {(row.leased_until, row.failures) for row in table} == {(None, 0)}
    fetched = {row.product_id for row in table if row.last_synced_at is not None}
    for product_id in product_ids:
        assert stored(database, product_id) == (OFFERS if product_id in fetched else {})
    run = rows(database, SyncRun)[-1]
    assert (run.ended_by, run.finished_at is None, run.fetched) == (ended_by, False, len(fetched))
    return fetched


def out_of_reach():
    raise OperationalError("a statement", None, Exception("the database went away"))


class TestTimeRunsOut:
    def test_during_a_settle(self, database, upstream, synchronizer, product_ids, pass_time):
        def take_long():
            # Meanwhile all that was claimed is fetched, but for what is on its way to the two threads
            wait_until(lambda: upstream.asked.total() == 8)
            pass_time.go_by(BUDGET)

        with during_a("settle", database, take_long):
            report = synchronizer.run()

        fetched = check(database, product_ids, "budget")
        assert report.exit_code == 0
        assert 6 <= len(fetched) <= 8

    def test_during_a_settle_while_an_exchange_hangs(
        self, database, upstream, synchronizer, product_ids, pass_time, gate
    ):
        hanging = product_ids[7]
        upstream.before_offers = lambda product_id: gate() if product_id == hanging else None

        with during_a("settle", database, lambda: gate.entered.wait(10) and pass_time.go_by(BUDGET)):
            synchronizer.run()

        assert hanging not in check(database, product_ids, "budget")

    def test_during_a_claim(self, database, upstream, synchronizer, product_ids, pass_time):
        with during_a("claim", database, lambda: pass_time.go_by(BUDGET), number=2):
            report = synchronizer.run()

        fetched = check(database, product_ids, "budget")
        assert report.claimed > 8 >= upstream.asked.total() >= len(fetched) >= 4

    def test_during_the_first_claim(self, database, upstream, synchronizer, product_ids, pass_time):
        with during_a("claim", database, lambda: pass_time.go_by(BUDGET)):
            synchronizer.run()

        assert check(database, product_ids, "budget") == set()
        assert upstream.asked == {}

    def test_while_the_database_is_away(self, database, upstream, synchronizer, product_ids, pass_time):
        def go_away():
            pass_time.go_by(20)
            out_of_reach()

        # It comes back when there is time left to settle, and none to fetch
        with during_a("claim", database, lambda: pass_time.go_by(BUDGET - 21.5)), during_a("settle", database, go_away):
            synchronizer.run()

        assert len(check(database, product_ids, "budget")) >= 4

    def test_of_some_products_that_are_synced_at_once(
        self, database, upstream, synchronizer, product_ids, pass_time, gate
    ):
        *answered, hanging = some = product_ids[:5]

        def hang(product_id):
            if product_id == hanging:
                wait_until(lambda: upstream.asked.total() == 5)
                pass_time.go_by(1)  # long enough to settle what came in
                gate()

        upstream.before_offers = hang

        with during_a("settle", database, lambda: pass_time.go_by(BUDGET)):
            report, fetched, _ = synchronizer.sync_products(some)

        assert report.ended_by == "budget"
        assert fetched == {row.product_id for row in rows(database, ProductSync) if row.last_synced_at is not None}
        assert fetched <= set(answered)
        assert {row.leased_until for row in rows(database, ProductSync)} == {None}


class TestInterrupted:
    @pytest.mark.parametrize(("step", "number", "least"), [("settle", 1, 4), ("claim", 2, 4), ("claim", 1, 0)])
    def test_during_a_step(self, database, upstream, synchronizer, product_ids, step, number, least):
        with during_a(step, database, synchronizer.interrupt, number=number):
            report = synchronizer.run()

        fetched = check(database, product_ids, "interrupted")
        assert report.exit_code == 2
        assert least <= len(fetched) < 60

    @pytest.mark.parametrize("step", ["settle", "claim"])
    def test_while_the_database_is_away_for_a_moment(
        self, database, upstream, synchronizer, product_ids, pass_time, step
    ):
        def go_away():
            synchronizer.interrupt()
            out_of_reach()

        with during_a(step, database, go_away):
            synchronizer.run()

        fetched = check(database, product_ids, "interrupted")
        assert len(fetched) >= (4 if step == "settle" else 0)

    def test_while_the_database_stays_away_it_gives_up_within_5_seconds(
        self, database, upstream, synchronizer, product_ids, pass_time
    ):
        told_at: list[float] = []

        def look(statement):
            if told_at or "SET registration" in statement:
                if not told_at:
                    told_at.append(pass_time.monotonic())
                    synchronizer.interrupt()
                out_of_reach()

        with before_statement(database.writer, "", look), pytest.raises(OperationalError):
            synchronizer.run()

        assert pass_time.monotonic() - told_at[0] < 5
