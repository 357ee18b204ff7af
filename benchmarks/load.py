"""The load: `wrk`, from one thread, which is far faster than any server here. What it sends is in load.lua."""

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
    """What came of it; times are in milliseconds. `answered` counts all answers, also those that are `errors`."""

    answered: int
    per_second: float
    p50: float
    p99: float
    errors: int


def check() -> None:
    """End the process with a line that helps if wrk is not there."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt install wrk, brew install wrk, or https://github.com/wg/wrk")


@contextmanager
def targets(lines: Iterable[str]) -> Iterator[str]:
    """A file of paths to get, for `get`; after a tab, the If-None-Match to send."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        yield file.name


def get(url: str, file: str, connections: int, seconds: int) -> Load:
    """Get random lines of the file for so long."""
    return _run(url, connections, seconds, "get", file)


def post(url: str, token: str, prefix: str, connections: int, seconds: int) -> tuple[Load, list[str]]:
    """Post new products, whose names begin with the prefix, for so long. Which ids were answered with 201."""
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as file:
        found = _run(url, connections, seconds, "post", token, prefix, file.name)
        return found, file.read().split()


def _run(url: str, connections: int, seconds: int, *arguments: str) -> Load:
    options = [f"-c{connections}", "-t1", f"-d{seconds}s", "--timeout", "30s", "-s", str(_SCRIPT)]
    done = subprocess.run(["wrk", *options, url, "--", *arguments], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    seconds_taken = found["microseconds"] / 1e6
    return Load(
        found["requests"],
        found["requests"] / seconds_taken,
        found["p50"] / 1000,
        found["p99"] / 1000,
        found["errors"],
    )
