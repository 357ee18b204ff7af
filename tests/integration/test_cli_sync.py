"""The options of `productagg sync`, its summary for machines, and its progress bar on a terminal."""

import json
import threading
from datetime import datetime
from uuid import uuid4

import pytest

from productagg.db.models import SyncRun
from productagg.sandbox import Fault
from tests.databases import only_sqlite
from tests.factories import environment, make_product, make_products, rows, states, sync_row


def test_json_output_is_one_object(database, upstream, run):
    for product_id in make_products(database, 3):
        upstream.offer(product_id, states((100, 5)))
    upstream.faults.replace([Fault("error", {"status": 500}, ("offers",), times=1)])

    done = run("sync", "--json")

    summary = json.loads(done.stdout)
    [recorded] = rows(database, SyncRun)
    assert done.exit_code == 1
    assert done.stdout.count("\n") == 1
    assert datetime.fromisoformat(summary["started_at"]) <= datetime.fromisoformat(summary["finished_at"])
    assert {name: value for name, value in summary.items() if not name.endswith("_at")} == {
        "leased": 3,
        "fetched": 2,
        "changed": 2,
        "closed": 0,
        "failed": 1,
        "failures": recorded.failures,
        "requests": recorded.requests,
        "bytes": recorded.bytes,
        "longest_wait_seconds": recorded.longest_wait_seconds,
        "ended_by": "done",
        "sources": recorded.sources,
        "exit_code": 1,
    }
    assert [source["name"] for source in summary["sources"]] == ["offers"]
    assert sum(summary["failures"].values()) == 1


def test_json_output_of_a_run_that_could_not_start_is_an_object(database, run):
    make_product(database)

    done = run("sync", "--json", OFFERS_REFRESH_TOKEN="a wrong one")

    summary = json.loads(done.stdout)
    assert done.exit_code == summary["exit_code"] == 2
    assert "does not accept the refresh token" in summary["ended_by"]


@only_sqlite
def test_with_a_wrong_setting_there_is_no_object(run):
    done = run("sync", "--json", SYNC_WORKERS="0")

    assert (done.exit_code, done.stdout) == (2, "")


@pytest.fixture
def asked_before(database, run):
    """Three products that were just asked for, so that none of them is due."""
    product_ids = make_products(database, 3)
    run("sync")
    return product_ids


def test_chosen_products_are_asked_for_due_or_not_and_no_others(database, upstream, run, asked_before):
    upstream.asked.clear()
    first, _, third = asked_before
    due = make_product(database, "Due")

    done = run("sync", "--product", str(first), "--product", str(third).upper())

    assert done.exit_code == 0
    assert done.stdout.startswith("sync: 2 products asked")
    assert upstream.asked == {first: 1, third: 1}
    assert sync_row(database, due).last_asked_at is None


def test_all_products_can_be_asked_for_due_or_not(database, upstream, run, asked_before):
    upstream.asked.clear()
    due = make_product(database, "Due")

    run("sync", "--all")

    assert upstream.asked == dict.fromkeys([*asked_before, due], 1)


def test_a_product_that_does_not_exist_is_one_line_and_nothing_is_asked_for(database, upstream, run):
    known, unknown = make_product(database), uuid4()

    done = run("sync", "--product", str(known), "--product", str(unknown))

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"Error: there is no product {unknown}\n"
    assert not upstream.asked
    assert rows(database, SyncRun) == []


@only_sqlite
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--product", "1"], "'1' is not a valid UUID"),
        (["--all", "--product", str(uuid4())], "--product and --all cannot be used together"),
        (["--workers", "0"], "0 is not in the range 1<=x<=64"),
        (["--workers", "65"], "65 is not in the range 1<=x<=64"),
        (["--budget", "0"], "0 is not in the range 1<=x<=86400"),
        (["--budget", "86401"], "86401 is not in the range 1<=x<=86400"),
        (["--budget", "a minute"], "'a minute' is not a valid integer"),
    ],
)
def test_an_option_that_will_not_do_is_explained_and_nothing_is_asked_for(database, upstream, run, options, reason):
    make_product(database)

    done = run("sync", *options)

    assert done.exit_code == 2
    assert reason in done.stderr
    assert not upstream.asked


def test_as_many_requests_are_under_way_at_once_as_workers_were_wished_for(database, upstream, run):
    make_products(database, 3)
    together = threading.Barrier(3)
    upstream.before_offers = lambda _product_id: together.wait(timeout=20)

    done = run("sync", "--workers", "3", SYNC_WORKERS="1")

    assert done.exit_code == 0
    assert done.stdout.startswith("sync: 3 products asked")
    assert not together.broken


def test_a_run_whose_time_is_up_ends_well_and_leaves_the_rest_due(database, upstream, run):
    product_ids = make_products(database, 60)
    upstream.faults.replace([Fault("latency", {"seconds": 0.1}, ("offers",))])

    done = run("sync", "--budget", "1", "--workers", "1", "--json")

    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["ended_by"]) == (0, "budget")
    asked = [each for each in product_ids if sync_row(database, each).last_asked_at]
    assert 0 < len(asked) == summary["fetched"] < 60


@pytest.mark.processes
@only_sqlite
def test_on_a_terminal_the_progress_is_shown_beside_the_summary(database, upstream, on_a_terminal):
    make_products(database, 30)

    code, output, shown = on_a_terminal("productagg", "sync", "development.ini", env=environment(database, upstream))

    assert code == 0
    assert output.startswith("sync: 30 products asked") and output.count("\n") == 1
    assert "30/30" in shown
    assert "100%" in shown
    assert "products/s" in shown


@pytest.mark.processes
@only_sqlite
def test_on_a_terminal_a_log_line_stands_above_the_bar(database, upstream, on_a_terminal):
    make_products(database, 30, registration="registered")  # which the Offers service knows nothing of

    code, output, shown = on_a_terminal(
        "productagg", "sync", "development.ini", "--json", env=environment(database, upstream)
    )

    assert (code, json.loads(output)["fetched"]) == (0, 30)
    [line] = [line for line in shown.split("\n") if "WARNING" in line]
    # What is before it in its row is the bar, wiped out.
    assert line.rpartition("\r20")[2].endswith("the Offers service forgot it; registering it, and others, again\r")


def test_without_a_terminal_there_is_no_bar(database, run):
    make_products(database, 3)

    done = run("sync")

    assert "products/s" not in done.stderr
