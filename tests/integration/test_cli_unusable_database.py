"""The commands and alembic on a database that cannot be used: one line and a documented exit code."""

import json
import os

import pytest
from sqlalchemy import create_engine, text

from productagg.app import main
from productagg.settings import database_url
from tests.conftest import PASSWORD, Database, ini
from tests.databases import only_postgresql, only_sqlite
from tests.factories import make_product

WRITING = [
    (("sync",), ""),
    (("import", "FILE"), ""),
    (("history", "compact"), ""),
    (("user", "add", "somebody"), f"{PASSWORD}\n{PASSWORD}\n"),
]
COMMANDS = pytest.mark.parametrize(("command", "typed"), WRITING, ids=lambda value: " ".join(value) or None)


@pytest.fixture
def admin_of(own_postgres_server):
    """Execute statements as the server's owner: `admin_of("database", statement, …)`."""

    def execute(database, *statements):
        engine = create_engine(database_url(own_postgres_server.url(database)), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    return execute


@pytest.fixture
def alembic(fork):
    """Run alembic on the database with this URL: its exit code and its error, which is one line."""

    def run(url, *arguments):
        process = fork("alembic", "-c", "development.ini", *arguments, env={**os.environ, "DATABASE_URL": url})
        output = "".join(process.communicate())
        assert "Traceback" not in output
        (error,) = [line.strip() for line in output.splitlines() if "FAILED" in line]
        return process.returncode, error

    return run


@pytest.fixture
def products(write):
    return write("products.ndjson", json.dumps({"name": "Lamp", "description": ""}))


def assert_one_line(done, reason):
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert (done.exit_code, len(errors)) == (2, 1), done.output
    assert errors[0].startswith("Error: the database cannot be used: ")
    assert reason in errors[0]
    assert "Traceback" not in done.output


def with_file(command, products):
    return [products if argument == "FILE" else argument for argument in command]


def read_only_url(database):
    """The URL of a PostgreSQL database for read-only sessions."""
    url = database_url(database.url).update_query_dict({"options": "-c default_transaction_read_only=on"})
    return url.render_as_string(hide_password=False)


@only_postgresql
@COMMANDS
def test_a_read_only_server(database, run, products, command, typed):
    make_product(database)
    done = run(*with_file(command, products), typed=typed, DATABASE_URL=read_only_url(database))

    assert_one_line(done, "read-only transaction")


@pytest.mark.processes
@only_sqlite
@COMMANDS
def test_a_read_only_file(database, run, products, command, typed):
    make_product(database)
    read_only = f"sqlite:///file:{database.writer.url.database}?mode=ro&uri=true"

    done = run(*with_file(command, products), typed=typed, DATABASE_URL=read_only)

    assert_one_line(done, "attempt to write a readonly database")


class TestRights:
    @pytest.fixture
    def guest(self, own_postgres_server, admin_of):
        """The URL of an empty database, for a user who may create nothing in it."""
        admin_of("postgres", "CREATE DATABASE guests", "CREATE ROLE guest LOGIN")
        yield own_postgres_server.url("guests").replace("postgres@", "guest@")
        admin_of("postgres", "DROP DATABASE guests WITH (FORCE)", "DROP ROLE guest")

    @only_postgresql
    def test_rights_that_were_revoked(self, guest, own_postgres_server, admin_of, run, products):
        Database("postgresql", own_postgres_server.url("guests")).migrate()
        admin_of("guests", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")

        for command, typed in WRITING:
            if "compact" not in command:
                done = run(*with_file(command, products), typed=typed, DATABASE_URL=guest)

                assert_one_line(done, "permission denied")

    @pytest.mark.processes
    def test_alembic_without_the_right_to_create(self, guest, alembic):
        code, error = alembic(guest, "upgrade", "head")

        assert (code, error) == (255, "FAILED: the database cannot be used: permission denied for schema public")


@pytest.mark.processes
def test_alembic_without_a_database(alembic):
    code, error = alembic("postgresql://somebody:hunter2@127.0.0.1:9/nowhere", "upgrade", "head")

    assert code == 255
    assert error.startswith("FAILED: the database cannot be used: ") and "refused" in error
    assert "hunter2" not in error


@pytest.mark.processes
@only_postgresql
def test_alembic_on_a_read_only_server(database, alembic):
    code, error = alembic(read_only_url(database), "downgrade", "base")

    assert code == 255
    assert error.startswith("FAILED: the database cannot be used: ") and "read-only transaction" in error


@pytest.mark.processes
@pytest.mark.parametrize("blank_database", ["sqlite"], indirect=True)  # it looks at none
@pytest.mark.parametrize("command", [("upgrade", "head"), ("downgrade", "head:base")])
def test_alembic_writes_no_sql(blank_database, alembic, command):
    code, error = alembic(blank_database.url, *command, "--sql")

    assert (code, error) == (255, "FAILED: --sql does not work here: migrations read the rows that they change")


class TestEncodings:
    @pytest.fixture(params=["SQL_ASCII", "LATIN2"])
    def encoded(self, request, own_postgres_server, admin_of):
        """The URL of a database whose encoding is not UTF-8, and the encoding."""
        name = f"encoded_{request.param.lower()}"
        options = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        admin_of("postgres", f"CREATE DATABASE {name} ENCODING '{request.param}' {options}")
        yield own_postgres_server.url(name), request.param
        admin_of("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def expected(self, encoding):
        return f"the database's encoding is {encoding} and must be UTF8: create it with ENCODING 'UTF8'"

    def test_the_web_service_refuses_them_at_its_start(self, encoded):
        url, encoding = encoded

        with pytest.raises(SystemExit) as stopped:
            main({}, **ini(Database("postgresql", url)))

        assert stopped.value.code == f"productagg: {self.expected(encoding)}"

    @only_sqlite  # the other database
    def test_so_do_the_commands(self, encoded, run):
        url, encoding = encoded

        done = run("sync", DATABASE_URL=url)

        assert (done.exit_code, done.output) == (2, f"Error: {self.expected(encoding)}\n")

    @pytest.mark.processes
    def test_no_table_is_made_in_them(self, encoded, alembic):
        url, encoding = encoded

        assert alembic(url, "upgrade", "head") == (255, f"FAILED: {self.expected(encoding)}")
