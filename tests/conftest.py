"""What all tests share: the two databases, the sandbox Offers service, the application.

Every test that touches a database runs on SQLite and on PostgreSQL, on a schema that the migrations made. What it wrote
was really committed; it is deleted afterwards (docs/decisions/0001-tests-commit.md).
"""

import gc
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import hypothesis
import pytest
import time_machine
from alembic.config import Config
from argon2 import PasswordHasher
from pyramid.router import Router
from sqlalchemy import Engine, create_engine, event, insert, text
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import NullPool

from alembic import command
from productagg.accounts import users as accounts
from productagg.accounts.login_throttle import LoginThrottle
from productagg.api.core.services import Readiness
from productagg.app import main
from productagg.db import clock
from productagg.db.engines import reader_engine, writer_engine
from productagg.db.models import OFFERS_SOURCE, Base, Catalogue, HistoryProgress, Source, User
from productagg.sandbox import Offer, SandboxServer
from productagg.settings import OPTIONS, Settings, database_url
from productagg.sync import background
from productagg.sync.background import Background
from productagg.sync.run import Synchronizer
from productagg.sync.source_test import SourceTester
from tests.contract import ContractApp
from tests.leaks import JWT_SECRET, _no_secret_in_logs, _watch_everything  # noqa: F401
from tests.leaks import PASSWORD as PASSWORD
from tests.leaks import REFRESH_TOKEN as REFRESH_TOKEN
from tests.postgres import PostgresServer
from tests.scale import ALL_TESTS, EXAMPLES, QUICK

# No deadline: the time of an example depends on databases, on sockets, and on what else the machine does.
# In CI, Hypothesis would try the same examples every time.
hypothesis.settings.register_profile("productagg", deadline=None, max_examples=EXAMPLES, derandomize=False)
hypothesis.settings.load_profile("productagg")

OFFERS_SERVICE = {
    "id": OFFERS_SOURCE,
    "kind": "offers_service",
    "name": "offers",
    "configuration": {},
    "enabled": True,
    "failures": 0,
    "version": 1,
    "created_at": datetime(2020, 1, 1, tzinfo=UTC),
    "updated_at": datetime(2020, 1, 1, tzinfo=UTC),
}
DELETIONS = [f"DELETE FROM {table.name}" for table in reversed(Base.metadata.sorted_tables)]
POSTGRESQL_FIXTURES = {"postgresql", "postgres_server", "own_postgres_server", "new_postgres_database"}


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the markers
def pytest_collection_modifyitems(config, items):
    """Mark the tests that need PostgreSQL, and leave the slow ones to `make check-all`, by name in the summary.

    With QUICK set, keep one set of parameters of each test, and no test that needs PostgreSQL or starts programs.
    """
    for item in items:
        if _needs_postgresql(item):
            item.add_marker(pytest.mark.postgresql)
        if _asks_the_same_of_postgresql(item):
            item.add_marker(pytest.mark.slow)
        if not ALL_TESTS and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: `make check-all` runs it"))
    if QUICK:
        kept = _one_of_each(items)
        config.hook.pytest_deselected(items=list(set(items) - set(kept)))
        items[:] = kept


def _asks_the_same_of_postgresql(item):
    """Whether it is about the web server or its HTTP answers. Tests in integration/ try their SQL on both databases."""
    server = ("test_proxy", "test_processes", "test_shutdown", "test_threads")
    answers = ("test_conditional_requests", "test_corrections_api", "test_listing_api", "test_offer_facts")
    return item.path.stem in (*server, *answers) and item.get_closest_marker("postgresql") is not None


def _needs_postgresql(item):
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return "postgresql" in parameters or not POSTGRESQL_FIXTURES.isdisjoint(item.fixturenames)


def _one_of_each(items):
    excluded = {"postgresql", "processes", "slow"}
    fast = [item for item in items if excluded.isdisjoint(marker.name for marker in item.iter_markers())]
    return list({item.nodeid.partition("[")[0]: item for item in fast}.values())


