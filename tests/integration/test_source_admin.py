"""Sources as admins manage them: what is stored, what is refused, and what is due afterwards."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from productagg.db.models import OFFERS_SOURCE, ProductSource, Source
from productagg.sources.registry import AdapterError, InvalidConfiguration
from productagg.sync import source_admin
from tests.factories import LONG_AGO, have_an_offer, link, make_product, make_source, rows, sync_row

FEED: dict[str, Any] = {
    "kind": "feed",
    "name": "Feed",
    "configuration": {"url": "https://shop.test/feed.xml", "format": "merchant"},
}
PAGES: dict[str, Any] = {"kind": "jsonld", "name": "Pages", "configuration": {}}
LATER = datetime(2100, 1, 1, tzinfo=UTC)
KNOWN = ["tag", None, None]


def create(database, values):
    with database.sessions.begin() as session:
        return source_admin.create(session, **values)


def change(database, source_id, **values):
    with database.sessions.begin() as session:
        source_admin.change(session, source_id, **values)


def source_row(database, source_id):
    (row,) = rows(database, Source, id=source_id)
    return row


def test_a_document_is_due_at_once(database):
    row = source_row(database, create(database, FEED))

    assert row.next_sync_at == row.created_at
    assert (row.name, row.enabled, row.version, row.failures) == ("Feed", True, 1, 0)


def test_pages_are_scheduled_by_product(database):
    assert source_row(database, create(database, PAGES)).next_sync_at is None


def test_an_unknown_kind_is_refused(database):
    with pytest.raises(AdapterError, match="no adapter of the kind 'pigeons'"):
        create(database, {**PAGES, "kind": "pigeons"})


def test_the_adapter_checks_the_configuration(database):
    with pytest.raises(InvalidConfiguration) as refused:
        create(database, {**PAGES, "configuration": {"currency": "XXY", "colour": "red"}})

    assert set(refused.value.faults) == {"currency", "colour"}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("name", " "),
        ("name", "a\nb"),
        ("name", "x" * 201),
        ("secret_variable", "sk-live-123"),
        ("secret_variable", ""),
        ("interval_seconds", 0),
        ("interval_seconds", True),
        ("requests_per_second", 0),
        ("requests_per_second", float("inf")),
        ("enabled", None),
    ],
)
def test_a_source_cannot_have_such_a_value(database, member, value):
    with pytest.raises(source_admin.InvalidSource) as refused:
        create(database, {**PAGES, member: value})

    assert list(refused.value.faults) == [member]
    assert len(rows(database, Source)) == 1


def test_a_name_is_taken_once(database):
    create(database, PAGES)

    with database.sessions.begin() as session:
        with pytest.raises(source_admin.NameTaken):
            source_admin.create(session, **{**FEED, "name": " Pages "})
        source_admin.create(session, **FEED)

    assert {row.name for row in rows(database, Source)} == {"offers", "Pages", "Feed"}


def test_another_configuration_reads_everything_anew(database):
    product_id, source_id = make_product(database), create(database, PAGES)
    read = {"validators": KNOWN, "failures": 3, "last_error": "404", "leased_until": LATER}
    link(database, product_id, source_id, locator="https://shop.test/1", **{**read, "next_sync_at": LATER})
    with database.sessions.begin() as session:
        session.execute(update(Source).where(Source.id == source_id).values(blocked_until=LATER, blocked_reason="429"))

    change(database, source_id, configuration={"currency": "EUR"})

    (row,) = rows(database, ProductSource, source_id=source_id)
    assert (row.validators, row.failures, row.last_error, row.leased_until) == (None, 0, None, None)
    source = source_row(database, source_id)
    assert row.next_sync_at == source.updated_at
    assert (source.version, source.blocked_until, source.configuration) == (2, None, {"currency": "EUR"})


def test_another_secret_reads_a_document_anew(database):
    source_id = create(database, FEED)
    with database.sessions.begin() as session:
        read = {"validators": KNOWN, "next_sync_at": LATER, "leased_until": LATER}
        session.execute(update(Source).where(Source.id == source_id).values(read))

    change(database, source_id, secret_variable="FEED_TOKEN")

    source = source_row(database, source_id)
    assert (source.validators, source.leased_until, source.next_sync_at) == (None, None, source.updated_at)


def test_another_name_leaves_the_schedule_and_what_is_known(database):
    product_id, source_id = make_product(database), create(database, PAGES)
    link(database, product_id, source_id, validators=KNOWN, next_sync_at=LATER)

    change(database, source_id, name="Other pages")

    (row,) = rows(database, ProductSource, source_id=source_id)
    assert (row.validators, row.next_sync_at) == (KNOWN, LATER)
    assert source_row(database, source_id).version == 2


def test_a_shorter_interval_brings_the_next_syncs_forward(database):
    product_id, source_id, feed_id = make_product(database), create(database, PAGES), create(database, FEED)
    link(database, product_id, source_id, next_sync_at=LATER)
    with database.sessions.begin() as session:
        session.execute(update(Source).where(Source.id == feed_id).values(next_sync_at=LATER))

    change(database, source_id, interval_seconds=60)
    change(database, feed_id, interval_seconds=60)

    (row,) = rows(database, ProductSource, source_id=source_id)
    assert row.next_sync_at == source_row(database, source_id).updated_at + timedelta(seconds=60)
    feed = source_row(database, feed_id)
    assert feed.next_sync_at == feed.updated_at + timedelta(seconds=60)


def test_what_is_already_so_changes_nothing(database):
    source_id = create(database, PAGES)

    change(database, source_id, name="Pages", enabled=True)

    assert source_row(database, source_id).version == 1


def test_a_change_is_made_of_the_version_that_the_caller_knows(database):
    source_id = create(database, PAGES)
    change(database, source_id, enabled=False)

    with pytest.raises(source_admin.StaleSource):
        change(database, source_id, versions=[1], enabled=True)
    with pytest.raises(source_admin.UnwantedSource):
        change(database, source_id, other_than=[2], enabled=True)
    with pytest.raises(source_admin.StaleSource):
        change(database, source_id, unmodified_since=LONG_AGO, enabled=True)

    assert not source_row(database, source_id).enabled


def test_the_offers_service_comes_from_the_settings(database):
    with pytest.raises(source_admin.FromSettings):
        change(database, OFFERS_SOURCE, configuration={"url": "https://elsewhere.test"})
    with pytest.raises(source_admin.FromSettings):
        change(database, OFFERS_SOURCE, name="other")
    with database.sessions.begin() as session, pytest.raises(source_admin.FromSettings):
        source_admin.remove(session, OFFERS_SOURCE)

    change(database, OFFERS_SOURCE, enabled=False)

    assert not source_row(database, OFFERS_SOURCE).enabled


def test_the_offers_service_can_be_disabled(database, upstream, synchronizer):
    product_id = make_product(database)
    change(database, OFFERS_SOURCE, enabled=False)

    synchronizer.sync_products([product_id])
    synchronizer.run()

    assert upstream.service.registered == {}
    assert sync_row(database, product_id).last_asked_at is None


def test_a_source_without_offers_is_removed_with_its_links(database):
    product_id, source_id = make_product(database), create(database, PAGES)
    link(database, product_id, source_id)

    with database.sessions.begin() as session:
        source_admin.remove(session, source_id)

    assert [row.id for row in rows(database, Source)] == [OFFERS_SOURCE]
    assert [row.source_id for row in rows(database, ProductSource)] == [OFFERS_SOURCE]


def test_a_source_that_had_offers_stays_with_its_links(database):
    product_id, source_id = make_product(database), create(database, PAGES)
    link(database, product_id, source_id)
    have_an_offer(database, product_id, source_id)

    with database.sessions.begin() as session, pytest.raises(source_admin.HasOffers):
        source_admin.remove(session, source_id)

    assert len(rows(database, ProductSource, source_id=source_id)) == 1


def test_nothing_is_there_for_an_unknown_id(database):
    with database.sessions.begin() as session:
        for act in (source_admin.get, source_admin.change, source_admin.remove):
            with pytest.raises(source_admin.SourceNotFound):
                act(session, uuid4())


def test_the_listing_has_the_counts_of_each_source_by_name(database):
    product_ids = [make_product(database, name) for name in ("Kettle", "Toaster")]
    pages, feed = create(database, PAGES), create(database, FEED)
    for number, product_id in enumerate(product_ids):
        link(database, product_id, pages, failures=number)
    have_an_offer(database, product_ids[0], pages)
    with database.sessions.begin() as session:
        document = {"item_count": 10, "unmatched_count": 4, "last_error": "503", "failures": 1}
        block = {"blocked_until": LATER, "blocked_reason": "the shop answered 503"}
        session.execute(update(Source).where(Source.id == feed).values(**document, **block))
        session.execute(update(Source).where(Source.id == pages).values(blocked_until=LONG_AGO, blocked_reason="429"))

    with database.reader.connect() as connection:
        of_feed, of_pages, of_offers = source_admin.listing(connection)
        assert source_admin.get(connection, feed) == of_feed

    assert (of_feed.name, of_feed.products, of_feed.item_count, of_feed.unmatched_count) == ("Feed", 0, 10, 4)
    assert (of_feed.blocked_until, of_feed.blocked_reason) == (LATER, "the shop answered 503")
    assert (of_pages.products, of_pages.failing_products, of_pages.open_offers) == (2, 1, 1)
    assert (of_pages.blocked_until, of_pages.blocked_reason) == (None, None)
    assert (of_offers.name, of_offers.products, of_offers.open_offers) == ("offers", 2, 0)


def test_a_source_is_found_by_its_name_or_its_id(database):
    source_id = create(database, PAGES)

    with database.reader.connect() as connection:
        assert source_admin.find(connection, "Pages").id == source_id
        assert source_admin.find(connection, str(source_id)).id == source_id
        with pytest.raises(source_admin.SourceNotFound):
            source_admin.find(connection, str(uuid4()))


def test_pages_with_the_name_of_an_id_do_not_hide_the_source_of_that_id(database):
    source_id = create(database, PAGES)
    make_source(database, str(source_id))

    with database.reader.connect() as connection:
        assert source_admin.find(connection, str(source_id)).name == "Pages"
