"""`productagg status`: what it reads from the database, and how it prints it."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.db.models import Base, UpstreamToken
from productagg.sync import status
from productagg.sync.tokens import account_key
from tests.conftest import REFRESH_TOKEN
from tests.databases import only_postgresql, only_sqlite
from tests.factories import LONG_AGO, link, make_product, make_products, make_run, make_runs, make_source, rows
from tests.integration.conftest import on_event, on_statement

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
SECRET_TOKEN = "an-access-token-that-nobody-may-see"


def ago(**span):
    return NOW - timedelta(**span)


def later(**span):
    return NOW + timedelta(**span)


@pytest.fixture
def read(database):
    """The state at NOW."""

    def read(account="the account"):
        with database.reader.connect() as connection:
            return status.read(connection, account, NOW)

    return read


@pytest.fixture
def page(read):
    """The lines for people, at NOW."""
    return lambda: status.as_text(read()).splitlines()


@pytest.fixture
def token(database):
    """Store a row about the access token."""

    def token(account="the account", access_token=SECRET_TOKEN, **values):
        with database.sessions.begin() as session:
            session.add(UpstreamToken(account=account, access_token=access_token, **values))

    return token


def test_the_last_five_runs_are_shown_newest_first(database, read):
    run_ids = make_runs(database, 6)

    assert [run["id"] for run in read()["runs"]] == run_ids[:0:-1]


def test_due_and_leased_products_are_counted(database, read):
    make_products(database, 3, "due", next_sync_at=NOW)
    make_products(database, 2, "due, its lease ran out", next_sync_at=ago(hours=1), leased_until=NOW)
    make_products(database, 4, "being asked", next_sync_at=ago(hours=1), leased_until=later(seconds=1))
    make_products(database, 5, "not due", next_sync_at=later(seconds=1))

    assert read()["backlog"] == {"products": 14, "due": 5, "leased": 4, "failing": 0}


def test_the_product_that_is_due_the_longest_is_named(database, read):
    make_product(database, "a minute", next_sync_at=ago(minutes=1))
    longest = make_product(database, "an hour", next_sync_at=ago(hours=1))
    make_product(database, "a day, but leased", next_sync_at=ago(days=1), leased_until=later(minutes=1))

    assert read()["oldest_due"] == {
        "id": longest,
        "name": "an hour",
        "due_since": ago(hours=1),
        "source": "offers",
    }


def test_the_failing_products_are_shown_those_that_failed_most_first_and_twenty_at_most(database, read, page):
    make_products(database, 20, "once", failures=1, last_error="not JSON", next_sync_at=later(minutes=1))
    worst = make_product(database, "often", failures=7, last_error="no complete response", next_sync_at=later(hours=1))

    found = read()

    assert found["backlog"]["failing"] == 21
    assert [product["failures"] for product in found["failing"]] == [7, *[1] * 19]
    assert found["failing"][0] == {
        "id": worst,
        "name": "often",
        "source": "offers",
        "failures": 7,
        "last_error": "no complete response",
        "last_asked_at": None,
        "next_sync_at": later(hours=1),
    }
    assert f"  {worst}  often" in page()
    assert "    7 in a row at offers, due again 2026-01-02 13:00:00: no complete response" in page()
    assert "  and 1 more" in page()


@pytest.mark.parametrize(
    ("stored", "state", "line"),
    [
        ({"expires_at": later(minutes=4, seconds=5)}, "valid", "  valid until 2026-01-02 12:04:05 (4 min 5 s left)"),
        (
            {"expires_at": ago(minutes=1)},
            "expired",
            "  expired at 2026-01-02 11:59:00; the next sync run gets a new one",
        ),
        ({"expires_at": ago(minutes=1), "refreshing_until": later(seconds=9)}, "being refreshed", "  being refreshed"),
        ({"access_token": None, "refreshing_until": later(seconds=9)}, "being refreshed", "  being refreshed"),
        ({"access_token": None, "refreshing_until": ago(seconds=9)}, "none", "  none"),
        ({"account": "another account", "expires_at": later(hours=1)}, "none", "  none"),
    ],
)
def test_the_tokens_state_is_shown_and_the_token_itself_is_not(token, read, page, stored, state, line):
    token(**stored)

    found = read()

    assert found["token"]["state"] == state
    assert line in page()
    assert SECRET_TOKEN not in str(found)


def test_a_block_is_shown_with_its_end_and_reason(token, read, page):
    token(
        expires_at=later(minutes=4),
        blocked_until=later(minutes=1),
        blocked_reason="the Offers service answered 503",
    )

    assert read()["token"]["blocked_until"] == later(minutes=1)
    assert page()[-2:] == [
        "  no requests are sent to the Offers service before 2026-01-02 12:01:00:",
        "    the Offers service answered 503",
    ]


def test_a_block_that_is_over_is_not_shown(token, read, page):
    token(access_token=None, blocked_until=NOW, blocked_reason="the Offers service answered 503")

    assert read()["token"]["blocked_reason"] is None
    assert page()[-1] == "  none"


def test_a_page_for_people_says_everything_at_a_glance(database, token, page):
    make_run(database, started_at=ago(minutes=3), finished_at=None, ended_by=None, host="db-7")
    counts = {"leased": 1000, "fetched": 900, "changed": 300, "closed": 20, "failed": 100}
    failures = {"not JSON": 1, "no complete response within 10 s": 99}
    times = {"started_at": ago(minutes=2), "finished_at": ago(minutes=2, seconds=-48.254)}
    make_run(database, **times, **counts, failures=failures, host="cron-1.internal.example.org")
    why = "the Offers service does not accept the refresh token (OFFERS_REFRESH_TOKEN)"
    make_run(database, started_at=ago(minutes=1), finished_at=ago(minutes=1), ended_by=why)
    kettle = make_product(database, "Kettle", next_sync_at=ago(hours=27, minutes=30))
    lamp = make_product(database, "Lamp", next_sync_at=NOW, failures=3, last_error="not JSON")
    token(expires_at=later(minutes=2))

    assert page() == [
        "productagg at 2026-01-02 12:00:00 UTC",
        "",
        "Sync runs",
        "  started              host                  took   leased  fetched  changed  closed  failed",
        "  2026-01-02 11:59:00  a-host              0.00 s        0        0        0       0       0",
        "    ended by: the Offers service does not accept the refresh token (OFFERS_REFRESH_TOKEN)",
        "  2026-01-02 11:58:00  cron-1.internal…   48.25 s     1000      900      300      20     100",
        "    failed: 99 × no complete response within 10 s, 1 × not JSON",
        "  2026-01-02 11:57:00  db-7                  lost        0        0        0       0       0",
        "",
        "Sources",
        "  name                            kind              products      due  failing  last success",
        "  offers                          offers_service           2        2        1  never",
        "    last error: not JSON",
        "",
        "Backlog",
        "  2 products",
        "  0 being fetched",
        "  2 due",
        "  due the longest, since 2026-01-01 08:30:00 (1 d 3 h), at offers:",
        f"    {kettle}  Kettle",
        "",
        "Failing products",
        f"  {lamp}  Lamp",
        "    3 in a row at offers, due again 2026-01-02 12:00:00: not JSON",
        "",
        "Access token",
        "  valid until 2026-01-02 12:02:00 (2 min 0 s left)",
    ]


@pytest.fixture
def sources(read):
    """The sources at NOW, by name."""
    return lambda: {source["name"]: source for source in read()["sources"]}


def test_each_source_has_its_own_counts(database, sources):
    shop_id = make_source(database, "a shop")
    due, leased, failing = (make_product(database, name, next_sync_at=later(days=1)) for name in "abc")
    link(database, due, shop_id, next_sync_at=NOW)
    link(database, leased, shop_id, next_sync_at=ago(hours=1), leased_until=later(minutes=1))
    at = {"last_asked_at": ago(minutes=1), "last_synced_at": ago(minutes=5)}
    link(database, failing, shop_id, next_sync_at=later(minutes=1), failures=2, last_error="gone", **at)

    found = sources()

    assert found["a shop"] == {
        "id": shop_id,
        "name": "a shop",
        "kind": "jsonld",
        "enabled": True,
        "products": 3,
        "due": 1,
        "leased": 1,
        "failing": 1,
        "oldest_due_at": NOW,
        "last_synced_at": ago(minutes=5),
        "last_error": "gone",
        "blocked_until": None,
        "blocked_reason": None,
        "item_count": None,
        "unmatched_count": None,
        "next_sync_at": None,
    }
    assert [found["offers"][name] for name in ("products", "due", "leased", "failing")] == [3, 0, 0, 0]


@pytest.mark.parametrize(
    ("values", "counts", "lines"),
    [
        ({"next_sync_at": NOW}, [1, 0, 0], ["    due 2026-01-02 12:00:00"]),
        ({"next_sync_at": NOW, "leased_until": later(minutes=1)}, [0, 1, 0], ["    being fetched"]),
        (
            {"next_sync_at": later(hours=1), "failures": 2, "last_error": "not a feed", "item_count": 9120},
            [0, 0, 1],
            [
                "    9120 items, 14 of them of no product",
                "    due 2026-01-02 13:00:00",
                "    last error: not a feed",
            ],
        ),
        ({"next_sync_at": NOW, "enabled": False}, [0, 0, 0], ["    disabled"]),
    ],
    ids=["due", "leased", "failing", "disabled"],
)
def test_a_whole_document_counts_as_one(database, sources, page, values, counts, lines):
    feed_id = make_source(database, "feed", kind="feed", unmatched_count=14, last_synced_at=ago(days=1), **values)
    link(database, make_product(database, next_sync_at=later(days=1)), feed_id, next_sync_at=None)

    found = sources()["feed"]

    assert found["products"] == 1
    assert [found[name] for name in ("due", "leased", "failing")] == counts
    assert found["last_synced_at"] == ago(days=1)
    shown = page()
    (begin,) = (number for number, line in enumerate(shown) if line.startswith("  feed "))
    assert shown[begin].split() == ["feed", "feed", "1", f"{counts[0]}", f"{counts[2]}", "2026-01-01", "12:00:00"]
    assert shown[begin + 1 : begin + 1 + len(lines)] == lines


def test_the_backlog_is_that_of_all_sources(database, read):
    feed_id = make_source(database, "feed", kind="feed", next_sync_at=NOW)
    shop_id = make_source(database, "shop")
    kettle = make_product(database, "Kettle", next_sync_at=ago(minutes=1))
    link(database, kettle, feed_id, next_sync_at=None)
    link(database, kettle, shop_id, next_sync_at=ago(hours=1), failures=1)

    found = read()

    assert found["backlog"] == {"products": 1, "due": 3, "leased": 0, "failing": 1}
    assert (found["oldest_due"]["due_since"], found["oldest_due"]["source"]) == (ago(hours=1), "shop")
    assert [product["source"] for product in found["failing"]] == ["shop"]


def test_a_disabled_source_has_nothing_due(database, sources, read):
    shop_id = make_source(database, "shop", enabled=False)
    link(database, make_product(database, next_sync_at=later(days=1)), shop_id)

    assert sources()["shop"]["due"] == 0
    assert read()["oldest_due"] is None


def test_a_failing_document_is_not_counted_among_the_products_that_are_left_out(database, page):
    make_source(database, "feed", kind="feed", next_sync_at=NOW, failures=1, last_error="not a feed")

    assert page()[page().index("Failing products") + 1 :][:2] == ["  none", ""]


def test_a_sources_block_is_shown_with_its_end_and_reason(database, token, sources, page):
    make_source(database, "shop", blocked_until=later(minutes=1), blocked_reason="the host answered 429")
    make_source(database, "another", blocked_until=NOW, blocked_reason="that was long ago")
    token(blocked_until=later(minutes=2), blocked_reason="the Offers service answered 503")

    blocks = {name: (source["blocked_until"], source["blocked_reason"]) for name, source in sources().items()}

    assert blocks == {
        "another": (None, None),
        "offers": (later(minutes=2), "the Offers service answered 503"),
        "shop": (later(minutes=1), "the host answered 429"),
    }
    assert "    no requests before 2026-01-02 12:01:00: the host answered 429" in page()


def test_a_run_of_several_sources_says_what_it_did_at_each(database, page):
    counts = {"source_id": str(UUID(int=1)), "leased": 1, "fetched": 1, "changed": 0, "closed": 0, "failed": 0}
    offers = {"name": "offers", **counts, "failures": {}, "seconds": 0.25, "ended_by": "done"}
    feed = {**offers, "name": "feed", "changed": 120, "seconds": 12.5, "ended_by": "interrupted"}
    make_run(database, sources=[offers, feed])
    make_run(database, sources=[offers])

    assert [line for line in page() if " fetched, " in line] == [
        "    offers: 1 fetched, 0 changed, 0 closed, 0 failed, in 0.25 s: done",
        "    feed: 1 fetched, 120 changed, 0 closed, 0 failed, in 12.50 s: interrupted",
    ]


def test_an_empty_installation_has_a_page_too(database, page):
    assert page() == [
        "productagg at 2026-01-02 12:00:00 UTC",
        "",
        "Sync runs",
        "  none yet",
        "",
        "Sources",
        "  name                            kind              products      due  failing  last success",
        "  offers                          offers_service           0        0        0  never",
        "",
        "Backlog",
        "  0 products",
        "  0 being fetched",
        "  0 due",
        "",
        "Failing products",
        "  none",
        "",
        "Access token",
        "  none",
    ]


def test_no_line_is_longer_than_a_terminal_or_plays_tricks_on_it(database, page):
    make_source(database, "S" * 200, failures=1, last_error="\x1b[31m" + "e" * 500, next_sync_at=NOW, enabled=False)
    make_run(database, host="h" * 300, ended_by="word " * 100, failures={"a reason" * 50: 3, "\x1b[2J": 1})
    make_product(database, "N" * 200, failures=1, last_error="\x1b[31m" + "e" * 500, next_sync_at=ago(days=1000))

    assert all(len(line) <= 100 and line.isprintable() for line in page())


@pytest.mark.parametrize("count", [1, 60])
def test_the_number_of_statements_does_not_depend_on_what_there_is(database, read, count):
    make_products(database, count, failures=1, last_error="x")
    make_runs(database, count)
    statements: list[str] = []

    with on_statement(database.reader, statements.append):
        read()

    assert len(statements) == 6


@only_postgresql
def test_among_many_products_the_one_due_the_longest_is_found_by_an_index(database):
    with database.sessions.begin() as session:
        for number in range(20):
            new = [NewProduct(f"{number} {each}", "") for each in range(100)]
            create_many(session, new, LONG_AGO + timedelta(minutes=number))
        session.execute(text("ANALYZE product_sources"))
    plans: list[str] = []

    def explain(_connection, cursor, statement, parameters, *_):
        cursor.execute(f"EXPLAIN {statement}", parameters)
        plans.append("\n".join(row[0] for row in cursor.fetchall()))

    with on_event(database.reader, "before_cursor_execute", explain), database.reader.connect() as connection:
        status.read(connection, "the account", NOW)

    [plan] = [plan for plan in plans if "using ix_product_sources_source_id_next_sync_at" in plan and "Limit" in plan]
    assert "Sort" not in plan


def test_the_command_prints_the_page(database, run):
    make_product(database, "Kettle")

    done = run("status")

    assert done.exit_code == 0
    assert done.stdout.splitlines()[2] == "Sync runs"
    assert done.stdout.endswith("  none\n")
    assert "  1 due\n" in done.stdout
    assert done.stderr == ""


def test_for_machines_it_is_one_object(database, upstream, token, run):
    product_id = make_product(database, "Kettle", failures=1, last_error="not JSON")
    run_id = make_run(database, failed=1, failures={"not JSON": 1})
    account = account_key(upstream.base_url, REFRESH_TOKEN)
    token(account, expires_at=datetime(2100, 1, 1, tzinfo=UTC))

    done = run("status", "--json")

    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    assert found["backlog"] == {"products": 1, "due": 1, "leased": 0, "failing": 1}
    assert [run["id"] for run in found["runs"]] == [str(run_id)]
    assert found["oldest_due"]["id"] == found["failing"][0]["id"] == str(product_id)
    assert found["token"] == {
        "state": "valid",
        "valid_until": "2100-01-01T00:00:00Z",
        "blocked_until": None,
        "blocked_reason": None,
    }
    assert SECRET_TOKEN not in done.output


def test_it_changes_nothing(database, upstream, token, run):
    make_product(database, leased_until=datetime.now(UTC))
    make_run(database, finished_at=None, ended_by=None)
    token(account_key(upstream.base_url, REFRESH_TOKEN), expires_at=NOW)
    tables = [mapper.class_ for mapper in Base.registry.mappers]
    before = {table: rows(database, table) for table in tables}

    run("status")

    assert {table: rows(database, table) for table in tables} == before


@only_sqlite
def test_a_run_that_is_writing_does_not_hold_it_up(database, run):
    with database.sessions.begin() as session:
        session.execute(text("UPDATE product_sources SET failures = 0"))  # the one writer's transaction

        assert run("status").exit_code == 0


def test_a_wrong_setting_is_reported_in_one_line(run):
    done = run("status", SYNC_WORKERS="0")

    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("Error: SYNC_WORKERS ")
