"""Offers of several sources in one database: each list changes its own source's offers, and the summary is of all."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from productagg.db.models import OFFERS_SOURCE, Offer, OfferPrice, ProductChange, ProductPrice, ProductSummary
from productagg.offers.reconcile import Observation, OfferState, apply_updates, plan_updates, read_stored
from productagg.offers.summary import Summary, summarise
from tests import scale
from tests.factories import make_product, make_source, offer_state, rows

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
WRITTEN = (Offer, OfferPrice, ProductPrice, ProductChange)

# In a batch: by the place of its source, a list of (the offer's number, price, items), and whether it is complete.
a_list = st.dictionaries(st.integers(1, 4), st.tuples(st.integers(1, 500), st.integers(0, 3)), max_size=4)
a_batch = st.dictionaries(st.integers(0, 2), st.tuples(a_list, st.booleans()), min_size=1)


@pytest.fixture
def product(database):
    """A product and its three sources."""
    return make_product(database), [OFFERS_SOURCE, make_source(database, "shop"), make_source(database, "feed")]


def offer_id(place, number):
    return UUID(int=(place + 1) * 1000 + number)


def observe(database, product_id, sources, batch, at, *, first=False):
    observations = [
        Observation(
            product_id,
            {offer_id(place, number): offer_state(*state) for number, state in offers.items()},
            at,
            first,
            source_id=sources[place],
            is_complete=is_complete,
        )
        for place, (offers, is_complete) in batch.items()
    ]
    with database.sessions.begin() as session:
        updates = plan_updates(read_stored(session, [product_id]), observations)
        apply_updates(session, updates.values())


def stored(database, sources):
    """The open offers, by the places of their sources."""
    found: dict[int, dict[UUID, OfferState]] = {0: {}, 1: {}, 2: {}}
    for row in rows(database, Offer):
        if row.closed_at is None:
            found[sources.index(row.source_id)][row.id] = offer_state(row.price, row.items_in_stock)
    return found


@settings(max_examples=scale.examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(a_batch, min_size=1, max_size=6))
def test_whatever_the_sources_list_each_has_its_own_offers_and_the_summary_is_of_all(database, product, lists):
    product_id, sources = product
    with database.sessions.begin() as session:
        for model in WRITTEN:
            session.execute(delete(model))
    expected: dict[int, dict[UUID, OfferState]] = {0: {}, 1: {}, 2: {}}

    for turn, batch in enumerate(lists):
        observe(database, product_id, sources, batch, NOON + timedelta(minutes=turn), first=turn == 0)
        for place, (offers, is_complete) in batch.items():
            states = {offer_id(place, number): offer_state(*state) for number, state in offers.items()}
            expected[place] = states if is_complete else {**expected[place], **states}

    assert stored(database, sources) == expected
    (summary,) = rows(database, ProductSummary)
    of_all = summarise([(state.price, state.stock) for offers in expected.values() for state in offers.values()])
    assert Summary(summary.lowest, summary.average, summary.offers, summary.items_in_stock) == of_all
    newest = rows(database, ProductPrice)[-1]
    assert Summary(newest.lowest, newest.average, newest.offers, newest.items_in_stock) == of_all


def test_a_sources_empty_list_closes_its_offers_and_no_others(database, product):
    product_id, sources = product
    observe(database, product_id, sources, {0: ({1: (100, 5)}, True), 1: ({1: (80, 2)}, True)}, NOON, first=True)

    observe(database, product_id, sources, {1: ({}, True)}, NOON + timedelta(minutes=1))

    closed = {row.source_id: row.closed_at is not None for row in rows(database, Offer)}
    assert closed == {sources[0]: False, sources[1]: True}
    (summary,) = rows(database, ProductSummary)
    assert (summary.lowest, summary.offers) == (100, 1)


def test_an_incomplete_list_closes_nothing(database, product):
    product_id, sources = product
    observe(database, product_id, sources, {1: ({1: (80, 2), 2: (90, 1)}, True)}, NOON, first=True)

    observe(database, product_id, sources, {1: ({2: (70, 1)}, False)}, NOON + timedelta(minutes=1))

    assert stored(database, sources)[1] == {offer_id(1, 1): offer_state(80, 2), offer_id(1, 2): offer_state(70, 1)}


def test_an_offer_of_an_imported_history_belongs_to_the_first_source_that_lists_it(database, product):
    product_id, sources = product
    observe(database, product_id, sources, {0: ({1: (100, 5)}, True)}, NOON, first=True)
    observe(database, product_id, sources, {0: ({}, True)}, NOON + timedelta(minutes=1))
    listed = Observation(
        product_id, {offer_id(0, 1): offer_state(90, 1)}, NOON + timedelta(minutes=2), False, source_id=sources[2]
    )

    with database.sessions.begin() as session:
        apply_updates(session, plan_updates(read_stored(session, [product_id]), [listed]).values())

    assert [(row.source_id, row.closed_at) for row in rows(database, Offer)] == [(sources[2], None)]
