"""A trend says what the slow reference says, from raw rows and from roll-ups (Hypothesis)."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.history import compaction
from productagg.history.trends import Extreme, Trend, raw_part, trend
from tests.integration.conftest import before_statement
from tests.integration.pasts import examples
from tests.integration.shops import compact
from tests.reference import facts
from tests.timelines import DAY, HOUR, INSTANT, LARGEST, MOMENTS, SECOND, ProductRow, compacted_pasts, pasts

LENGTHS = {"hour": HOUR, "day": DAY, "week": 7 * DAY}

metrics = st.sampled_from(["lowest", "average"])


@pytest.fixture
def read(database, writer):
    """Ask for a trend: `read(now, begin, end, metric)`."""

    def read(now, begin, end, metric="lowest"):
        with database.reader.connect() as connection:
            known = writer.known(connection, now, raw_part(begin, min(end.astimezone(UTC), now), now, metric))
            return trend(connection, known, begin, end, metric)

    return read


def same(measured, exact):
    """A statistic is the float that is nearest to the exact number, None if there is no such number."""
    return measured == exact if exact is None else isinstance(measured, float) and measured == float(exact)


def rounded(measured, exact):
    """A percentage has two decimals; beyond 2**53 of them a float has fewer digits than that."""
    if exact is None:
        return measured is None
    return measured == round(measured, 2) and abs(Fraction(measured) - exact) <= Fraction(1, 200) + abs(exact) / 2**51


def extreme(found):
    return Extreme(*found) if found else None


def check_it_is_exact(found, past, metric):
    told = facts(past.of(metric), past.begin, past.effective_end)
    assert (found.begin, found.end) == (past.begin.astimezone(UTC), past.effective_end)
    assert (found.resolution, found.metric) == ("raw", metric)
    assert (found.start_price, found.end_price, found.changes) == (told.start_price, told.end_price, told.moves)
    assert (found.change, found.direction) == (told.change, told.direction)
    assert (found.minimum, found.maximum) == (extreme(told.minimum), extreme(told.maximum))
    assert same(found.mean, told.mean)
    assert same(found.median, told.median)
    assert same(found.longest_gap_seconds, told.longest_gap)
    assert rounded(found.change_percent, told.change_percent)
    check_the_shares(found, told)


def check_the_shares(found, told):
    assert rounded(found.out_of_stock_percent, told.out_of_stock_percent)
    assert rounded(found.observed_percent, told.observed_percent)


@examples(25)
@given(past=pasts(), metric=metrics)
def test_a_trend_of_raw_rows_is_exact(writer, read, past, metric):
    writer.write(past.rows, synced_at=past.synced_at)

    found = read(past.now, past.begin, past.end, metric)

    check_it_is_exact(found, past, metric)


@examples(25)
@given(compacted=compacted_pasts(), metric=metrics)
def test_a_trend_whose_raw_rows_are_kept_is_exact_even_if_older_ones_are_dropped(writer, read, compacted, metric):
    past, rolled_until, raw_from = compacted
    begin = max(past.begin.astimezone(UTC), raw_from)
    past = past._replace(begin=begin, end=max(past.end.astimezone(UTC), begin + SECOND))
    writer.write(compacted.rows, synced_at=past.synced_at, rolled_until=rolled_until, raw_from=raw_from)

    found = read(past.now, past.begin, past.end, metric)

    check_it_is_exact(found, past, metric)


@pytest.mark.parametrize("earlier", [0 * DAY, 100 * DAY, 3 * 366 * DAY], ids=["days", "months", "years"])
@examples(25)
@given(compacted=compacted_pasts(), metric=metrics)
def test_a_trend_of_roll_ups_is_that_of_the_raw_rows_they_were_made_of(writer, read, earlier, compacted, metric):
    past, rolled_until, raw_from = compacted
    begin = min(past.begin.astimezone(UTC), raw_from - INSTANT) - earlier
    end = past.effective_end
    writer.write(compacted.rows, synced_at=past.synced_at, rolled_until=rolled_until, raw_from=raw_from)

    found = read(past.now, begin, end, metric)

    length = LENGTHS[found.resolution]
    assert found.resolution == ("hour" if end - begin <= 32 * DAY else "day" if end - begin <= 732 * DAY else "week")
    assert found.begin == floor(begin, length)
    assert end <= found.end < end + length
    assert found.end in (end, past.now) or found.end == floor(found.end, length)
    assert found.end == end or end <= rolled_until
    told, and_then = (facts(past.of(metric), found.begin, each) for each in (found.end, found.end + INSTANT))
    if tells_its_beginning(past, found.begin, metric):
        assert found.start_price == told.start_price
    if found.end >= raw_from or tells_its_beginning(past, found.end, metric):
        assert found.end_price == told.end_price
    assert found.changes in (told.changes, and_then.changes)
    assert same(found.mean, told.mean)
    check_the_shares(found, told)
    check_the_extremes(found, told, length)
    assert abs(timedelta(seconds=found.longest_gap_seconds - float(told.longest_gap))) < 2 * length


def tells_its_beginning(past, at, metric):
    """Unless something happened at an hour's very beginning and again in it, a roll-up tells what was so then."""
    hour = facts(past.of(metric), at, at + HOUR)
    return hour.in_stock in (0, 3600) or all(row.at != at for row in past.rows)