def pytest_collection_finish():
    """Thousands of tests and their modules stay to the end: spare the garbage collector from looking through them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _clean_environment():
    """Only the tests set options and proxies, not the environment of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        for option in OPTIONS:
            patch.delenv(option.variable, raising=False)
        # With it, every program that the tests start compiles the project anew.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _cheap_passwords():
    """Hash passwords at the lowest cost: no one guesses at the passwords of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        hasher = PasswordHasher(time_cost=1, memory_cost=16, parallelism=1)
        patch.setattr(accounts, "password_hasher", hasher)
        patch.setattr(accounts, "UNKNOWN_USER_HASH", hasher.hash("an unknown user's password"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _interruptible():
    """Programs that the tests start obey SIGINT, even where the tests' parent ignores it, as nohup does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk():
    """SQLite commits without waiting for the disk, as the tests' PostgreSQL does: no test survives a power failure."""

    def commit_at_once(connection, _record):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF").close()

    event.listen(Engine, "connect", commit_at_once)
    yield
    event.remove(Engine, "connect", commit_at_once)


@pytest.fixture(autouse=True, scope="session")
def _tireless_background():
    """The background does not pause between products: no requests compete with it for the processor in the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "REST_FACTOR", 0)
        yield


@pytest.fixture(autouse=True, scope="session")
def _database_travels_along():
    """PostgreSQL's clock follows the host's where a test moves that; the fixture `database_clock` separates the two."""
    with pytest.MonkeyPatch.context() as patch:
        real = clock.now_parameter
        travelling = time_machine.escape_hatch.is_travelling
        patch.setattr(clock, "now_parameter", lambda dialect: datetime.now(UTC) if travelling() else real(dialect))
        yield


class DatabaseClock:
    """The database's clock, on both databases apart from the host's: it goes on with the monotonic one."""

    def __init__(self):
        self._ahead = time.time() - time.monotonic()

    def now(self):
        return datetime.fromtimestamp(time.monotonic() + self._ahead, UTC)

    def shift(self, delta):
        self._ahead += delta.total_seconds()


@pytest.fixture
def database_clock(monkeypatch):
    """The database's clock, which a test can move: `database_clock.shift(timedelta)`; the host's stays as it is."""
    made = DatabaseClock()
    monkeypatch.setattr(clock, "now_parameter", lambda _dialect: made.now())
    return made


@dataclass
class Database:
    """A migrated database. `url` is what DATABASE_URL would say."""

    name: str
    url: str

    def __post_init__(self):
        self.writer = writer_engine(database_url(self.url))
        self.reader = reader_engine(database_url(self.url))
        self.sessions = sessionmaker(self.writer)
        self.connections_ended = False

    def migrate(self, revision="head", *, down=False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", self.url)
            config = Config("development.ini")
            (command.downgrade if down or revision == "base" else command.upgrade)(config, revision)
        self._migrated_partitions = self._partitions()

    def add_users(self, names, password_hash):
        """Users whose roles have their names: `admin` or `reader`."""
        same = {"password_hash": password_hash, "disabled": False, "token_generation": 1}
        with self.writer.begin() as connection:
            connection.execute(insert(User), [{"username": name, "role": name, **same} for name in names])

    def add_user(self, name, password_hash):
        self.add_users((name,), password_hash)

    def empty(self):
        with self.writer.begin() as connection:
            # A compaction makes partitions; the next test must not find them.
            for partition in self._partitions() - self._migrated_partitions:
                connection.execute(text(f"DROP TABLE {partition}"))
            # Past SQLAlchemy, which would take most of the time of emptying tables that are mostly empty.
            cursor = connection.connection.cursor()
            for statement in DELETIONS if self.name == "sqlite" else ["; ".join(DELETIONS)]:
                cursor.execute(statement)
            cursor.close()
            # As the migrations did.
            connection.execute(insert(HistoryProgress).values(id=1))
            connection.execute(insert(Catalogue).values(id=1, currency="EUR"))
            connection.execute(insert(Source).values(**OFFERS_SERVICE))

    def _partitions(self):
        if self.name == "sqlite":
            return set()
        with self.reader.connect() as connection:
            found = "SELECT oid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relkind = 'r'"
            return set(connection.scalars(text(found)))

    def end_connections(self):
        """What clients notice of PostgreSQL's restart: the server ends all connections to this database."""
        self.connections_ended = True
        engine = create_engine(self.writer.url, poolclass=NullPool)
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with engine.connect() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend(pid, 5000) {others}"))

    def close(self):
        self.writer.dispose()
        self.reader.dispose()


