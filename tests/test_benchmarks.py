"""The benchmarks run: with few products, they end with a line for each target. The figures mean nothing here."""

import re
import subprocess
import sys

import pytest

from benchmarks.harness import Targets

TARGETS = {
    "sync": {
        "sync-process-1000",
        "sync-run-1000",
        "sync-run-10000",
        "sync-run-latency-20ms",
        "sync-two-processes",
        "sync-statements-per-batch",
        "sync-commits-per-1000",
        "sync-scale-cost",
        "sync-scale-sequential-scans",
        "sync-memory-100000",
        "sync-unchanged-other-wal-bytes",
        "sync-unchanged-wal-bytes",
    },
    "history": {
        "history-trend-30-days",
        "history-prices-30-days",
        "history-prices-30-days-raw",
        "history-trend-5-years",
        "history-prices-5-years",
        "history-movers",
        "history-memory-5-years",
    },
    "jsonld": {"jsonld-cpu-1-variants", "jsonld-cpu-20-variants"},
    "feed": {"feed-parse", "feed-memory"},
    "feed_sync": {"feed-sync", "feed-sync-memory"},
    "history_size": {f"history-size-{rate}-a-day" for rate in (1, 9, 60, 1440)},
}


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("benchmark", TARGETS)
def test_a_benchmark_ends_with_a_line_for_each_target(benchmark, postgres_server, monkeypatch):
    monkeypatch.setenv("TEST_DATABASE_URL", postgres_server)
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{benchmark}", "--quick"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[-len(TARGETS[benchmark]) :]
    matches = [re.fullmatch(r"target (\S+) [\d.e+-]+ [\d.e+-]+ (?:ok|short)", line) for line in lines]
    assert {match[1] for match in matches if match} == TARGETS[benchmark]


@pytest.mark.parametrize(("strict", "exit_code"), [(False, 0), (True, 1)])
def test_a_missed_target_is_an_error_only_when_strict(strict, exit_code, capsys):
    targets = Targets()
    targets.at_most("reached", 1.5, 2)
    targets.at_least("missed", 1.5, 1.6)
    assert targets.end(strict) == exit_code
    assert capsys.readouterr().out == "target reached 1.5 2 ok\ntarget missed 1.5 1.6 short\n"