def check_the_extremes(found, told, length):
    """The prices are exact, their times and the median are within the resolution."""
    if told.minimum is None or told.maximum is None:
        assert (found.minimum, found.maximum, found.median) == (None, None, None)
        return
    for measured, (price, at) in ((found.minimum, told.minimum), (found.maximum, told.maximum)):
        assert measured.price == price
        assert measured.at <= at < measured.at + length
    assert float(found.minimum.price) <= found.median <= float(found.maximum.price)


def floor(time, length):
    """The beginning of its UTC hour, UTC day or week."""
    monday = datetime(2024, 1, 1, tzinfo=UTC)
    return monday + (time.astimezone(UTC) - monday) // length * length


def minutes(count):
    return MOMENTS[0] + timedelta(minutes=count)


def product_row(at, price, *, observed=True):
    return ProductRow(minutes(at), price, price, int(price is not None), int(price is not None), observed)


@pytest.mark.parametrize("metric", ["lowest", "average"])
def test_the_mean_weighs_prices_by_the_time_in_stock(writer, read, metric):
    writer.write([product_row(0, 100), product_row(10, 200), product_row(15, None), product_row(20, 150)])

    found = read(minutes(60), minutes(0), minutes(30), metric)

    assert found == Trend(
        begin=minutes(0),
        end=minutes(30),
        resolution="raw",
        metric=metric,
        start_price=100,
        end_price=150,
        change=50,
        change_percent=50.0,
        direction="up",
        minimum=Extreme(100, minutes(0)),
        maximum=Extreme(200, minutes(10)),
        mean=140.0,
        median=150.0,
        out_of_stock_percent=16.67,
        observed_percent=100.0,
        longest_gap_seconds=0.0,
        changes=3,
    )


def test_what_nobody_saw_counts_neither_as_in_stock_nor_as_sold_out(writer, read):
    rows = [product_row(10, 100), product_row(20, None, observed=False), product_row(25, 100), product_row(30, None)]
    writer.write(rows)

    found = read(minutes(60), minutes(0), minutes(40))

    # Ten minutes before the first observation, and the gap.
    assert found.observed_percent == 62.5
    assert found.out_of_stock_percent == 40.0
    assert found.longest_gap_seconds == 300.0
    assert (found.mean, found.start_price, found.end_price) == (100.0, None, None)
    # To be sold out is one; to come back from a gap is none.
    assert found.changes == 1


def test_a_gap_that_has_not_ended_counts_like_any_other(writer, read):
    writer.write([product_row(0, 100)], synced_at=minutes(30))

    found = read(minutes(600), minutes(0), minutes(120))

    assert (found.end_price, found.change, found.change_percent, found.direction) == (None, None, None, None)
    assert found.observed_percent == 25.0
    assert found.longest_gap_seconds == 5400.0 - 1e-6


def test_the_future_is_no_part_of_the_window(writer, read):
    writer.write([product_row(0, 100), product_row(10, 200)], synced_at=minutes(20))

    found = read(minutes(20), minutes(0), minutes(1000))

    assert (found.end, found.mean, found.observed_percent) == (minutes(20), 150.0, 100.0)


@pytest.mark.parametrize(
    ("prices", "median"),
    [
        # Ten minutes each.
        ([100], 100.0),
        ([300, 100, 200], 200.0),
        ([300, 100], 200.0),
        ([100, 101], 100.5),
        ([100, 100, 100, 900], 100.0),
        ([LARGEST, LARGEST, 0], float(LARGEST)),
    ],
)
def test_the_median_is_as_long_undercut_as_exceeded(writer, read, prices, median):
    writer.write([product_row(10 * number, price) for number, price in enumerate(prices)])

    found = read(minutes(600), minutes(0), minutes(10 * len(prices)))

    assert found.median == median


