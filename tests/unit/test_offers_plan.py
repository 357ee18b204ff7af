"""Which updates follow from a list: what offers in other currencies and other facts have a part in."""

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from productagg.db.models import AVAILABILITIES, OFFERS_SOURCE
from productagg.offers.reconcile import Observation, StoredOffers, plan_updates
from productagg.offers.summary import NOTHING_IN_STOCK
from tests.factories import offer_state

PRODUCT = UUID(int=1)
NOW = datetime(2026, 5, 1, tzinfo=UTC)
ids = st.integers(0, 5)
amounts = st.integers(0, 3)


def offers(currencies, first_id):
    """Lists of offers in these currencies, with ids from `first_id` on."""
    states = st.builds(
        offer_state,
        amounts,
        amounts | st.none(),
        currency=st.sampled_from(currencies),
        availability=st.sampled_from(AVAILABILITIES),
        seller=st.sampled_from([None, "A shop"]),
    )
    return st.dictionaries(ids.map(lambda number: UUID(int=first_id + number)), states)


ours, foreign = offers(["EUR"], 0), offers(["CZK", "USD"], 100)


def plan(stored, observed):
    stored_offers = StoredOffers(NOW, "EUR", {PRODUCT: {OFFERS_SOURCE: stored}})
    return plan_updates(stored_offers, [Observation(PRODUCT, observed, NOW, first=False)]).get(PRODUCT)


@given(ours, ours, foreign, foreign)
def test_offers_in_other_currencies_never_change_what_a_product_costs(stored, observed, foreign_before, foreign_after):
    alone = plan(stored, observed)
    together = plan({**stored, **foreign_before}, {**observed, **foreign_after})

    assert (alone and alone.summary) == (together and together.summary)
    if together is not None and alone is not None:
        assert together.before == alone.before


@given(foreign)
def test_offers_in_other_currencies_alone_are_no_price(observed):
    update = plan({}, observed)

    assert update is None or (update.before, update.summary) == (NOTHING_IN_STOCK, None)


@given(ours, ours)
def test_a_step_is_a_change_of_price_or_of_stock(stored, observed):
    update = plan(stored, observed)
    if update is None:
        assert stored == observed
        return

    difference = update.difference
    for offer_id, state in difference.changed.items():
        before = stored.get(offer_id)
        same = before is not None and (before.price, before.stock) == (state.price, state.stock)
        assert (offer_id in difference.same_steps) == same
