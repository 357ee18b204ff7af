"""A verdict says what the slow reference says, from steps and from summed-up days (Hypothesis)."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.history.price_drops import PriceDrop
from productagg.history.trends import Extreme
from productagg.history.verdicts import verdict
from tests.history_strategies import DAY, HOUR, OBSERVED_FOR, Compacted, ProductRow, compacted_pasts, midnight, pasts
from tests.integration.history_writer import examples
from tests.reference_statistics import facts, first_fall, time_at

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MONTH = 30 * DAY
YEAR = 365 * DAY
WEEK = 7 * 86_400  # in seconds


@pytest.fixture
def read(database, writer):
    """Ask for a verdict: `read(now)`."""

    def read(now):
        with database.reader.connect() as connection:
            return verdict(connection, writer.product_id, now=now, observed_for=OBSERVED_FOR)

    return read


def hour_of(time):
    return time.replace(minute=0, second=0, microsecond=0)


def share(part, whole):
    return round(float(100 * part / whole), 2) if whole else None


def near(measured, exact):
    return measured == exact if exact is None else abs(measured - exact) <= 0.01


def check_the_present(found, history, now):
    told = facts(history, EPOCH, now)
    month = facts(history, now - MONTH, now)
    price = told.end_price
    assert (found.at, found.price) == (now, price)
    assert (found.state == "in_stock") == (price is not None)
    unsure = price is None or told.observed < 30 * 86_400 or month.observed < 15 * 86_400
    assert found.confidence == ("low" if unsure else "high")
    assert bool(found.reasons) == unsure
    assert found.low_30_days == (Extreme(*month.minimum) if month.minimum else None)


def check_the_word(found, history, now):
    """`found.resolution` 'day': the year begins with a whole day."""
    begin = now - YEAR if found.resolution == "raw" else next_midnight(now - YEAR)
    in_stock = facts(history, begin, now).in_stock
    if found.price is None:
        assert (found.verdict, found.enough_at) == (None, None)
    elif in_stock < WEEK:
        assert found.verdict == "insufficient_history"
        missing = WEEK - in_stock
        assert found.enough_at == now + timedelta(0, int(missing), int(missing % 1 * 10**6))
    else:
        assert found.enough_at is None
        if abs(found.dearer_percent - 75) > 0.01 and abs(found.cheaper_percent - 75) > 0.01:
            expected = "good" if found.dearer_percent > 75 else "poor" if found.cheaper_percent > 75 else "fair"
            assert found.verdict == expected


def reference(history, price, since, begin):
    """The drop to a price, from the lowest one of [begin, since)."""
    lowest = facts(history, begin, since).minimum
    if price is None or lowest is None:
        return None
    drop = lowest[0] - price
    percent = round(float(Fraction(100 * drop, lowest[0])), 2) if lowest[0] else None
    return PriceDrop(since, lowest[0], drop, percent)


@examples(40)
@given(past=pasts(800 * DAY))
def test_a_verdict_from_raw_rows_is_exact(writer, read, past):
    writer.write(past.rows, synced_at=past.synced_at)

    found = read(past.now)

    history = past.of("lowest")
    check_the_present(found, history, past.now)
    check_the_word(found, history, past.now)
    assert (found.resolution, found.resolution_ever) == ("raw", "raw")
    for begin, low in ((EPOCH, found.all_time_low), (past.now - YEAR, found.low_365_days)):
        told = facts(history, begin, past.now)
        assert low == (Extreme(*told.minimum) if told.minimum else None)
    if found.price is None:
        assert (found.dearer_percent, found.cheaper_percent, found.dearer_percent_ever) == (None, None, None)
        assert found.price_drop is None
        return
    for begin, is_wanted, measured in (
        (EPOCH, found.price.__lt__, found.dearer_percent_ever),
        (past.now - YEAR, found.price.__lt__, found.dearer_percent),
        (past.now - YEAR, found.price.__gt__, found.cheaper_percent),
    ):
        whole = facts(history, begin, past.now).in_stock
        assert near(measured, share(time_at(history, begin, past.now, is_wanted), whole))
    since = first_fall(history, past.now)
    assert found.price_drop == (since and reference(history, found.price, since, since - MONTH))


@st.composite
def slow_pasts(draw: st.DrawFn) -> Compacted:
    """Compacted pasts with a row an hour at most, some of which are observed until now."""
    past, raw_from = draw(compacted_pasts(draw(st.sampled_from([4 * DAY, 400 * DAY]))))
    rows = list({hour_of(row.at): row for row in past.rows}.values())
    while rows and not rows[-1].observed:
        rows.pop()
    now = max(past.now, raw_from + 32 * DAY)
    synced_at = draw(st.sampled_from([now, max(row.at for row in rows)])) if rows else None
    return Compacted(past._replace(rows=rows, offers=[], now=now, synced_at=synced_at), raw_from)


@examples(80)
@given(compacted=slow_pasts())
def test_a_verdict_from_summarised_days_is_exact_for_whole_days(writer, read, compacted):
    past, raw_from = compacted
    writer.write(compacted.rows, synced_at=past.synced_at, raw_from=raw_from)

    found = read(past.now)

    history = past.of("lowest")
    check_the_present(found, history, past.now)
    check_the_word(found, history, past.now)
    year = past.now - YEAR if found.resolution == "raw" else next_midnight(past.now - YEAR)
    lows = [facts(history, begin, past.now).minimum for begin in (EPOCH, year)]
    measured = [low and low.price for low in (found.all_time_low, found.low_365_days)]
    assert measured == [low and low[0] for low in lows]
    since = first_fall(history, past.now) if found.price is not None else None
    if since is None:
        assert found.price_drop is None
    elif rises_on_the_day_of(history, since):
        # Nobody knows whether it fell after that.
        assert found.price_drop is None or found.price_drop.since >= midnight(since)
    else:
        assert found.price_drop in [
            reference(history, found.price, at, begin)
            for at in (since, midnight(since))
            for begin in (at - MONTH, next_midnight(at - MONTH))
        ]


def next_midnight(time):
    return midnight(time + DAY - timedelta.resolution)


def rises_on_the_day_of(history, time):
    prices = [(row.at, row.price) for row in history if row.observed and row.price is not None]
    return any(midnight(at) == midnight(time) and after > before for (_, before), (at, after) in pairwise(prices))


def row(days_ago, price, hours=0):
    at = NOW - days_ago * DAY + hours * HOUR
    return ProductRow(at, price, price, int(price is not None), int(price is not None), observed=True)


GAP = ProductRow(NOW, None, None, 0, 0, observed=False)


@pytest.mark.parametrize(
    ("rows", "verdict", "days_left"),
    [
        ([row(7, 200), row(1, 100)], "good", None),
        ([row(7, 200, 1), row(1, 100)], "insufficient_history", 1 / 24),
        ([row(0, 100)], "insufficient_history", 7),
        # Times sold out and times unobserved do not count.
        ([row(300, None), row(2, 100)], "insufficient_history", 5),
        ([row(9, 100), GAP._replace(at=NOW - 8 * DAY), row(5, 100)], "insufficient_history", 1),
        ([row(10, 100), GAP._replace(at=NOW - 8 * DAY), row(5, 100)], "fair", None),
        # Longer than a year ago.
        ([row(500, 100), row(366, None), row(2, 100)], "insufficient_history", 5),
    ],
)
def test_a_verdict_is_silent_until_it_was_seen_in_stock_for_a_week(writer, read, rows, verdict, days_left):
    writer.write(rows, synced_at=NOW)

    found = read(NOW)

    assert found.verdict == verdict
    assert found.enough_at == (None if days_left is None else NOW + timedelta(days=days_left))


def test_there_is_a_verdict_at_the_time_that_was_told(writer, read):
    writer.write([row(3, 100)], synced_at=NOW)
    enough_at = read(NOW).enough_at
    writer.write([row(3, 100)], synced_at=enough_at)

    assert read(enough_at - timedelta.resolution).verdict == "insufficient_history"
    assert read(enough_at).verdict == "fair"


def test_a_day_of_two_prices_counts_for_each_as_long_as_it_held(writer, read):
    # An hour of each day at 200, from noon on.
    rows = [row(days, price, hours) for days in range(400, 0, -1) for hours, price in ((0, 200), (1, 99))]
    rows.append(row(1, 100, 2))
    writer.write(rows, synced_at=NOW)
    exact = read(NOW)
    raw_from = midnight(NOW - 60 * DAY)
    writer.write(rows, synced_at=NOW, raw_from=raw_from)

    found = read(NOW)

    assert (exact.resolution, found.resolution, found.resolution_ever) == ("raw", "day", "day")
    assert exact.verdict == found.verdict == "poor"
    assert found.dearer_percent == pytest.approx(exact.dearer_percent, abs=0.1)
    assert found.cheaper_percent == pytest.approx(exact.cheaper_percent, abs=0.1)


def test_the_largest_prices_are_told_apart_in_summaries(writer, read):
    price = 2**53 + 1
    rows = [row(days, None if days % 2 else price) for days in range(100, -1, -1)]
    raw_from = midnight(NOW - 40 * DAY)
    writer.write(rows, synced_at=NOW, raw_from=raw_from)

    found = read(NOW)

    assert (found.price, found.dearer_percent, found.cheaper_percent, found.verdict) == (price, 0.0, 0.0, "fair")


@pytest.mark.parametrize("compacted", [False, True], ids=["raw", "compacted"])
@pytest.mark.parametrize(
    ("rows", "drop"),
    [
        # From step to step, over where the raw rows begin.
        ([row(300, 200), row(120, 180), row(20, 100)], (120, 200, 100, 50.0)),
        # Long ago.
        ([row(300, 200), row(120, 100)], (120, 200, 100, 50.0)),
        # At the moment from which on raw rows are kept.
        ([row(300, 200), row(60.5, 100)], (60.5, 200, 100, 50.0)),
        # It was as cheap in the 30 days before, and is no longer.
        ([row(300, 80), row(70, 200), row(65, 150)], (65, 80, -70, -87.5)),
        # It was as cheap just before these 30 days.
        ([row(300, 50), row(95, 200), row(60, 150)], (60, 200, 50, 25.0)),
        # Raised last, long ago or not.
        ([row(300, 100), row(200, 50), row(120, 100)], None),
        ([row(300, 100), row(20, 50), row(10, 100)], None),
        # Raised last, on the day on which it had fallen; and fallen last, after it had been raised on that day.
        ([row(300, 100), row(120, 80), row(120, 90, 3)], None),
        ([row(300, 100), row(120, 80, -6), row(120, 90, -3), row(120, 85)], (120, 80, -5, -6.25)),
        # Never another price; nobody knows of any before the fall.
        ([row(300, 100)], None),
        ([row(300, 200), row(100, None), row(60, 100)], None),
    ],
)
def test_a_drop_is_from_the_lowest_price_of_the_30_days_before_the_first_fall(writer, read, rows, drop, compacted):
    raw_from = NOW - 60.5 * DAY if compacted else None
    writer.write(rows, synced_at=NOW, raw_from=raw_from, fewest_replaced=4)

    found = read(NOW).price_drop

    if drop is None:
        assert found is None
        return
    days, *expected = drop
    since = NOW - days * DAY
    assert found.since == since
    assert [found.low_30_days_before, found.drop, found.drop_percent] == expected


def test_the_fall_of_a_summarised_day_is_that_of_the_whole_day(writer, read):
    rows = [row(300, 200), row(120, 150, -3), row(120, 100)]
    writer.write(rows, synced_at=NOW, raw_from=midnight(NOW - 60 * DAY))

    found = read(NOW).price_drop

    assert (found.since, found.low_30_days_before) == (midnight(NOW - 120 * DAY), 200)


def test_a_summarised_day_with_a_rise_hides_whether_it_fell_after_that(writer, read):
    rows = [row(300, 100), row(120, 80, -6), row(120, 90, -3), row(120, 85)]
    writer.write(rows, synced_at=NOW, raw_from=midnight(NOW - 60 * DAY))

    assert read(NOW).price_drop is None


def test_a_price_that_seldom_changes_is_found_among_many_rows(writer, read):
    # The stock changes each hour, the price twice in half a year.
    rows = [
        ProductRow(NOW - hours * HOUR, price, price, 1, 1 + hours, observed=True)
        for hours in range(180 * 24, -1, -1)
        for price in [100 if hours < 100 * 24 else 200 if hours < 150 * 24 else 90]
    ]
    writer.write(rows, synced_at=NOW)

    found = read(NOW).price_drop

    assert (found.since, found.low_30_days_before) == (NOW - 100 * DAY + HOUR, 200)
