"""Several processes at one port: who answers, who is replaced, and how all of them end."""

import os
import signal
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import psutil
import pytest
from sqlalchemy import text

from tests.databases import only_postgresql, only_sqlite
from tests.factories import make_product
from tests.functional.pserve import refused_options, serving
from tests.integration.conftest import wait_until

pytestmark = pytest.mark.processes

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no such thing here")


def children(server):
    return psutil.Process(server.process.pid).children()


def serving_with_two(database, directory, *variables):
    return serving(database, directory, "processes=2", *variables)


@pytest.fixture
def two(database, tmp_path):
    """A server of two processes, both of which answer."""
    with serving_with_two(database, tmp_path) as server:
        server.wait_for_starts(2)
        yield server


@contextmanager
def only(child, server):
    """Suspend the server's other processes, so that this one answers."""
    others = [each for each in children(server) if each.pid != child.pid]
    for other in others:
        other.suspend()
    try:
        yield
    finally:
        for other in others:
            other.resume()


@only_sqlite
def test_each_of_them_answers_at_the_same_port(two):
    found = children(two)

    assert len(found) == 2
    for child in found:
        with only(child, two):
            assert two.send(LIVE).status_int == 200


@only_postgresql
def test_no_two_use_one_connection_to_the_database(database, two):
    product_id = make_product(database)
    request = f"GET /products/{product_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def connected():
        ours = text(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'productagg'"
        )
        with database.reader.connect() as connection:
            return set(connection.scalars(ours))

    seen = [connected()]
    for child in children(two):
        with only(child, two):
            assert two.send(request).json["id"] == str(product_id)
        seen.append(connected())

    first, second = seen[1] - seen[0], seen[2] - seen[0]
    assert (len(first), len(second)) == (1, 2)
    assert first < second


@only_postgresql
def test_side_by_side_each_request_gets_its_own_answer(database, two):
    product_ids = [str(make_product(database, f"Kettle {number}")) for number in range(8)]
    got = []

    def ask(product_id):
        for _ in range(10):
            answer = two.send(f"GET /products/{product_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            got.append((product_id, answer.json["id"]))

    threads = [threading.Thread(target=ask, args=[product_id]) for product_id in product_ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(got) == 80
    assert all(asked == answered for asked, answered in got)


@needs_affinity
@only_sqlite
@pytest.mark.parametrize("wanted", ["true", "false"])
def test_each_keeps_to_a_processor_of_its_own_if_wanted(database, tmp_path, wanted):
    usable = sorted(os.sched_getaffinity(0))

    with serving_with_two(database, tmp_path, f"own_processor={wanted}") as server:
        server.wait_for_starts(2)
        found = sorted(sorted(child.cpu_affinity()) for child in children(server))
        first = sorted(psutil.Process(server.process.pid).cpu_affinity())

    own = [[usable[0]], [usable[1 % len(usable)]]]
    assert found == (own if wanted == "true" else [usable, usable])
    assert first == usable


@needs_affinity
@only_sqlite
def test_a_single_process_keeps_to_one_of_the_processors(database, tmp_path):
    with serving(database, tmp_path, "own_processor=true") as server:
        (processor,) = psutil.Process(server.process.pid).cpu_affinity()

    assert processor in os.sched_getaffinity(0)


@only_sqlite
def test_one_that_was_killed_is_replaced_and_that_is_logged(two):
    killed, kept = children(two)

    killed.kill()

    two.logged(f"process {killed.pid} ended with -9; another one starts")
    two.wait_for_starts(3)
    (new,) = {child.pid for child in children(two)} - {killed.pid, kept.pid}
    with only(SimpleNamespace(pid=new), two):
        assert two.send(LIVE).status_int == 200


@only_sqlite
def test_told_to_end_while_one_is_to_be_replaced_all_end(two):
    killed, kept = children(two)
    killed.kill()
    two.logged("another one starts")

    assert two.stop() == 0
    assert "Traceback" not in two.log()
    assert not kept.is_running()


@pytest.mark.parametrize("how", ["the first is told", "all are told, as by a terminal"])
@only_postgresql
def test_told_to_end_all_end_after_the_requests_under_way(database, two, how):
    product_id = make_product(database)
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%productagg_%'"
    )
    answers = []

    def ask():
        answers.append(two.send(f"GET /products/{product_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()))

    found = children(two)
    thread = threading.Thread(target=ask)
    with database.writer.begin() as holding, database.reader.connect() as looking:
        holding.execute(text("LOCK TABLE products"))
        thread.start()
        wait_until(lambda: looking.scalar(waiting))
        if how != "the first is told":
            for child in found:
                child.send_signal(signal.SIGINT)
            two.process.send_signal(signal.SIGINT)
        two.process.send_signal(signal.SIGTERM)
        # The one that has nothing to finish has ended.
        wait_until(lambda: sum(_has_ended(child) for child in found) == 1)
    thread.join()

    assert two.process.wait(timeout=20) == 0
    assert answers[0].json["id"] == str(product_id)
    assert all(_has_ended(child) for child in found)
    assert f"GET /products/{product_id} 200 " in two.log()
    assert "Traceback" not in two.log()
    assert "another one starts" not in two.log()


def _has_ended(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@only_sqlite
def test_without_the_first_the_others_end(two):
    found = children(two)

    two.process.kill()

    wait_until(lambda: all(_has_ended(child) for child in found))


@pytest.mark.parametrize(
    ("name", "wrong", "allowed"),
    [
        *(("processes", each, "a whole number from 1 to 256") for each in ("0", "-1", "many", "1.5", "1000", "")),
        *(("own_processor", each, "'true' or 'false'") for each in ("ture", "")),
        *(("request_timeout", each, "a number of seconds") for each in ("0", "nan")),
    ],
)
def test_a_wrong_value_is_one_line(name, wrong, allowed):
    said = refused_options("http_port=0", f"{name}={wrong}")

    assert said == f"productagg: {name} is {wrong!r}, not {allowed}"
