"""How the server ends: what it has accepted is answered, however it came in, and nothing else keeps it."""

import re
import signal
import socket
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException

import psutil
import pytest
from sqlalchemy import text

from tests.databases import only_postgresql, only_sqlite
from tests.factories import make_product
from tests.functional.pserve import serving
from tests.integration.conftest import wait_until

pytestmark = pytest.mark.processes

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
READY = LIVE.replace(b"live", b"ready")
LOGIN = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def connected(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


def read_answer(received):
    """The status and the headers of an answer, whose body is skipped."""
    head = b"".join(iter(received.readline, b"\r\n"))
    length = re.search(rb"(?i)content-length: (\d+)", head)
    if length:
        received.read(int(length[1]))
    return int(head.split()[1]), head


def rest(connection):
    """All that comes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def tell(server, how=signal.SIGTERM):
    """Tell the server to end, and wait until it knows."""
    with connected(server) as watcher:
        received = watcher.makefile("rb")
        server.process.send_signal(how)
        while True:
            watcher.sendall(READY)
            status, head = read_answer(received)
            if status == 503:
                return head
            assert b"Connection: close" not in head


class Clients:
    """So many clients that send one request after another until the server does not want any more."""

    def __init__(self, server, count, *, keep):
        self.answered = 0
        self.lost = []
        self._server = server
        self._keep = keep
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self):
        connection = None
        while True:
            try:
                if connection is None:
                    connection = HTTPConnection("127.0.0.1", self._server.port, timeout=30)
                    connection.connect()
            except ConnectionRefusedError:  # nothing was sent
                return
            try:
                connection.request("GET", "/products?limit=5")
                answer = connection.getresponse()
                answer.read()
            except (HTTPException, OSError) as error:
                self.lost.append(repr(error))
                return
            with self._lock:
                self.answered += 1
            wants_more = answer.getheader("Connection") != "close"
            if not (self._keep and wants_more):
                connection.close()
                connection = None

    def join(self):
        for thread in self._threads:
            thread.join()


@only_sqlite
@pytest.mark.parametrize("processes", [1, 2])
def test_under_load_every_request_is_answered(database, tmp_path, processes):
    with serving(database, tmp_path, f"processes={processes}") as server:
        kept, new = Clients(server, 16, keep=True), Clients(server, 16, keep=False)
        wait_until(lambda: min(kept.answered, new.answered) > 48)

        assert server.stop() == 0

        for clients in (kept, new):
            clients.join()
            assert clients.lost == []
        assert "Traceback" not in server.log()


@only_sqlite
def test_an_idle_server_ends_at_once(database, tmp_path):
    with serving(database, tmp_path) as server, connected(server) as kept, connected(server) as silent:
        kept.sendall(LIVE)
        read_answer(kept.makefile("rb"))
        time.sleep(1.1)  # until then, a request might be on its way
        began = time.monotonic()

        assert server.stop() == 0

        assert time.monotonic() - began < 5
        assert (rest(kept), rest(silent)) == (b"", b"")
        assert "GET /health/live 200 " in server.log()


@only_sqlite
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_is_being_received_is_answered_once_it_is_there(database, tmp_path, how):
    with serving(database, tmp_path) as server, connected(server) as slow:
        slow.sendall(LOGIN[:40])

        tell(server, how)
        slow.sendall(LOGIN[40:])

        status, head = read_answer(slow.makefile("rb"))
        assert (status, b"Connection: close" in head) == (422, True)
        assert server.process.wait(timeout=5) == 0


@only_sqlite
def test_requests_that_were_sent_one_after_another_are_all_answered(database, tmp_path):
    with serving(database, tmp_path) as server, connected(server) as slow:
        slow.sendall(LOGIN[:40])

        tell(server)
        slow.sendall(LOGIN[40:] + LIVE + READY)

        assert re.findall(rb"HTTP/1\.1 (\d+)|(Connection: close)", rest(slow)) == [
            (b"422", b""),
            (b"200", b""),
            (b"503", b""),
            (b"", b"Connection: close"),
        ]


@only_sqlite
def test_connections_that_nobody_has_accepted_yet_are_accepted(database, tmp_path):
    with serving(database, tmp_path) as server:
        process = psutil.Process(server.process.pid)
        process.suspend()  # what comes now waits in the kernel; some of it may be answered before the signal is heard
        waiting = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(50)]
        for connection in waiting:
            connection.sendall(LIVE)
        server.process.send_signal(signal.SIGTERM)
        process.resume()

        answers = []
        for connection in waiting:
            with connection:
                answers.append(rest(connection))

        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        assert server.process.wait(timeout=5) == 0


@only_sqlite
def test_what_does_not_come_to_its_end_is_left_when_the_time_is_up(database, tmp_path):
    with serving(database, tmp_path, SHUTDOWN_SECONDS="0.5") as server, connected(server) as slow:
        slow.sendall(LOGIN[:40])
        server.send(LIVE)
        began = time.monotonic()

        assert server.stop() == 0

        assert 0.5 <= time.monotonic() - began < 3
        assert "ended after 0.5 seconds with unanswered requests" in server.log()


@only_sqlite
def test_for_a_while_it_serves_as_before_and_only_says_that_it_is_not_ready(database, tmp_path):
    with serving(database, tmp_path, SHUTDOWN_DELAY_SECONDS="1") as server, connected(server) as kept:
        head = tell(server)
        told_at = time.monotonic()
        assert b"Connection: close" not in head

        received = kept.makefile("rb")
        for _ in range(3):
            kept.sendall(LIVE)
            assert read_answer(received)[0] == 200
        assert server.send(LIVE).headers.get("Connection") is None
        for stream in (received, kept):
            stream.close()

        assert server.process.wait(timeout=10) == 0
        assert time.monotonic() - told_at > 0.9


@only_postgresql
@pytest.mark.parametrize(("processes", "times"), [(1, 3), (2, 1)])
def test_requests_that_wait_for_a_thread_are_answered_however_often_it_is_told(database, tmp_path, processes, times):
    answers = []
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%productagg_%'"
    )

    def ask():
        answers.append(server.send(f"GET /products/{product_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()))

    with serving(database, tmp_path, f"processes={processes}") as server:
        product_id = make_product(database)
        threads = [threading.Thread(target=ask) for _ in range(30)]
        with database.writer.begin() as holding, database.reader.connect() as looking:
            holding.execute(text("LOCK TABLE products"))
            for thread in threads:
                thread.start()
            wait_until(lambda: looking.scalar(waiting) >= 8)  # all threads of one wait
            for _ in range(times):
                server.process.send_signal(signal.SIGTERM)
                time.sleep(0.05)
        for thread in threads:
            thread.join()

        assert server.process.wait(timeout=10) == 0
        assert [answer.status_int for answer in answers] == [200] * 30
        assert f"GET /products/{product_id} 200 " in server.log()


@only_sqlite
def test_one_of_several_that_is_told_alone_ends_and_the_others_go_on(database, tmp_path):
    with serving(database, tmp_path, "processes=2") as server:
        server.wait_for_starts(2)
        told, other = psutil.Process(server.process.pid).children()
        clients = Clients(server, 8, keep=False)
        wait_until(lambda: clients.answered > 20)

        told.terminate()

        server.wait_for_starts(3)
        before = clients.answered
        wait_until(lambda: clients.answered > before + 20)
        assert other.is_running()
        assert server.stop() == 0
        clients.join()
        assert clients.lost == []
