"""When a product is asked next: never too late, not all at once, and less often when nothing changes."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.sync.schedule import Schedule

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

moments = st.integers(0, 5 * 365 * 86400).map(lambda seconds: NOON + timedelta(seconds=seconds))
intervals = st.integers(1, 86400).map(lambda seconds: timedelta(seconds=seconds))


def fixed(interval):
    return Schedule(interval, interval)


@given(st.uuids(), moments, intervals)
def test_the_next_turn_comes_before_an_interval_is_over_and_not_much_earlier(product_id, start, interval):
    turn = fixed(interval).after_success(product_id, start, start, None) - start

    assert 0.8 * interval <= turn < interval


@given(st.uuids(), moments, st.lists(st.integers(-2, 2), min_size=20, max_size=20))
def test_cron_every_minute_finds_each_product_due_every_minute_whatever_its_jitter(product_id, start, jitters):
    due = start
    for minute, jitter in enumerate(jitters):
        tick = start + minute * MINUTE + jitter * SECOND
        assert minute == 0 or due <= tick
        due = fixed(MINUTE).after_success(product_id, tick, tick + SECOND, None)


@given(st.uuids(), moments, intervals)
def test_it_is_never_in_the_past(product_id, start, interval):
    late = start + 2 * interval

    assert fixed(interval).after_success(product_id, start, late, None) == late
    assert fixed(interval).after_failure(product_id, start, late, 2) >= late - interval


def test_products_that_came_all_at_once_are_spread_over_the_interval_and_stay_so():
    schedule = fixed(10 * MINUTE)
    # Given 1,000 products asked at the same tick, and cron every minute for five hours
    dues = {uuid4(): NOON for _ in range(1000)}
    asked = []
    for minute in range(300):
        tick = NOON + minute * MINUTE
        turn = [product_id for product_id, due in dues.items() if due <= tick]
        asked.append(len(turn))
        for product_id in turn:
            dues[product_id] = schedule.after_success(product_id, tick, tick, None)

    assert asked[0] == 1000
    # Each minute brings about a tenth of them, and in all as many as an interval of ten minutes makes
    assert all(50 <= number <= 170 for number in asked[-30:]), asked[-30:]
    assert 3000 <= sum(asked[-30:]) <= 3300


def test_what_has_not_changed_for_long_is_asked_after_a_tenth_of_that_time_up_to_the_longest_interval():
    schedule = Schedule(MINUTE, HOUR)
    product_id = UUID(int=1)

    def turn(unchanged_for):
        return schedule.after_success(product_id, NOON, NOON, NOON - unchanged_for) - NOON

    assert turn(timedelta(0)) <= MINUTE
    assert turn(9 * MINUTE) <= MINUTE
    assert 0.85 * 30 * MINUTE <= turn(300 * MINUTE) < 30 * MINUTE
    assert 0.85 * HOUR <= turn(timedelta(days=30)) < HOUR


def test_without_a_longest_interval_it_does_not_matter_how_long_nothing_changed():
    month = timedelta(days=30)

    assert fixed(MINUTE).after_success(UUID(int=1), NOON, NOON, NOON - month) < NOON + MINUTE


@given(st.uuids(), st.integers(1, 10_000), intervals)
def test_after_a_failure_the_wait_doubles_up_to_an_hour_but_for_jitter(product_id, failures, interval):
    wait = fixed(interval).after_failure(product_id, NOON, NOON, failures) - NOON

    most = min(interval * (2 ** min(failures - 1, 20) - 1), HOUR)
    assert max(0.75 * most - 5 * SECOND, timedelta(0)) <= wait <= most


@pytest.mark.parametrize("failures", [2, 5, 8])
def test_products_that_failed_together_do_not_come_back_together(failures):
    waits = Counter(fixed(MINUTE).after_failure(uuid4(), NOON, NOON, failures) for _ in range(200))

    assert len(waits) > 190
    assert max(waits) - min(waits) > 0.15 * (max(waits) - NOON)