def test_there_is_no_percentage_of_a_price_of_nothing(writer, read):
    writer.write([product_row(0, 0), product_row(10, 50)])

    found = read(minutes(60), minutes(0), minutes(20))

    assert (found.start_price, found.change, found.change_percent, found.direction) == (0, 50, None, "up")


@pytest.mark.parametrize("metric", ["lowest", "average"])
def test_compaction_changes_no_answer(database, writer, read, monkeypatch, metric):
    monkeypatch.setattr(compaction, "_READERS_LEAVE_SECONDS", 0)
    # Half a year: another price every 80 minutes, sold out at times, and a gap of four hours each week.
    kinds = [100, 250, None, LARGEST, 0]
    rows = [product_row(80 * number, kinds[number % 5]) for number in range(3000) if number % 126 > 2]
    gaps = [product_row(80 * 126 * week, None, observed=False) for week in range(1, 23)]
    now = minutes(80 * 3000)
    writer.write(sorted([*rows, *gaps]), synced_at=now)
    windows = [(begin, begin + span) for begin in (minutes(60), minutes(121 * 60)) for span in (DAY, 30 * DAY)]
    before = [read(now, begin, end, metric) for begin, end in windows]

    compact(database, now, raw_days=1)

    for (begin, end), raw in zip(windows, before, strict=True):
        found = read(now, begin, end, metric)
        assert (raw.resolution, found.resolution) == ("raw", "hour")
        assert (found.begin, found.end) == (raw.begin, raw.end)
        assert (found.start_price, found.end_price, found.changes) == (raw.start_price, raw.end_price, raw.changes)
        assert (found.mean, found.out_of_stock_percent, found.observed_percent) == (
            raw.mean,
            raw.out_of_stock_percent,
            raw.observed_percent,
        )
        assert (found.minimum.price, found.maximum.price) == (raw.minimum.price, raw.maximum.price)


def test_daily_prices_are_those_of_their_days_from_the_first_moment_on(writer, read):
    rows = [product_row(24 * 60 * day, None if day == 4 else 100 + 10 * day) for day in range(40)]
    raw_from = minutes(0) + 20 * DAY
    writer.write(rows, synced_at=minutes(40 * 24 * 60), rolled_until=raw_from, raw_from=raw_from)

    def ends(first, last):
        found = read(minutes(40 * 24 * 60), minutes(24 * 60 * first), minutes(24 * 60 * last))
        return found.resolution, found.start_price, found.end_price

    assert ends(5, 9) == ("hour", 150, 190)
    assert ends(2, 4) == ("hour", 120, None)
    assert ends(4, 5) == ("hour", None, 150)
    assert ends(10, 20) == ("hour", 200, 300)
    assert ends(10, 39) == ("hour", 200, 490)


def test_a_gap_begins_a_microsecond_after_the_last_list(writer, read):
    writer.write([product_row(0, 100)], synced_at=minutes(10))

    ends = [read(minutes(600), minutes(0), end).end_price for end in (minutes(10), minutes(10) + INSTANT)]

    assert ends == [100, None]


def test_a_change_at_the_moment_up_to_which_days_are_rolled_up_counts_once(writer, read):
    rolled_until = minutes(0) + DAY
    rows = [product_row(0, 100), ProductRow(rolled_until, 200, 200, 1, 1, observed=True)]
    now = rolled_until + HOUR
    writer.write(rows, synced_at=now, rolled_until=rolled_until, raw_from=rolled_until)

    found = read(now, minutes(0), now)

    assert (found.resolution, found.start_price, found.end_price, found.changes) == ("hour", 100, 200, 1)


@pytest.mark.parametrize(("length", "resolution", "round_trips"), [(30 * DAY, "raw", 1), (1826 * DAY, "week", 2)])
def test_a_trend_takes_as_few_round_trips_as_can_be(database, writer, read, length, resolution, round_trips):
    now, raw_from = minutes(270 * 7 * 24 * 60), minutes(265 * 7 * 24 * 60)
    rows = [product_row(7 * 24 * 60 * week + 60, 100 + week) for week in range(270)]
    writer.write(rows, synced_at=now, rolled_until=raw_from + 33 * DAY, raw_from=raw_from)
    statements: list[str] = []

    with before_statement(database.reader, "", statements.append):
        found = read(now, now - length, now)

    assert found.resolution == resolution
    assert len(statements) == round_trips, "\n\n".join(statements)
