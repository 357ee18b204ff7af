"""Whatever sources of all kinds list, and in whatever order: a source's list never touches the offers of another."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from productagg.db.models import (
    OFFERS_SOURCE,
    Offer,
    OfferPrice,
    ProductChange,
    ProductPrice,
    ProductSource,
    ProductSummary,
)
from productagg.sync import leases
from productagg.sync.document_offers import SeenOffers, close_vanished, write_chunk
from productagg.sync.outcomes import Outcome, apply_outcomes
from productagg.sync.schedule import Schedule
from productagg.sync.source_offers import states
from tests import scale
from tests.factories import LONG_AGO, link, make_products, make_source, rows
from tests.integration.scripted_adapters import an_offer

PRODUCTS = 2
NOT_LONG = timedelta(hours=5)
SCHEDULE = Schedule(timedelta(seconds=60), timedelta(seconds=60))
WRITTEN = (Offer, OfferPrice, ProductPrice, ProductChange)


class Listed(NamedTuple):
    """A list of a source of single products."""

    kind: str
    product: int
    offers: dict[int, int]
    is_complete: bool


class Document(NamedTuple):
    """A document with offers of products, by their places; read in parts of so many offers, to its end or not."""

    offers: dict[tuple[int, int], int]
    part: int
    is_complete: bool


some_offers = st.dictionaries(st.integers(1, 3), st.integers(1, 500))
a_step = st.one_of(
    st.builds(Listed, st.sampled_from(["service", "page"]), st.integers(0, PRODUCTS - 1), some_offers, st.booleans()),
    st.builds(
        Document,
        st.dictionaries(st.tuples(st.integers(0, PRODUCTS - 1), st.integers(1, 3)), st.integers(1, 500)),
        st.integers(1, 4),
        st.booleans(),
    ),
)


class Mixed:
    """Two products, each at the Offers service, at a page of its own, and in a document."""

    def __init__(self, database):
        self.database = database
        self.products = make_products(database, PRODUCTS)
        self.sources = {
            "service": OFFERS_SOURCE,
            "page": make_source(database, "page"),
            "document": make_source(database, "feed", kind="feed"),
        }
        for place, product_id in enumerate(self.products):
            link(database, product_id, self.sources["page"], locator=f"https://shop.test/{place}")
            link(database, product_id, self.sources["document"], locator=f"{place}", next_sync_at=None)

    def begin(self):
        """Forget all offers, and who listed which product when."""
        with self.database.sessions.begin() as session:
            for model in WRITTEN:
                session.execute(delete(model))
            never = dict.fromkeys(("last_asked_at", "last_synced_at", "last_changed_at", "last_error"))
            session.execute(update(ProductSource).values(**never, failures=0))

    def take(self, step):
        """What a run does with the list or the document that it has fetched."""
        if isinstance(step, Document):
            self._read(step)
        else:
            self._settle(step)

    def _settle(self, step):
        source_id, product_id = self.sources[step.kind], self.products[step.product]
        offers = [an_offer(step.product, f"{number}", price) for number, price in step.offers.items()]
        with self.database.sessions.begin() as session:
            chosen = ProductSource.product_id == product_id
            (lease,) = leases.acquire(session, source_id, chosen, 1, timedelta(seconds=60), datetime.now(UTC))
            outcome = Outcome(lease, registered=True, offers=states(source_id, offers), is_complete=step.is_complete)
            apply_outcomes(session, [outcome], SCHEDULE, LONG_AGO, NOT_LONG)

    def _read(self, document):
        source_id, seen = self.sources["document"], SeenOffers()
        offers = [an_offer(place, f"{place}-{number}", price) for (place, number), price in document.offers.items()]
        for start in range(0, len(offers), document.part):
            with self.database.sessions.begin() as session:
                seen.add(write_chunk(session, source_id, offers[start : start + document.part], NOT_LONG).offers)
        if document.is_complete:
            with self.database.sessions.begin() as session:
                close_vanished(session, source_id, seen, UUID(int=0), NOT_LONG)

    def stored(self):
        """All offers, closed ones too, by the kind of their source."""
        found: dict[str, list[Any]] = {kind: [] for kind in self.sources}
        kinds = {source_id: kind for kind, source_id in self.sources.items()}
        for row in rows(self.database, Offer):
            found[kinds[row.source_id]].append(row)
        return found


def listed_by(step):
    """The offers of a step by product, with their ids at the source."""
    if isinstance(step, Document):
        return {(place, f"{place}-{number}"): price for (place, number), price in step.offers.items()}
    return {(step.product, f"{number}"): price for number, price in step.offers.items()}


def after(step, before):
    """The open offers of the step's source after it: what it lists, and what it says nothing about."""
    concerned = range(PRODUCTS) if isinstance(step, Document) else [step.product]
    kept = {key: price for key, price in before.items() if not step.is_complete or key[0] not in concerned}
    return {**kept, **listed_by(step)}


@pytest.fixture
def mixed(database):
    return Mixed(database)


@settings(max_examples=scale.examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(a_step, min_size=1, max_size=8))
def test_a_list_changes_the_offers_of_its_own_source_only(database, mixed, steps):
    mixed.begin()
    expected: dict[str, dict[tuple[int, str], int]] = {kind: {} for kind in mixed.sources}

    for step in steps:
        before = mixed.stored()
        kind = "document" if isinstance(step, Document) else step.kind
        mixed.take(step)
        stored = mixed.stored()
        expected[kind] = after(step, expected[kind])

        # Every column of every offer of the other sources is as before.
        assert {**stored, kind: None} == {**before, kind: None}
        open_now = {
            (mixed.products.index(row.product_id), row.external_id): row.price
            for row in stored[kind]
            if row.closed_at is None
        }
        assert open_now == expected[kind]

    for row in rows(database, ProductSummary):
        place = mixed.products.index(row.product_id)
        prices = [price for offers in expected.values() for (of, _), price in offers.items() if of == place]
        if prices:
            assert (row.lowest, row.offers, row.items_in_stock) == (min(prices), len(prices), 5 * len(prices))
