"""`productagg source`, and `productagg sync --source`."""

import json
from uuid import uuid4

import pytest
from click.testing import CliRunner

from productagg.cli import main
from productagg.db.models import OFFERS_SOURCE, Base, Offer, ProductSource, Source
from tests.databases import only_sqlite
from tests.factories import link, make_product, make_source, rows
from tests.integration.web_feed import served_feed

PRIVATE = {"SOURCES_ALLOW_PRIVATE_NETWORKS": "true"}


@pytest.fixture
def address():
    """Where a feed of three items is."""
    with served_feed() as address:
        yield address


@pytest.fixture
def add(run):
    """Add the feed at an address: `add(address, option, …)`."""

    def add(address, *options, name="feed"):
        return run("source", "add", "feed", name, "--configuration", json.dumps({"url": address}), *options)

    return add


def refusal(done):
    """What a command that ended with exit code 1 said, in one line."""
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr.removeprefix("Error: ").rstrip("\n")


def others(database):
    """All sources but the Offers service."""
    return [row for row in rows(database, Source) if row.id != OFFERS_SOURCE]


def test_a_source_is_added_with_its_options(database, add):
    options = ("--secret-variable", "SHOP_KEY", "--interval", "3600", "--requests-per-second", "0.5")

    done = add("https://shop.test/feed.xml", *options, "--creates-products", "--disabled")

    assert (done.exit_code, done.stdout) == (0, "source 'feed' has been added, disabled\n")
    (row,) = others(database)
    assert (row.kind, row.name, row.configuration) == ("feed", "feed", {"url": "https://shop.test/feed.xml"})
    assert (row.secret_variable, row.interval_seconds, row.requests_per_second) == ("SHOP_KEY", 3600, 0.5)
    assert (row.enabled, row.creates_products, row.next_sync_at is not None) == (False, True, True)


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_its_configuration_may_come_from_elsewhere(database, run, write, way):
    text = '{"url": "https://shop.test/feed.xml"}'
    given = {"file": "@" + write("feed.json", text), "standard input": "-"}[way]

    done = run("source", "add", "feed", "feed", "--configuration", given, typed=text)

    assert done.exit_code == 0
    assert others(database)[0].configuration == {"url": "https://shop.test/feed.xml"}


@only_sqlite
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("url", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"url": 1, "url": 2}', "is not JSON"),
        ("@no/such/file", "no/such/file: No such file or directory"),
    ],
)
def test_what_is_no_configuration_at_all_is_a_usage_error(database, run, given, reason):
    done = run("source", "add", "feed", "feed", "--configuration", given)

    assert done.exit_code == 2
    assert reason in done.stderr
    assert others(database) == []


@only_sqlite
@pytest.mark.parametrize(
    ("kind", "configuration", "options", "reason"),
    [
        ("feed", {}, (), "url: "),
        ("feed", {"url": "https://shop.test/", "colour": "red"}, (), "colour: is not known"),
        ("fax", {}, (), "there is no adapter of the kind 'fax'; installed are: feed, "),
        ("jsonld", {}, ("--interval", "0"), "interval_seconds: must be a whole number"),
        ("jsonld", {}, ("--secret-variable", "JWT_SECRET"), "secret_variable: must not name a setting"),
    ],
)
def test_what_a_source_cannot_be_is_said_in_one_line(database, run, kind, configuration, options, reason):
    done = run("source", "add", kind, "feed", "--configuration", json.dumps(configuration), *options)

    assert refusal(done).startswith(reason)
    assert others(database) == []


def test_a_name_is_taken_once(add):
    add("https://shop.test/feed.xml")

    assert refusal(add("https://shop.test/other.xml")) == "there is a source 'feed' already"


def test_sources_are_listed(database, run):
    failing, shop_id = make_product(database), make_source(database, "a shop", enabled=False)
    link(database, failing, shop_id, failures=2, last_error="gone")
    make_source(database, "feed", kind="feed", failures=1, last_error="not a\x1b[2J feed")

    listed = run("source", "list")
    found = json.loads(run("source", "list", "--json").stdout)

    assert listed.stdout.splitlines() == [
        "a shop\tjsonld\tdisabled\t1 products\t0 offers\t1 failing",
        "feed\tfeed\tactive\t0 products\t0 offers\tnot a\N{REPLACEMENT CHARACTER}[2J feed",
        "offers\toffers_service\tactive\t1 products\t0 offers",
    ]
    assert [(each["name"], each["enabled"], each["failing_products"]) for each in found] == [
        ("a shop", False, 1),
        ("feed", True, 0),
        ("offers", True, 0),
    ]


