"""`make serve` as a person meets it: three real processes, driven over HTTP."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil
import pytest
import requests

from tests.leaks import watch

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(check, seconds=30):
    """What `check` returns as soon as it is true; polled, because the processes are not ours to wait on."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(requests.ConnectionError):
            if found := check():
                return found
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


class Served:
    """serve.py in a process of its own, with a sync run every second."""

    def __init__(self, database_url):
        self.ports = free_port(), free_port()
        self.web = f"http://localhost:{self.ports[0]}"
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DATABASE_URL": database_url,
            "SYNC_INTERVAL_SECONDS": "1",
        }
        self.process: Any = None
        self._log: Any = None

    def start(self):
        self._log = TemporaryFile("w+")  # noqa: SIM115 - it is open as long as the processes write
        self.process = subprocess.Popen(
            [
                *(sys.executable, "serve.py", "--no-reload", "--every", "1"),
                *("--web-port", str(self.ports[0]), "--sandbox-port", str(self.ports[1])),
            ],
            cwd=ROOT,
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def stop(self):
        """Press Ctrl-C; the exit code, the output, and what is still running."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=20)
        # A zombie has ended; reaping it is the init process's business.
        running = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        return self.process.returncode, self.output(), running

    def output(self):
        """All that was written until the end; looked through for secrets."""
        with self._log:
            self._log.seek(0)
            output = self._log.read()
        watch.look(output, "the output of serve.py")
        return output

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
            self.process.kill()
            self.process.wait()
            self.output()

    def get(self, path):
        return requests.get(self.web + path, timeout=5)

    def is_ready(self):
        return self.get("/health/ready").ok


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """It runs, and each test leaves it running. On SQLite, as for whoever types `make serve`."""
    served = Served(f"sqlite:///{tmp_path_factory.mktemp('served')}/served.sqlite")
    served.start()
    try:
        # The first start imports a year of history.
        eventually(served.is_ready, seconds=90)
        yield served
    finally:
        served.kill()


def test_a_product_gets_offers_and_their_changes_without_anybody_asking(served):
    login = requests.post(f"{served.web}/login", json={"username": "admin", "password": "admin"}, timeout=5)

    created = requests.post(
        f"{served.web}/products",
        json={"name": "End-to-end lamp", "description": "Shines from one end to the other."},
        headers={"Authorization": f"Bearer {login.json()['access_token']}"},
        timeout=5,
    )

    assert created.status_code == 201
    assert eventually(lambda: served.get(f"/products/{created.json()['id']}").json()["offers"], seconds=5)
    # Every product's offers change at another second, so some of the 72 products' change all the time.
    ids = [product["id"] for product in served.get("/products?limit=200").json()]
    assert len(ids) == 73

    def changed():
        offers = (offer for id_ in ids for offer in served.get(f"/products/{id_}/offers").json())
        return [offer for offer in offers if offer["changed_at"] > offer["first_seen_at"]]

    assert eventually(changed)


def test_a_newcomer_finds_offers_of_four_kinds_in_one_list_cheapest_first(served):
    (machine,) = served.get("/products?q=espresso+machine&limit=1").json()

    def listed():
        offers = served.get(f"/products/{machine['id']}/offers").json()
        return {offer["seller"] for offer in offers} >= {"Kellermann", "Nordkiste", "Bazar 24", None} and offers

    offers = eventually(listed, seconds=60)

    of_shops = [offer for offer in offers if offer["seller"]]
    assert [offer["price"] for offer in offers] == sorted(offer["price"] for offer in offers)
    assert {offer["currency"] for offer in offers} == {"EUR"}
    # Each has been known for a year, and links to a page that is there.
    last_year = (datetime.now(UTC) - timedelta(days=300)).isoformat()
    assert {offer["first_seen_at"] < last_year for offer in of_shops} == {True}
    assert {requests.get(offer["url"], timeout=5).status_code for offer in of_shops} == {200}
    assert requests.get(machine["image_url"], timeout=5).headers["Content-Type"] == "image/svg+xml"


def test_a_newcomer_finds_a_past_that_says_something(served):
    # After the first run.
    assert eventually(lambda: served.get("/movers?direction=up").json(), seconds=60)
    assert eventually(lambda: served.get("/movers?direction=down").json(), seconds=60)

    def changes_known():
        products = served.get("/products?limit=200").json()
        return products if sum(each["change_24h"] is not None for each in products) > len(products) / 2 else None

    # Shops are asked politely, one page a second.
    products = eventually(changes_known, seconds=60)
    assert all(100 < product["lowest_price"] < 400_000 for product in products if product["lowest_price"])
    (machine,) = served.get("/products?q=espresso+machine&limit=1").json()
    assert 20_000 < machine["lowest_price"] < 70_000
    trend = served.get(f"/products/{machine['id']}/trend?period=P90D").json()
    assert trend["start_price"] and trend["end_price"] and trend["changes"] > 20
    verdict = served.get(f"/products/{machine['id']}/verdict").json()
    assert (verdict["verdict"] in ("good", "fair", "poor"), verdict["confidence"]) == (True, "high")


def test_ctrl_c_stops_everything_and_a_second_start_keeps_the_data(served):
    before = served.get("/products").json()

    code, output, running = served.stop()

    assert code == 0, output
    assert "Traceback" not in output
    assert running == []

    served.start()
    eventually(served.is_ready)
    after = served.get("/products").json()
    assert [product["id"] for product in after] == [product["id"] for product in before] != []


def test_a_taken_port_is_one_clear_line():
    refused = Served("sqlite://")
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", refused.ports[1]))
        squatter.listen()

        refused.start()
        refused.process.wait(timeout=20)

    assert refused.process.returncode == 1
    assert refused.output().splitlines() == [
        f"port {refused.ports[1]} is taken by another program, perhaps another 'make serve': stop it"
    ]
