"""Items of documents without a product: they are kept with the reason until the next complete document."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from productagg.catalog import products
from productagg.db.models import Offer, ProductSource, Source
from productagg.db.models import UnmatchedItem as StoredItem
from productagg.sources.base import Failure, NotModified, Outcome, ProductFacts, Snapshot
from productagg.sources.web import NO_VALIDATORS, Validators
from productagg.sync import source_admin, unmatched_items
from productagg.sync.unmatched_items import UnmatchedItem
from tests.factories import LONG_AGO, make_product, make_source, rows
from tests.integration.conftest import before_statement
from tests.integration.scripted_adapters import ScriptedAdapter, an_offer, complete, install

GTIN = "4006381333931"
VALIDATORS = Validators(etag='"one"')


class Feed:
    """A source that is one document; `answers` is what its adapter yields."""

    def __init__(self, database, synchronizer):
        self._database, self._synchronizer = database, synchronizer
        self.id = make_source(database, "feed", kind="feed")
        self.answers: tuple[Outcome, ...] = ()
        self.adapter = ScriptedAdapter(lambda _request: self.answers, whole_document=True)

    def sync(self, *answers):
        self.answers = answers
        with self._database.sessions.begin() as session:
            session.execute(update(Source).where(Source.id == self.id).values(next_sync_at=LONG_AGO))
        return self._synchronizer.run()

    def change(self, **values):
        with self._database.sessions.begin() as session:
            session.execute(update(Source).where(Source.id == self.id).values(**values))

    @property
    def unmatched(self):
        return [(row.locator, row.reason) for row in rows(self._database, StoredItem, source_id=self.id)]


@pytest.fixture
def feed(database, synchronizer, monkeypatch):
    feed = Feed(database, synchronizer)
    install(monkeypatch, feed=feed.adapter)
    return feed


def item(locator, name=None, **facts):
    return an_offer(locator, external_id=locator, url="https://shop.example/a", product=ProductFacts(name, **facts))


def test_they_are_kept_as_the_source_states_them(database, feed):
    feed.sync(complete(item("A", "Kettle", gtin=GTIN, brand="Halvorn")))

    with database.reader.connect() as connection:
        page = unmatched_items.page(connection, feed.id, 10)

    address = "https://shop.example/a"
    expected = UnmatchedItem("A", "Kettle", GTIN, "Halvorn", 100, "EUR", address, "gtin_unknown")
    assert (page.items, page.following) == ([expected], None)


def test_the_next_complete_document_replaces_them(feed):
    feed.sync(complete(item("A"), item("B")))
    feed.sync(complete(item("C"), item("B")))

    assert feed.unmatched == [("C", "no_gtin"), ("B", "no_gtin")]


@pytest.mark.parametrize(
    "answers",
    [
        [NotModified()],
        [Snapshot([item("C")], complete=False), Failure("broken off", "no_answer")],
        [complete(item("C"))],
    ],
    ids=["unchanged", "broken-off", "shrunk"],
)
def test_another_answer_leaves_them(feed, answers):
    feed.sync(complete(*(item(letter) for letter in "ABDEF")))
    before = feed.unmatched

    feed.sync(*answers)

    assert feed.unmatched == before


def test_the_same_items_again_are_not_written(database, feed):
    feed.sync(complete(item("A")))
    written: list[str] = []

    with before_statement(database.writer, "DELETE FROM unmatched_items", written.append):
        feed.sync(complete(item("A")))

    assert written == []


def test_of_many_the_first_are_kept_and_all_are_counted(database, feed):
    parts = [Snapshot([item(f"{part}-{number}") for number in range(700)], complete=False) for part in range(3)]

    feed.sync(*parts, complete())

    (source,) = rows(database, Source, id=feed.id)
    assert source.unmatched_count == 2100
    assert len(feed.unmatched) == unmatched_items.KEPT
    assert [feed.unmatched[place][0] for place in (0, 700, -1)] == ["0-0", "1-0", "1-299"]


def test_an_offer_that_was_found_by_its_gtin_is_closed_when_its_item_is_gone(database, feed):
    product_id = make_product(database, "Pot")
    with database.sessions.begin() as session:
        products.change(session, product_id, gtin=GTIN)
    others = [item(letter) for letter in "BCDE"]
    feed.sync(complete(item("A", gtin=GTIN), *others))

    result = feed.sync(complete(*others))

    (offer,) = rows(database, Offer, product_id=product_id)
    assert (result.closed, offer.closed_at is not None) == (1, True)


def test_a_product_that_gets_the_gtin_later_is_found_though_the_document_has_not_changed(database, feed):
    document = complete(item("A", gtin=GTIN), item("B", gtin="9780306406157"), validators=VALIDATORS)
    feed.sync(document)
    feed.sync(NotModified())
    product_id = make_product(database, "Pot")
    with database.sessions.begin() as session:
        products.change(session, product_id, gtin=GTIN)

    feed.sync(document)
    feed.sync(NotModified())

    assert [request.validators for request in feed.adapter.asked] == [
        NO_VALIDATORS,
        VALIDATORS,
        NO_VALIDATORS,
        VALIDATORS,
    ]
    assert len(rows(database, Offer, product_id=product_id)) == 1
    assert feed.unmatched == [("B", "gtin_unknown")]


def test_a_product_that_is_linked_later_has_its_offer_though_the_document_has_not_changed(database, feed):
    document = complete(item("A"), validators=VALIDATORS)
    feed.sync(document)
    product_id = make_product(database, "Pot")

    with database.sessions.begin() as session:
        source_admin.link(session, product_id, feed.id, "A")
    feed.sync(document)

    assert [request.validators for request in feed.adapter.asked] == [NO_VALIDATORS, NO_VALIDATORS]
    assert len(rows(database, Offer, product_id=product_id)) == 1
    assert feed.unmatched == []


def test_a_source_that_creates_products_says_why_it_made_none(database, feed):
    feed.change(creates_products=True)

    feed.sync(complete(item("A", "Kettle"), item("B")))

    assert feed.unmatched == [("B", "no_name")]
    (linked,) = rows(database, ProductSource, source_id=feed.id)
    assert linked.last_synced_at <= datetime.now(UTC)


def test_they_go_with_their_source(database, feed):
    feed.sync(complete(item("A")))

    with database.sessions.begin() as session:
        session.delete(session.get(Source, feed.id))

    assert rows(database, StoredItem) == []