@pytest.fixture(scope="session")
def postgres_server():
    """The URL of a server's `postgres` database: TEST_DATABASE_URL, or a server started for this session."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    with PostgresServer() as server:
        yield server.url("postgres")


@pytest.fixture(scope="session")
def own_postgres_server():
    """A server that a test may stop, restart, and give roles to; whatever TEST_DATABASE_URL says."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def new_postgres_database(postgres_server):
    """Call it with a name for a new, empty database; it is dropped at the end of the session."""
    admin = create_engine(database_url(postgres_server), isolation_level="AUTOCOMMIT")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    made = []

    def make(name):
        name = f"productagg_test_{name}_{worker}"
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            connection.execute(text(f"CREATE DATABASE {name}"))
        made.append(name)
        return database_url(postgres_server).set(database=name).render_as_string(hide_password=False)

    yield make
    with admin.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    admin.dispose()


def _open(dialect, request, name):
    if dialect == "postgresql":
        return Database(dialect, request.getfixturevalue("new_postgres_database")(name))
    return Database(dialect, f"sqlite:///{request.getfixturevalue('tmp_path_factory').mktemp(name)}/{name}.sqlite")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def migrated_database(request):
    database = _open(request.param, request, "suite")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def database(migrated_database):
    """An empty, migrated database: once SQLite, once PostgreSQL."""
    yield migrated_database
    migrated_database.empty()


@pytest.fixture
def postgresql(request, new_postgres_database):
    """For what only PostgreSQL can show: a migrated database of the test's own."""
    database = _open("postgresql", request, "own")
    database.migrate()
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def blank_database(request):
    """A database without tables, for the tests of the migrations and of the schema check."""
    database = _open(request.param, request, "blank")
    yield database
    database.close()


@pytest.fixture
def session(database):
    """A session in a transaction that is committed at the end of the test, if the test did not end it."""
    with database.sessions.begin() as session:
        yield session


class Upstream:
    """The sandbox Offers service, with offers that the test decides: `offer(product_id, {offer_id: (price, stock)})`.

    It runs while the fixture `upstream` does.
    """

    def __init__(self):
        self._offers = {}
        self._lock = threading.Lock()
        self.server = SandboxServer(port=0, refresh_token=REFRESH_TOKEN, offers=self._current)

    @property
    def service(self):
        return self.server.service

    @property
    def faults(self):
        return self.server.faults

    @property
    def base_url(self):
        return self.server.base_url

    def offer(self, product_id, states):
        with self._lock:
            self._offers[product_id] = states

    def _current(self, product_id: UUID, _when: float):
        with self._lock:
            states = self._offers.get(product_id, {})
        return [Offer(id_, price, stock) for id_, (price, stock) in states.items()]


@pytest.fixture
def upstream():
    upstream = Upstream()
    with upstream.server:
        yield upstream


def ini(database, upstream=None, **others):
    """An ini file's app section for the tests."""
    return {
        "productagg.mode": "development",
        "sqlalchemy.url": database.url,
        # Port 9 (discard): no program listens there.
        "offers.base_url": upstream.base_url if upstream else "http://127.0.0.1:9/api/v1",
        "offers.refresh_token": REFRESH_TOKEN,
        "offers.timeout_seconds": "2",
        "jwt.secret": JWT_SECRET,
        # The prices of the tests jump. Those of the quarantine set it.
        "quarantine.factor": "0",
        **others,
    }


