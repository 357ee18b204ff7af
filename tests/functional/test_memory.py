"""What a process takes while large batches are added, and that it gives it back."""

import threading

import psutil
import pytest

from productagg.accounts import users
from tests.conftest import PASSWORD
from tests.databases import only_sqlite
from tests.functional.pserve import Requests, request, serving
from tests.integration.conftest import wait_until

pytestmark = [only_sqlite, pytest.mark.processes, pytest.mark.slow]

MEGABYTE = 1024 * 1024
BATCHES, ITEMS, CHARACTERS = 3, 300, 10_000


@pytest.mark.parametrize("character", ["x", "\N{ELECTRIC LIGHT BULB}"], ids=["ASCII", "4 bytes"])
def test_batches_side_by_side_take_little_memory_and_give_it_back(database, tmp_path, character):
    with serving(database, tmp_path) as server:
        with database.sessions.begin() as session:
            users.add_first_admin(session, "admin", PASSWORD)
        body = b'{"username": "admin", "password": "%s"}' % PASSWORD.encode()
        token = server.send(request(b"POST", "/login", body, b"Content-Type: application/json")).json["access_token"]
        headers = b"Authorization: Bearer " + token.encode(), b"Content-Type: application/json"
        item = '{"name": "%d %d", "description": "' + character * CHARACTERS + '"}'
        bodies = [
            b"[" + ",".join(item % (batch, number) for number in range(ITEMS)).encode() + b"]"
            for batch in range(BATCHES)
        ]
        process = psutil.Process(server.process.pid)
        seen = [0]
        posted = Requests(server, *(request(b"POST", "/products/batch", each, *headers) for each in bodies))
        waiting = threading.Thread(target=posted.join)
        waiting.start()
        while waiting.is_alive():
            seen.append(process.memory_info().rss // MEGABYTE)
            waiting.join(0.005)

        assert [answer.status_int for answer in posted.answers] == [201] * BATCHES
        assert max(seen) < 250
        wait_until(lambda: process.memory_info().rss // MEGABYTE < 150)
