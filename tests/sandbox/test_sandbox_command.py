"""The command as a process: what it prints, how it stops, and with which exit code."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import requests
from click.testing import CliRunner

from productagg.sandbox.command import sandbox as command

COMMAND = [sys.executable, "-c", "from productagg.sandbox.command import sandbox; sandbox()", "--port", "0"]


@contextmanager
def running(*options, **environment):
    """Run the command on a free port; yields the process and its base URL."""
    process = subprocess.Popen(
        [*COMMAND, *options], stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    with process:
        try:
            assert process.stderr
            found = re.search(r"serving the Offers sandbox on (\S+)", process.stderr.readline())
            assert found
            yield process, found[1]
        finally:
            process.kill()


@pytest.mark.processes
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop_and_then_exits_with_0(how):
    with running(OFFERS_REFRESH_TOKEN="from-the-environment") as (process, base_url):
        answer = requests.post(f"{base_url}/auth", headers={"Bearer": "from-the-environment"}, timeout=5)
        assert answer.status_code == 201

        process.send_signal(how)
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
    result = CliRunner().invoke(command, ["--port", str(sandbox.port)])

    assert result.exit_code == 2
    assert result.stderr == f"Error: cannot listen on 127.0.0.1:{sandbox.port}: Address already in use\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ('{"kind": "gremlins"}', "kind must be one of"), ("7", "a fault must be an object")],
)
def test_a_fault_that_makes_no_sense_is_a_usage_error(text, message):
    result = CliRunner().invoke(command, ["--fault", text])

    assert result.exit_code == 2
    assert message in result.stderr
