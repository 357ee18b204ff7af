"""A product gets a source, gets another locator there, and loses it; its offers and its history follow."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from productagg.catalog import products
from productagg.db.models import OFFERS_SOURCE, Offer, OfferPrice, ProductPrice, ProductSource, ProductSummary, Source
from productagg.offers.identity import offer_id
from productagg.offers.reconcile import apply_updates
from productagg.offers.summary import Summary, summarise
from productagg.sources.web import NO_VALIDATORS, Validators
from productagg.sync import settling, source_admin
from productagg.sync.settling import Listing
from tests import scale
from tests.databases import only_postgresql
from tests.factories import LONG_AGO, link, make_product, make_source, offer_state, rows, states
from tests.integration.scripted_adapters import ScriptedAdapter, an_offer, complete, install

LATER = datetime(2100, 1, 1, tzinfo=UTC)
KNOWN = ["tag", None, None]
READ = {"validators": KNOWN, "next_sync_at": LATER, "leased_until": LATER, "failures": 2, "last_error": "404"}
PAGE = "https://shop.test/kettle"
OBSERVED_FOR = timedelta(minutes=5)


@pytest.fixture
def product_id(database):
    return make_product(database)


@pytest.fixture
def shop(database):
    return make_source(database, "shop")


@pytest.fixture
def feed(database):
    return make_source(database, "feed", kind="feed", **{**READ, "failures": 0})


def linked(database, *arguments):
    with database.sessions.begin() as session:
        return source_admin.link(session, *arguments)


def unlink(database, product_id, source_id):
    with database.sessions.begin() as session:
        source_admin.unlink(session, product_id, source_id, OBSERVED_FOR)


def observe(database, product_id, source_id, *offers, last=None):
    """A complete list of the source, as a sync settles it: offers as (price, items)."""
    listed = {offer_id(source_id, str(price), "EUR"): offer_state(price, items) for price, items in offers}
    with database.sessions.begin() as session:
        planned = settling.plan(session, [Listing(product_id, source_id, listed, last)], OBSERVED_FOR, [product_id])
        apply_updates(session, planned.updates.values())
        at = planned.times[product_id]
        mine = (ProductSource.product_id == product_id, ProductSource.source_id == source_id)
        session.execute(update(ProductSource).where(*mine).values(last_synced_at=at))
    return at


def history(database):
    return [(row.lowest, row.offers, row.observed) for row in rows(database, ProductPrice)]


def only_row(database, source_id, product_id=None):
    where = {} if product_id is None else {"product_id": product_id}
    (row,) = rows(database, ProductSource, source_id=source_id, **where)
    return row


def test_a_new_link_is_due_at_once_with_the_locators_normal_form(database, product_id, shop):
    assert linked(database, product_id, shop, "HTTPS://Shop.test/kettle")

    row = only_row(database, shop)
    assert (row.product_id, row.locator, row.registration, row.failures) == (product_id, PAGE, None, 0)
    assert row.next_sync_at <= datetime.now(UTC) + timedelta(minutes=1)


def test_the_same_locator_again_changes_nothing(database, product_id, shop):
    link(database, product_id, shop, locator=PAGE, **READ)

    assert not linked(database, product_id, shop, PAGE)

    row = only_row(database, shop)
    assert {name: getattr(row, name) for name in READ} == READ


def test_another_locator_is_read_anew(database, product_id, shop):
    link(database, product_id, shop, locator=PAGE, **READ)

    assert not linked(database, product_id, shop, f"{PAGE}-2")

    row = only_row(database, shop)
    assert (row.locator, row.validators, row.failures, row.last_error) == (f"{PAGE}-2", None, 0, None)
    assert row.leased_until is None  # whoever reads the old page cannot write its offers
    assert row.next_sync_at < LATER


def test_a_document_with_a_new_link_is_read_again_though_it_has_not_changed(database, product_id, feed):
    linked(database, product_id, feed, "sku-1")

    assert only_row(database, feed).next_sync_at is None
    (source,) = rows(database, Source, id=feed)
    assert (source.validators, source.leased_until) == (None, None)
    assert source.next_sync_at < LATER


def test_an_adapter_refuses_a_locator(database, product_id, shop):
    with pytest.raises(source_admin.InvalidLocator):
        linked(database, product_id, shop, "ftp://shop.test/kettle")

    assert rows(database, ProductSource, source_id=shop) == []


def test_only_what_is_there_is_linked(database, product_id, shop):
    with pytest.raises(products.NotFound):
        linked(database, uuid4(), shop, PAGE)
    with pytest.raises(source_admin.SourceNotFound):
        linked(database, product_id, uuid4(), PAGE)
    with pytest.raises(source_admin.FromSettings):
        linked(database, product_id, OFFERS_SOURCE, PAGE)


def test_only_what_is_linked_is_unlinked(database, product_id, shop):
    with pytest.raises(source_admin.NotLinked):
        unlink(database, product_id, shop)
    with pytest.raises(products.NotFound):
        unlink(database, uuid4(), shop)
    with pytest.raises(source_admin.FromSettings):
        unlink(database, product_id, OFFERS_SOURCE)


def test_the_links_of_a_product_by_the_names_of_its_sources(database, product_id, shop, feed):
    link(database, product_id, shop, locator=PAGE, failures=2, last_error="404", next_sync_at=LATER)
    link(database, product_id, feed, locator="sku-1", next_sync_at=None)

    with database.reader.connect() as connection:
        of_feed, of_offers, of_shop = source_admin.links(connection, product_id)
        with pytest.raises(products.NotFound):
            source_admin.links(connection, uuid4())

    assert (of_feed.source, of_feed.kind, of_feed.locator, of_feed.next_sync_at) == ("feed", "feed", "sku-1", LATER)
    assert (of_feed.failures, of_feed.last_error) == (0, "404")  # of the document
    assert (of_offers.source, of_offers.locator) == ("offers", None)
    assert (of_shop.failures, of_shop.last_error, of_shop.next_sync_at) == (2, "404", LATER)


def test_a_link_that_was_never_read_leaves_no_trace(database, product_id, shop):
    link(database, product_id, shop, locator=PAGE)

    unlink(database, product_id, shop)

    assert history(database) == []
    assert only_row(database, OFFERS_SOURCE).last_synced_at is None
    assert rows(database, ProductSource, source_id=shop) == []


def test_unlinking_closes_the_offers_of_that_source_only(database, product_id, shop):
    link(database, product_id, shop, locator=PAGE)
    observe(database, product_id, OFFERS_SOURCE, (100, 5))
    observe(database, product_id, shop, (80, 2), (90, 1))

    unlink(database, product_id, shop)

    closed = {row.price: (row.closed_at is not None, row.items_in_stock) for row in rows(database, Offer)}
    assert closed == {100: (False, 5), 80: (True, 0), 90: (True, 0)}
    (summary,) = rows(database, ProductSummary)
    assert (summary.lowest, summary.offers, summary.items_in_stock) == (100, 1, 5)
    assert history(database) == [(100, 1, True), (80, 3, True), (100, 1, True)]
    steps = rows(database, OfferPrice)
    assert sorted((row.price, row.items_in_stock) for row in steps) == [(80, 0), (80, 2), (90, 0), (90, 1), (100, 5)]


def test_the_product_stays_observed_until_its_only_live_source_was_removed(database, product_id, shop):
    link(database, product_id, shop, locator=PAGE)
    observe(database, product_id, shop, (80, 2))

    unlink(database, product_id, shop)

    (summary,) = rows(database, ProductSummary)
    assert (summary.lowest, summary.offers) == (None, 0)
    assert only_row(database, OFFERS_SOURCE).last_synced_at == summary.observed_at


def test_the_history_goes_on_after_the_removal_though_the_clock_was_set_back(
    database, database_clock, product_id, shop
):
    link(database, product_id, shop, locator=PAGE)
    observe(database, product_id, shop, (80, 2))
    unlink(database, product_id, shop)
    database_clock.shift(timedelta(hours=-1))

    last = only_row(database, OFFERS_SOURCE).last_synced_at
    observe(database, product_id, OFFERS_SOURCE, (100, 5), last=last)

    assert history(database) == [(80, 1, True), (None, 0, True), (100, 1, True)]


def test_a_removed_source_that_was_silent_for_long_leaves_a_gap(database, database_clock, product_id, shop):
    link(database, product_id, shop, locator=PAGE)
    observe(database, product_id, shop, (80, 2))
    database_clock.shift(timedelta(hours=1))

    unlink(database, product_id, shop)

    assert history(database) == [(80, 1, True), (None, 0, False), (None, 0, True)]


def test_what_is_linked_again_has_the_same_offers_again(database, monkeypatch, upstream, synchronizer, product_id):
    adapter = ScriptedAdapter(lambda _request: [complete(an_offer(PAGE, price=80, items=2))])
    install(monkeypatch, jsonld=adapter)
    upstream.offer(product_id, states((100, 5)))
    shop = make_source(database, "shop")
    linked(database, product_id, shop, PAGE)
    synchronizer.run()
    unlink(database, product_id, shop)

    linked(database, product_id, shop, PAGE)
    synchronizer.run()

    (offer,) = rows(database, Offer, source_id=shop)
    assert (offer.price, offer.closed_at) == (80, None)
    assert history(database)[-2:] == [(100, 1, True), (80, 2, True)]


def test_what_a_run_reads_with_the_old_locator_is_not_written(database, monkeypatch, synchronizer, product_id, shop):
    asked = []

    def answers(request):
        asked.extend(request.locators)
        if len(asked) == 1:
            linked(database, product_id, shop, f"{PAGE}-2")
        yield complete(an_offer(asked[-1], external_id=asked[-1]))

    install(monkeypatch, jsonld=ScriptedAdapter(answers))
    linked(database, product_id, shop, PAGE)

    synchronizer.run()
    assert rows(database, Offer) == []

    synchronizer.run()
    assert asked == [PAGE, f"{PAGE}-2"]
    assert [row.external_id for row in rows(database, Offer)] == [f"{PAGE}-2"]


def test_a_document_is_read_again_for_a_product_that_was_linked_while_it_was_read(
    database, monkeypatch, synchronizer, product_id
):
    feed = make_source(database, "feed", kind="feed", next_sync_at=LONG_AGO)
    validators = []

    def answers(request):
        validators.append(request.validators)
        if len(validators) == 1:
            linked(database, product_id, feed, "a")
        yield complete(an_offer("a"), validators=Validators("tag"))

    install(monkeypatch, feed=ScriptedAdapter(answers, whole_document=True))

    synchronizer.run()
    synchronizer.run()

    assert validators == [NO_VALIDATORS, NO_VALIDATORS]
    assert [row.source_id for row in rows(database, Offer)] == [feed]
    assert rows(database, Source, id=feed)[0].validators == ["tag", None, None]


a_list = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), max_size=3, unique_by=lambda offer: offer[0])
an_act = st.tuples(st.integers(0, 2), st.none() | a_list)


@settings(max_examples=scale.examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(an_act, max_size=8))
def test_whatever_is_linked_listed_and_unlinked_the_summary_is_of_what_is_left(database, acts):
    """An act is about a source: it lists offers (and is linked before, if it is not), or is unlinked."""
    product_id = make_product(database, f"Kettle {uuid4()}")
    sources = [OFFERS_SOURCE, *(make_source(database, f"shop {uuid4()}") for _ in range(2))]
    left: dict[UUID, list[tuple[int, int]]] = {}
    linked_to = {OFFERS_SOURCE}

    for place, offers in acts:
        source_id = sources[place]
        if offers is None:
            if source_id in linked_to - {OFFERS_SOURCE}:
                unlink(database, product_id, source_id)
                linked_to.remove(source_id)
                left.pop(source_id, None)
            continue
        if source_id not in linked_to:
            linked(database, product_id, source_id, PAGE)
            linked_to.add(source_id)
        observe(database, product_id, source_id, *offers, last=only_row(database, source_id, product_id).last_synced_at)
        left[source_id] = offers

    stored: dict[UUID, list[tuple[int, int | None]]] = {}
    for row in rows(database, Offer, product_id=product_id):
        if row.closed_at is None:
            stored.setdefault(row.source_id, []).append((row.price, row.items_in_stock))
    assert {id_: sorted(offers) for id_, offers in stored.items()} == {
        id_: sorted(offers) for id_, offers in left.items() if offers
    }
    expected = summarise([offer for offers in left.values() for offer in offers])
    steps = rows(database, ProductPrice, product_id=product_id)
    assert all(step.observed for step in steps)
    if steps:
        newest = steps[-1]
        assert Summary(newest.lowest, newest.average, newest.offers, newest.items_in_stock) == expected


@only_postgresql
def test_a_run_that_waited_for_the_removal_does_not_bring_the_offers_back(database, product_id, shop):
    link(database, product_id, shop, locator=PAGE)
    observe(database, product_id, shop, (80, 2))
    waiting = threading.Thread(target=observe, args=(database, product_id, OFFERS_SOURCE, (100, 5)))

    with database.sessions.begin() as session:
        source_admin.unlink(session, product_id, shop, OBSERVED_FOR)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()  # it has read the offers, and waits for the rows
    waiting.join()

    assert history(database) == [(80, 1, True), (None, 0, True), (100, 1, True)]
    (summary,) = rows(database, ProductSummary)
    assert (summary.lowest, summary.offers) == (100, 1)
