"""A database that goes away, becomes read-only, is full or revokes rights: 503 and one log line, until it is back.

tests/integration/test_cli_unusable_database.py has the same for the command line.
"""

import logging
import sqlite3
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import InternalError
from sqlalchemy.orm import Session

from productagg.app import main
from productagg.db import engines
from productagg.settings import database_url
from tests.conftest import Client, Database, ini
from tests.databases import only_postgresql, only_sqlite
from tests.functional.problems import assert_problem

NEW = {"name": "Lamp", "description": ""}


@contextmanager
def one_line(caplog):
    """Assert that exactly one warning or error is logged in the context, in one line without a traceback.

    Yields a list to which the line is added at the end.
    """
    caplog.clear()
    lines: list[str] = []
    yield lines
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(records) == 1, [record.getMessage() for record in records]
    assert records[0].exc_info is None
    lines.append(records[0].getMessage())
    assert "\n" not in lines[0]


def assert_unavailable(answer):
    assert_problem(answer, "unavailable")
    assert answer.headers["Retry-After"] == "5"
    return answer.json["detail"]


def end_connections(database):
    database.end_connections()
    database.close()  # those of the test were ended, too


@only_postgresql
class TestThePrimaryBecomesReadOnly:
    @pytest.fixture
    def read_only(self, database, postgres_server):
        """Make new connections read-only; return a function that makes them writable again."""
        admin_engine = create_engine(database_url(postgres_server), isolation_level="AUTOCOMMIT")

        def alter(change):
            with admin_engine.connect() as connection:
                connection.execute(text(f"ALTER DATABASE {database.writer.url.database} {change}"))

        end_connections(database)
        alter("SET default_transaction_read_only = on")
        yield lambda: alter("RESET default_transaction_read_only")
        alter("RESET default_transaction_read_only")
        admin_engine.dispose()
        database.close()

    def test_writes_are_503_until_the_server_is_writable(self, client, send, admin, read_only, caplog):
        for engine in client.services.engines:
            engine.dispose()
        with one_line(caplog) as lines:
            assert_unavailable(send("POST", "/products", NEW, admin))
        read_only()

        assert lines[0].endswith("in a read-only transaction")
        assert send("POST", "/products", NEW, admin).status_int == 201

    def test_it_is_not_ready_until_the_server_is_writable(self, client, send, read_only):
        for engine in client.services.engines:
            engine.dispose()
        detail = assert_unavailable(send("GET", "/health/ready"))
        reads = send("GET", "/products").status_int
        read_only()

        assert detail == "database: the database is read-only"
        assert reads == 200
        client.get("/health/ready", status=200)

    def test_readers_leave_the_old_server_together_with_writers(self, client, send, admin):
        writer, reader = client.services.engines
        send("GET", "/products")
        idle = reader.pool.checkedout()

        with writer.connect() as connection, pytest.raises(InternalError):
            connection.execute(text("SET TRANSACTION READ ONLY"))
            connection.execute(text("DELETE FROM products"))

        assert idle >= 1
        assert reader.pool.checkedout() == 0


class TestTheServerGoesAway:
    @only_postgresql
    @pytest.mark.parametrize("moment", ["before the change", "after the change", "at the commit"])
    def test_during_a_patch_it_is_503(self, client, send, admin, create, database, caplog, moment):
        product = create()
        target, event_name = {
            "before the change": (Session, "before_flush"),
            "after the change": (Session, "after_flush"),
            "at the commit": (client.services.engines[0], "commit"),
        }[moment]

        event.listen(target, event_name, lambda *_: end_connections(database), once=True)
        with one_line(caplog) as lines:
            answer = send("PATCH", f"/products/{product['id']}", {"description": "Dim"}, admin)

        assert_unavailable(answer)
        assert lines[0].startswith("the database cannot be used: ")
        assert client.get(f"/products/{product['id']}").json["description"] == "Bright"
        assert send("PATCH", f"/products/{product['id']}", {"description": "Dim"}, admin).status_int == 200

    def test_a_server_restart_during_a_patch_is_one_503(self, own_postgres_server, owned, upstream, caplog):
        client = Client(main({}, **ini(owned, upstream)))
        admin = client.log_in()
        product = client.post_json("/products", NEW, headers=admin, status=201).json
        client.background.wait()
        path, change = f"/products/{product['id']}", {"description": "Dim"}

        event.listen(Session, "before_flush", lambda *_: own_postgres_server.restart(), once=True)
        with one_line(caplog):
            answer = client.patch_json(path, change, headers=admin, expect_errors=True)
        assert_unavailable(answer)
        # The readers' connections are broken as well. They are replaced together, not one failed request each.
        statuses = [client.get(path, expect_errors=True).status_int for _ in range(2)]

        assert statuses[-1] == 200
        client.patch_json(path, change, headers=admin, status=200)
        client.close()


@pytest.fixture
def owned(own_postgres_server, _password_hash):
    """A migrated database on a server of its own, with an admin."""
    database = Database("postgresql", own_postgres_server.url("postgres"))
    database.migrate()
    database.add_user("admin", _password_hash)
    yield database
    database.close()  # the server may have been restarted
    database.empty()
    database.close()


