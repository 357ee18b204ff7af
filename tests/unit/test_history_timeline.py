"""Times as microseconds, the buckets that they lie in, and offers that share their product's gaps."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from productagg.history.timeline import (
    DAY,
    HOUR,
    WEEK,
    OfferStep,
    PriceStep,
    bucket_end,
    bucket_start,
    gap_turns,
    in_window,
    microseconds,
    moment,
    state_of,
    with_gaps,
)
from tests.history_strategies import as_steps, offer_histories, offer_steps, product_histories, times
from tests.reference_statistics import offer_history

OFFER = UUID(int=1)
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
    assert bucket_end(begin + 1, length) == bucket_end(last + 1, length) == last + 1


def test_a_state_tells_sold_out_and_not_observed_apart():
    assert state_of(0, observed=True) == "in_stock"
    assert state_of(None, observed=True) == "sold_out"
    assert state_of(None, observed=False) == "not_observed"


def test_a_window_has_the_step_in_force_at_its_begin_and_those_up_to_its_end():
    steps = [PriceStep(at, at) for at in (10, 20, 30)]

    def found(begin, end):
        return [step.at for step in in_window(steps, begin, end)]

    assert found(0, 5) == []
    assert found(0, 10) == [10]
    assert found(10, 20) == [10, 20]
    assert found(15, 29) == [10, 20]
    assert found(31, 40) == [30]


def without_repeats(steps):
    """Those steps that tell more than the one before."""
    told: list[PriceStep] = []
    for step in steps:
        if not told or told[-1][1:] != step[1:]:
            told.append(step)
    return told


def price(step):
    """While nobody knows, the price that it had does not matter."""
    return PriceStep(step.at, step.price if step.items_in_stock != 0 and step.observed else None, step.observed)


@given(offer_histories(1), product_histories())
def test_nothing_is_known_of_an_offer_while_its_product_is_not_observed(offers, rows):
    product = [row.of("lowest") for row in rows]

    merged = with_gaps(offer_steps(offers, OFFER), gap_turns([row.step for row in rows]))

    assert [step.at for step in merged] == sorted({step.at for step in merged})
    expected = as_steps(offer_history(offers, product, OFFER))
    assert without_repeats(map(price, merged)) == without_repeats(expected)


def test_an_offer_is_after_a_gap_as_it_was_before_it():
    merged = with_gaps([OfferStep(0, 100, 5)], [(0, True), (10, False), (20, True)])

    assert merged == [OfferStep(0, 100, 5), OfferStep(10, 100, 5, observed=False), OfferStep(20, 100, 5)]


def test_an_offer_that_changed_during_a_gap_is_seen_to_have_changed_at_its_end():
    merged = with_gaps([OfferStep(0, 100, 5), OfferStep(20, 90, 5)], [(0, True), (10, False), (20, True)])

    assert merged == [OfferStep(0, 100, 5), OfferStep(10, 100, 5, observed=False), OfferStep(20, 90, 5)]


def test_a_gap_before_an_offers_first_step_is_none_of_its_own():
    assert with_gaps([OfferStep(20, 100, 5)], [(0, True), (10, False), (20, True)]) == [OfferStep(20, 100, 5)]
