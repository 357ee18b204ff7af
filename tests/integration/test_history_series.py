"""A series says what the slow reference says, point by point, from steps and from summed-up days (Hypothesis)."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.history.series import MAX_POINTS, NotKept, TooManyPoints, offer_series, product_series
from tests.history_strategies import DAY, HOUR, INSTANT, OBSERVED_FOR, ProductRow, compacted_pasts, pasts
from tests.integration.conftest import before_statement
from tests.integration.history_writer import examples
from tests.reference_statistics import OfferRow, facts, in_force, offer_history

WEEK = 7 * DAY
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
OFFER = UUID(int=1)

# Resolutions, and how far apart things are: so many buckets that something happens in some and in others not.
buckets = pytest.mark.parametrize(
    ("resolution", "length", "longest"), [("hour", HOUR, 2 * DAY), ("day", DAY, 20 * DAY), ("week", WEEK, 60 * DAY)]
)


@pytest.fixture
def read(database, writer):
    """Ask for a series: `read(now, begin, end, resolution)`, with `offer_id` for one of an offer."""

    def read(now, begin, end, resolution, offer_id=None):
        as_of = {"now": now, "observed_for": OBSERVED_FOR}
        with database.reader.connect() as connection:
            if offer_id is not None:
                return offer_series(connection, writer.product_id, offer_id, begin, end, resolution, **as_of)
            return product_series(connection, writer.product_id, begin, end, resolution, **as_of)

    return read


def aligned(past, length):
    """The window in whole buckets, none of which reaches into the future."""
    begin = bucket_of(past.begin, length)
    return begin, min(bucket_of(past.effective_end - INSTANT, length) + length, past.now)


def bucket_of(time, length):
    return MONDAY + (time.astimezone(UTC) - MONDAY) // length * length


def expected_buckets(history, past, length):
    """Where each bucket begins and ends, and what is true of it; nothing before the first row."""
    begin, end = aligned(past, length)
    begin = max(begin, bucket_of(history[0].at, length)) if history and history[0].at < end else end
    while begin < end:
        stop = min(begin + length, end)
        yield begin, stop, facts(history, begin, stop)
        begin += length


def summarised(at, told):
    return {
        "at": at,
        "state": told.state,
        "open": told.open,
        "close": told.close,
        "highest": told.maximum[0] if told.maximum else None,
        "mean": None if told.mean is None else float(told.mean),
        "in_stock_seconds": float(told.in_stock),
        "observed_seconds": float(told.observed),
        "changes": told.changes,
    }


def product_points(past, length):
    lowest, average = past.of("lowest"), past.of("average")
    for begin, end, told in expected_buckets(lowest, past, length):
        mean = facts(average, begin, end).mean
        row = in_force(past.told, end - INSTANT)
        assert row is not None
        yield {
            **summarised(begin, told),
            "lowest": told.minimum[0] if told.minimum else None,
            "average": None if mean is None else floor(mean + Fraction(1, 2)),
            "offers": row.offers,
            "items_in_stock": row.items_in_stock,
        }


def offer_points(past, length):
    history = offer_history(past.offers, past.of("lowest"), OFFER)
    for begin, end, told in expected_buckets(history, past, length):
        yield {
            **summarised(begin, told),
            "price": told.minimum[0] if told.minimum else None,
            "items_in_stock": items_at(past, end - INSTANT),
        }


def items_at(past, at):
    """How many of the offer there are, as far as anybody knows."""
    offer = in_force([row for row in past.offers if row.id == OFFER], at)
    product = in_force(past.told, at)
    return offer.items_in_stock if offer is not None and product is not None and product.observed else 0


def without_repeats(points):
    """Those points that tell more than the one before."""
    told: list[dict[str, object]] = []
    for point in points:
        if not told or {**told[-1], "at": None} != {**point, "at": None}:
            told.append(point)
    return told


def raw_points(past, history, point):
    """What was in force at the begin, and every row since."""
    begin = past.begin.astimezone(UTC)
    step_before = [] if in_force(history, begin) is None else [begin]
    return [point(at) for at in step_before + [row.at for row in history if begin < row.at <= past.effective_end]]


def state_of(row):
    return "not_observed" if not row.observed else "sold_out" if row.price is None else "in_stock"


@examples(40)
@given(past=pasts(20 * DAY))
def test_a_raw_series_is_what_was_in_force_at_its_begin_and_every_row_since(writer, read, past):
    writer.write(past.rows, synced_at=past.synced_at)

    check_the_steps(read(past.now, past.begin, past.end, "raw"), past)


def check_the_steps(found, past):
    def point(at):
        row = in_force(past.told, at)
        assert row is not None
        values = {"lowest": row.lowest, "average": row.average, "offers": row.offers}
        state = state_of(row.of("lowest"))
        return {"at": at, "state": state, **values, "items_in_stock": row.items_in_stock}

    assert (found.begin, found.end, found.resolution) == (past.begin.astimezone(UTC), past.effective_end, "raw")
    assert found.points == raw_points(past, past.told, point)


@examples(40)
@given(past=pasts(20 * DAY))
def test_a_raw_series_of_an_offer_has_the_gaps_of_its_product(writer, read, past):
    writer.write(past.rows, past.offers, synced_at=past.synced_at)

    found = read(past.now, past.begin, past.end, "raw", OFFER)

    history = offer_history(past.offers, past.of("lowest"), OFFER)

    def point(at):
        row = in_force(history, at)
        assert row is not None
        return {"at": at, "state": state_of(row), "price": row.price, "items_in_stock": items_at(past, at)}

    assert (found is None) == all(row.id != OFFER for row in past.offers)
    if found is not None:
        assert without_repeats(found.points) == without_repeats(raw_points(past, history, point))


@buckets
@examples(30)
@given(data=st.data())
def test_every_bucket_says_what_its_part_of_the_history_says(writer, read, resolution, length, longest, data):
    past = data.draw(pasts(longest))
    writer.write(past.rows, past.offers, synced_at=past.synced_at)

    check_the_buckets(read, past, resolution, length)


@buckets
@examples(30)
@given(data=st.data())
def test_compacted_days_say_what_the_steps_said(writer, read, resolution, length, longest, data):
    past, raw_from = compacted = data.draw(compacted_pasts(longest))
    writer.write(compacted.rows, past.offers, synced_at=past.synced_at, raw_from=raw_from)

    try:
        check_the_buckets(read, past, resolution, length)
    except NotKept:
        assert resolution == "hour"
        assert past.begin < raw_from


@examples(40)
@given(compacted=compacted_pasts(3 * DAY))
def test_steps_of_compacted_days_are_those_that_there_were_or_not_all_kept(writer, read, compacted):
    past, raw_from = compacted
    writer.write(compacted.rows, past.offers, synced_at=past.synced_at, raw_from=raw_from)

    try:
        found = read(past.now, past.begin, past.end, "raw")
    except NotKept:
        assert past.begin < raw_from
    else:
        check_the_steps(found, past)


def check_the_buckets(read, past, resolution, length):
    product = read(past.now, past.begin, past.end, resolution)
    offer = read(past.now, past.begin, past.end, resolution, OFFER)

    assert (product.begin, product.end) == aligned(past, length)
    assert product.resolution == resolution
    assert product.points == list(product_points(past, length))
    assert (offer is None) == all(row.id != OFFER for row in past.offers)
    if offer is not None:
        assert (offer.begin, offer.end) == (product.begin, product.end)
        assert offer.points == list(offer_points(past, length))


def product_row(at, price=100):
    return ProductRow(at, price, price, 1, 1, observed=True)


@pytest.mark.parametrize(
    ("resolution", "length", "coarser"), [("hour", HOUR, "day"), ("day", DAY, "week"), ("week", WEEK, None)]
)
def test_a_window_of_too_many_buckets_is_refused_with_the_resolution_in_which_it_fits(
    writer, read, resolution, length, coarser
):
    writer.write([product_row(MONDAY)])
    now = MONDAY + 2000 * WEEK

    found = read(now, MONDAY, MONDAY + MAX_POINTS * length, resolution)
    with pytest.raises(TooManyPoints) as refused:
        read(now, MONDAY, MONDAY + MAX_POINTS * length + INSTANT, resolution)

    assert len(found.points) == MAX_POINTS
    assert (refused.value.resolution, refused.value.coarser) == (resolution, coarser)


def test_a_window_of_too_many_steps_is_refused_with_the_resolution_in_which_it_fits(writer, read):
    rows = [product_row(MONDAY + number * INSTANT, number) for number in range(MAX_POINTS + 1)]
    writer.write(rows)
    now = MONDAY + DAY

    found = read(now, MONDAY + INSTANT, now, "raw")
    with pytest.raises(TooManyPoints) as refused:
        read(now, MONDAY, now, "raw")

    assert [point["lowest"] for point in found.points] == list(range(1, MAX_POINTS + 1))
    assert (refused.value.resolution, refused.value.coarser) == ("raw", "hour")


def test_auto_is_the_finest_resolution_that_fits(writer, read):
    writer.write([product_row(MONDAY + timedelta(minutes=number), number) for number in range(MAX_POINTS + 1)])
    expected = {
        # A row a minute, 1,000 of them with the one at the end.
        timedelta(minutes=MAX_POINTS - 1): "raw",
        timedelta(minutes=MAX_POINTS): "hour",
        MAX_POINTS * HOUR: "hour",
        MAX_POINTS * HOUR + INSTANT: "day",
        MAX_POINTS * DAY: "day",
        MAX_POINTS * DAY + INSTANT: "week",
    }

    found = {window: read(MONDAY + 200 * WEEK, MONDAY, MONDAY + window, "auto") for window in expected}

    assert {window: series.resolution for window, series in found.items()} == expected
    assert all(len(series.points) <= MAX_POINTS for series in found.values())


def busy_day(at):
    """A row each hour of a day."""
    return [product_row(at + number * HOUR, 100 + number) for number in range(24)]


@pytest.mark.parametrize("resolution", ["raw", "hour"])
def test_steps_and_hours_of_a_summarised_day_are_not_made_up(writer, read, resolution):
    raw_from = MONDAY + DAY
    writer.write(busy_day(MONDAY), raw_from=raw_from)
    now = raw_from + DAY

    kept = read(now, raw_from, now, resolution)
    auto = read(now, raw_from - INSTANT - HOUR, now, "auto")
    with pytest.raises(NotKept) as refused:
        read(now, raw_from - INSTANT - HOUR, now, resolution)

    assert (refused.value.resolution, refused.value.raw_from) == (resolution, raw_from)
    assert auto.resolution == "day"
    # What was in force when the kept steps begin is known all the same.
    assert (kept.points[0]["at"], kept.points[0]["lowest"]) == (raw_from, 123)


def test_days_with_few_steps_keep_them(writer, read):
    rows = [product_row(MONDAY + number * 6 * HOUR, 100 + number) for number in range(4)]
    writer.write(rows, raw_from=MONDAY + DAY, fewest_replaced=4)

    found = read(MONDAY + WEEK, MONDAY, MONDAY + DAY, "raw")

    assert [point["lowest"] for point in found.points] == [100, 101, 102, 103]


def test_a_summarised_day_is_known_from_its_last_step_on(writer, read):
    writer.write(busy_day(MONDAY), raw_from=MONDAY + DAY)

    found = read(MONDAY + WEEK, MONDAY + 23 * HOUR, MONDAY + 2 * DAY, "raw")

    assert [(point["at"], point["lowest"]) for point in found.points] == [(MONDAY + 23 * HOUR, 123)]


def test_nothing_is_said_of_the_time_before_the_first_observation_and_of_the_future(writer, read):
    writer.write([product_row(MONDAY + 90 * INSTANT)], synced_at=MONDAY + HOUR)

    found = read(MONDAY + HOUR + 30 * INSTANT, MONDAY - DAY, MONDAY + DAY, "hour")

    assert [point["at"] for point in found.points] == [MONDAY, MONDAY + HOUR]
    assert [point["observed_seconds"] for point in found.points] == [3599.99991, 0.00003]
    assert (found.begin, found.end) == (MONDAY - DAY, MONDAY + HOUR + 30 * INSTANT)


def test_an_offer_that_was_seen_only_later_has_a_series_without_points(writer, read):
    seen = MONDAY + WEEK
    writer.write([product_row(MONDAY)], [OfferRow(OFFER, seen, 100, 1)])

    found = read(MONDAY + 2 * WEEK, MONDAY, MONDAY + DAY, "hour", OFFER)

    assert found is not None
    assert found.points == []


def test_an_offer_that_the_product_never_had_has_none(writer, read):
    writer.write([product_row(MONDAY)], [OfferRow(OFFER, MONDAY, 100, 1)])

    assert read(MONDAY + 2 * WEEK, MONDAY, MONDAY + DAY, "auto", UUID(int=2)) is None


def test_a_gap_that_begins_with_a_day_costs_no_price(writer, read):
    gone, back, raw_from = MONDAY + DAY, MONDAY + 3 * DAY + HOUR, MONDAY + 3 * DAY
    rows = [product_row(MONDAY), ProductRow(gone, None, None, 0, 0, observed=False), product_row(back)]
    writer.write(rows, [OfferRow(OFFER, MONDAY, 200, 5)], synced_at=back, raw_from=raw_from)

    found = read(back + HOUR, raw_from, back + HOUR, "raw", OFFER)

    assert [(point["at"], point["price"]) for point in found.points] == [(raw_from, None), (back, 200)]


def test_a_series_takes_one_round_trip(database, writer, read):
    now = MONDAY + 270 * WEEK
    rows = [product_row(MONDAY + number * DAY + HOUR, 100 + number) for number in range(270 * 7)]
    offers = [OfferRow(OFFER, row.at, row.lowest, 1) for row in rows]
    writer.write(rows, offers, synced_at=now, raw_from=MONDAY + 260 * WEEK)

    for length, resolution in ((30 * DAY, "raw"), (1826 * DAY, "week")):
        for offer_id in (None, OFFER):
            statements: list[str] = []
            with before_statement(database.reader, "", statements.append):
                found = read(now, now - length, now, "auto", offer_id)

            assert found.resolution == resolution
            assert len(statements) == 1
