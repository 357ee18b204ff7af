"""Sources that are a whole document: fetched once for all products, and believed only when read to the end."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from sqlalchemy import update

from productagg.catalog import products
from productagg.db import clock
from productagg.db.models import OFFERS_SOURCE, Offer, OfferPrice, ProductPrice, ProductSource, ProductSummary, Source
from productagg.sources.base import Failure, NotModified, Snapshot
from productagg.sources.web import Validators
from productagg.sync import document_offers, document_rows, documents, quarantine_decisions
from productagg.sync.sources import is_document_due
from tests.databases import only_postgresql
from tests.factories import LONG_AGO, link, make_products, make_source, rows, states
from tests.integration.conftest import before_call, on_statement, wait_until
from tests.integration.observed_products import somebody_waits
from tests.integration.scripted_adapters import ScriptedAdapter, an_offer, complete, install, too_many_requests

WRITTEN = (Offer, OfferPrice, ProductPrice, ProductSource)


class Feed:
    """A source that is one document with an item for each product; `answers` is what the adapter yields."""

    def __init__(self, database, product_ids):
        self.database = database
        self.product_ids = product_ids
        self.id = make_source(database, "feed", kind="feed", next_sync_at=LONG_AGO)
        self.items = [f"item {number}" for number in range(len(product_ids))]
        for product_id, item in zip(product_ids, self.items, strict=True):
            link(database, product_id, self.id, locator=item, next_sync_at=None)
        self.answers = [complete(*self.offers())]
        self.adapter = ScriptedAdapter(lambda _request: self.answers, whole_document=True)

    def offers(self, price=100):
        return [an_offer(item, external_id=item, price=price) for item in self.items]

    @property
    def row(self):
        (row,) = rows(self.database, Source, id=self.id)
        return row

    def make_due(self):
        with self.database.sessions.begin() as session:
            session.execute(
                update(Source).where(Source.id == self.id).values(next_sync_at=LONG_AGO, blocked_until=None)
            )
            later = datetime.now(UTC) + timedelta(hours=1)
            of_others = ProductSource.source_id != self.id
            session.execute(update(ProductSource).where(of_others).values(next_sync_at=later))

    def prices(self):
        """The prices of the open offers, by product."""
        found = [row for row in rows(self.database, Offer, source_id=self.id) if row.closed_at is None]
        return {row.product_id: row.price for row in found}

    def written(self):
        return {model: rows(self.database, model) for model in WRITTEN}


@pytest.fixture
def pool_of_threads():
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def feed(database, monkeypatch):
    """A feed of five products, each of which the Offers service has as well."""
    feed = Feed(database, make_products(database, 5))
    install(monkeypatch, feed=feed.adapter)
    return feed


def test_it_is_fetched_once_for_all_products(database, upstream, synchronizer, feed):
    upstream.offer(feed.product_ids[0], states((70, 1)))

    result = synchronizer.run()

    assert (result.ended_by, result.failed, len(feed.adapter.asked)) == ("done", 0, 1)
    assert feed.prices() == dict.fromkeys(feed.product_ids, 100)
    lowest = {row.product_id: (row.lowest, row.offers) for row in rows(database, ProductSummary)}
    assert lowest == dict.fromkeys(feed.product_ids, (100, 1)) | {feed.product_ids[0]: (70, 2)}
    row = feed.row
    assert (row.item_count, row.unmatched_count, row.failures, row.leased_until) == (5, 0, 0, None)
    assert row.next_sync_at > datetime.now(UTC)


def test_until_it_is_due_again_it_is_not_fetched(synchronizer, feed):
    synchronizer.run()

    synchronizer.run()

    assert len(feed.adapter.asked) == 1


def test_items_of_no_product_are_counted(synchronizer, feed):
    feed.answers = [complete(*feed.offers(), an_offer("unknown"), an_offer("unknown too"))]

    synchronizer.run()

    assert (feed.row.item_count, feed.row.unmatched_count) == (7, 2)
    assert len(feed.prices()) == 5


def test_without_a_locator_an_item_is_found_by_the_products_own_id(database, synchronizer, feed):
    with database.sessions.begin() as session:
        session.execute(update(ProductSource).values(locator=None))
    feed.answers = [complete(an_offer(feed.product_ids[1]), an_offer(f"{feed.product_ids[2]}".upper()))]

    synchronizer.run()

    assert set(feed.prices()) == {feed.product_ids[1], feed.product_ids[2]}


def test_a_products_offers_may_lie_in_several_parts(database, synchronizer, feed):
    feed.answers = [
        Snapshot([an_offer("item 0", "red", 100), an_offer("item 1", "red", 100)], complete=False),
        Snapshot([an_offer("item 0", "blue", 90)], complete=False),
        complete(),
    ]

    synchronizer.run()

    assert sorted(row.price for row in rows(database, Offer, product_id=feed.product_ids[0])) == [90, 100]
    (summary,) = rows(database, ProductSummary, product_id=feed.product_ids[0])
    assert (summary.lowest, summary.offers) == (90, 2)


def test_what_a_complete_document_does_not_have_is_closed_and_nothing_of_other_sources(
    database, upstream, synchronizer, feed
):
    upstream.offer(feed.product_ids[0], states((70, 1)))
    synchronizer.run()
    feed.make_due()
    feed.answers = [complete(*feed.offers()[1:])]

    result = synchronizer.run()

    assert (result.closed, set(feed.prices())) == (1, set(feed.product_ids[1:]))
    (of_the_service,) = rows(database, Offer, source_id=OFFERS_SOURCE)
    assert of_the_service.closed_at is None


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [Failure("broken off", "no_answer")],
        [Snapshot([], complete=False, incomplete_because="the root is empty")],
        [Snapshot([an_offer("item 0", "item 0")], complete=False), Failure("broken off", "no_answer")],
        [too_many_requests()],
    ],
    ids=["nothing", "failure", "incomplete", "broken-off", "429"],
)
def test_a_document_that_is_not_read_to_its_end_closes_nothing(synchronizer, feed, answers):
    synchronizer.run()
    before = feed.prices()
    feed.make_due()
    feed.answers = answers

    result = synchronizer.run()

    assert (result.failed, result.closed, feed.prices()) == (1, 0, before)
    assert (feed.row.failures, feed.row.leased_until) == (1, None)


def test_a_fault_of_an_adapter_is_a_failure_of_its_source(synchronizer, feed, caplog):
    feed.adapter.fetch = lambda _request: 1 / 0

    result = synchronizer.run()

    assert dict(result.failures) == {"fault": 1}
    assert feed.row.last_error == "a fault in productagg: ZeroDivisionError"
    assert "ZeroDivisionError" in caplog.text


def test_the_part_of_a_broken_document_that_was_read_is_valid(synchronizer, feed):
    synchronizer.run()
    feed.make_due()
    feed.answers = [Snapshot([an_offer("item 0", "item 0", 50)], complete=False), Failure("broken off", "no_answer")]

    synchronizer.run()

    assert feed.prices()[feed.product_ids[0]] == 50


def test_a_document_that_has_shrunk_is_believed_when_it_is_so_again(synchronizer, feed):
    synchronizer.run()
    feed.make_due()
    feed.answers = [complete(*feed.offers()[:2])]

    held_back = synchronizer.run()
    after_that, reason = feed.prices(), feed.row.last_error
    feed.make_due()
    believed = synchronizer.run()

    assert (held_back.failed, held_back.closed, len(after_that)) == (1, 0, 5)
    assert reason == "the document has 2 items instead of 5: nothing is closed until it is so once more"
    assert (believed.failed, believed.closed, len(feed.prices())) == (0, 3, 2)
    assert (feed.row.item_count, feed.row.fewer_item_count, feed.row.last_error) == (2, None, None)


def test_a_document_that_goes_on_shrinking_is_held_back_again(synchronizer, feed):
    synchronizer.run()
    for offers in (feed.offers()[:3], feed.offers()[:1]):
        feed.make_due()
        feed.answers = [complete(*offers)]
        synchronizer.run()

    assert (feed.row.fewer_item_count, len(feed.prices())) == (1, 5)


def test_a_document_that_has_grown_again_is_believed_at_once(synchronizer, feed):
    synchronizer.run()
    for offers in (feed.offers()[:1], feed.offers()[:4]):
        feed.make_due()
        feed.answers = [complete(*offers)]
        synchronizer.run()

    assert (feed.row.item_count, feed.row.fewer_item_count, len(feed.prices())) == (4, None, 4)


def test_unchanged_it_costs_one_request_and_writes_only_its_schedule(database, synchronizer, feed):
    validators = Validators(etag='"one"', digest="abc")
    feed.answers = [complete(*feed.offers(), validators=validators)]
    synchronizer.run()
    feed.make_due()
    before, source = feed.written(), feed.row
    feed.answers = [NotModified()]

    result = synchronizer.run()

    assert (result.fetched, len(feed.adapter.asked)) == (1, 2)
    assert feed.adapter.asked[1].validators == validators
    assert feed.written() == before
    assert feed.row.last_synced_at > source.last_synced_at
    assert (feed.row.validators, feed.row.item_count) == (source.validators, 5)


def test_its_products_count_as_observed_while_it_is_unchanged(database, synchronizer, feed):
    synchronizer.run()
    feed.make_due()
    feed.answers = [NotModified()]
    synchronizer.run()

    with database.reader.connect() as connection:
        details = products.get(connection, feed.product_ids[0])

    assert details.modified_at >= feed.row.last_synced_at


def test_the_same_offers_in_a_new_document_write_only_its_schedule(database, synchronizer, feed):
    synchronizer.run()
    feed.make_due()
    before = feed.written()

    synchronizer.run()

    assert feed.written() == before


def test_a_429_blocks_the_source(synchronizer, feed):
    feed.answers = [too_many_requests(600)]

    synchronizer.run()

    assert feed.row.blocked_until - datetime.now(UTC) > timedelta(seconds=500)
    assert feed.row.next_sync_at - datetime.now(UTC) > timedelta(seconds=500)


def test_a_run_that_is_interrupted_gives_a_document_back(database, make_synchronizer, feed, pool_of_threads):
    interrupted = make_synchronizer()
    hanging, goes_on = threading.Event(), threading.Event()

    def hang(_request):
        yield Snapshot(feed.offers()[:1], complete=False)
        hanging.set()
        goes_on.wait(60)

    feed.adapter.fetch = hang
    running = pool_of_threads.submit(interrupted.run)
    try:
        assert hanging.wait(20)
        interrupted.interrupt()
        result = running.result(10)
    finally:
        goes_on.set()

    assert result.ended_by == "interrupted"
    assert (feed.row.leased_until, feed.row.next_sync_at, feed.row.failures) == (None, LONG_AGO, 0)


def test_an_adapter_that_answers_no_more_is_given_up(synchronizer, feed):
    goes_on = threading.Event()

    def hang(_request):
        yield Snapshot(feed.offers()[:1], complete=False)
        goes_on.wait(60)

    feed.adapter.fetch = hang
    with patch.object(documents, "LEASE", timedelta(seconds=1)):
        result = synchronizer.run()
    goes_on.set()

    assert (result.ended_by, dict(result.failures)) == ("done", {"timeout": 1})
    assert (feed.row.last_error, feed.row.leased_until) == ("the document was not read in time", None)


def test_a_run_that_lost_its_lease_writes_no_more(database, synchronizer, feed):
    another = datetime.now(UTC) + timedelta(hours=1)

    def lose(_request):
        with database.sessions.begin() as session:
            session.execute(update(Source).where(Source.id == feed.id).values(leased_until=another))
        yield complete(*feed.offers())

    feed.adapter.fetch = lose

    result = synchronizer.run()

    assert result.ended_by == "feed: another run has the document now"
    assert (feed.prices(), feed.row.leased_until) == ({}, another)


def test_two_runs_at_once_fetch_it_once(database, make_synchronizer, feed, pool_of_threads):
    hanging, goes_on = threading.Event(), threading.Event()

    def hang(request):
        feed.adapter.asked.append(request)
        hanging.set()
        goes_on.wait(60)
        yield complete(*feed.offers())

    feed.adapter.fetch = hang
    running = pool_of_threads.submit(make_synchronizer().run)
    try:
        assert hanging.wait(20)
        assert make_synchronizer().run().ended_by == "done"
    finally:
        goes_on.set()

    assert running.result(20).ended_by == "done"
    assert len(feed.adapter.asked) == 1


@only_postgresql
def test_of_two_runs_that_take_it_at_the_same_moment_one_gets_it(database, feed, pool_of_threads):
    def acquire(session):
        now = clock.now(session)
        return document_rows.acquire(session, feed.id, is_document_due(now), timedelta(minutes=15), now)

    def acquire_now():
        with database.sessions.begin() as session:
            return acquire(session)

    with database.sessions.begin() as session:
        first = acquire(session)
        second = pool_of_threads.submit(acquire_now)
        wait_until(lambda: somebody_waits(database))

    assert second.result(10) is None
    assert feed.row.leased_until == first.leased_until


@only_postgresql
def test_a_price_that_an_admin_accepts_while_offers_are_closed_stays(database, make_synchronizer, feed):
    synchronizer = make_synchronizer(**{"quarantine.factor": "10"})
    item = feed.items[0]
    for price in (100, 5000):
        feed.answers = [complete(*feed.offers()[1:], an_offer(item, price=price), an_offer(item, external_id="two"))]
        feed.make_due()
        synchronizer.run()
    feed.answers = [complete(*feed.offers()[1:], an_offer(item, price=5000))]
    feed.make_due()
    (held,) = (row for row in rows(database, Offer, source_id=feed.id) if row.quarantined)

    def accept():
        with database.sessions.begin() as session:
            quarantine_decisions.accept(session, held.product_id, held.id, 5000, timedelta(minutes=5))

    with before_call(document_offers, "lock", accept):
        result = synchronizer.run()

    assert (result.closed, feed.prices()[held.product_id]) == (1, 5000)


@pytest.mark.parametrize("count", [30, 60])
def test_a_chunk_takes_the_same_few_statements_whatever_it_holds(database, synchronizer, monkeypatch, count):
    feed = Feed(database, make_products(database, count))
    install(monkeypatch, feed=feed.adapter)
    synchronizer.run()
    feed.make_due()
    feed.answers = [complete(*feed.offers(price=90))]
    statements: list[str] = []

    with on_statement(database.writer, statements.append):
        synchronizer.run()

    assert set(feed.prices().values()) == {90}
    assert len(statements) <= {"postgresql": 36, "sqlite": 46}[database.name]


def test_as_many_items_as_64_bits_hold_from_each_of_two_sources_are_not_too_many(
    database, upstream, synchronizer, feed
):
    largest = 2**63 - 1
    upstream.offer(feed.product_ids[0], states((70, largest)))
    feed.answers = [complete(*(offer._replace(items_in_stock=largest) for offer in feed.offers()))]

    result = synchronizer.run()

    assert (result.ended_by, result.failed) == ("done", 0)
    assert {row.items_in_stock for row in rows(database, ProductSummary)} == {largest}
    (offers,) = {row.offers for row in rows(database, ProductSummary, product_id=feed.product_ids[0])}
    assert offers == 2
