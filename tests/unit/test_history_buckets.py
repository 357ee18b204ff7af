"""The buckets of a price and their summaries, held against the slow reference (Hypothesis)."""

from fractions import Fraction

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.history.buckets import Bucket, bucket, downsample, is_exact, summary_of
from productagg.history.time_weighted import TimeWeighted, longest_gap_us
from productagg.history.timeline import (
    DAY,
    HOUR,
    SECOND,
    WEEK,
    PriceStep,
    bucket_end,
    bucket_start,
    in_window,
    microseconds,
    moment,
)
from tests.history_strategies import LARGEST, as_steps, histories
from tests.reference_statistics import facts

lengths = st.sampled_from([HOUR, DAY, WEEK])


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


def sum_up(steps, day):
    """The steps, with all those of a day replaced by its last one, with a summary."""
    of_day = [step for step in steps if bucket_start(step.at, DAY) == day]
    before = [step for step in steps if step.at < day]
    if not of_day:
        return steps
    summary = orjson.loads(orjson.dumps(summary_of([bucket(before[-1] if before else None, of_day, day, day + DAY)])))
    return [*before, of_day[-1]._replace(summary=summary), *(step for step in steps if step.at >= day + DAY)]


@st.composite
def summarised_histories(draw):
    """Rows, and their steps, of which some days are summarised."""
    rows = draw(histories())
    steps = as_steps(rows)
    for day in sorted({bucket_start(step.at, DAY) for step in steps}):
        if draw(st.booleans()):
            steps = sum_up(steps, day)
    return rows, steps


@given(histories(), lengths, st.integers(0, 60), st.integers(0, 60), st.integers(0, HOUR - 1))
def test_buckets_lie_side_by_side_from_the_first_step_on_and_each_says_what_the_history_says(
    rows, length, before, after, cut_off
):
    # Times are days apart, so as many as 40 of them fit in between.
    anchor = microseconds(rows[len(rows) // 2].at) if rows else 0
    begin = bucket_start(anchor, length) - before * length
    end = max(begin + 1, bucket_start(anchor, length) + after * length + cut_off)
    steps = in_window(as_steps(rows), begin - 1, end - 1)

    found = list(downsample(steps, begin, end, length))

    first = microseconds(rows[0].at) if rows else end
    begin = max(begin, bucket_start(first, length)) if first < end else end
    assert found == [expected_bucket(rows, at, min(at + length, end)) for at in range(begin, end, length)]


@given(summarised_histories(), st.sampled_from([DAY, WEEK]))
def test_days_and_weeks_are_the_same_of_summarised_days(past, length):
    rows, steps = past
    if not rows:
        return
    begin, end = bucket_start(steps[0].at, length), bucket_end(steps[-1].at + 1, length)

    found = list(downsample(steps, begin, end, length))

    assert found == [expected_bucket(rows, at, at + length) for at in range(begin, end, length)]


@given(summarised_histories())
def test_the_sums_of_a_window_are_the_same_of_summarised_days(past):
    rows, steps = past
    if not rows:
        return
    begin, end = bucket_start(steps[0].at, DAY), bucket_end(steps[-1].at + 1, DAY)

    statistics = TimeWeighted(steps, begin, end)

    told = facts(rows, moment(begin), moment(end))
    assert statistics.in_stock_us == told.in_stock * SECOND
    assert statistics.sold_out_us == told.sold_out * SECOND
    assert statistics.changes == told.changes
    assert statistics.weighted == (0 if told.mean is None else told.mean * told.in_stock * SECOND)
    for found, expected in ((statistics.lowest, told.minimum), (statistics.highest, told.maximum)):
        assert (found and found[0]) == (expected and expected[0])


@given(histories())
def test_the_longest_gap_is_exact(rows):
    steps = as_steps(rows)
    begin, end = (microseconds(rows[0].at), microseconds(rows[-1].at) + HOUR) if rows else (0, 1)

    assert longest_gap_us(steps, begin, end) == facts(rows, moment(begin), moment(end)).longest_gap * SECOND


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (None, Bucket(HOUR, "not_observed", 0, 0, None, None, None, None, 0, 0)),
        (PriceStep(0, None, observed=False), Bucket(HOUR, "not_observed", 0, 0, None, None, None, None, 0, 0)),
        (PriceStep(0, None), Bucket(HOUR, "sold_out", 0, 5, None, None, None, None, 0, 0)),
        (PriceStep(0, 0), Bucket(HOUR, "in_stock", 5, 5, 0, 0, 0, 0, 0, 0)),
        (PriceStep(0, LARGEST), Bucket(HOUR, "in_stock", 5, 5, LARGEST, LARGEST, LARGEST, LARGEST, 5 * LARGEST, 0)),
    ],
)
def test_a_bucket_in_which_nothing_happened_is_as_the_step_before_left_it(step, expected):
    assert bucket(step, [], HOUR, HOUR + 5) == expected


def test_a_window_is_exact_unless_a_summarised_day_lies_in_it_or_ends_it():
    last = sum_up([PriceStep(DAY + HOUR, 1), PriceStep(DAY + 2 * HOUR, 2)], DAY)

    def exact(begin, end):
        return is_exact(last, begin, end)

    assert exact(0, DAY)
    assert exact(DAY + 2 * HOUR, 9 * DAY)
    assert not exact(0, DAY + 1)
    assert not exact(DAY + HOUR, 9 * DAY)


@pytest.mark.parametrize("in_stock_us", [1, 7, HOUR, DAY])
@pytest.mark.parametrize("less", [0, 1, 3])
def test_a_summary_of_the_largest_prices_is_exact_and_its_numbers_have_64_bits(in_stock_us, less):
    weighted = LARGEST * in_stock_us - min(less, in_stock_us)
    day = Bucket(0, "in_stock", in_stock_us, in_stock_us, LARGEST, LARGEST, LARGEST - 3, LARGEST, weighted, 1)

    summary = summary_of([day, day])

    found = bucket(None, [PriceStep(5, LARGEST, True, orjson.loads(orjson.dumps(summary)))], 0, DAY)
    assert found == day._replace(weighted_average=weighted)
    assert all(0 <= number <= LARGEST for number in summary)
