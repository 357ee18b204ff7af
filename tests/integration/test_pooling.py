"""PostgreSQL behind a pooler: prepared statements, session settings, and the check at start-up."""

import re
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import NullPool, bindparam, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError

from productagg.app import main
from productagg.db import prepared_statements
from productagg.db.engines import reader_engine, writer_engine
from productagg.db.errors import is_unavailable
from productagg.db.models import Product
from productagg.db.prepared_statements import prepared_statement
from productagg.db.startup_checks import UnusableDatabase, check_database
from productagg.settings import database_url
from tests.conftest import Client, Database, ini
from tests.databases import only_postgresql
from tests.factories import make_products, start
from tests.integration.conftest import wait_until
from tests.pooler import Pooler

ECHO = select(func.length(bindparam("value")))
OTHER = select(func.upper(bindparam("value")))
SESSION_STATE = text("""
SELECT 'prepared statement', name FROM pg_prepared_statements
UNION ALL SELECT 'cursor', name FROM pg_cursors WHERE is_holdable
UNION ALL SELECT 'channel', channel FROM pg_listening_channels() AS channel
UNION ALL SELECT 'advisory lock', objid::text FROM pg_locks WHERE locktype = 'advisory'
UNION ALL SELECT 'temporary table', relname FROM pg_class WHERE relpersistence = 't'
UNION ALL SELECT 'setting', name FROM pg_settings WHERE source = 'session'
AND name NOT IN ('client_encoding', 'DateStyle', 'standard_conforming_strings', 'application_name')
AND name NOT LIKE 'transaction_%'
""")


@pytest.fixture
def server(own_postgres_server):
    return own_postgres_server


@pytest.fixture
def direct(server, _password_hash):
    """The database without a pooler, migrated, with an admin only."""
    database = Database("postgresql", server.url("postgres"))
    database.migrate()
    database.add_user("admin", _password_hash)
    yield database
    database.empty()
    database.close()


