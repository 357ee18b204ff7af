"""When a product is due again, and when no requests are sent at all."""

from datetime import UTC, datetime, timedelta

import pytest

from productagg.db.models import ProductSource, SyncRun
from productagg.sandbox import Fault
from productagg.sandbox.service import Response
from tests.factories import make_product, make_products, rows, sync_row

MINUTE = timedelta(minutes=1)


def test_cron_every_minute_asks_for_each_product_every_minute_even_if_runs_take_long(
    database, upstream, synchronizer, clock
):
    product_id = make_product(database)
    upstream.before_offers = lambda _product_id: clock.shift(40)
    noon = datetime.now(UTC)

    # Cron starts processes a little early or late
    for minute, jitter in enumerate([0, 2, -2, 1, 3, -1], start=1):
        clock.move_to(noon + minute * MINUTE + timedelta(seconds=jitter))
        synchronizer.run()
        assert upstream.asked[product_id] == minute


def test_a_run_soon_after_another_asks_for_nothing(database, upstream, synchronizer, clock):
    make_products(database, 3)
    synchronizer.run()
    clock.shift(45)

    result = synchronizer.run()

    assert (result.asked, result.exit_code) == (0, 0)
    assert upstream.asked.total() == 3


def test_a_failing_product_is_asked_by_the_next_run_then_less_and_less_often_but_every_hour(
    database, upstream, synchronizer, clock
):
    product_id = make_product(database)
    upstream.faults.replace([Fault("error", {}, ("offers",))])
    delays = []

    for failures in range(1, 10):
        result = synchronizer.run()
        row = sync_row(database, product_id)
        assert (result.asked, row.failures) == (1, failures)
        delays.append((row.next_sync_at - result.started_at) / MINUTE)
        clock.move_to(row.next_sync_at + timedelta(seconds=1))

    # Up to a quarter earlier, and a little for cron's jitter
    expected = [0, 1, 3, 7, 15, 31, 60, 60, 60]
    assert all(0.75 * most - 0.1 <= delay <= most + 0.05 for delay, most in zip(delays, expected, strict=True)), delays


def test_a_failing_product_is_asked_once_per_run(database, upstream, synchronizer):
    make_product(database)
    upstream.faults.replace([Fault("error", {}, ("offers",))])

    synchronizer.run()

    assert upstream.count("offers") == 1


@pytest.mark.parametrize(
    ("endpoint", "form", "status"),
    [("auth", "seconds", 429), ("register", "date", 503), ("offers", "date", 429), ("offers", "seconds", 503)],
)
def test_a_busy_service_is_left_alone_until_the_time_that_it_names(
    database, upstream, one_by_one, clock, endpoint, form, status
):
    product_ids = make_products(database, 3)
    limit = {"status": status, "retry_after": 120, "form": form}
    upstream.faults.replace([Fault("rate_limit", limit, (endpoint,), times=1)])

    # The run ends at the first 429 or 503
    result = one_by_one.run()
    assert result.exit_code == 2
    assert str(status) in result.ended_by
    assert upstream.count(endpoint) == 1
    table = [sync_row(database, product_id) for product_id in product_ids]
    assert [(row.leased_until, row.last_synced_at) for row in table] == [(None, None)] * 3
    # It counts as a failure of the product that got it, except at /auth, which concerns no single product
    assert sum(row.failures for row in table) == (endpoint != "auth")

    # So does the next one, without a question
    clock.shift(100)
    asked = upstream.service.requests.total()
    result = one_by_one.run()
    assert result.exit_code == 2
    assert str(status) in result.ended_by
    assert upstream.service.requests.total() == asked

    clock.shift(21)
    assert one_by_one.run().exit_code == 0
    assert set(upstream.asked) == set(product_ids)
    assert [str(status) in run.ended_by for run in rows(database, SyncRun)] == [True, True, False]


def test_one_product_that_always_gets_503_does_not_keep_the_others_from_their_turn(
    database, upstream, one_by_one, clock
):
    cursed, *others = make_products(database, 3)
    offers_of = upstream.server.service.answer

    def answer(request):
        return Response(503, {"detail": "busy"}) if str(cursed) in request.path else offers_of(request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream.server.service, "answer", answer)
        for _ in range(3):
            one_by_one.run()
            clock.shift(61)

    assert all(sync_row(database, product_id).last_synced_at for product_id in others)
    assert "503" in sync_row(database, cursed).last_error


def test_a_busy_service_is_asked_by_no_worker_that_has_not_begun(database, upstream, make_synchronizer):
    make_products(database, 40)
    upstream.faults.replace([Fault("rate_limit", {"retry_after": 60}, ("offers",))])

    make_synchronizer(**{"sync.workers": "4"}).run()

    assert upstream.count("offers") <= 4
    assert {row.leased_until for row in rows(database, ProductSource)} == {None}


def test_what_was_reached_before_the_service_was_busy_is_kept(database, upstream, one_by_one):
    registered, untouched = make_products(database, 2)
    upstream.faults.replace([Fault("rate_limit", {}, ("offers",), times=1)])

    one_by_one.run()

    assert sync_row(database, registered).registration == "registered"
    assert sync_row(database, untouched).registration == "pending"


def test_an_interrupted_run_finishes_what_is_under_way_and_gives_back_the_rest(database, upstream, one_by_one):
    first, second, third = make_products(database, 3)
    upstream.before_offers = lambda _product_id: one_by_one.interrupt()

    result = one_by_one.run()

    assert (result.ended_by, result.exit_code, result.asked) == ("interrupted", 2, 1)
    assert upstream.asked == {first: 1}
    assert [sync_row(database, product_id).last_synced_at is None for product_id in (first, second, third)] == [
        False,
        True,
        True,
    ]
    assert {row.leased_until for row in rows(database, ProductSource)} == {None}
    assert [run.ended_by for run in rows(database, SyncRun)] == ["interrupted"]
