"""What the sync looks up for the movers is what the histories say (Hypothesis)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from productagg.db.models import ProductSummary
from productagg.history.movers import PERIODS, refresh
from tests.factories import rows
from tests.history_strategies import DAY, HOUR, compacted_pasts
from tests.integration.history_writer import examples
from tests.reference_statistics import facts

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def summarise(database, writer):
    """Write the product's summary: `summarise(last change, when it is to be compared again)`."""

    def summarise(observed_at, compare_at):
        product = ProductSummary(product_id=writer.product_id, observed_at=observed_at, compare_at=compare_at)
        product.lowest, product.average, product.offers, product.items_in_stock = 100, 100, 1, 1
        with database.sessions.begin() as session:
            session.execute(delete(ProductSummary))
            session.add(product)

    return summarise


@pytest.fixture
def refreshed(database):
    """Look up again: `refreshed(now)`; the summary."""

    def refreshed(now):
        with database.sessions.begin() as session:
            refresh(session, now, limit=10)
        (summary,) = rows(database, ProductSummary)
        return summary

    return refreshed


@examples(40)
@given(compacted=compacted_pasts(), later=st.sampled_from([timedelta(), HOUR, 3 * DAY, 40 * DAY]))
def test_the_prices_of_a_day_a_week_and_a_month_ago_are_those_of_the_history(
    writer, summarise, refreshed, compacted, later
):
    past, raw_from = compacted
    now = max(past.now, raw_from + 31 * DAY) + later
    writer.write(compacted.rows, synced_at=past.synced_at, raw_from=raw_from)
    summarise(now - DAY, now)

    found = refreshed(now)

    history = [row.of("lowest") for row in compacted.rows]
    for name, period in PERIODS.items():
        then = facts(history, now - period, now).start_price
        assert getattr(found, f"lowest_{name}") == then
    assert found.compared_at == now


@pytest.mark.parametrize(
    ("changed", "again"),
    [(HOUR, True), (30 * DAY - MINUTE, True), (30 * DAY + MINUTE, False)],
    ids=["just now", "within the month", "before the month"],
)
def test_what_has_not_changed_for_a_month_is_left_alone(summarise, refreshed, changed, again):
    summarise(NOW - changed, NOW)

    assert refreshed(NOW).compare_at == (NOW + 15 * MINUTE if again else None)


def test_what_is_not_due_is_not_looked_up(summarise, refreshed):
    summarise(NOW - HOUR, NOW + MINUTE)

    assert refreshed(NOW).compared_at is None
    assert refreshed(NOW + MINUTE).compared_at == NOW + MINUTE
