"""The steps of a price and the buckets that sum them up, held against the slow reference (Hypothesis)."""

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.history.steps import (
    DAY,
    HOUR,
    SECOND,
    WEEK,
    Bucket,
    Step,
    bucket_start,
    constant,
    fill,
    merge,
    microseconds,
    moment,
    roll_up,
    state_of,
)
from tests.reference import facts
from tests.timelines import LARGEST, as_steps, histories, times

lengths = st.sampled_from([HOUR, DAY, WEEK])
PRAGUE = ZoneInfo("Europe/Prague")


@pytest.mark.parametrize(
    ("time", "since_the_epoch"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC), 1_709_208_000_000_001),
        (datetime(2024, 2, 29, 17, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))), 1_709_208_000_000_001),
        # Half past two on the night on which Prague's clocks go back: the first one, and the one an hour later.
        (datetime(2024, 10, 27, 2, 30, tzinfo=PRAGUE), 1_729_989_000_000_000),
        (datetime(2024, 10, 27, 2, 30, tzinfo=PRAGUE, fold=1), 1_729_992_600_000_000),
    ],
)
def test_a_time_is_so_many_microseconds_and_back(time, since_the_epoch):
    assert microseconds(time) == since_the_epoch
    assert moment(since_the_epoch) == time.astimezone(UTC)


@given(times())
def test_no_microsecond_of_a_time_is_lost(time):
    assert moment(microseconds(time)) == time.astimezone(UTC)
    assert moment(microseconds(time)).tzinfo is UTC


@pytest.mark.parametrize(
    ("length", "begin", "last"),
    [
        (HOUR, "2024-03-31T01:00:00", "2024-03-31T01:59:59.999999"),
        # UTC days, also on the days that are an hour shorter or longer elsewhere; leap days are days.
        (DAY, "2024-02-29T00:00:00", "2024-02-29T23:59:59.999999"),
        (DAY, "2024-03-31T00:00:00", "2024-03-31T23:59:59.999999"),
        (DAY, "2024-10-27T00:00:00", "2024-10-27T23:59:59.999999"),
        # Weeks begin on Mondays, also across the year's end and before the epoch.
        (WEEK, "2024-12-30T00:00:00", "2025-01-05T23:59:59.999999"),
        (WEEK, "2024-02-26T00:00:00", "2024-03-03T23:59:59.999999"),
        (WEEK, "1969-12-29T00:00:00", "1970-01-04T23:59:59.999999"),
    ],
)
def test_a_bucket_begins_at_a_whole_hour_a_utc_midnight_or_a_monday(length, begin, last):
    begin, last = (microseconds(datetime.fromisoformat(each).replace(tzinfo=UTC)) for each in (begin, last))

    assert bucket_start(begin, length) == bucket_start(last, length) == begin
    assert bucket_start(begin - 1, length) == begin - length
    assert bucket_start(last + 1, length) == last + 1


def test_a_state_tells_sold_out_and_not_observed_apart():
    assert state_of(Step(0, 0)) == "in_stock"
    assert state_of(Step(0, None)) == "sold_out"
    assert state_of(Step(0, None, observed=False)) == "not_observed"
    assert state_of(None) == "not_observed"


def expected_bucket(rows, begin, end):
    """What the reference says of [begin, end), as a bucket."""
    told = facts(rows, moment(begin), moment(end))
    weighted = 0 if told.mean is None else told.mean * told.in_stock * SECOND
    in_stock_us, observed_us = whole(told.in_stock * SECOND), whole(told.observed * SECOND)
    lowest, highest = (found[0] if found else None for found in (told.minimum, told.maximum))
    prices = (told.open, told.close, lowest, highest)
    return Bucket(begin, told.state, in_stock_us, observed_us, *prices, whole(weighted), told.changes)


def whole(number):
    assert Fraction(number).denominator == 1
    return int(number)


def cut(rows, number):
    """A step that came before, and the ones after it, as readers of a part of a history get them."""
    steps = as_steps(rows)
    return (steps[number - 1] if number else None), steps[number:]


