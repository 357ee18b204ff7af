"""Nothing is lost and nothing is invented, after any sequence of responses (Hypothesis)."""

from itertools import groupby, pairwise
from operator import attrgetter
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from productagg.db.models import Offer, OfferPrice, ProductSource
from productagg.offers.summary import summarise
from productagg.sandbox.service import Response
from tests import scale
from tests.factories import LONG_AGO, make_products, rows, sync_row
from tests.integration.offer_history import recorded, replay, stored, summaries

# Few, and the same for all products, so that lists share offers and products share offers' ids.
OFFER_IDS = [UUID(int=number) for number in range(3)]
LARGEST = 2**63 - 1
PRODUCTS = 3

FAILURES = [
    Response(500, {"detail": "Internal Server Error"}),
    Response(404, {"detail": "Not Found"}),
    Response(200, {"offers": []}),
    Response(200, [{"id": str(OFFER_IDS[0]), "price": 100, "items_in_stock": 1}, {"id": str(OFFER_IDS[1])}]),
]

prices = st.sampled_from([0, 100, 101, LARGEST])
stocks = st.sampled_from([0, 1, 5, LARGEST // 3])
lists = st.dictionaries(st.sampled_from(OFFER_IDS), st.tuples(prices, stocks))
# A response for one product: a whole, valid list, None for the same list as before, or a failure.
answers = st.one_of(lists, st.none(), st.sampled_from(FAILURES))
# The responses for all of them, run by run.
timelines = st.lists(st.tuples(*[answers] * PRODUCTS), min_size=1, max_size=6)


class Teller:
    """Makes new products and sync runs over them, and lets the service answer as an example says."""

    def __init__(self, database, upstream, synchronizer):
        self._database = database
        self._upstream = upstream
        self._synchronizer = synchronizer
        self._examples = 0
        upstream.answer_with = self._answer

    def begin(self):
        """Forget the products of the last example (they stay in the database, and are not due)."""
        self._examples += 1
        self._failing = {}
        self.product_ids = make_products(self._database, PRODUCTS, f"Kettle {self._examples}")
        # What was said before the first list is that there is nothing.
        self.said: dict[UUID, list[dict[UUID, tuple[int, int]]]] = {product_id: [{}] for product_id in self.product_ids}

    def tell(self, answers):
        """Make one run in which every product gets its answer."""
        self._failing = {}
        for product_id, answer in zip(self.product_ids, answers, strict=True):
            if isinstance(answer, Response):
                self._failing[str(product_id)] = answer
                continue
            said = self.said[product_id]
            said.append(said[-1] if answer is None else answer)
            self._upstream.offer(product_id, said[-1])
        with self._database.sessions.begin() as session:
            mine = ProductSource.product_id.in_(self.product_ids)
            session.execute(update(ProductSource).where(mine).values(next_sync_at=LONG_AGO))
        return self._synchronizer.run()

    def _answer(self, request):
        if not request.path.endswith("/offers"):
            return None
        return self._failing.get(request.path.split("/")[-2])


@pytest.fixture
def teller(database, upstream, make_synchronizer):
    return Teller(database, upstream, make_synchronizer(**{"sync.workers": "2"}))


def without_repeats(states):
    return [state for state, _ in groupby(states)]


def after_lists(lists):
    """The states of all offers ever seen, after every list; vanished offers have stock 0."""
    state: dict[UUID, tuple[int, int]] = {}
    states = []
    for offers in lists:
        state = {id_: (price, 0) for id_, (price, _) in state.items()} | offers
        states.append(state)
    return states


def examples(count):
    # A test's examples may share the fixture, because every example makes new products.
    return settings(max_examples=scale.examples(count), suppress_health_check=[HealthCheck.function_scoped_fixture])


@examples(30)
@given(timeline=timelines)
def test_after_any_sequence_of_answers_the_last_valid_list_is_stored_and_the_history_tells_all_of_them(
    database, teller, timeline
):
    teller.begin()
    failures = dict.fromkeys(teller.product_ids, 0)

    for step in timeline:
        before = {product_id: recorded(database, product_id) for product_id in teller.product_ids}

        result = teller.tell(step)

        assert result.failed == sum(isinstance(answer, Response) for answer in step)
        for product_id, answer in zip(teller.product_ids, step, strict=True):
            failures[product_id] = failures[product_id] + 1 if isinstance(answer, Response) else 0
            row = sync_row(database, product_id)
            assert (row.failures, row.last_error is None) == (failures[product_id], failures[product_id] == 0)
            said = teller.said[product_id]
            assert stored(database, product_id) == said[-1]
            # Only a list that is news, as even an empty one is when it is the first, appends anything.
            if isinstance(answer, Response) or (len(said) > 2 and said[-1] == said[-2]):
                assert recorded(database, product_id) == before[product_id]

    for product_id in teller.product_ids:
        nothing, *lists = teller.said[product_id]
        # The line for an offer's closing says nothing new if its stock had been 0 before.
        assert without_repeats([nothing, *replay(database, product_id)]) == without_repeats(
            after_lists([nothing, *lists])
        )
        assert summaries(database, product_id) == without_repeats(
            (summary.lowest, summary.average, summary.offers, summary.items_in_stock)
            for summary in (summarise(states.values()) for states in lists)
        )
        check_the_offers_against_their_history(database, product_id)


def check_the_offers_against_their_history(database, product_id):
    history = {
        id_: list(lines)
        for id_, lines in groupby(rows(database, OfferPrice, product_id=product_id), attrgetter("offer_id"))
    }
    for offer in rows(database, Offer, product_id=product_id):
        lines = history.pop(offer.id)
        assert all(early.observed_at < late.observed_at for early, late in pairwise(lines))
        assert (lines[-1].price, lines[-1].items_in_stock) == (offer.price, offer.items_in_stock)
        assert (lines[0].observed_at, lines[-1].observed_at) == (offer.first_seen_at, offer.changed_at)
        assert offer.closed_at in (None, offer.changed_at)
    assert not history


@examples(20)
@given(first=lists, second=lists)
def test_a_list_that_is_applied_twice_is_as_good_as_once(database, teller, first, second):
    teller.begin()
    teller.tell([first, second, first])
    teller.tell([second, second, second])
    once = [recorded(database, product_id) for product_id in teller.product_ids]

    result = teller.tell([second, second, second])

    assert [recorded(database, product_id) for product_id in teller.product_ids] == once
    assert (result.changed, result.closed, result.failed) == (0, 0, 0)
