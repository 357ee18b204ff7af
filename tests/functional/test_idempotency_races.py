"""Equal POSTs under one key at the same time, in threads and processes, and processes that are killed: one product."""

import json
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import requests
import time_machine
from webtest import TestApp

from tests.conftest import PASSWORD, ini
from tests.functional import forked
from tests.functional.problems import assert_problem
from tests.functional.pserve import serving
from tests.functional.replays import assert_replayed

pytestmark = pytest.mark.processes

NEW = {"name": "Lamp", "description": "Bright"}
KEY = {"Idempotency-Key": "one"}
AT_ONCE = 20


def at_once(post):
    """What `post(number)` returns, from so many threads at the same time."""
    start = threading.Barrier(AT_ONCE)

    def wait_and_post(number):
        start.wait(timeout=30)
        return post(number)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(wait_and_post, range(AT_ONCE)))


def kinds(answers):
    """How often it was done (201), replayed, and refused for the moment (409); there is nothing else."""
    done = [body for status, headers, body in answers if status == 201]
    assert len(set(done)) == 1
    found = Counter("replayed" if "Idempotency-Replayed" in headers else status for status, headers, _ in answers)
    for status, _, body in answers:
        assert status == 201 or json.loads(body)["code"] == "request-in-progress", body
    return found


def test_of_twenty_equal_posts_in_threads_one_creates_the_product(client, admin, stored):
    def post(_):
        # A client of its own: WebTest's is not for several threads.
        answer = TestApp(client.app).post_json("/products", NEW, headers={**admin, **KEY}, expect_errors=True)
        return answer.status_int, answer.headers, answer.body

    found = kinds(at_once(post))

    assert found[201] == 1
    assert found["replayed"] + found[409] == AT_ONCE - 1
    assert stored() == 1


@pytest.fixture
def urls(database, tmp_path, request):
    """Two servers, each a process, over one database."""
    with ExitStack() as stack:
        servers = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            servers.append(stack.enter_context(serving(database, tmp_path / name)))
        request.getfixturevalue("users")
        yield [f"http://127.0.0.1:{server.port}" for server in servers]


def test_of_twenty_equal_posts_to_two_processes_one_creates_the_product(urls, stored):
    account = {"username": "admin", "password": PASSWORD}
    token = requests.post(f"{urls[0]}/login", json=account, timeout=30).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", **KEY}

    def post(number):
        # What is said of its own location is part of the answer: all ask for one host.
        url = f"{urls[number % 2]}/products"
        answer = requests.post(url, json=NEW, headers={**headers, "Host": "shop.example"}, timeout=60)
        return answer.status_code, answer.headers, answer.content

    found = kinds(at_once(post))

    assert found[201] == 1
    assert found["replayed"] + found[409] == AT_ONCE - 1
    assert stored() == 1
    for number in range(2):
        status, again, _ = post(number)
        assert (status, again["Idempotency-Replayed"]) == (201, "true")


KILLED = """
import json, os, signal, sys
from sqlalchemy import Engine, event
from webtest import TestApp
from productagg.app import main
from productagg.sync.background import Background

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

commits = 0

def count(_connection):
    global commits
    commits += 1
    if where == "before the commit" and commits == 2:  # the first one is that of the key's lease
        die()

def begin(_connection):
    if where == "before anything is written" and commits == 1:
        die()

where, options, headers, body = json.loads(sys.argv[1])
app = main({}, **options)
event.listen(Engine, "commit", count)
event.listen(Engine, "begin", begin)
if where == "after the commit":
    Background.submit = die
TestApp(app).post_json("/products", body, headers=headers)
"""


@pytest.fixture
def kill(database, admin, tmp_path):
    """Start a process that sends the request, and kills itself (SIGKILL) at this point."""

    def kill(where):
        given = json.dumps([where, ini(database), {**admin, **KEY}, NEW])
        output = tmp_path / "output"
        process = forked.start(KILLED, "killed", given, environ=dict(os.environ), output=output)
        assert process.wait() == -signal.SIGKILL, output.read_text()

    return kill


@pytest.mark.parametrize("where", ["before anything is written", "before the commit"])
def test_what_was_killed_before_its_commit_is_done_by_the_retry(client, admin, stored, kill, where):
    kill(where)
    assert stored() == 0

    waits = client.post_json("/products", NEW, headers={**admin, **KEY}, expect_errors=True)
    assert_problem(waits, "request-in-progress")
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61)):
        first = client.post_json("/products", NEW, headers={**admin, **KEY}, status=201)
        again = client.post_json("/products", NEW, headers={**admin, **KEY})

    assert "Idempotency-Replayed" not in first.headers
    assert_replayed(again, first)
    assert stored() == 1


def test_what_was_killed_between_its_commit_and_its_answer_is_answered_to_the_retry(client, admin, stored, kill):
    kill("after the commit")
    assert stored() == 1

    answer = client.post_json("/products", NEW, headers={**admin, **KEY}, status=201)

    assert answer.headers["Idempotency-Replayed"] == "true"
    assert client.get(answer.headers["Location"]).json["name"] == "Lamp"
    assert stored() == 1
