"""Planning the updates of products that several sources list, on any lists: pure, without a database."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from productagg.offers.reconcile import Observation, StoredOffers, plan_updates
from productagg.offers.summary import summarise
from tests.factories import offer_state

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
PRODUCT = UUID(int=1)
SOURCES = [UUID(int=number) for number in (7, 8, 9)]

states = st.builds(offer_state, st.integers(0, 1000), st.integers(0, 5))


def offers_of(source_id):
    """Offers with ids that only this source has."""
    ids = [UUID(int=source_id.int * 1000 + number) for number in range(4)]
    return st.dictionaries(st.sampled_from(ids), states)


stored_offers = st.fixed_dictionaries({source_id: offers_of(source_id) for source_id in SOURCES})


@st.composite
def batches(draw):
    """Lists of some of the sources, each complete or not."""
    observed = draw(st.lists(st.sampled_from(SOURCES), min_size=1, unique=True))
    return [
        Observation(PRODUCT, draw(offers_of(id_)), NOON, draw(st.booleans()), None, id_, draw(st.booleans()))
        for id_ in observed
    ]


def applied(stored, update):
    """The open offers after an update, by source."""
    after = {source_id: dict(offers) for source_id, offers in stored.items()}
    for source_id, difference in (update.differences if update else {}).items():
        after[source_id].update(difference.changed)
        for offer_id in difference.closed:
            del after[source_id][offer_id]
    return after


@given(stored_offers, batches())
def test_a_list_never_touches_the_offers_of_another_source(stored, observations):
    update = plan_updates(StoredOffers(NOON, "EUR", {PRODUCT: stored}), observations).get(PRODUCT)

    after = applied(stored, update)
    observed = {each.source_id: each for each in observations}
    for source_id in SOURCES:
        each = observed.get(source_id)
        if each is None:
            assert after[source_id] == stored[source_id]
        elif each.is_complete:
            assert after[source_id] == each.offers
        else:
            assert after[source_id] == {**stored[source_id], **each.offers}


@given(stored_offers, batches())
def test_the_summary_is_that_of_the_open_offers_of_all_sources(stored, observations):
    update = plan_updates(StoredOffers(NOON, "EUR", {PRODUCT: stored}), observations).get(PRODUCT)

    def of_all(by_source):
        return summarise([(state.price, state.stock) for offers in by_source.values() for state in offers.values()])

    after = of_all(applied(stored, update))
    if update is None or update.summary is None:
        assert after == of_all(stored)
    else:
        assert update.summary == after
        assert update.before == of_all(stored)


@given(stored_offers, batches())
def test_lists_of_one_batch_give_what_they_give_one_after_the_other(stored, observations):
    together = plan_updates(StoredOffers(NOON, "EUR", {PRODUCT: stored}), observations).get(PRODUCT)

    in_turn = stored
    for each in observations:
        in_turn = applied(in_turn, plan_updates(StoredOffers(NOON, "EUR", {PRODUCT: in_turn}), [each]).get(PRODUCT))

    assert applied(stored, together) == in_turn


def test_a_product_in_one_batch_from_two_sources_gets_one_summary_at_one_time():
    one, two = SOURCES[:2]
    first = Observation(PRODUCT, {UUID(int=7001): offer_state(100, 5)}, NOON, first=True, source_id=one)
    later = NOON + timedelta(microseconds=1)
    second = Observation(PRODUCT, {UUID(int=8001): offer_state(90, 1)}, later, first=False, source_id=two)

    (update,) = plan_updates(StoredOffers(NOON, "EUR", {}), [first, second]).values()

    assert (update.at, update.summary) == (later, summarise([(100, 5), (90, 1)]))
    assert set(update.difference.changed) == {UUID(int=7001), UUID(int=8001)}
