"""An Offers service that tells the tests what it is asked, runs with a test's own options, and clocks that move."""

import logging
import os
import pty
import signal
import termios
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from uuid import UUID

import pytest
import time_machine
from click.testing import CliRunner
from sqlalchemy import event

from productagg.cli import main
from productagg.db import clock as database_time
from productagg.db import prepared_statements
from productagg.settings import Settings
from productagg.sync import batches, fetcher, time_budget, transactions, workers
from productagg.sync import run as sync_run
from productagg.sync.run import Synchronizer
from tests.conftest import Upstream, ini
from tests.factories import environment
from tests.forked import Server
from tests.integration.history_writer import PastWriter
from tests.leaks import watch


class WatchedUpstream(Upstream):
    """`asked` counts the answered requests for offers by product. `answer_with` may look at a request and answer it
    itself; `before_offers` runs while an answer with offers is awaited."""

    def __init__(self):
        self.asked: Counter[UUID] = Counter()
        self.answer_with = lambda _request: None
        self.before_offers = lambda _product_id: None
        self._counting = threading.Lock()
        super().__init__()
        self._honest = self.server.service.answer

    def answer(self, request):
        return self.answer_with(request) or self._honest(request)

    def count(self, endpoint):
        """How many requests this endpoint was sent, whatever the answer."""
        return sum(count for (asked, _), count in self.service.requests.copy().items() if asked == endpoint)

    def _current(self, product_id, when):
        with self._counting:
            self.asked[product_id] += 1
        self.before_offers(product_id)
        return super()._current(product_id, when)


@pytest.fixture
def upstream(monkeypatch):
    upstream = WatchedUpstream()
    monkeypatch.setattr(upstream.service, "answer", upstream.answer)
    with upstream.server:
        yield upstream


class Clock:
    """All clocks: the host's, the database's, and the monotonic one, by which a process measures deadlines."""

    def __init__(self, traveller):
        self._traveller = traveller
        self._ahead = 0.0

    def shift(self, seconds):
        """Move on by so many seconds, or by a timedelta."""
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        self._ahead += seconds
        self._traveller.shift(seconds)

    def move_to(self, when):
        self.shift(when - datetime.now(UTC))

    def monotonic(self):
        return time.monotonic() + self._ahead


@pytest.fixture
def clock(monkeypatch):
    """Clocks that a test can move: `clock.shift(seconds)`. They also go on by themselves."""
    with time_machine.travel(datetime.now(UTC)) as traveller:
        clock = Clock(traveller)
        monkeypatch.setattr(database_time, "time", clock)
        yield clock


class RunTime:
    """The clock of a sync run's time budget; some of it can `go_by`."""

    thread_time = staticmethod(time.thread_time)

    def __init__(self):
        self._ahead = 0.0

    def monotonic(self):
        return time.monotonic() + self._ahead

    def go_by(self, seconds):
        self._ahead += seconds

    # Waiting, for the database for example, takes no real time.
    sleep = go_by


@pytest.fixture
def run_time(monkeypatch):
    """Lets a run's time go by: `run_time.go_by(seconds)`."""
    made = RunTime()
    for module in (sync_run, batches, fetcher, time_budget, transactions, workers):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def writer(database):
    """Writes the past of a product, `writer.product_id`."""
    return PastWriter(database)


class Gate:
    """Holds an exchange up: `entered` is set when a thread waits at the gate, `open` lets all threads pass."""

    def __init__(self):
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, *_):
        self.entered.set()
        assert self.open.wait(60), "the gate was not opened"


@pytest.fixture
def gate(upstream):
    """Every answer with offers waits here."""
    gate = upstream.before_offers = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def make_synchronizer(database, upstream):
    """Make one with options of its own: `make_synchronizer(**{"sync.workers": "1"})`."""
    made = []

    def make(**options):
        settings = Settings.load(ini(database, upstream, **options), environ={})
        made.append(Synchronizer(settings, database.sessions))
        return made[-1]

    yield make
    for synchronizer in made:
        with synchronizer:
            pass


