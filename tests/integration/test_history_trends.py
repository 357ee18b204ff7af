"""A trend says what the slow reference says, from steps and from summed-up days (Hypothesis)."""

from datetime import UTC, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.history.trends import Extreme, Trend, trend
from tests.history_strategies import (
    DAY,
    INSTANT,
    LARGEST,
    MOMENTS,
    OBSERVED_FOR,
    SECOND,
    ProductRow,
    compacted_pasts,
    midnight,
    pasts,
)
from tests.integration.conftest import before_statement
from tests.integration.history_writer import examples
from tests.integration.observed_products import compact
from tests.reference_statistics import facts

metrics = st.sampled_from(["lowest", "average"])


@pytest.fixture
def read(database, writer):
    """Ask for a trend: `read(now, begin, end, metric)`."""

    def read(now, begin, end, metric="lowest"):
        with database.reader.connect() as connection:
            return trend(connection, writer.product_id, begin, end, metric, now=now, observed_for=OBSERVED_FOR)

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


@examples(40)
@given(past=pasts(), metric=metrics)
def test_a_trend_of_raw_rows_is_exact(writer, read, past, metric):
    writer.write(past.rows, synced_at=past.synced_at)

    found = read(past.now, past.begin, past.end, metric)

    check_it_is_exact(found, past, metric)


@examples(40)
@given(compacted=compacted_pasts(), metric=metrics)
def test_a_trend_of_days_that_are_kept_is_exact_even_if_older_ones_are_summarised(writer, read, compacted, metric):
    past, raw_from = compacted
    begin = max(past.begin.astimezone(UTC), raw_from)
    past = past._replace(begin=begin, end=max(past.end.astimezone(UTC), begin + SECOND))
    writer.write(compacted.rows, synced_at=past.synced_at, raw_from=raw_from)

    found = read(past.now, past.begin, past.end, metric)

    check_it_is_exact(found, past, metric)


@pytest.mark.parametrize("longest", [2 * DAY, 40 * DAY], ids=["days", "weeks"])
@examples(40)
@given(data=st.data(), metric=metrics)
def test_a_trend_of_summarised_days_is_that_of_the_steps_they_were_made_of(writer, read, longest, data, metric):
    past, raw_from = compacted = data.draw(compacted_pasts(longest))
    writer.write(compacted.rows, synced_at=past.synced_at, raw_from=raw_from)

    found = read(past.now, past.begin, past.end, metric)

    if found.resolution == "raw":
        check_it_is_exact(found, past, metric)
        return
    assert past.begin < raw_from
    assert found.begin == midnight(past.begin)
    assert found.end == min(midnight(past.effective_end - INSTANT) + DAY, past.now)
    told = facts(past.of(metric), found.begin, found.end)
    assert (found.start_price, found.end_price, found.changes) == (told.start_price, told.end_price, told.changes)
    assert (found.change, found.direction) == (told.change, told.direction)
    assert same(found.mean, told.mean)
    assert same(found.longest_gap_seconds, told.longest_gap)
    check_the_shares(found, told)
    check_the_extremes(found, told)


def check_the_extremes(found, told):
    """The prices are exact, their times and the median are within the resolution."""
    if told.minimum is None or told.maximum is None:
        assert (found.minimum, found.maximum, found.median) == (None, None, None)
        return
    for measured, (price, at) in ((found.minimum, told.minimum), (found.maximum, told.maximum)):
        assert measured.price == price
        assert measured.at == at or measured.at == midnight(at)
    assert float(found.minimum.price) <= found.median <= float(found.maximum.price)


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
        currency="EUR",
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


def test_compaction_changes_no_answer(database, writer, read):
    # Half a year: another price every 80 minutes, sold out at times, and a gap of four hours each week.
    kinds = [100, 250, None, LARGEST, 0]
    rows = [product_row(80 * number, kinds[number % 5]) for number in range(3000) if number % 126 > 2]
    gaps = [product_row(80 * 126 * week, None, observed=False) for week in range(1, 23)]
    now = minutes(80 * 3000)
    writer.write(sorted([*rows, *gaps]), synced_at=now)
    asked = [
        (minutes(begin * 24 * 60), minutes((begin + span) * 24 * 60), metric)
        for begin in (0, 5)
        for span in (1, 30)
        for metric in ("lowest", "average")
    ]
    before = [read(now, *each) for each in asked]

    compact(database, now, raw_days=1)

    for each, raw in zip(asked, before, strict=True):
        found = read(now, *each)
        assert (raw.resolution, found.resolution) == ("raw", "day")
        assert (found.minimum.price, found.maximum.price) == (raw.minimum.price, raw.maximum.price)
        within = {"resolution", "minimum", "maximum", "median", "changes"}
        assert {name: value for name, value in vars(found).items() if name not in within} == {
            name: value for name, value in vars(raw).items() if name not in within
        }
        # Those at the ends: a window of days has its begin's, not its end's.
        assert abs(found.changes - raw.changes) <= 1


def test_the_price_of_a_midnight_is_known_of_summarised_days_too(writer, read):
    # A price at each midnight, and three more in the morning.
    rows = [product_row(24 * 60 * day + hour, 100 + 10 * day - hour) for day in range(10) for hour in range(4)]
    writer.write(rows, synced_at=minutes(20 * 24 * 60), raw_from=minutes(0) + 10 * DAY)

    found = read(minutes(20 * 24 * 60), minutes(24 * 60 * 5), minutes(24 * 60 * 9))

    assert (found.resolution, found.start_price, found.end_price) == ("day", 150, 190)


def test_a_gap_begins_a_microsecond_after_the_last_list(writer, read):
    writer.write([product_row(0, 100)], synced_at=minutes(10))

    ends = [read(minutes(600), minutes(0), end).end_price for end in (minutes(10), minutes(10) + INSTANT)]

    assert ends == [100, None]


def test_a_trend_takes_one_round_trip(database, writer, read):
    now, raw_from = minutes(270 * 7 * 24 * 60), minutes(260 * 7 * 24 * 60)
    rows = [product_row(12 * 60 * number + 60, 100 + number) for number in range(270 * 14)]
    writer.write(rows, synced_at=now, raw_from=raw_from)

    for length, resolution in ((30 * DAY, "raw"), (1826 * DAY, "day")):
        statements: list[str] = []
        with before_statement(database.reader, "", statements.append):
            found = read(now, now - length, now)

        assert found.resolution == resolution
        assert len(statements) == 1, "\n\n".join(statements)
