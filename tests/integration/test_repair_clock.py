"""`productagg repair-clock`: what a database's clock that was ahead left behind is brought back to now."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from productagg.accounts import users
from productagg.catalog import products as catalog
from productagg.db import clock as database_time
from productagg.db import idempotency_keys
from productagg.db.models import (
    OFFERS_SOURCE,
    Base,
    IdempotencyKey,
    LoginCounter,
    OfferPrice,
    OfferPriceDay,
    ProductPrice,
    ProductPriceDay,
    ProductSource,
    ProductSummary,
    SyncRun,
    UpstreamToken,
)
from productagg.sandbox import Fault
from productagg.settings import Settings
from productagg.sync.clock_repair import repair
from productagg.sync.tokens import SharedToken, account_key
from tests.conftest import REFRESH_TOKEN, ini
from tests.factories import link, make_product, make_products, make_run, make_source, rows, states, sync_row
from tests.integration.observed_products import Shop, compact, day, progress
from tests.integration.offer_history import replay, stored

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
ONE = UUID(int=1)
(OFFER_ID,) = states((0, 0))
NOTHING = "repair-clock: nothing lies in the future\n"


def everything(database):
    """All that is stored."""
    with database.reader.connect() as connection:
        return {
            table.name: connection.execute(select(table).order_by(*table.primary_key)).all()
            for table in Base.metadata.sorted_tables
        }


def times(database):
    """All times that are stored, by table and column."""
    found: dict[str, list[datetime]] = {}
    for table, stored_rows in everything(database).items():
        for row in stored_rows:
            for name, value in row._mapping.items():
                if isinstance(value, datetime):
                    found.setdefault(f"{table}.{name}", []).append(value)
    return found


@pytest.fixture
def future(database, upstream, synchronizer, database_clock, run):
    """Three products with a past, of which passes, an editor and a killed pass wrote with a clock two hours ahead."""
    product_ids = make_products(database, 3)

    def offer(price):
        for product_id in product_ids:
            upstream.offer(product_id, {OFFER_ID: (price, 5)})
        assert synchronizer.run().fetched == 3

    offer(100)
    database_clock.shift(2 * HOUR)
    offer(90)
    database_clock.shift(61 * SECOND)
    offer(80)
    with database.sessions.begin() as session:
        product_ids.append(catalog.create(session, "New", ""))
        catalog.change(session, product_ids[0], description="Better")
        session.get_one(ProductSource, (product_ids[1], OFFERS_SOURCE)).leased_until = (
            database_clock.now() + 30 * SECOND
        )
    database_clock.shift(-2 * HOUR - 61 * SECOND)
    return product_ids


class TestAfterAClockWasTwoHoursAhead:
    def test_it_says_what_is_to_be_done_and_changes_nothing(self, database, run, future):
        before = everything(database)

        result = run("repair-clock")

        assert result.exit_code == 1
        assert "repair-clock: 3 products' sync times are set to now" in result.output
        assert "repair-clock: 1 leases are ended" in result.output
        assert "repair-clock: 3 superseded rows of product_prices are removed" in result.output
        assert result.output.endswith("repair-clock: nothing was changed; use --apply to change it\n")
        assert everything(database) == before

    def test_applied_it_says_the_same_and_nothing_is_left_in_the_future(self, database, run, future, database_clock):
        said = run("repair-clock").output.splitlines()[:-1]

        result = run("repair-clock", "--apply")

        assert (result.exit_code, result.output.splitlines()) == (0, said)
        # The token's end is the Offers service's word.
        ahead = {name for name, found in times(database).items() if max(found) > database_clock.now()}
        assert ahead <= {"upstream_tokens.expires_at"}
        again = run("repair-clock")
        assert (again.exit_code, again.output) == (0, NOTHING)

    def test_after_it_products_are_asked_and_their_histories_go_on(
        self, database, upstream, run, synchronizer, future, database_clock
    ):
        repaired_at = database_clock.now()
        run("repair-clock", "--apply")
        for product_id in future:
            upstream.offer(product_id, {OFFER_ID: (70, 5)})

        report = synchronizer.run()

        assert (report.fetched, report.exit_code) == (4, 0)
        for product_id in future[:3]:
            assert [state[OFFER_ID][0] for state in replay(database, product_id)] == [100, 80, 70]
            # Between the last step before the clock was ahead and the repair, nobody knows
            history = sorted(rows(database, ProductPrice, product_id=product_id), key=lambda row: row.observed_at)
            assert [(row.lowest, row.observed) for row in history] == [(100, 1), (None, 0), (80, 1), (70, 1)]
            assert repaired_at <= history[2].observed_at < history[3].observed_at <= database_clock.now()
            _, kept, newest = sorted(row.observed_at for row in rows(database, OfferPrice, product_id=product_id))
            assert (kept, newest) == (history[2].observed_at, history[3].observed_at)
            assert stored(database, product_id) == {OFFER_ID: (70, 5)}
        assert {row.lowest for row in rows(database, ProductSummary)} == {70}
        assert all(row.next_sync_at <= database_clock.now() + 60 * SECOND for row in rows(database, ProductSource))

    def test_a_run_that_fetched_before_it_and_applies_after_it_writes_nothing_into_the_future(
        self, database, upstream, run, one_by_one, future, database_clock
    ):
        def repair_once(_product_id):
            upstream.before_offers = lambda _product_id: None
            assert run("repair-clock", "--apply").exit_code == 0

        upstream.before_offers = repair_once
        upstream.offer(future[0], {OFFER_ID: (70, 5)})

        one_by_one.run(products=future[:1])

        assert sync_row(database, future[0]).last_synced_at <= database_clock.now()
        assert max(row.observed_at for row in rows(database, OfferPrice)) <= database_clock.now()


class TestWhatStandsInTheWay:
    def test_leases_waits_keys_and_counters_of_the_future_end(self, database, upstream, run, database_clock):
        then = database_clock.now() + 2 * HOUR
        make_product(database, leased_until=then)
        make_run(database, started_at=then, finished_at=None)
        with database.sessions.begin() as session:
            user_id = users.add(session, "somebody", "a password", "admin")
            token = {"access_token": "the token", "expires_at": then, "blocked_reason": "it was busy"}
            account = account_key(upstream.base_url, REFRESH_TOKEN)
            session.add(UpstreamToken(account=account, blocked_until=then, refreshing_until=then, **token))
            session.add(LoginCounter(key="LIMITS/somebody", count=9, expires_at=then))
            session.add(LoginCounter(key="own/somebody", count=1, expires_at=then + timedelta(days=20)))
            session.add(IdempotencyKey(user_id=user_id, key="a", fingerprint="it", created_at=then, leased_until=then))

        assert run("repair-clock", "--apply").exit_code == 0

        (token,) = rows(database, UpstreamToken)
        assert (token.blocked_until, token.refreshing_until, token.access_token) == (None, None, "the token")
        assert [row.key for row in rows(database, LoginCounter)] == ["own/somebody"]
        assert rows(database, IdempotencyKey) == rows(database, SyncRun) == []
        assert [row.leased_until for row in rows(database, ProductSource)] == [None]

    def test_what_a_right_clock_can_have_written_is_left_alone(
        self, database, upstream, run, one_by_one, make_synchronizer, database_clock
    ):
        # Given failures, waits, leases and a run as long as there can be
        _failing, leased = make_products(database, 2)
        upstream.faults.replace([Fault("error", {}, ("offers",))])
        for _ in range(9):
            one_by_one.run(everything=True)
            database_clock.shift(61 * SECOND)
        with database.sessions.begin() as session:
            session.get_one(ProductSource, (leased, OFFERS_SOURCE)).leased_until = database_clock.now() + 41 * SECOND
            user_id = users.add(session, "somebody", "a password", "admin")
            idempotency_keys.acquire(session, user_id, "a", "it")
            account = account_key(upstream.base_url, REFRESH_TOKEN)
            session.get_one(UpstreamToken, account).refreshing_until = database_clock.now() + 7 * SECOND
        SharedToken(database.sessions, account, lambda: None, 7.0).block(HOUR, "busy")
        before = everything(database)

        result = run("repair-clock", "--apply")

        assert (result.exit_code, result.output) == (0, NOTHING)
        assert everything(database) == before


class TestWhatWasCompactedBeforeItsTime:
    @pytest.fixture
    def shop(self, database):
        """A price each hour of the first ten hours of a day."""
        shop = Shop(database)
        for hour in range(10):
            shop.observe(day(3, hour), {ONE: (100 + hour, 5)})
        return shop

    @pytest.fixture
    def repair_at(self, database, upstream, monkeypatch):
        settings = Settings.load(ini(database, upstream), environ={})

        def act(now):
            monkeypatch.setattr(database_time, "now_parameter", lambda _dialect: now)
            with database.sessions.begin() as session:
                repair(session, settings)

        return act

    def test_a_day_that_is_not_over_is_not_summed_up_and_no_gap_is_made_up(self, database, shop, repair_at):
        compact(database, day(300))
        assert progress(database).raw_from == day(181)

        repair_at(day(3, 9, 2))
        shop.observe(day(3, 12), {ONE: (200, 5)})

        assert progress(database).raw_from == day(4)
        steps = rows(database, ProductPriceDay) + rows(database, ProductPrice)
        assert [(row.observed_at, row.lowest, row.observed) for row in steps] == [
            (day(3), 100, True),
            (day(3, 9) + SECOND / 10**6, 109, True),
            (day(3, 12), 200, True),
        ]
        assert not any(row.summary for row in rows(database, ProductPriceDay) + rows(database, OfferPriceDay))

    def test_days_before_stay_summarised(self, database, shop, repair_at):
        compact(database, day(300))

        repair_at(day(5, 2))

        assert any(row.summary for row in rows(database, ProductPriceDay))

    def test_of_steps_in_the_future_the_newest_counts_from_now_on_wherever_it_is(self, database, shop, repair_at):
        shop.observe(day(20), {ONE: (90, 5)})
        compact(database, day(300))
        shop.observe(day(20, 1), {ONE: (80, 5)})

        repair_at(day(5, 2))

        assert [row.price for row in rows(database, OfferPriceDay) if row.observed_at >= day(4)] == []
        assert [(row.observed_at, row.price) for row in rows(database, OfferPrice)] == [(day(5, 2), 80)]
        assert [(row.observed_at, row.lowest) for row in rows(database, ProductPrice)] == [(day(5, 2), 80)]

    def test_it_may_have_been_compacted(self, database, shop, repair_at):
        shop.observe(day(20), {ONE: (90, 5)})
        compact(database, day(300))

        repair_at(day(5, 2))

        last = [row for row in rows(database, OfferPriceDay) if row.observed_at >= day(4)]
        assert [(row.observed_at, row.price) for row in last] == [(day(5, 2), 90)]


def test_what_a_source_is_asked_for_once_a_day_is_due_in_many_hours(database, run):
    daily = {"interval_seconds": 86_400}
    later = datetime.now(UTC) + 20 * HOUR
    make_source(database, "feed", kind="feed", next_sync_at=later, **daily)
    shop = make_source(database, "shop", **daily)
    link(database, make_product(database), shop, next_sync_at=later, last_asked_at=later - 24 * HOUR)

    assert run("repair-clock").output == NOTHING


def test_a_healthy_installation_has_nothing_to_repair(database, upstream, run, synchronizer):
    make_products(database, 3)
    synchronizer.run()

    result = run("repair-clock")

    assert (result.exit_code, result.output) == (0, NOTHING)
    assert datetime.now(UTC) >= max(row.last_synced_at for row in rows(database, ProductSource))
