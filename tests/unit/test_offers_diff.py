"""What must be written so that the stored offers equal the fetched ones."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.db.models import AVAILABILITIES
from productagg.offers.reconcile import Difference, diff
from tests.factories import offer_state

FIRST, SECOND = UUID(int=1), UUID(int=2)

# Few ids, prices and stocks, so that two lists have much in common.
states = st.builds(
    offer_state,
    st.integers(0, 3) | st.integers(0, 2**63 - 1),
    st.integers(0, 2) | st.none(),
    availability=st.sampled_from(AVAILABILITIES),
    url=st.sampled_from([None, "https://shop.test/1"]),
)
offers = st.dictionaries(st.integers(0, 9).map(lambda number: UUID(int=number)), states)


def apply(stored, difference):
    """The open offers after the difference has been written."""
    return {id_: state for id_, state in {**stored, **difference.changed}.items() if id_ not in difference.closed}


class TestOneOffer:
    @pytest.mark.parametrize(
        ("stored", "fetched", "changed", "closed"),
        [
            pytest.param(None, offer_state(100, 5), offer_state(100, 5), None, id="a new one"),
            pytest.param(offer_state(100, 5), offer_state(100, 5), None, None, id="an unchanged one"),
            pytest.param(offer_state(100, 5), offer_state(99, 5), offer_state(99, 5), None, id="another price"),
            pytest.param(offer_state(100, 5), offer_state(100, 4), offer_state(100, 4), None, id="another stock"),
            pytest.param(
                offer_state(100, 5), offer_state(100, 0), offer_state(100, 0), None, id="listed without stock"
            ),
            pytest.param(
                offer_state(100, 5), None, None, offer_state(100, 0), id="vanished: sold out at its last price"
            ),
            pytest.param(offer_state(100, 0), None, None, offer_state(100, 0), id="vanished after its stock was gone"),
        ],
    )
    def test_what_becomes_of_it(self, stored, fetched, changed, closed):
        def only(state):
            return {} if state is None else {FIRST: state}

        assert diff(only(stored), only(fetched)) == Difference(only(changed), only(closed))

    def test_the_price_of_one_is_never_taken_for_that_of_another(self):
        stored = {FIRST: offer_state(100, 5), SECOND: offer_state(200, 5)}

        difference = diff(stored, {FIRST: offer_state(200, 5), SECOND: offer_state(100, 5)})

        assert difference == Difference({FIRST: offer_state(200, 5), SECOND: offer_state(100, 5)}, {})


class TestAnyTwoLists:
    @given(offers, offers)
    def test_applying_the_difference_to_what_is_stored_gives_what_was_fetched(self, stored, fetched):
        assert apply(stored, diff(stored, fetched)) == fetched

    @given(offers, offers)
    def test_after_that_there_is_nothing_left_to_do(self, stored, fetched):
        assert not diff(apply(stored, diff(stored, fetched)), fetched)

    @given(offers, offers)
    def test_only_what_differs_is_written(self, stored, fetched):
        difference = diff(stored, fetched)

        assert all(stored.get(id_) != state for id_, state in difference.changed.items())
        assert difference.closed.keys() == stored.keys() - fetched.keys()
        assert all((state.price, state.stock) == (stored[id_].price, 0) for id_, state in difference.closed.items())

    @given(offers, offers)
    def test_there_is_a_difference_exactly_if_they_are_not_equal(self, stored, fetched):
        assert bool(diff(stored, fetched)) == (stored != fetched)

    @given(offers, offers)
    def test_neither_is_touched(self, stored, fetched):
        before = dict(stored), dict(fetched)

        diff(stored, fetched)

        assert (stored, fetched) == before
