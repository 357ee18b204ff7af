"""Schemathesis asks a running `pserve` what the contract allows, and what it does not: alone, and one after another."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from tests.conftest import PASSWORD
from tests.contract import in_full
from tests.factories import make_products, make_runs
from tests.functional.pserve import serving
from tests.history_strategies import ProductRow
from tests.integration.history_writer import PastWriter
from tests.reference_statistics import OfferRow

pytestmark = [pytest.mark.processes, pytest.mark.slow]

EXAMPLES = 8  # of each operation; what it makes of them takes about half a minute


@pytest.fixture
def server(database, tmp_path, request):
    """A server with some products, one of them with a past, some passes, and the users."""
    # Its guesses at passwords are not what is tested here.
    unlimited = dict.fromkeys(("LOGIN_ATTEMPTS", "LOGIN_ATTEMPTS_PER_ADDRESS"), "50000")
    with serving(database, tmp_path, **unlimited, LOGIN_ATTEMPTS_PER_ACCOUNT="100000") as server:
        request.getfixturevalue("users")
        make_products(database, 3)
        make_runs(database, 3)
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        PastWriter(database).write(
            [ProductRow(hour_ago, 100, 150, 2, 7, True)],
            [OfferRow(uuid4(), hour_ago, 100, 3), OfferRow(uuid4(), hour_ago, 200, 4)],
            synced_at=datetime.now(UTC),
        )
        yield server


def test_no_request_gets_an_answer_outside_the_contract(server, tmp_path):
    url = f"http://127.0.0.1:{server.port}"
    contract = tmp_path / "contract.json"
    contract.write_text(json.dumps(in_full()), "utf-8")
    token = requests.post(f"{url}/login", json={"username": "admin", "password": PASSWORD}, timeout=10).json()

    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *("run", contract, "--url", url, "--header", f"Authorization: Bearer {token['access_token']}"),
            *("--max-examples", str(EXAMPLES), "--seed", "1", "--no-color", "--warnings", "off"),
            # JSON Schema cannot say that `period` does not go with `from`, or which version If-Match has to name.
            *("--exclude-checks", "positive_data_acceptance"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Stateful" in done.stdout
    assert "Traceback" not in server.log()
