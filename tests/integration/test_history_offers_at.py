"""The offers as of a time are those that a replay of their rows leaves, also of summed-up days (Hypothesis)."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from productagg.db.models import Offer
from productagg.history.offers_at import offers_at
from tests.history_strategies import (
    DAY,
    HOUR,
    INSTANT,
    OBSERVED_FOR,
    ProductRow,
    compacted_pasts,
    midnight,
    pasts,
    times,
)
from tests.integration.history_writer import examples
from tests.reference_statistics import OfferRow, in_force
from tests.reference_statistics import offers_at as expected_offers

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture
def read(database, writer):
    """Ask for the offers as of a time: `read(now, at)`."""

    def read(now, at):
        with database.reader.connect() as connection:
            return offers_at(connection, writer.product_id, at, now=now, observed_for=OBSERVED_FOR)

    return read


def expected_state(past, at):
    row = in_force(past.told, at)
    return "observed" if row is not None and row.observed else "not_observed"


def described(offers):
    return [(offer.id, offer.price, offer.items_in_stock) for offer in offers]


@examples(40)
@given(past=pasts(20 * DAY), time=times(20 * DAY))
def test_the_offers_as_of_a_time_are_those_of_a_replay(writer, read, past, time):
    at = min(time, past.now)
    writer.write(past.rows, past.offers, synced_at=past.synced_at)

    found = read(past.now, at)

    assert (found.at, found.resolution) == (at.astimezone(UTC), "raw")
    check_they_are(found, past, at)


def check_they_are(found, past, at):
    assert found.state == expected_state(past, at)
    expected = expected_offers(past.offers, at)
    assert described(found.offers) == described(expected)
    assert [offer.since for offer in found.offers] == [offer.since for offer in expected]


@examples(40)
@given(compacted=compacted_pasts(20 * DAY), data=st.data())
def test_since_the_last_compacted_day_the_offers_are_exact_even_those_that_have_not_changed_since(
    writer, read, compacted, data
):
    past, raw_from = compacted
    at = min(max(data.draw(times(20 * DAY)), raw_from), past.now)
    writer.write(compacted.rows, past.offers, synced_at=past.synced_at, raw_from=raw_from)

    found = read(past.now, at)

    assert (found.at, found.resolution) == (at.astimezone(UTC), "raw")
    check_they_are(found, past, at)


@pytest.mark.parametrize("longest", [2 * DAY, 20 * DAY], ids=["days", "weeks"])
@examples(40)
@given(data=st.data())
def test_before_that_they_are_exact_or_those_at_the_end_of_a_summarised_day(writer, read, longest, data):
    past, raw_from = compacted = data.draw(compacted_pasts(longest))
    at = min(data.draw(times(longest)).astimezone(UTC), raw_from - INSTANT)
    writer.write(compacted.rows, past.offers, synced_at=past.synced_at, raw_from=raw_from)

    found = read(past.now, at)

    if found.resolution == "raw":
        assert found.at == at
        check_they_are(found, past, at)
    else:
        assert (found.at, found.resolution) == (midnight(at) + DAY, "day")
        check_they_are(found, past, found.at - INSTANT)


def product_row(at, *, observed=True):
    return ProductRow(at, 100 if observed else None, 100 if observed else None, int(observed), int(observed), observed)


def test_the_cheapest_comes_first_and_what_is_sold_out_or_not_yet_seen_does_not_come(writer, read):
    offers = [
        OfferRow(FIRST, MONDAY, 200, 5),
        OfferRow(SECOND, MONDAY, 300, 5),
        OfferRow(THIRD, MONDAY, 200, 0),
        OfferRow(SECOND, MONDAY + HOUR, 100, 5),
        OfferRow(THIRD, MONDAY + 2 * HOUR, 50, 5),
    ]
    writer.write([product_row(MONDAY)], offers, synced_at=MONDAY + 3 * HOUR)

    before, first, later, last = (
        read(MONDAY + 3 * HOUR, MONDAY + span) for span in (-INSTANT, timedelta(), HOUR, 3 * HOUR)
    )

    assert described(before.offers) == []
    assert before.state == "not_observed"
    assert described(first.offers) == [(FIRST, 200, 5), (SECOND, 300, 5)]
    assert described(later.offers) == [(SECOND, 100, 5), (FIRST, 200, 5)]
    assert [offer.since for offer in later.offers] == [MONDAY + HOUR, MONDAY]
    assert described(last.offers) == [(THIRD, 50, 5), (SECOND, 100, 5), (FIRST, 200, 5)]


def test_in_a_gap_they_are_those_last_seen_and_said_to_be_not_observed(writer, read):
    rows = [product_row(MONDAY), product_row(MONDAY + HOUR, observed=False), product_row(MONDAY + DAY)]
    writer.write(rows, [OfferRow(FIRST, MONDAY, 200, 5)], synced_at=MONDAY + DAY)

    states = [read(MONDAY + 3 * DAY, MONDAY + span) for span in (HOUR - INSTANT, HOUR, DAY - INSTANT, DAY, 2 * DAY)]

    assert [found.state for found in states] == ["observed", "not_observed", "not_observed", "observed", "not_observed"]
    assert all(described(found.offers) == [(FIRST, 200, 5)] for found in states)


def test_an_offer_is_remembered_over_a_gap_that_begins_with_a_day(writer, read):
    gone, back, raw_from = MONDAY + DAY, MONDAY + 3 * DAY + HOUR, MONDAY + 3 * DAY
    rows = [product_row(MONDAY), product_row(gone, observed=False), product_row(back)]
    writer.write(rows, [OfferRow(FIRST, MONDAY, 200, 5)], synced_at=back, raw_from=raw_from)

    for at in (gone, raw_from - INSTANT, raw_from, back):
        assert described(read(back, at).offers) == [(FIRST, 200, 5)]


def test_offers_in_the_catalogues_currency_come_first(writer, read, database):
    offers = [OfferRow(FIRST, MONDAY, 200, 5), OfferRow(SECOND, MONDAY, 1, 5), OfferRow(THIRD, MONDAY, 100, None)]
    writer.write([product_row(MONDAY)], offers, synced_at=MONDAY + HOUR)
    with database.writer.begin() as connection:
        connection.execute(update(Offer).where(Offer.id == SECOND).values(currency="CZK", seller="Lampy"))

    found = read(MONDAY + HOUR, MONDAY)

    assert found.currency == "EUR"
    assert [(offer.id, offer.currency, offer.comparable, offer.seller) for offer in found.offers] == [
        (THIRD, "EUR", True, None),
        (FIRST, "EUR", True, None),
        (SECOND, "CZK", False, "Lampy"),
    ]
