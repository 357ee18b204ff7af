"""Corrections of recorded prices: what they change, what follows from them, and what cannot be corrected."""

from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from productagg.db.models import Offer, OfferPrice, PriceCorrection, ProductPrice, ProductSummary
from productagg.history import UnknownOffer
from productagg.history.corrections import CannotCorrect, Wrong, correct
from productagg.history.movers import refresh
from productagg.offers.summary import NOTHING_IN_STOCK, summarise
from productagg.sync.settling import take_over
from tests.factories import rows
from tests.integration.observed_products import FIRST, Shop, compact, day

ONE, TWO = UUID(int=1), UUID(int=2)
HOUR = timedelta(hours=1)


@pytest.fixture
def shop(database):
    return Shop(database)


def correct_prices(database, shop, begin, until, price, offer_id=ONE, **who):
    wrong = Wrong(shop.product_id, offer_id, begin, until, price)
    with database.sessions.begin() as session:
        take_over(session, shop.product_id)
        return correct(session, wrong, who.get("reason", "A glitch."), who.get("username", "admin"))


def offer_prices(database, offer_id=ONE):
    found = sorted(rows(database, OfferPrice, offer_id=offer_id), key=lambda row: row.observed_at)
    return [((row.observed_at - FIRST) // HOUR, row.price, row.items_in_stock) for row in found]


def product_prices(database):
    found = sorted(rows(database, ProductPrice), key=lambda row: row.observed_at)
    return [((row.observed_at - FIRST) // HOUR, row.lowest, row.average) for row in found]


def observe(shop, *prices):
    """The offer has these prices, an hour apart; another one costs 300 all the time."""
    for hour, price in enumerate(prices):
        shop.observe(day(0, hour), {ONE: (price, 5), TWO: (300, 1)})


def test_a_glitch_never_happened(database, shop):
    observe(shop, 200, 2, 200)

    correct_prices(database, shop, day(0, 1), day(0, 2), None)

    assert offer_prices(database) == [(0, 200, 5)]
    assert product_prices(database) == [(0, 200, 250)]


def test_a_price_was_another_one(database, shop):
    observe(shop, 200, 2, 220)

    correct_prices(database, shop, day(0, 1), day(0, 2), 210)

    assert offer_prices(database) == [(0, 200, 5), (1, 210, 5), (2, 220, 5)]
    assert product_prices(database) == [(0, 200, 250), (1, 210, 255), (2, 220, 260)]


def test_the_first_price_is_corrected_too(database, shop):
    observe(shop, 2, 200)

    correct_prices(database, shop, day(0), day(0, 1), 190)

    assert product_prices(database) == [(0, 190, 245), (1, 200, 250)]


def test_steps_of_the_stock_stay(database, shop):
    for hour, (price, items) in enumerate([(200, 5), (2, 5), (2, 4), (200, 3)]):
        shop.observe(day(0, hour), {ONE: (price, items)})

    correct_prices(database, shop, day(0, 1), day(0, 3), None)

    assert offer_prices(database) == [(0, 200, 5), (2, 200, 4), (3, 200, 3)]
    assert [row.items_in_stock for row in sorted(rows(database, ProductPrice), key=lambda row: row.observed_at)] == [
        5,
        4,
        3,
    ]


def test_the_current_price_follows(database, shop):
    observe(shop, 200, 2)

    correct_prices(database, shop, day(0, 1), day(0, 2), None)

    (offer,) = rows(database, Offer, id=ONE)
    (summary,) = rows(database, ProductSummary)
    assert (offer.price, summary.lowest, summary.average) == (200, 200, 250)
    assert (summary.observed_at - FIRST) // HOUR == 0


def test_what_the_price_is_compared_with_is_looked_up_again(database, shop):
    observe(shop, 2, 200)
    now = day(0, 0) + timedelta(days=1)
    with database.sessions.begin() as session:
        refresh(session, now, 10)

    correct_prices(database, shop, day(0), day(0, 1), 190)
    with database.sessions.begin() as session:
        # When it is due is by the database's clock.
        (summary,) = rows(database, ProductSummary)
        refresh(session, summary.compare_at, 10)

    (after,) = rows(database, ProductSummary)
    assert summary.lowest_24h == 2
    assert after.compared_at == summary.compare_at


def test_as_many_items_as_64_bits_hold_are_not_too_many(database, shop):
    for hour, price in enumerate((200, 2, 200)):
        shop.observe(day(0, hour), {ONE: (price, 2**63 - 1), TWO: (300, 2**63 - 1)})

    correct_prices(database, shop, day(0, 1), day(0, 2), 190)

    assert {row.items_in_stock for row in rows(database, ProductPrice)} == {2**63 - 1}


def test_a_gap_stays_a_gap(database, shop):
    observe(shop, 200, 2)
    shop.observe(day(3), {ONE: (200, 5), TWO: (300, 1)})

    correct_prices(database, shop, day(0, 1), day(1), None)

    assert product_prices(database) == [(0, 200, 250), (1, None, None), (72, 200, 250)]


def test_it_is_recorded_who_corrected_what_and_why(database, shop):
    observe(shop, 200, 2, 3, 200)

    made = correct_prices(database, shop, day(0, 1), day(0, 3), None, reason="Cents as euros.", username="eva")

    (row,) = rows(database, PriceCorrection)
    assert (row.id, row.product_id, row.offer_id, row.price) == (made, shop.product_id, ONE, None)
    assert (row.username, row.reason, row.wrong_from, row.wrong_until) == (
        "eva",
        "Cents as euros.",
        *(
            day(0, 1),
            day(0, 3),
        ),
    )
    assert row.changes == [
        {"at": "2026-01-01T01:00:00Z", "old_price": 2, "new_price": 200},
        {"at": "2026-01-01T02:00:00Z", "old_price": 3, "new_price": 200},
    ]


def test_what_cannot_be_corrected_is_refused_and_stays(database, shop):
    observe(shop, 200, 2)
    before = offer_prices(database), product_prices(database)

    for begin, until, price, reason in (
        (day(5), day(6), 10, "No price was recorded"),
        (day(0, 1), day(0, 1), 10, "No price was recorded"),
        (day(0), day(1), None, "no price before"),
    ):
        with pytest.raises(CannotCorrect, match=reason):
            correct_prices(database, shop, begin, until, price)
    with pytest.raises(UnknownOffer):
        correct_prices(database, shop, day(0), day(1), 10, offer_id=UUID(int=3))

    assert (offer_prices(database), product_prices(database)) == before
    assert not rows(database, PriceCorrection)


def test_days_that_are_summarised_are_final(database, shop):
    observe(shop, 200, 2, 200)
    shop.observe(day(150), {ONE: (200, 5), TWO: (300, 1)})
    compact(database, day(200))

    with pytest.raises(CannotCorrect, match="Only days are kept of prices before"):
        correct_prices(database, shop, day(0, 1), day(0, 2), None)


def test_a_price_before_compacted_days_stays_in_force(database, shop):
    observe(shop, 200)
    shop.keep(day(149))
    compact(database, day(150))
    shop.observe(day(149, 1), {ONE: (2, 5), TWO: (300, 1)})

    correct_prices(database, shop, day(149), day(150), None)

    (summary,) = rows(database, ProductSummary)
    assert (offer_prices(database), product_prices(database)) == ([], [])
    assert (summary.lowest, summary.average) == (200, 250)


def computed(database):
    """The product's history, computed from all steps of its offers, without regard to how it was written."""
    steps = sorted(rows(database, OfferPrice), key=lambda row: row.observed_at)
    recorded = {row.observed_at: row.observed for row in rows(database, ProductPrice)}
    observed, history = False, []
    for at in sorted({step.observed_at for step in steps} | recorded.keys()):
        observed = recorded.get(at, observed)
        newest = {step.offer_id: step for step in steps if step.observed_at <= at}
        summary = summarise((step.price, step.items_in_stock) for step in newest.values())
        history.append((at, *(summary if observed else NOTHING_IN_STOCK), observed))
    return [history[0], *(after for before, after in pairwise(history) if before[1:] != after[1:])] if history else []


states = st.tuples(st.integers(1, 4), st.sampled_from([0, 1, 2, None]))
lists = st.dictionaries(st.sampled_from([ONE, TWO]), states)


@given(
    # After nine hours there is a gap.
    st.lists(st.tuples(st.sampled_from([1, 1, 2, 9]), lists), min_size=1, max_size=6),
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 20), st.integers(1, 4) | st.none(), st.sampled_from([ONE, TWO])),
        min_size=1,
        max_size=3,
    ),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_corrections_the_products_history_is_that_of_its_offers(database, observed, wrong):
    database.empty()
    shop = Shop(database)
    at = FIRST
    for hours, offers in observed:
        at += timedelta(hours=hours)
        shop.observe(at, offers)

    for begin, hours, price, offer_id in wrong:
        try:
            correct_prices(database, shop, day(0, begin), day(0, begin + hours), price, offer_id)
        except (CannotCorrect, UnknownOffer):
            continue

    stored = sorted(rows(database, ProductPrice), key=lambda row: row.observed_at)
    assert [tuple(row)[1:] for row in stored] == computed(database)
    newest = [row for row in stored if row.observed]
    (summary,) = rows(database, ProductSummary)
    assert tuple(newest[-1])[2:6] == (summary.lowest, summary.average, summary.offers, summary.items_in_stock)
    for offer in rows(database, Offer):
        last = max(rows(database, OfferPrice, offer_id=offer.id), key=lambda row: row.observed_at)
        assert offer.price == last.price