def test_a_source_is_disabled_and_enabled(database, run):
    make_source(database, "a shop")

    said = []
    for command in ("disable", "enable"):
        said.append(run("source", command, "a shop").stdout)
        said.append(others(database)[0].enabled)

    assert said == ["source 'a shop' has been disabled\n", False, "source 'a shop' has been enabled\n", True]


def test_a_product_is_linked_and_unlinked(database, run, add, address):
    product_id = make_product(database)
    add(address)

    linked = run("source", "link", str(product_id), "feed", "sku-1")
    run("source", "sync", "feed", **PRIVATE)
    unlinked = run("source", "unlink", str(product_id), "feed")

    assert linked.stdout == f"product {product_id} has the source 'feed'\n"
    assert unlinked.stdout == f"product {product_id} no longer has the source 'feed'\n"
    assert [row.source_id for row in rows(database, ProductSource)] == [OFFERS_SOURCE]
    assert [(row.price, row.closed_at is None) for row in rows(database, Offer)] == [(150, False)]


@only_sqlite
def test_what_there_is_not_is_said_in_one_line(database, run):
    make_source(database, "a shop")
    product_id, unknown = make_product(database), uuid4()

    assert refusal(run("source", "enable", "none")) == "there is no source 'none'"
    assert refusal(run("source", "link", str(unknown), "a shop", "https://a.test/")) == f"there is no product {unknown}"
    assert refusal(run("source", "unlink", str(product_id), "a shop")) == "the product does not have this source"
    assert refusal(run("source", "link", str(product_id), "a shop", "kettle")).startswith("locator: ")
    assert refusal(run("source", "link", str(product_id), "offers", "kettle")).startswith("the Offers service comes ")
    assert refusal(run("source", "test", "none")) == "there is no source 'none'"
    assert refusal(run("source", "test", "a shop")).startswith("locator: is required")


def test_the_kinds_are_listed_with_what_a_locator_is():
    done = CliRunner().invoke(main, ["source", "kinds"])

    assert done.exit_code == 0
    kinds = [line.split("\t") for line in done.stdout.splitlines()]
    assert {"feed", "json_api", "json_list", "jsonld"} <= {kind for kind, *_ in kinds}
    assert all(locator.startswith("locator: ") for *_, locator in kinds)


def test_a_test_shows_what_was_understood_and_changes_nothing(database, run, add, address):
    add(address)
    tables = [mapper.class_ for mapper in Base.registry.mappers]
    before = {table: rows(database, table) for table in tables}

    done = run("source", "test", "feed", **PRIVATE)
    one = run("source", "test", "feed", "sku-2", **PRIVATE)

    first, *offers = done.stdout.splitlines()
    assert done.exit_code == 0
    assert first.startswith("complete (3 offers, 0 items rejected, 0 remarks, in ")
    assert offers[0].startswith("  sku-1 sku-1: 150 EUR, in_stock, ")
    assert one.stdout.splitlines()[1:] == [offers[1]]
    assert {table: rows(database, table) for table in tables} == before


def test_a_test_that_fails_says_why_with_exit_code_1(run, add, address):
    add(address)

    done = run("source", "test", "feed")

    assert done.exit_code == 1
    assert done.stdout.startswith("failed: ")
    assert done.stdout.count("\n") == 1


def test_a_source_is_synced_now_and_no_other(database, upstream, run, add, address):
    product_id = make_product(database)
    add(address)
    run("source", "link", str(product_id), "feed", "sku-3")
    run("sync", **PRIVATE)
    upstream.asked.clear()

    done = run("source", "sync", "feed", "--json", **PRIVATE)

    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["ended_by"]) == (0, "done")
    assert [(each["name"], each["fetched"]) for each in summary["sources"]] == [("feed", 1)]
    assert sum(upstream.asked.values()) == 0


@pytest.mark.parametrize("command", [("sync", "--source"), ("source", "sync")])
def test_a_source_that_cannot_be_synced_is_named_with_exit_code_2(database, run, command):
    make_source(database, "a shop", enabled=False)

    disabled, unknown = run(*command, "a shop"), run(*command, "none")

    assert (disabled.exit_code, disabled.stderr) == (2, "Error: the source 'a shop' is disabled\n")
    assert (unknown.exit_code, unknown.stderr) == (2, "Error: there is no source 'none'\n")


def test_a_run_may_be_of_chosen_sources(database, upstream, run):
    product_id = make_product(database)

    done = run("sync", "--source", "offers", "--source", str(OFFERS_SOURCE))

    assert done.stdout.startswith("sync: 1 products asked")
    assert upstream.asked == {product_id: 1}