@given(histories(), lengths, st.data())
def test_a_bucket_sums_up_its_part_of_the_history_and_there_is_none_where_nothing_happened(rows, length, data):
    # The steps of a bucket come together, or what it says would be of a part of it.
    begins = sorted({bucket_start(microseconds(row.at), length) for row in rows})
    first = data.draw(st.sampled_from([0, *begins]))
    carried, steps = cut(rows, sum(microseconds(row.at) < first for row in rows))

    buckets = list(roll_up(carried, steps, length))

    assert buckets == [expected_bucket(rows, begin, begin + length) for begin in begins if begin >= first]


@given(histories().filter(bool), lengths, st.data())
def test_an_end_cuts_the_last_bucket_off(rows, length, data):
    last = microseconds(rows[-1].at)
    end = last + data.draw(st.sampled_from([1, SECOND, HOUR, 2 * DAY]))

    bucket = list(roll_up(None, as_steps(rows), length, end))[-1]

    begin = bucket_start(last, length)
    assert bucket == expected_bucket(rows, begin, min(end, begin + length))


@given(histories(), lengths, st.integers(0, 60), st.integers(0, 60), st.integers(0, HOUR - 1))
def test_filled_buckets_lie_side_by_side_and_each_says_what_the_history_says(rows, length, before, after, cut_off):
    # Times are days apart, so as many as 40 of them fit in between.
    anchor = microseconds(rows[len(rows) // 2].at) if rows else 0
    begin = bucket_start(anchor, length) - before * length
    end = bucket_start(anchor, length) + after * length + cut_off
    if end <= begin:
        end = begin + 1
    carried, steps = cut(rows, sum(microseconds(row.at) < begin for row in rows))
    steps = [step for step in steps if step.at < end]

    filled = list(fill(carried, roll_up(carried, steps, length, end), begin, end, length))

    assert filled == [expected_bucket(rows, at, min(at + length, end)) for at in range(begin, end, length)]


@given(histories(), st.sampled_from([(HOUR, DAY), (HOUR, WEEK), (DAY, WEEK)]), st.integers(1, 9))
def test_merged_buckets_are_those_that_the_history_gives_at_once(rows, lengths, count):
    short, long = lengths
    begin = bucket_start(microseconds(rows[0].at) if rows else 0, long) - long
    end = begin + count * long
    steps = [step for step in as_steps(rows) if step.at < end]

    merged = list(merge(fill(None, roll_up(None, steps, short), begin, end, short), long))

    assert merged == [expected_bucket(rows, at, at + long) for at in range(begin, end, long)]


@given(histories(), lengths)
def test_what_a_bucket_leaves_behind_is_what_the_next_one_begins_with(rows, length):
    steps = as_steps(rows)

    buckets = list(roll_up(None, steps, length))

    assert all(bucket.at + length <= following.at for bucket, following in pairwise(buckets))
    for bucket in buckets:
        last = [step for step in steps if step.at < bucket.at + length][-1]
        assert bucket.end_step == Step(bucket.at, last.price, last.observed)


@pytest.mark.parametrize(
    ("step", "bucket"),
    [
        (None, Bucket(HOUR, "not_observed", 0, 0, None, None, None, None, 0, 0)),
        (Step(0, None, observed=False), Bucket(HOUR, "not_observed", 0, 0, None, None, None, None, 0, 0)),
        (Step(0, None), Bucket(HOUR, "sold_out", 0, 5, None, None, None, None, 0, 0)),
        (Step(0, 0), Bucket(HOUR, "in_stock", 5, 5, 0, 0, 0, 0, 0, 0)),
        (Step(0, LARGEST), Bucket(HOUR, "in_stock", 5, 5, LARGEST, LARGEST, LARGEST, LARGEST, 5 * LARGEST, 0)),
    ],
)
def test_a_bucket_in_which_nothing_happened_is_as_the_step_before_left_it(step, bucket):
    assert constant(HOUR, 5, step) == bucket


def test_the_weighted_sum_of_the_largest_prices_is_exact():
    monday = 4 * DAY

    (bucket,) = roll_up(None, [Step(monday, LARGEST), Step(monday + 1, LARGEST - 1)], WEEK)

    assert (bucket.weighted, bucket.in_stock_us) == (LARGEST + (LARGEST - 1) * (WEEK - 1), WEEK)
