"""Which listed prices are held back, and when they are taken."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.db.models import OFFERS_SOURCE
from productagg.offers.quarantine import held_back
from productagg.offers.reconcile import Observation, StoredOffers, plan_updates
from productagg.offers.summary import NOTHING_IN_STOCK
from tests.factories import offer_state

PRODUCT, OFFER, OTHER = (UUID(int=number) for number in (1, 2, 3))
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FACTOR = 10

prices = st.one_of(st.integers(0, 3), st.integers(90, 110), st.integers(1000, 1100), st.just(2**63 - 1))


def after(*listed, stored=None):
    """An offer after lists, a minute apart, in which it had these prices, or these states."""
    for minute, each in enumerate(listed):
        state = offer_state(each, 5) if isinstance(each, int) else each
        before = {} if stored is None else {OFFER: stored}
        stored = held_back(before, {OFFER: state}, NOON + timedelta(minutes=minute), FACTOR).get(OFFER, state)
    return stored


def pending(state):
    return state.quarantined and (state.quarantined["price"], state.quarantined["seen"])


@pytest.mark.parametrize("price", [1001, 10**9, 9, 1, 0])
def test_a_glitch_leaves_the_price_as_it_was(price):
    state = after(100, price)

    assert (state.price, pending(state)) == (100, (price, 1))
    assert state.quarantined["reason"] == ("jump" if price else "zero")
    assert state.quarantined["since"] == "2026-05-01T12:01:00Z"


@pytest.mark.parametrize("price", [1000, 10, 101, 99])
def test_a_price_within_the_factor_is_taken(price):
    assert after(100, price) == offer_state(price, 5)


def test_the_third_list_in_a_row_is_believed():
    second = after(100, 5000, 5000)

    assert (second.price, pending(second)) == (100, (5000, 2))
    assert second.quarantined["since"] == "2026-05-01T12:01:00Z"
    assert after(100, 5000, 5000, 5000) == offer_state(5000, 5)


def test_another_glitch_starts_over():
    state = after(100, 5000, 5000, 6000)

    assert (state.price, pending(state)) == (100, (6000, 1))
    assert state.quarantined["since"] == "2026-05-01T12:03:00Z"


def test_a_normal_price_ends_it():
    assert after(100, 5000, 5000, 101) == offer_state(101, 5)
    assert pending(after(100, 5000, 5000, 100, 5000)) == (5000, 1)


def test_other_facts_are_taken_meanwhile():
    state = after(100, offer_state(5000, 2, seller="A shop", availability="preorder"))

    assert (state.price, state.items_in_stock, state.seller, state.availability) == (100, 2, "A shop", "preorder")


def test_the_first_price_of_an_offer_has_nothing_to_be_compared_with():
    assert after(10**9) == offer_state(10**9, 5)


def test_a_new_offer_for_nothing_is_not_in_stock_until_that_is_believed():
    first = after(0)

    assert (first.stock, pending(first)) == (0, (0, 1))
    assert (after(0, 0).stock, pending(after(0, 0))) == (0, (0, 2))
    assert after(0, 0, 0) == offer_state(0, 5)
    assert after(0, 10**9) == offer_state(10**9, 5)


def test_any_price_may_follow_a_believed_zero():
    assert after(100, 0, 0, 0, 5000) == offer_state(5000, 5)


def test_a_rejected_price_is_held_back_however_often_it_is_listed():
    second = after(100, 5000)
    rejected = second._replace(quarantined={**second.quarantined, "rejected": True})

    assert after(*[5000] * 5, stored=rejected) == rejected
    assert after(101, stored=rejected) == offer_state(101, 5)
    assert pending(after(6000, stored=rejected)) == (6000, 1)


def test_a_closed_offer_holds_nothing_back():
    assert after(100, 5000).closed().quarantined is None


def plan(stored, observed, factor=FACTOR):
    stored_offers = StoredOffers(NOON, "EUR", {PRODUCT: {OFFERS_SOURCE: stored}})
    return plan_updates(stored_offers, [Observation(PRODUCT, observed, NOON, first=False)], factor).get(PRODUCT)


@pytest.mark.parametrize("glitch", [0, 3, 5000])
def test_a_glitch_changes_neither_the_summary_nor_a_history(glitch):
    stored = {OFFER: offer_state(100, 5), OTHER: offer_state(120, 5)}

    update = plan(stored, {**stored, OFFER: offer_state(glitch, 5)})

    assert update.summary is None
    assert update.difference.same_steps == update.difference.changed.keys() == {OFFER}
    assert update.difference.holds_back


def test_a_new_offer_for_nothing_is_not_the_lowest_price():
    update = plan({}, {OFFER: offer_state(0, 5)})

    assert (update.before, update.summary) == (NOTHING_IN_STOCK, None)


def test_without_a_factor_every_price_is_taken_and_nothing_stays_held_back():
    stored = {OFFER: after(100, 5000)}

    assert plan(stored, {OFFER: offer_state(5000, 5)}, factor=0).difference.changed == {OFFER: offer_state(5000, 5)}
    assert plan(stored, {OFFER: offer_state(0, 5)}, factor=0).difference.changed == {OFFER: offer_state(0, 5)}


def test_a_rejected_price_is_nothing_to_write():
    second = after(100, 5000)
    stored = {OFFER: second._replace(quarantined={**second.quarantined, "rejected": True})}

    assert plan(stored, {OFFER: offer_state(5000, 5)}) is None


@given(st.lists(prices, min_size=1, max_size=12))
def test_every_price_was_the_first_or_was_near_the_last_one_or_was_listed_three_times(listed):
    stored = None
    accepted = None
    for number, price in enumerate(listed):
        stored = after(price, stored=stored)
        if stored.accepted_price is None:
            assert stored.stock == 0
            continue
        taken = stored.accepted_price
        is_near = accepted is not None and max(accepted, taken) <= FACTOR * min(accepted, taken)
        is_first = taken > 0 and not accepted
        is_repeated = listed[max(0, number - 2) : number + 1] == [taken] * 3
        assert taken == accepted or is_first or is_near or is_repeated
        accepted = taken


@given(st.lists(prices, min_size=1, max_size=6))
def test_a_price_that_stays_is_taken_in_the_end(listed):
    assert after(*listed, *[listed[-1]] * 2) == offer_state(listed[-1], 5)
