"""POST /sources/{id}/test: what is understood of a source now. Nothing is stored."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from productagg.db.models import Base, Source
from productagg.sources.base import Failure, NotModified, Remark, Snapshot
from productagg.sources.testing import MemoryWeb
from productagg.sources.web import WebError
from productagg.sync import source_admin, source_test
from productagg.sync.source_test import SourceTester
from tests.databases import only_sqlite
from tests.factories import make_product, make_source
from tests.functional.problems import assert_problem
from tests.integration.scripted_adapters import ScriptedAdapter, an_offer, complete

pytestmark = only_sqlite

PAGE = "https://lumen.test/lamp"
HTML = b"""<script type="application/ld+json">{"@context": "https://schema.org", "@type": "Product", "name": "Lamp",
"sku": "L-1", "gtin13": "4006381333931", "brand": "Halvorn", "offers": {"@type": "Offer", "price": "49.90",
"priceCurrency": "EUR", "availability": "https://schema.org/InStock", "seller": {"name": "Lumen"}}}</script>"""
FEED = b"""<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>
<item><g:id>a</g:id><g:title>A</g:title><g:link>https://f.test/a</g:link><g:price>10 EUR</g:price>
<g:availability>in_stock</g:availability></item>
<item><g:id>b</g:id><g:title>B</g:title><g:link>https://f.test/b</g:link><g:price>free</g:price></item>
</channel></rss>"""


@pytest.fixture
def responses():
    """What stands at which address; a test adds to it."""
    return {}


@pytest.fixture
def tester(client, responses):
    """Let the application test sources with the responses."""
    services = client.app.registry.services
    tester = SourceTester(allow_private_networks=False, begin=lambda _seconds: MemoryWeb(responses))
    client.app.registry.services = replace(services, source_tester=tester)
    return tester


@pytest.fixture
def shop(database):
    return make_source(database, "Lumen shop")


@pytest.fixture
def ask(send, admin, tester):
    """Test a source: `ask(source_id, locator="…")`."""
    return lambda source_id, **body: send("POST", f"/sources/{source_id}/test", body, admin)


@pytest.fixture
def scripted(database, monkeypatch):
    """A source whose adapter yields what a test says: `scripted(answers)`."""

    def scripted(*answers, whole_document=False, answer=None):
        adapter = ScriptedAdapter(answer or (lambda _request: answers), whole_document=whole_document)
        monkeypatch.setattr(source_test, "load", lambda _kind: adapter)
        return make_source(database, "scripted"), adapter

    return scripted


def test_a_page_is_shown_as_it_is_understood(ask, shop, responses):
    responses[PAGE] = HTML

    report = ask(shop, locator="HTTPS://lumen.test/lamp").json

    assert (report["outcome"], report["reason"], report["code"], report["offer_count"]) == ("complete", None, None, 1)
    [offer] = report["offers"]
    assert (offer["price"], offer["currency"], offer["seller"], offer["availability"]) == (
        4990,
        "EUR",
        "Lumen",
        "in_stock",
    )
    assert (offer["locator"], offer["items_in_stock"]) == (PAGE, None)
    assert (offer["product"]["name"], offer["product"]["gtin"]) == ("Lamp", "4006381333931")
    assert report["duration_seconds"] < 20


def test_nothing_is_stored(ask, shop, responses, database):
    make_product(database)
    before = database_content(database)
    responses[PAGE] = HTML

    assert ask(shop, locator=PAGE).status_int == 200

    assert database_content(database) == before


def database_content(database):
    with database.reader.connect() as connection:
        return {
            name: connection.execute(table.select()).all()
            for name, table in Base.metadata.tables.items()
            if name != "users"
        }


def test_a_documents_rejected_items_say_why(ask, database, responses):
    source_id = make_source(database, "Feed", kind="feed", configuration={"url": "https://f.test/all.xml"})
    responses["https://f.test/all.xml"] = FEED

    report = ask(source_id).json

    assert (report["outcome"], report["offer_count"], report["rejected_count"]) == ("complete", 1, 1)
    assert report["rejected"][0]["item"] == "b"
    assert report["rejected"][0]["reason"]


def test_a_locator_chooses_the_offers_of_one_product_of_a_document(ask, scripted):
    source_id, adapter = scripted(complete(an_offer("a"), an_offer("b", price=70)), whole_document=True)

    report = ask(source_id, locator="b").json

    assert (report["offer_count"], [offer["price"] for offer in report["offers"]]) == (1, [70])
    assert list(adapter.asked[0].locators) == []


def test_the_first_twenty_are_shown_and_all_are_counted(ask, scripted):
    facts: dict[str, Any] = {
        "rejected": [Remark(str(number), "no price") for number in range(30)],
        "remarks": [Remark("x", "odd")],
    }
    half = [an_offer("a", external_id=str(number)) for number in range(15)]
    source_id, _ = scripted(Snapshot(half, complete=False, **facts), complete(*half, **facts))

    report = ask(source_id, locator="a").json

    assert (report["outcome"], report["offer_count"], len(report["offers"])) == ("complete", 30, 20)
    assert (report["rejected_count"], len(report["rejected"]), report["remark_count"]) == (60, 20, 2)


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        (Snapshot([], complete=False, incomplete_because="it breaks off"), "incomplete", "incomplete"),
        (NotModified(), "not_modified", None),
        (Failure("the shop answered 500", "status_500"), "failed", "status_500"),
    ],
)
def test_the_last_answer_decides(ask, scripted, answer, outcome, code):
    source_id, _ = scripted(Snapshot([an_offer("a")], complete=False), answer)

    report = ask(source_id, locator="a").json

    assert (report["outcome"], report["code"], report["offer_count"]) == (outcome, code, 1)


def test_what_the_shop_refuses_is_said(ask, shop, responses):
    responses[PAGE] = WebError("lumen.test answered 404", "status_404")

    report = ask(shop, locator=PAGE).json

    assert (report["outcome"], report["code"], report["offers"]) == ("failed", "status_404", [])
    assert "404" in report["reason"]


def test_private_addresses_are_not_asked(send, admin, shop):
    report = send("POST", f"/sources/{shop}/test", {"locator": "http://127.0.0.1:9/lamp"}, admin).json

    assert (report["outcome"], report["code"]) == ("failed", "address_refused")


def test_a_missing_secret_is_named_and_a_secret_is_not_shown(ask, database, monkeypatch, responses, caplog):
    source_id = make_source(database, "with a secret", secret_variable="SHOP_TOKEN")
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    report = ask(source_id, locator=PAGE).json
    assert (report["outcome"], report["code"]) == ("failed", "no_secret")
    assert "SHOP_TOKEN" in report["reason"]

    monkeypatch.setenv("SHOP_TOKEN", "s3cr3t-value")
    responses[PAGE] = HTML
    answer = ask(source_id, locator=PAGE)

    assert answer.json["outcome"] == "complete"
    assert "s3cr3t-value" not in answer.text + caplog.text


def test_a_configuration_of_another_version_is_named(ask, database):
    source_id = make_source(database, "old", configuration={"colour": "red"})

    report = ask(source_id, locator=PAGE).json

    assert (report["outcome"], report["code"]) == ("failed", "unusable")
    assert "colour" in report["reason"]


def test_a_source_that_wants_no_requests_gets_none(ask, scripted, database):
    source_id, adapter = scripted(complete())
    with database.sessions.begin() as session:
        source = session.get(Source, source_id)
        source.blocked_until, source.blocked_reason = datetime(2100, 1, 1, tzinfo=UTC), "the shop answered 429"

    report = ask(source_id, locator="a").json

    assert (report["outcome"], report["code"], adapter.asked) == ("failed", "blocked", [])
    assert report["retry_at"] == "2100-01-01T00:00:00Z"


def test_a_single_product_needs_a_locator(ask, shop):
    assert_problem(ask(shop), "invalid-data", {"/locator": None})
    assert_problem(ask(shop, locator="ftp://lumen.test"), "invalid-data", {"/locator": None})


def test_a_fault_in_an_adapter_is_a_failure(ask, scripted):
    def answer(_request):
        raise KeyError("price")
        yield

    source_id, _ = scripted(answer=answer)

    report = ask(source_id, locator="a").json

    assert (report["outcome"], report["code"]) == ("failed", "fault")


def test_one_source_is_tested_at_a_time(ask, scripted, tester):
    began, go_on = threading.Event(), threading.Event()

    def answer(_request):
        began.set()
        go_on.wait(30)
        yield complete()

    source_id, _ = scripted(answer=answer)
    first = threading.Thread(target=ask, args=(source_id,), kwargs={"locator": "a"})
    first.start()
    began.wait(30)

    refused = ask(source_id, locator="a")

    go_on.set()
    first.join()
    assert_problem(refused, "test-in-progress")
    assert int(refused.headers["Retry-After"]) > 0
    assert ask(source_id, locator="a").status_int == 200


def test_a_test_that_takes_too_long_is_given_up(scripted, tester, database):
    go_on = threading.Event()

    def answer(_request):
        yield Snapshot([an_offer("a")], complete=False)
        go_on.wait(30)
        yield complete(an_offer("b"))

    source_id, _ = scripted(answer=answer)
    with database.reader.connect() as connection:
        source = source_admin.get(connection, source_id)

    report = tester.test(source, "a", seconds=0.2)
    with pytest.raises(source_test.TesterBusy):  # it still goes on
        tester.test(source, "a")
    go_on.set()

    assert (report.outcome, report.code, report.offer_count) == ("failed", "timeout", 1)
