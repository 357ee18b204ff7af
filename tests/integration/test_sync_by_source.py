"""Runs tell their sources apart: in their records and in the log. A run may be restricted to sources."""

from datetime import UTC, datetime, timedelta

import pytest

from productagg.db.models import ProductSource, Source, SyncRun
from productagg.sources.base import Failure
from tests.factories import LONG_AGO, link, make_products, make_source, rows, states
from tests.integration.scripted_adapters import ScriptedAdapter, an_offer, complete, install, too_many_requests

NOT_DUE = datetime.now(UTC) + timedelta(days=300)


class Shop(ScriptedAdapter):
    """A shop that has the first of two products of the Offers service. `document` is the adapter of other sources."""

    def __init__(self, database):
        self.answers = [complete(an_offer("kettle"))]
        super().__init__(lambda _request: self.answers)
        self.document = ScriptedAdapter(lambda _request: [complete(an_offer("kettle"))], whole_document=True)
        self.id = make_source(database, "a shop")
        self.product_ids = make_products(database, 2)
        link(database, self.product_ids[0], self.id, locator="kettle")


@pytest.fixture
def shop(database, monkeypatch):
    shop = Shop(database)
    install(monkeypatch, jsonld=shop, feed=shop.document)
    return shop


@pytest.fixture
def feed_id(database, shop):
    """A document of one of the products, which is not due."""
    feed_id = make_source(database, "feed", kind="feed", next_sync_at=NOT_DUE)
    link(database, shop.product_ids[0], feed_id, locator="kettle", next_sync_at=None)
    return feed_id


def recorded(database):
    """What the newest run did at each source, by name."""
    *_, run = rows(database, SyncRun)
    return {source["name"]: source for source in run.sources}


def test_a_run_records_what_it_did_at_each_source(database, upstream, synchronizer, shop):
    upstream.offer(shop.product_ids[0], states((100, 5)))
    shop.answers = [Failure("the page is gone", "status_404")]

    result = synchronizer.run()

    found = recorded(database)
    assert list(found) == ["offers", "a shop"]
    seconds = found["a shop"].pop("seconds")
    assert 0 <= seconds <= result.seconds
    assert found["a shop"] == {
        "source_id": str(shop.id),
        "name": "a shop",
        "leased": 1,
        "fetched": 0,
        "changed": 0,
        "closed": 0,
        "failed": 1,
        "failures": {"status_404": 1},
        "ended_by": "done",
    }
    assert (found["offers"]["fetched"], found["offers"]["changed"], found["offers"]["failed"]) == (2, 1, 0)
    assert (result.fetched, result.failed, result.leased) == (2, 1, 3)


def test_sources_that_had_nothing_to_do_are_not_in_a_runs_record(database, synchronizer, shop):
    synchronizer.run()

    synchronizer.run()

    assert recorded(database) == {}


def test_why_it_ended_is_recorded_at_the_source(database, synchronizer, shop):
    shop.answers = [too_many_requests()]

    synchronizer.run()

    assert {name: source["ended_by"] for name, source in recorded(database).items()} == {
        "offers": "done",
        "a shop": "the shop answered 429",
    }


def test_a_run_that_reads_a_document_is_not_lost_before_the_documents_lease_ends(database, synchronizer, shop, feed_id):
    spans = []

    def look(_request):
        *_, run = rows(database, SyncRun)
        spans.append(run.lost_after - run.started_at)
        yield complete()

    shop.document.fetch = shop.fetch = look
    synchronizer.run()
    synchronizer.run(sources=[feed_id], everything=True)

    assert spans == [timedelta(seconds=55 + 60), timedelta(minutes=16)]
    assert {run.lost_after for run in rows(database, SyncRun)} == {None}


def test_everything_includes_documents_that_are_not_due_once(database, synchronizer, shop, feed_id):
    result = synchronizer.run(everything=True)

    assert (result.ended_by, result.leased, len(shop.document.asked)) == ("done", 4, 1)
    (source,) = rows(database, Source, id=feed_id)
    assert source.last_synced_at is not None


def test_a_document_is_one_thing_to_do_in_the_progress(synchronizer, shop, feed_id):
    told = []

    synchronizer.run(everything=True, progress=lambda done, total: told.append((done, total)))

    assert told[-1] == (4, 4)


def test_everything_does_not_include_documents_that_want_no_requests(database, synchronizer, shop):
    make_source(database, "feed", kind="feed", next_sync_at=LONG_AGO, blocked_until=NOT_DUE, blocked_reason="429")

    result = synchronizer.run(everything=True)

    assert (result.ended_by, shop.document.asked) == ("done", [])


def test_a_run_of_one_source_leaves_the_others_alone(database, upstream, synchronizer, shop, feed_id):
    result = synchronizer.run(sources=[shop.id])

    assert (result.leased, len(shop.asked), sum(upstream.asked.values())) == (1, 1, 0)
    asked = {row.source_id for row in rows(database, ProductSource) if row.last_asked_at is not None}
    assert asked == {shop.id}
    assert list(recorded(database)) == ["a shop"]


def test_of_one_source_everything_is_what_that_has(synchronizer, shop, feed_id):
    synchronizer.run()

    result = synchronizer.run(sources=[feed_id], everything=True)

    assert (result.leased, len(shop.document.asked), len(shop.asked)) == (1, 1, 1)


@pytest.mark.parametrize("kind", ["jsonld", "feed"])
def test_a_run_of_a_source_that_wants_no_requests_says_so(database, synchronizer, shop, kind):
    block = {"blocked_until": NOT_DUE, "blocked_reason": "the host answered 429"}
    source_id = make_source(database, "blocked", kind=kind, **block, next_sync_at=LONG_AGO if kind == "feed" else None)
    link(database, shop.product_ids[1], source_id, next_sync_at=None if kind == "feed" else LONG_AGO)

    result = synchronizer.run(sources=[source_id], everything=True)

    assert result.ended_by.startswith("blocked: the host answered 429; no requests are sent before ")
    assert (result.exit_code, shop.asked, shop.document.asked) == (2, [], [])


def test_log_lines_name_the_source(shop, run):
    shop.answers = [Failure("the page is gone", "status_404")]

    done = run("sync")

    (line,) = (line for line in done.stderr.splitlines() if "the page is gone" in line)
    assert f'source="a shop" product {shop.product_ids[0]}: the page is gone' in line
    assert 'source="a shop" 1 products asked, 0 changed' in done.stderr
    assert "source=offers 2 products asked" in done.stderr


def test_log_lines_of_an_adapters_thread_name_the_source(database, shop, feed_id, run):
    shop.document.fetch = lambda _request: 1 / 0

    done = run("sync", "--source", "feed", "--all")

    assert done.exit_code == 1
    assert "source=feed reading the document" in done.stderr


def test_the_offers_service_alone_has_no_line_of_its_own_beside_the_summary(database, upstream, run):
    make_products(database, 2)

    done = run("sync")

    assert done.stdout.startswith("sync: 2 products asked")
    assert "products asked" not in done.stderr


def test_status_shows_the_sources_of_a_run(database, synchronizer, shop, run):
    synchronizer.run()

    lines = run("status").stdout.splitlines()

    assert any(line.startswith("    a shop: 1 fetched, 1 changed, 0 closed, 0 failed, in 0.") for line in lines)
    assert any(line.startswith("    offers: 2 fetched, ") for line in lines)
