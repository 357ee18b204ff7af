"""Glitches in lists of all kinds of sources: the sync holds them back, and an admin accepts or rejects them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import update

from productagg.db.models import Offer, OfferPrice, ProductPrice, ProductSource, ProductSummary, Source
from productagg.sources.web import Validators
from productagg.sync import quarantine_decisions
from productagg.sync.quarantine_decisions import NoOpenOffer, NotQuarantined
from productagg.sync.schedule import Schedule
from tests.factories import LONG_AGO, link, make_due, make_product, make_source, rows, sync_row
from tests.integration.conftest import before_statement
from tests.integration.scripted_adapters import ScriptedAdapter, an_offer, complete, install

OFFER = UUID(int=1)
SCHEDULE = Schedule(timedelta(minutes=1), timedelta(minutes=1))


@pytest.fixture
def synchronizer(make_synchronizer):
    return make_synchronizer(**{"quarantine.factor": "10"})


class Listing:
    """A product with one offer: `list(price)` is a run in which it has this price."""

    def __init__(self, database, upstream, synchronizer):
        self.database, self.upstream, self.synchronizer = database, upstream, synchronizer
        self.product_id = make_product(database)

    def list(self, *prices):
        for price in prices:
            self.upstream.offer(self.product_id, {OFFER: (price, 5)})
            make_due(self.database)
            assert self.synchronizer.run().failed == 0
        return self

    def decide(self, function, *arguments, offer_id=OFFER):
        with self.database.sessions.begin() as session:
            function(session, self.product_id, offer_id, *arguments)

    def accept(self, price, offer_id=OFFER):
        self.decide(quarantine_decisions.accept, price, SCHEDULE.observed_for, offer_id=offer_id)

    def reject(self, price):
        self.decide(quarantine_decisions.reject, price)

    @property
    def offer(self):
        (row,) = rows(self.database, Offer)
        return row

    @property
    def quarantined(self):
        held = self.offer.quarantined
        return held and (held["price"], held["reason"], held["seen"], held["rejected"])

    @property
    def lowest(self):
        (row,) = rows(self.database, ProductSummary)
        return row.lowest

    @property
    def histories(self):
        """The prices of all steps of the offer, and of the product."""
        steps = rows(self.database, OfferPrice), rows(self.database, ProductPrice)
        return [row.price for row in steps[0]], [row.lowest for row in steps[1]]


@pytest.fixture
def listing(database, upstream, synchronizer):
    return Listing(database, upstream, synchronizer)


def test_a_glitch_changes_no_price_and_no_history(listing):
    listing.list(100, 5000)

    assert (listing.offer.price, listing.quarantined) == (100, (5000, "jump", 1, False))
    assert (listing.lowest, listing.histories) == (100, ([100], [100]))


def test_it_is_taken_from_the_third_list_in_a_row(listing):
    listing.list(100, 5000, 5000)
    assert (listing.lowest, listing.quarantined) == (100, (5000, "jump", 2, False))

    listing.list(5000)

    assert (listing.offer.price, listing.quarantined, listing.lowest) == (5000, None, 5000)
    assert listing.histories == ([100, 5000], [100, 5000])


def test_a_normal_price_ends_it(listing):
    listing.list(100, 0, 101)

    assert (listing.offer.price, listing.quarantined, listing.lowest) == (101, None, 101)
    assert listing.histories == ([100, 101], [100, 101])


def test_a_new_offer_for_nothing_is_no_price_of_the_product(listing):
    listing.list(0)

    assert (listing.quarantined, listing.lowest) == ((0, "zero", 1, False), None)
    listing.list(0, 0)
    assert (listing.quarantined, listing.lowest, listing.offer.items_in_stock) == (None, 0, 5)


def test_a_closed_offer_holds_nothing_back(database, upstream, synchronizer, listing):
    listing.list(100, 5000)
    upstream.offer(listing.product_id, {})
    make_due(database)

    synchronizer.run()

    assert (listing.offer.price, listing.quarantined) == (100, None)
    assert listing.offer.closed_at is not None


def test_a_glitch_takes_no_more_statements_than_a_price(database, listing):
    listing.list(100)
    counts = []
    for price in (101, 5000):
        statements: list[str] = []
        with before_statement(database.writer, "", statements.append):
            listing.list(price)
        counts.append(len(statements))

    # The summary stays.
    assert counts[1] < counts[0]


def test_an_accepted_price_is_the_offers_at_once(listing):
    listing.list(100, 5000)

    listing.accept(5000)

    assert (listing.offer.price, listing.quarantined, listing.lowest) == (5000, None, 5000)
    assert listing.histories == ([100, 5000], [100, 5000])
    listing.list(5000)
    assert (listing.quarantined, listing.histories) == (None, ([100, 5000], [100, 5000]))


def test_a_product_at_a_source_that_is_asked_daily_has_no_gap_when_a_price_is_accepted(database, listing):
    listing.list(100, 5000)
    with database.sessions.begin() as session:
        session.execute(update(Source).values(interval_seconds=86_400))
        session.execute(update(ProductSource).values(last_synced_at=datetime.now(UTC) + timedelta(hours=-20)))

    listing.accept(5000)

    assert listing.histories[1] == [100, 5000]


def test_the_log_names_prices_that_are_held_back_once(listing, caplog):
    listing.list(100)

    with caplog.at_level("INFO"):
        listing.list(5000, 5000)

    told = [record.getMessage() for record in caplog.records if "held back" in record.getMessage()]
    assert told == [f"a price is held back: product {listing.product_id}, offer {OFFER}: 5000 instead of 100"]


def test_an_accepted_price_of_nothing_is_in_stock_with_the_next_list(listing):
    listing.list(0)

    listing.accept(0)
    assert (listing.quarantined, listing.lowest) == (None, None)
    listing.list(0)

    assert (listing.quarantined, listing.lowest) == (None, 0)


def test_a_rejected_price_stays_held_back(listing):
    listing.list(100, 5000)

    listing.reject(5000)
    listing.list(5000, 5000, 5000)

    assert (listing.offer.price, listing.quarantined, listing.lowest) == (100, (5000, "jump", 1, True), 100)
    listing.accept(5000)
    assert listing.offer.price == 5000


def test_only_the_price_that_is_held_back_can_be_decided_about(listing):
    listing.list(100, 5000)
    before = listing.offer

    for decision in (listing.accept, listing.reject):
        with pytest.raises(NotQuarantined):
            decision(100)
    with pytest.raises(NoOpenOffer):
        listing.accept(5000, UUID(int=2))

    assert listing.offer == before


@pytest.mark.parametrize(("decision", "price"), [("accept", 5000), ("reject", 100)])
def test_a_run_that_was_fetching_meanwhile_does_not_undo_the_decision(
    database, upstream, synchronizer, listing, gate, decision, price
):
    gate.open.set()
    listing.list(100, 5000, 5000)
    gate.open.clear()
    gate.entered.clear()
    make_due(database)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(synchronizer.run)
        assert gate.entered.wait(60)
        getattr(listing, decision)(5000)
        gate.open.set()
        running.result(60)

    # Its list, the third one with this price, was dropped.
    assert (listing.offer.price, listing.lowest) == (price, price)
    assert listing.histories[0] == sorted({100, price})
    assert sync_row(database, listing.product_id).leased_until is None
    listing.list(5000)
    assert (listing.offer.price, listing.histories[0]) == (price, sorted({100, price}))


def test_a_shop_is_asked_without_validators_while_a_price_is_held_back(database, synchronizer, monkeypatch):
    product_id = make_product(database, next_sync_at=datetime.now(UTC) + timedelta(hours=1))
    price = 100
    validators = Validators(etag='"one"')
    adapter = ScriptedAdapter(lambda _request: [complete(an_offer("x", price=price), validators=validators)])
    install(monkeypatch, jsonld=adapter)
    source_id = make_source(database, "shop")
    link(database, product_id, source_id, locator="x")
    synchronizer.run()

    stored = []
    for price in (5000, 5000, 5000):  # noqa: B007 - the adapter answers with it
        # Only there: a lane leaves a product that another one is writing to the next run.
        with database.sessions.begin() as session:
            session.get_one(ProductSource, (product_id, source_id)).next_sync_at = LONG_AGO
        synchronizer.run()
        (row,) = rows(database, ProductSource, source_id=source_id)
        stored.append(row.validators is not None)

    assert stored == [False, False, True]
    assert [request.validators for request in adapter.asked] == [Validators(), validators, Validators(), Validators()]


def test_a_document_is_read_again_while_it_has_a_price_that_is_held_back(database, synchronizer, monkeypatch):
    product_id = make_product(database)
    price = 100
    validators = Validators(etag='"one"')
    adapter = ScriptedAdapter(
        lambda _request: [complete(an_offer("x", price=price), validators=validators)], whole_document=True
    )
    install(monkeypatch, feed=adapter)
    source_id = make_source(database, "feed", kind="feed", next_sync_at=sync_row(database, product_id).next_sync_at)
    link(database, product_id, source_id, locator="x", next_sync_at=None)
    synchronizer.run()

    prices, stored = [], []
    for price in (5000, 5000, 5000):  # noqa: B007 - the adapter answers with it
        with database.sessions.begin() as session:
            session.get_one(Source, source_id).next_sync_at = sync_row(database, product_id).registered_at
        synchronizer.run()
        (offer,) = rows(database, Offer, source_id=source_id)
        (row,) = rows(database, Source, id=source_id)
        prices.append(offer.price)
        stored.append(row.validators is not None)

    assert (prices, stored) == ([100, 100, 5000], [False, False, True])
