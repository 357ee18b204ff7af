"""Shared by all benchmarks: a PostgreSQL server, interleaved runs, medians, a recorder of statements, target lines.

A benchmark prints its figures on stdout and its progress on stderr, and ends with one line per target. This module does
not depend on what is measured.
"""

import gc
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg2.extensions
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, text

from alembic import command
from productagg.settings import OPTIONS, database_url
from tests.postgres import PostgresServer

ROOT = Path(__file__).resolve().parents[1]


def say(message: str) -> None:
    """Print progress on stderr."""
    print(message, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Spread:
    """Measurements, shown as their median and range."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.3g} ({min(self.values):.3g} to {max(self.values):.3g})"


@dataclass(frozen=True)
class Pairs:
    """The measurements of two things that were measured in turn."""

    first: Spread
    second: Spread

    def ratio(self, less: float = 0.0) -> Spread:
        """The first divided by the second, round by round. `less` is subtracted from the first."""
        return Spread(
            [(first - less) / second for first, second in zip(self.first.values, self.second.values, strict=True)]
        )


def in_turn(
    rounds: int,
    first: Callable[[], float],
    second: Callable[[], float],
    *,
    before: Callable[[], None] = lambda: None,
    warm_up: int = 1,
) -> Pairs:
    """Measure both in `rounds` rounds, in alternating order, after `warm_up` rounds that do not count.

    `before` prepares each round.
    """
    measured: tuple[list[float], list[float]] = ([], [])
    for round_ in range(1 - warm_up, rounds + 1):
        before()
        pair = [(first, measured[0]), (second, measured[1])]
        for run, values in pair if round_ % 2 else reversed(pair):
            values.append(run())
        say(f"  round {round_} of {rounds}: {measured[0][-1]:.4g} and {measured[1][-1]:.4g}")
    return Pairs(Spread(measured[0][warm_up:]), Spread(measured[1][warm_up:]))


def timed(run: Callable[[], object], *, collect: bool = True) -> float:
    """Return the seconds that a call takes. By default, garbage of earlier work is collected before."""
    if collect:
        gc.collect()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class Targets:
    """The target lines at the end of a benchmark."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, float, float, bool]] = []

    def at_most(self, name: str, measured: float, limit: float) -> None:
        self._lines.append((name, measured, limit, measured <= limit))

    def at_least(self, name: str, measured: float, limit: float) -> None:
        self._lines.append((name, measured, limit, measured >= limit))

    def end(self, strict: bool) -> int:
        """Print the lines and return the exit code: 1 if `strict` and a target is missed, else 0."""
        for name, measured, limit, reached in self._lines:
            print(f"target {name} {measured:.4g} {limit:.4g} {'ok' if reached else 'short'}")
        return int(strict and not all(line[-1] for line in self._lines))


class _Server(PostgresServer):
    """PostgreSQL with durable commits, as by default. The tests switch durability off, which would flatter us here."""

    def start(self) -> None:
        options = {
            "listen_addresses": "''",
            "unix_socket_directories": str(self.home),
            # No checkpoint during a run, and the tables in memory.
            "max_wal_size": "8GB",
            "checkpoint_timeout": "1h",
            "shared_buffers": "512MB",
        }
        flags = " ".join(f"-c {name}={value}" for name, value in options.items())
        self._run("pg_ctl", "--wait", f"--log={self.home / 'log'}", f"--options={flags}", "start")  # type: ignore[no-untyped-call]


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the URL of a server's `postgres` database: TEST_DATABASE_URL, as in the tests, or a server of our own."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    with _Server() as server:
        yield server.url("postgres")


def machine(server: str) -> str:
    """Describe the machine and the versions."""
    engine = create_engine(database_url(server))
    with engine.connect() as connection:
        version = connection.execute(text("SHOW server_version")).scalar_one()
    engine.dispose()
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores ({platform.machine()}), Python {platform.python_version()}, PostgreSQL {version}"


@contextmanager
def database(server: str, name: str) -> Iterator[str]:
    """Create and migrate a database, yield its URL, and drop it at the end."""
    name = f"productagg_bench_{name}"
    admin = create_engine(database_url(server), isolation_level="AUTOCOMMIT")
    drop = text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    with admin.connect() as connection:
        connection.execute(drop)
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = database_url(server).set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    try:
        with patch.dict(os.environ, {"DATABASE_URL": url}):
            command.upgrade(Config(ROOT / "development.ini"), "head")
        yield url
    finally:
        with admin.connect() as connection:
            connection.execute(drop)
        admin.dispose()


def start_command(program: str, *arguments: str, environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start a command of the virtual environment in the project's directory, with these options only."""
    return subprocess.Popen(
        [Path(sys.executable).with_name(program), *arguments],
        env=without_options(environ),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run_command(program: str, *arguments: str, environ: dict[str, str]) -> None:
    """Run a command as `start_command` does and wait for its end. Raises RuntimeError if it fails."""
    process = start_command(program, *arguments, environ=environ)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{program} {' '.join(arguments)} ended with {process.returncode}:\n{output.decode()}")


def without_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without options of productagg, and add these."""
    variables = {option.variable for option in OPTIONS}
    return {name: value for name, value in os.environ.items() if name not in variables} | dict(environ)


def fresh_process() -> ProcessPoolExecutor:
    """A pool of one process, which is a new interpreter and shares nothing with this one."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def peak_memory() -> float:
    """Return the peak memory of this process, in MB."""
    # Not ru_maxrss: on Linux it starts with the memory of the parent process.
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


@dataclass
class Transaction:
    """The statements of a transaction, its duration, and the part of it spent waiting for PostgreSQL."""

    started: float
    statements: list[str] = field(default_factory=list)
    waited: float = 0.0
    seconds: float = 0.0

    def mentions(self, words: str) -> bool:
        return any(words in statement for statement in self.statements)


class Recorder:
    """Records all committed transactions of an engine, in the driver, so that no statement bypasses it.

    Create it before the engine's first connection. With `explain`, the options of EXPLAIN, `plans` holds the plan of
    each statement at the moment at which it was sent; then the times mean nothing.
    """

    def __init__(self, engine: Engine, *, explain: str = "") -> None:
        self.transactions: list[Transaction] = []
        self.plans: dict[str, str] = {}
        self._prepared: dict[str, str] = {}
        self._explain = explain
        self._open: dict[int, Transaction] = {}
        self._ended: dict[int, Transaction] = {}
        self._lock = threading.Lock()
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "commit", self._committed)
        event.listen(engine, "checkin", self._returned)

    def _connected(self, connection: Any, _record: object) -> None:
        recorder = self

        class Cursor(psycopg2.extensions.cursor):
            def execute(self, query: Any, parameters: Any = None) -> None:
                sent = self.mogrify(query, parameters).decode()
                recorder._plan(self.connection, str(query), sent)
                with recorder._statement(self.connection, [sent]):
                    super().execute(query, parameters)

            def executemany(self, query: Any, parameters: Any) -> None:
                # The driver sends a statement per row.
                rows = list(parameters)
                with recorder._statement(self.connection, [str(query)] * len(rows)):
                    super().executemany(query, rows)

            def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
                with recorder._statement(self.connection, [str(sql)]):
                    super().copy_expert(sql, file, size)

        connection.cursor_factory = Cursor

    @contextmanager
    def _statement(self, connection: object, sent: list[str]) -> Iterator[None]:
        start = time.perf_counter()
        with self._lock:
            self._ended.pop(id(connection), None)
            transaction = self._open.setdefault(id(connection), Transaction(start))
        transaction.statements += sent
        yield
        transaction.waited += time.perf_counter() - start

    def _committed(self, connection: Any) -> None:
        key = id(connection.connection.dbapi_connection)
        with self._lock:
            if transaction := self._open.pop(key, None):
                transaction.seconds = time.perf_counter() - transaction.started
                self.transactions.append(transaction)
                self._ended[key] = transaction

    def _returned(self, connection: object, _record: object) -> None:
        # COMMIT itself ends only now. Transactions that were rolled back are not counted.
        with self._lock:
            self._open.pop(id(connection), None)
            if transaction := self._ended.pop(id(connection), None):
                committing = time.perf_counter() - transaction.started - transaction.seconds
                transaction.waited += committing
                transaction.seconds += committing

    def _plan(self, connection: Any, query: str, sent: str) -> None:
        if not self._explain:
            return
        if match := re.match(r"PREPARE (\w+) AS (.*)", sent, re.DOTALL):
            self._prepared[match[1]] = match[2]
        if match := re.match(r"EXECUTE (\w+)", sent):
            query = self._prepared[match[1]]
        elif not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", sent):
            return
        if query in self.plans:
            return
        cursor = psycopg2.extensions.cursor(connection)
        cursor.execute(f"EXPLAIN ({self._explain}) {sent}")
        self.plans[query] = "\n".join(row[0] for row in cursor.fetchall())


def scans(plan: str) -> list[str]:
    """Return the lines of a plan that show how a table is read."""
    return re.findall(r"(?:Parallel )?(?:Seq|Index|Index Only|Bitmap Heap|Tid) Scan.*", plan)