@contextmanager
def pgbouncer(server, directory, pool_mode, more="ignore_startup_parameters = options\n"):
    """Start a real PgBouncer and yield the URL of the database through it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian: apt install pgbouncer)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    directory.chmod(0o755)
    config = directory / "pgbouncer.ini"
    config.write_text(
        f"[databases]\npostgres = host={server.home} dbname=postgres user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {pool_mode}\ndefault_pool_size = 3\n{more}"
    )
    process = subprocess.Popen(
        [program, "-u", "nobody", config] if server.runs_as_nobody else [program, config],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(port))
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(params=["ours", "pgbouncer"])
def shared(request, server, direct, tmp_path):
    """The URL of the database through a pooler in transaction mode."""
    if request.param == "pgbouncer":
        with pgbouncer(server, tmp_path, "transaction") as url:
            yield url
        return
    with Pooler(server, "postgres", connections=3) as pooler:
        yield pooler.url


def session_state(url):
    """Return the state of the server connections behind a pooler, except what poolers and transactions manage."""
    engine = create_engine(database_url(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        # With one or two server connections that serve in turn, two of these reach all of them.
        return {tuple(row) for _ in range(2) for row in connection.execute(SESSION_STATE)}


def refusal(url):
    engine = reader_engine(database_url(url))
    try:
        with pytest.raises(UnusableDatabase) as raised:
            check_database(engine)
    finally:
        engine.dispose()
    return str(raised.value)


class TestTheStartUpCheck:
    @pytest.mark.processes
    def test_prepared_statements_are_refused_behind_a_pooler_in_transaction_mode(self, shared):
        with pytest.raises(SystemExit) as stopped:
            main({}, **ini(Database("postgresql", shared)))

        [line] = str(stopped.value.code).splitlines()
        assert "DATABASE_PREPARED" in line and "transaction mode" in line

    @pytest.mark.processes
    @only_postgresql
    def test_the_command_line_refuses_them_too(self, shared, run):
        done = run("sync", DATABASE_URL=shared)

        assert done.exit_code == 2
        assert done.output.startswith("Error: DATABASE_PREPARED is true, but a pooler")
        assert done.output.count("\n") == 1

    @pytest.mark.processes
    @pytest.mark.parametrize("in_turn", [False, True])
    @pytest.mark.parametrize("connections", [1, 2, 3, 7])
    def test_it_detects_the_pooler_whichever_connection_serves_next(self, server, direct, in_turn, connections):
        with Pooler(server, "postgres", connections=connections, in_turn=in_turn) as pooler:
            assert "transaction mode" in refusal(pooler.url)

    @pytest.mark.processes
    def test_it_detects_the_pooler_while_others_use_it(self, server, direct):
        with Pooler(server, "postgres", connections=3) as pooler:
            engine = create_engine(database_url(pooler.url), isolation_level="AUTOCOMMIT")
            over = threading.Event()

            def ask():
                with engine.connect() as connection:
                    while not over.is_set():
                        connection.execute(select(1))

            with ThreadPoolExecutor(4) as pool:
                asking = [pool.submit(ask) for _ in range(4)]
                try:
                    messages = [refusal(pooler.url) for _ in range(5)]
                finally:
                    over.set()
                for future in asking:
                    future.result()
            engine.dispose()

        assert all("transaction mode" in message for message in messages)

    def test_session_mode_and_no_pooler_are_accepted(self, server, direct, tmp_path):
        with Pooler(server, "postgres", mode="session", connections=5) as pooler:
            for url in (pooler.url, server.url("postgres")):
                for make_engine in (reader_engine, writer_engine):
                    engine = make_engine(database_url(url))
                    check_database(engine)
                    engine.dispose()

    @pytest.mark.processes
    def test_pgbouncer_in_session_mode_is_accepted(self, server, direct, tmp_path):
        with pgbouncer(server, tmp_path, "session") as url:
            engine = reader_engine(database_url(url))
            check_database(engine)
            engine.dispose()

    def test_pgbouncer_with_its_defaults_requires_database_prepared_false(self, server, direct, tmp_path):
        with pgbouncer(server, tmp_path, "transaction", more="") as url:
            assert "DATABASE_PREPARED" in refusal(url)
            for make_engine in (reader_engine, writer_engine):
                engine = make_engine(database_url(url), prepared=False)
                check_database(engine)
                engine.dispose()

    @pytest.mark.processes
    def test_it_changes_no_session_state(self, server, direct):
        with Pooler(server, "postgres", connections=2, in_turn=True) as pooler:
            refusal(pooler.url)

            assert session_state(pooler.url) == set()


class TestWithoutPreparedStatements:
    @pytest.mark.processes
    def test_two_processes_answer_correctly_behind_a_pooler_in_transaction_mode(self, shared, direct, upstream):
        names = [f"Kettle {number}" for number in range(60)]
        make_products(direct, 60)
        database = Database("postgresql", shared)
        clients = [Client(main({}, **ini(database, upstream, **{"database.prepared": "false"}))) for _ in range(2)]

        def ask(number):
            client, backwards = clients[number % 2], number % 3 == 0
            sort = "-name" if backwards else "name"
            listed = [
                product["name"] for product in client.get(f"/products/partial?sort={sort}&limit=100&fields=name").json
            ]
            one = client.get(f"/products/{ids[number]}").json["name"]
            return listed == sorted(names, reverse=backwards), one == f"Kettle {number}"

        with direct.reader.connect() as connection:
            ids = connection.scalars(select(Product.id).order_by(Product.created_at)).all()
        with ThreadPoolExecutor(8) as pool:
            right = list(pool.map(ask, range(60)))
        headers = clients[0].log_in()
        made = clients[1].post_json("/products", {"name": "New", "description": ""}, headers=headers, status=201)
        clients[1].background.wait()
        clients[0].patch_json(f"/products/{made.json['id']}", {"description": "Newer"}, headers=headers, status=200)

        assert set(right) == {(True, True)}
        for client in clients:
            client.close()
        database.close()

    @only_postgresql
    def test_nothing_is_set_or_kept_per_session(self, server, direct, upstream, run):
        make_products(direct, 3)
        # In turn: a session's lock and unlock would reach different connections, and the lock would stay.
        with Pooler(server, "postgres", connections=2, in_turn=True) as pooler:
            database = Database("postgresql", pooler.url)
            environ = {"DATABASE_URL": pooler.url, "DATABASE_PREPARED": "false"}
            for command in (("sync",), ("history", "compact"), ("history", "export"), ("export",), ("status",)):
                done = run(*command, **environ)
                assert done.exit_code == 0, done.output
            client = Client(main({}, **ini(database, upstream, **{"database.prepared": "false"})))
            client.post_json("/products", {"name": "New", "description": ""}, headers=client.log_in(), status=201)
            client.get("/products?q=new", status=200)
            client.close()

            assert session_state(pooler.url) == set()


class TestNamesOfPreparedStatements:
    def test_behind_an_undetected_pooler_no_result_is_wrong(self, server, direct):
        """The check at start-up was skipped, or the mode of the pooler was changed later."""
        with Pooler(server, "postgres", connections=3) as pooler:
            engines = [reader_engine(database_url(pooler.url)) for _ in range(2)]

            def ask(number):
                statement = ECHO if number % 2 else OTHER
                with engines[number % 3 % 2].connect() as connection:
                    try:
                        return prepared_statements.rows(connection, statement, {"value": "abc" * number})[0][0] == (
                            3 * number if number % 2 else "ABC" * number
                        )
                    except DBAPIError as error:
                        return is_unavailable(error)

            with ThreadPoolExecutor(6) as pool:
                results = list(pool.map(ask, range(200)))
            for engine in engines:
                engine.dispose()

        assert results == [True] * 200

    @pytest.mark.processes
    def test_a_name_depends_on_the_statement_only(self):
        script = (
            "from sqlalchemy import bindparam, func, select\n"
            "from productagg.db.prepared_statements import prepared_statement\n"
            "print(prepared_statement(select(func.length(bindparam('value')))).name)"
        )
        other = start("python", "-c", script, env={})
        name = prepared_statement(ECHO).name

        assert other.communicate(timeout=60)[0].strip() == name
        assert prepared_statement(OTHER).name != name
        assert re.fullmatch("productagg_[0-9a-f]{32}", name)

    def test_a_statement_prepared_by_another_process_is_reused(self, server, direct):
        with Pooler(server, "postgres", mode="session", connections=1) as pooler:
            for value in ("a", "ab"):  # one process after the other, on the same connection of the server
                engine = reader_engine(database_url(pooler.url))
                with engine.connect() as connection:
                    assert prepared_statements.rows(connection, ECHO, {"value": value})[0][0] == len(value)
                    assert prepared_statements.rows(connection, ECHO, {"value": value * 3})[0][0] == 3 * len(value)
                engine.dispose()

            assert session_state(pooler.url) == {("prepared statement", prepared_statement(ECHO).name)}

    def test_it_is_reused_in_a_transaction_too(self, server, direct):
        with Pooler(server, "postgres", mode="session", connections=1) as pooler:
            for value in ("a", "ab"):
                engine = writer_engine(database_url(pooler.url))
                with engine.begin() as connection:
                    assert prepared_statements.rows(connection, ECHO, {"value": value})[0][0] == len(value)
                    assert connection.execute(select(1)).scalar_one() == 1
                engine.dispose()