@pytest.fixture
def one_by_one(make_synchronizer):
    """A synchronizer with one worker, which asks in the order in which products are due."""
    return make_synchronizer(**{"sync.workers": "1"})


@pytest.fixture
def run(database, upstream):
    """Run a command of ours: `run("user", "list")`; the ini file is development.ini.

    A command sets up logging and signals for its whole process; here that is the tests' process, so they are restored.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*arguments, typed="", config="development.ini", **options):
        words = arguments[: 2 if arguments[0] in ("user", "history", "source") else 1]
        env = {**environment(database, upstream), **options}
        return CliRunner().invoke(main, [*words, config, *arguments[len(words) :]], input=typed, env=env)

    yield run
    root.handlers[:], root.level = handlers, level
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def _forking():
    with Server() as server:
        yield server


@pytest.fixture
def fork(_forking):
    """Start a command as a process: `fork("productagg", "sync", "development.ini", env=…)`; see tests.forked."""
    started = []

    def start(*command, **options):
        started.append(_forking.start(*command, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.close()


@pytest.fixture
def on_a_terminal(fork):
    """Run a command with a terminal as its standard error: exit code, output, what the terminal was sent."""

    def run(*command, env):
        ours, its = pty.openpty()
        termios.tcsetwinsize(its, (24, 100))
        process = fork(*command, env={**env, "TERM": "xterm"}, stderr=its)
        os.close(its)
        shown = b""
        # An error is how Linux says that the other end is closed.
        with os.fdopen(ours, "rb", buffering=0) as terminal, suppress(OSError):
            while chunk := terminal.read(65536):
                shown += chunk
        watch.look(shown, "shown on the terminal")
        output, _ = process.communicate()
        return process.returncode, output, shown.decode()

    return run


@pytest.fixture
def write(tmp_path):
    """Write a file of lines: `write("products.csv", line, …)`."""

    def write(name, *lines):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


@contextmanager
def on_event(engine, name, act):
    """Call `act` at every event of this name: see SQLAlchemy's ConnectionEvents and DialectEvents."""
    event.listen(engine, name, act)
    try:
        yield
    finally:
        event.remove(engine, name, act)


def on_statement(engine, act):
    """Call `act(statement)` before every statement that SQLAlchemy sends."""
    return on_event(engine, "before_cursor_execute", lambda _connection, _cursor, statement, *_: act(statement))


@contextmanager
def before_call(module, name, act):
    """Call `act` before every call of a module's function, in the same thread and transaction."""
    real = getattr(module, name)

    def call(*arguments, **options):
        act()
        return real(*arguments, **options)

    with patch.object(module, name, call):
        yield


@contextmanager
def before_statement(engine, beginning, act):
    """Call `act(statement)` before every statement with this beginning, including prepared ones."""

    def look(_connection, _cursor, statement, *_):
        # PostgreSQL's statements name the schema.
        statement = statement.replace("public.", "")
        if statement.startswith(beginning):
            act(statement)

    def executed(statement):
        sent = prepared_text(statement)
        look(None, None, sent.prepare.partition(" AS ")[2])
        return sent

    prepared_text = prepared_statements.prepared_statement
    event.listen(engine, "before_cursor_execute", look)
    try:
        with patch.object(prepared_statements, "prepared_statement", executed):  # which goes past SQLAlchemy
            yield
    finally:
        event.remove(engine, "before_cursor_execute", look)


@contextmanager
def before_commit(database, act):
    """Call `act(session)` before every commit of a session."""
    event.listen(database.sessions, "before_commit", act)
    try:
        yield
    finally:
        event.remove(database.sessions, "before_commit", act)


def writing_offers(database):
    """The beginning of the statement that writes changed offers; see offers.reconcile."""
    return "INSERT INTO offers" if database.name == "sqlite" else "WITH appended AS \n(INSERT INTO offer_prices"


def crash(*_):
    raise ZeroDivisionError


def wait_until(condition, seconds=30):
    """Poll until the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
