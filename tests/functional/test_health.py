"""/health: live says that the process answers, ready that it can do its work."""

import pytest
from sqlalchemy import text

from productagg.db.models import SCHEMA_REVISION
from tests.functional.problems import assert_problem


@pytest.fixture
def at_revision(database):
    """Make the database say that it is at another revision."""

    def set_to(revision):
        with database.writer.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})

    with database.reader.connect() as connection:
        before = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    yield set_to
    set_to(before)


def test_a_service_that_can_work_is_live_and_ready(client):
    assert client.get("/health/live", status=200).json == {"status": "live"}
    assert client.get("/health/ready", status=200).json == {"status": "ready", "database": "ok", "schema": "ok"}


def test_on_another_schema_it_is_not_ready_and_names_both_and_the_command(client, send, at_revision):
    at_revision("9999")

    detail = assert_problem(send("GET", "/health/ready"), "unavailable")["detail"]

    assert detail.startswith("schema: ")
    assert "9999" in detail and "alembic" in detail and "upgrade head" in detail
    client.get("/health/live", status=200)


def test_without_a_database_it_is_not_ready_but_live(client, send, lose_database):
    lose_database(client)

    answer = send("GET", "/health/ready")

    assert assert_problem(answer, "unavailable")["detail"].startswith("database: ")
    assert "db.internal" not in answer.text
    client.get("/health/live", status=200)


def test_it_is_ready_again_when_the_database_is_back(client, send, at_revision):
    at_revision("9999")
    assert_problem(send("GET", "/health/ready"), "unavailable")
    at_revision(SCHEMA_REVISION)

    client.get("/health/ready", status=200)


def test_an_offers_service_that_is_down_does_not_make_it_unready(make_client):
    make_client().get("/health/ready", status=200)