@pytest.fixture
def settings(database, upstream):
    return Settings.load(ini(database, upstream), environ={})


@pytest.fixture
def synchronizer(database, settings):
    with Synchronizer(settings, database.sessions) as synchronizer:
        yield synchronizer


@pytest.fixture(scope="session")
def _password_hash():
    return accounts.password_hasher.hash(PASSWORD)


class Client:
    """The whole application behind WebTest, with the shorthands that the tests read well with.

    An answer that is not as the contract has it fails the test.
    """

    def __init__(self, app):
        self.app = app
        self.web = ContractApp(app)
        self.services = app.registry.services
        self.background = self.services.background

    def log_in(self, username="admin", password=PASSWORD):
        token = self.web.post_json("/login", {"username": username, "password": password}).json["access_token"]
        return {"Authorization": f"Bearer {token}"}

    def __getattr__(self, name):
        return getattr(self.web, name)

    def close(self, *, dispose=True):
        self.background.close()
        with self.services.synchronizer:
            if dispose:
                self.services.engines.dispose()


@pytest.fixture(scope="session")
def _applications(migrated_database):
    """Applications by their options, shared by the tests with this database: making one takes longer than most tests.

    Each client gives its application new parts for those that remember what they did. A test that changes the
    application itself uses the fixture `own_application`.
    """
    applications: dict[Any, Router] = {}
    yield applications
    for app in applications.values():
        app.registry.services.engines.dispose()


@pytest.fixture
def own_application():
    """For a test that adds views or listeners: its client has an application of its own."""


def _renew(registry, settings):
    """Give a shared application the settings of a test, and new parts for those that remember what they did."""
    synchronizer = Synchronizer(settings, registry.services.sessions)
    registry.services = replace(
        registry.services,
        settings=settings,
        readiness=Readiness(),
        login_throttle=LoginThrottle(settings, registry.services.sessions),
        synchronizer=synchronizer,
        background=Background(synchronizer),
        source_tester=SourceTester(allow_private_networks=settings.sources_allow_private_networks),
    )


@pytest.fixture
def make_client(database, request):
    """Make a client of an application with these ini options: `make_client(upstream, **{"sync.workers": "1"})`.

    Each client of a test has another application, which it shares with other tests.
    """
    made: list[Client] = []
    keys: Counter[tuple[tuple[str, str], ...]] = Counter()
    applications = request.getfixturevalue("_applications")
    if database.connections_ended:
        for app in applications.values():
            app.registry.services.engines.dispose()
        database.connections_ended = False

    def make(upstream=None, **options):
        values = ini(database, upstream, **options)
        if "own_application" in request.fixturenames:
            app = main({}, **values)
        else:
            options_key = tuple(sorted(options.items()))
            key = (options_key, keys[options_key], "add_view" in request.fixturenames)
            keys[options_key] += 1
            if key not in applications:
                applications[key] = main({}, **values)
                gc.freeze()  # as after the collection of the tests
            app = applications[key]
            _renew(app.registry, Settings.load(values, environ={}))
        made.append(Client(app))
        return made[-1]

    yield make
    # That of most tests keeps its connections, which take longer to open than most tests to run.
    kept = applications.get(((), 0, False))
    for client in made:
        client.close(dispose=client.app is not kept)


@pytest.fixture
def users(database, _password_hash):
    """An admin `admin` and a reader `reader`, both with the password PASSWORD."""
    database.add_users(("admin", "reader"), _password_hash)


@pytest.fixture
def client(make_client, upstream, users):
    """The application, with the sandbox as its Offers service and the two users."""
    return make_client(upstream)


@pytest.fixture
def admin(client):
    """The headers of a logged-in admin."""
    with client.services.sessions.begin() as session:
        user = session.query(User).filter_by(username="admin").one()
        account = accounts.Account(user.id, user.username, "admin", user.token_generation)
    return {"Authorization": f"Bearer {client.services.access_tokens.issue(account)}"}
