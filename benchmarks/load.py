"""The load: `wrk` with one thread, which is far faster than any of the servers. load.lua makes its requests."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True)
class Load:
    """The result of a load. Times are in milliseconds. `answered` counts all responses, including `errors`."""

    answered: int
    per_second: float
    p50: float
    p99: float
    errors: int


def check() -> None:
    """End the process with a helpful line if wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt install wrk, brew install wrk, or https://github.com/wg/wrk")


@contextmanager
def targets(lines: Iterable[str]) -> Iterator[str]:
    """Write a file of paths for `get`, and yield its name. A line may have a tab and an If-None-Match."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        yield file.name


def get(url: str, file: str, connections: int, seconds: int) -> Load:
    """GET random lines of the file for so many seconds."""
    return _run(url, connections, seconds, "get", file)


def post(url: str, token: str, prefix: str, connections: int, seconds: int) -> tuple[Load, list[str]]:
    """POST new products, whose names begin with the prefix, for so many seconds. Also return the ids created (201)."""
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as file:
        result = _run(url, connections, seconds, "post", token, prefix, file.name)
        return result, file.read().split()


def _run(url: str, connections: int, seconds: int, *arguments: str) -> Load:
    options = [f"-c{connections}", "-t1", f"-d{seconds}s", "--timeout", "30s", "-s", str(_SCRIPT)]
    done = subprocess.run(["wrk", *options, url, "--", *arguments], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    seconds_taken = result["microseconds"] / 1e6
    return Load(
        answered=result["requests"],
        per_second=result["requests"] / seconds_taken,
        p50=result["p50"] / 1000,
        p99=result["p99"] / 1000,
        errors=result["errors"],
    )