class TestRightsAreRevoked:
    @pytest.fixture
    def clerk(self, owned):
        """The database, for a user who has rights on its tables but does not own them."""
        with owned.writer.begin() as connection:
            connection.execute(text("CREATE ROLE clerk LOGIN"))
            connection.execute(text("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk"))
            connection.execute(text("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO clerk"))
        clerk = Database("postgresql", owned.url.replace("postgres@", "clerk@"))
        yield clerk
        clerk.close()
        with owned.writer.begin() as connection:
            connection.execute(text("DROP OWNED BY clerk"))
            connection.execute(text("DROP ROLE clerk"))

    def test_a_write_is_a_503_and_ready_names_the_tables(self, clerk, owned, upstream, caplog):
        client = Client(main({}, **ini(clerk, upstream)))
        admin = client.log_in()
        client.get("/health/ready", status=200)
        with owned.writer.begin() as connection:
            connection.execute(text("REVOKE INSERT ON products FROM clerk"))

        with one_line(caplog) as lines:
            assert_unavailable(client.post_json("/products", NEW, headers=admin, expect_errors=True))
        detail = assert_unavailable(client.get("/health/ready", expect_errors=True))
        with owned.writer.begin() as connection:
            connection.execute(text("GRANT INSERT ON products TO clerk"))

        assert lines == ["the database cannot be used: permission denied for table products"]
        assert detail == "database: the database's user lacks rights to: products"
        client.get("/health/ready", status=200)
        client.post_json("/products", NEW, headers=admin, status=201)
        client.close()


class TestThereIsNoRoom:
    @pytest.fixture
    def full(self, own_application, database, client):
        """A function that fills the disk, and returns a function that frees it."""
        if database.name == "postgresql":
            return self.full_postgresql(database)
        return self.full_sqlite(database, client)

    def full_postgresql(self, database):
        tables = ("products", "upstream_tokens")
        full = [
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
            " 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
            *(f"CREATE TRIGGER no_room BEFORE INSERT ON {table} EXECUTE FUNCTION no_room()" for table in tables),
        ]
        room = [*(f"DROP TRIGGER no_room ON {table}" for table in tables), "DROP FUNCTION no_room"]

        def execute(statements):
            with database.writer.begin() as connection:
                for statement in statements:
                    connection.execute(text(statement))

        def make_full():
            execute(full)
            return lambda: execute(room)

        return make_full

    def full_sqlite(self, database, client):
        writer = client.services.engines[0]

        def make_full():
            def limit(connection, _record):
                connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the number of pages in use instead

            writer.dispose()
            with closing(sqlite3.connect(database_url(database.url).database or "")) as connection:
                connection.execute("VACUUM")  # no page is free
            event.listen(writer, "connect", limit)

            def make_room():
                event.remove(writer, "connect", limit)
                writer.dispose()

            return make_room

        return make_full

    def test_writes_are_503_and_it_is_not_ready_until_there_is_room(self, client, send, admin, full, caplog):
        new = {"name": "Lamp", "description": "x" * 10_000}
        client.get("/health/ready", status=200)
        make_room = full()

        with one_line(caplog) as lines:
            assert_unavailable(send("POST", "/products", new, admin))
        reads = send("GET", "/products").status_int
        detail = assert_unavailable(send("GET", "/health/ready"))
        make_room()

        assert "full" in lines[0] or "No space left" in lines[0]
        assert reads == 200
        assert detail.startswith("database: it cannot be used (")
        client.get("/health/ready", status=200)
        assert send("POST", "/products", new, admin).status_int == 201


@only_sqlite
class TestSQLite:
    def test_writing_to_a_read_only_file_is_503(
        self, database, make_client, admin, users, caplog, monkeypatch, tmp_path
    ):
        monkeypatch.chdir(tmp_path)
        path = database.writer.url.database
        read_only = Database("sqlite", f"sqlite:///file:{path}?mode=ro&uri=true")
        client = Client(main({}, **ini(read_only)))

        with one_line(caplog) as lines:
            assert_unavailable(client.post_json("/products", NEW, headers=admin, expect_errors=True))
        reads = client.get("/products").status_int
        assert_unavailable(client.get("/health/ready", expect_errors=True))

        assert lines == ["the database cannot be used: attempt to write a readonly database"]
        assert reads == 200
        assert list(tmp_path.iterdir()) == []  # no directory is created for a URI
        client.close()
        read_only.close()

    def test_a_long_transaction_of_another_writer_is_503(
        self, database, make_client, admin, users, monkeypatch, caplog
    ):
        monkeypatch.setattr(engines, "LOCK_TIMEOUT_SECONDS", 0.05)
        client = make_client()

        with database.writer.begin(), one_line(caplog) as lines:
            assert_unavailable(client.post_json("/products", NEW, headers=admin, expect_errors=True))

        assert lines == ["the database cannot be used: database is locked"]
        client.post_json("/products", NEW, headers=admin, status=201)
