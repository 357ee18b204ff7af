"""Nothing is lost and nothing is invented: what holds after any sequence of answers (Hypothesis)."""

from itertools import groupby, pairwise
from operator import attrgetter
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from productagg.db.models import Offer, OfferPrice, ProductSync
from productagg.offers.summary import summarise
from productagg.sandbox.service import Answer
from tests import scale
from tests.factories import LONG_AGO, make_products, rows, sync_row
from tests.integration.histories import recorded, replay, stored, summaries

# Few, and the same for all products: lists shall share offers, and products the ids of theirs.
OFFER_IDS = [UUID(int=number) for number in range(3)]
LARGEST = 2**63 - 1
PRODUCTS = 3

FAILURES = [
    Answer(500, {"detail": "Internal Server Error"}),
    Answer(404, {"detail": "Not Found"}),
    Answer(200, {"offers": []}),
    Answer(200, [{"id": str(OFFER_IDS[0]), "price": 100, "items_in_stock": 1}, {"id": str(OFFER_IDS[1])}]),
]

prices = st.sampled_from([0, 100, 101, LARGEST])
stocks = st.sampled_from([0, 1, 5, LARGEST // 3])
lists = st.dictionaries(st.sampled_from(OFFER_IDS), st.tuples(prices, stocks))
# What one product gets to hear: a whole, valid list, None for the same one as before, or a failure.
answers = st.one_of(lists, st.none(), st.sampled_from(FAILURES))
# What all of them get to hear, pass by pass.
timelines = st.lists(st.tuples(*[answers] * PRODUCTS), min_size=1, max_size=6)


class Teller:
    """Makes new products and passes over them, and lets the service answer what an example says."""

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
        """One pass in which each product gets its answer."""
        self._failing = {}
        for product_id, answer in zip(self.product_ids, answers, strict=True):
            if isinstance(answer, Answer):
                self._failing[str(product_id)] = answer
                continue
            said = self.said[product_id]
            said.append(said[-1] if answer is None else answer)
            self._upstream.offer(product_id, said[-1])
        with self._database.sessions.begin() as session:
            mine = ProductSync.product_id.in_(self.product_ids)
            session.execute(update(ProductSync).where(mine).values(next_sync_at=LONG_AGO))
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


def known(lists):
    """What is known of every offer ever seen after each of these lists: of those that vanished, that none is left."""
    state: dict[UUID, tuple[int, int]] = {}
    states = []
    for each in lists:
        state = {id_: (price, 0) for id_, (price, _) in state.items()} | each
        states.append(state)
    return states


def examples(count):
    # The fixture is shared by a test's examples because each has products of its own.
    return settings(max_examples=scale.examples(count), suppress_health_check=[HealthCheck.function_scoped_fixture])


@examples(30)
@given(timeline=timelines)
def test_after_any_sequence_of_answers_the_last_valid_list_is_stored_and_the_history_tells_all_of_them(
    database, teller, timeline
):
    teller.begin()
    failures = dict.fromkeys(teller.product_ids, 0)

    for step in timeline:
        before = {each: recorded(database, each) for each in teller.product_ids}

        report = teller.tell(step)

        assert report.failed == sum(isinstance(each, Answer) for each in step)
        for product_id, answer in zip(teller.product_ids, step, strict=True):
            failures[product_id] = failures[product_id] + 1 if isinstance(answer, Answer) else 0
            row = sync_row(database, product_id)
            assert (row.failures, row.last_error is None) == (failures[product_id], failures[product_id] == 0)
            said = teller.said[product_id]
            assert stored(database, product_id) == said[-1]
            # Only a list that is news, as even an empty one is when it is the first, appends anything.
            if isinstance(answer, Answer) or (len(said) > 2 and said[-1] == said[-2]):
                assert recorded(database, product_id) == before[product_id]

    for product_id in teller.product_ids:
        nothing, *lists = teller.said[product_id]
        # The line for an offer's closing says nothing new if its stock had been 0 before.
        assert without_repeats([nothing, *replay(database, product_id)]) == without_repeats(known([nothing, *lists]))
        assert summaries(database, product_id) == without_repeats(
            (each.lowest, each.average, each.offers, each.items_in_stock)
            for each in (summarise(states.values()) for states in lists)
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
    once = [recorded(database, each) for each in teller.product_ids]

    report = teller.tell([second, second, second])

    assert [recorded(database, each) for each in teller.product_ids] == once
    assert (report.changed, report.closed, report.failed) == (0, 0, 0)
