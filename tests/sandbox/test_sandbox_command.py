"""`python -m productagg.sandbox` as a process: its output, its end and its exit code."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import requests
from click.testing import CliRunner

from productagg.sandbox.__main__ import main

COMMAND = [sys.executable, "-m", "productagg.sandbox", "--port", "0"]


@contextmanager
def running(*options, **environment):
    """Run the command on a free port. Yields the process and its base URL."""
    # A run under nohup ignores SIGINT, and a new process would inherit that.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*COMMAND, *options], stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    signal.signal(signal.SIGINT, inherited)
    with process:
        try:
            assert process.stderr
            started = re.search(r"serving the Offers sandbox on (\S+)", process.stderr.readline())
            assert started
            yield process, started[1]
        finally:
            process.kill()


@pytest.mark.processes
@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop_and_then_exits_with_0(stop_signal):
    with running(OFFERS_REFRESH_TOKEN="from-the-environment") as (process, base_url):
        response = requests.post(f"{base_url}/auth", headers={"Bearer": "from-the-environment"}, timeout=5)
        assert response.status_code == 201

        process.send_signal(stop_signal)
        assert process.wait(5) == 0
        log = process.stderr.read()
        assert "POST /api/v1/auth 201" in log
        assert log.endswith("stopped\n")
        assert "Traceback" not in log


@pytest.mark.processes
def test_faults_are_options_and_the_log_of_requests_can_be_switched_off():
    options = ["--latency", "0.01", "--error-share", "0.5", "--fault", '{"kind": "reset", "times": 3}', "--quiet"]
    with running(*options) as (process, base_url):
        control = base_url.replace("/api/v1", "/control")
        faults = requests.get(control, timeout=5).json()["faults"]
        assert [(fault["kind"], fault["share"], fault["times"]) for fault in faults] == [
            ("latency", 1.0, None),
            ("error", 0.5, None),
            ("reset", 1.0, 3),
        ]

        process.terminate()
        assert "GET" not in process.stderr.read()


def test_a_taken_port_is_one_clear_line_and_exit_code_2(sandbox):
    result = CliRunner().invoke(main, ["--port", str(sandbox.port)])

    assert result.exit_code == 2
    assert result.stderr == f"Error: cannot listen on 127.0.0.1:{sandbox.port}: Address already in use\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ('{"kind": "gremlins"}', "kind must be one of"), ("7", "a fault must be an object")],
)
def test_an_invalid_fault_is_a_usage_error(text, message):
    result = CliRunner().invoke(main, ["--fault", text])

    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.processes
def test_the_secret_of_the_shops_json_comes_from_the_environment():
    with running(SANDBOX_SHOP_SECRET="from-the-environment") as (_, base_url):
        products = base_url.replace("/api/v1", "/shop-api/bazar24/products")
        secrets: list[dict[str, str]] = [{}, {"Authorization": "Bearer from-the-environment"}]
        assert [requests.get(products, headers=secret, timeout=5).status_code for secret in secrets] == [401, 200]
