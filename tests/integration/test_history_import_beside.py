"""An import beside passes and compactions, and how much of it is held at a time."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError

from productagg.db.models import HistoryProgress
from productagg.history import importing
from productagg.history.importing import Refused, import_
from productagg.history.known import known
from productagg.history.staging import Staged, stage
from productagg.history.steps import microseconds
from tests.factories import LONG_AGO, make_product
from tests.integration.conftest import before_statement, only_postgresql
from tests.integration.shops import late
from tests.integration.transfers import (
    START,
    A,
    B,
    after,
    bring,
    everything,
    line,
    observe,
    roll_up_to,
)


@pytest.fixture
def product(database):
    return make_product(database)


@only_postgresql
def test_while_an_import_is_under_way_the_products_are_synced_and_not_deleted(database, product):
    locks = {
        "KEY SHARE": "products",
        "UPDATE": "products",
        "SHARE": "history_progress",
        "NO KEY UPDATE": "history_progress",
    }
    refused = []
    roll_up_to(database, START.replace(hour=0))
    with Staged() as staged, database.sessions.begin() as session:
        stage(staged, [(1, line(product, A, after(), 1, 1))], database.sessions, datetime.now(UTC))
        import_(session, staged)
        for lock, table in locks.items():
            try:
                with database.writer.begin() as connection:
                    connection.execute(text(f"SELECT id FROM {table} FOR {lock} NOWAIT"))
            except OperationalError:
                refused.append((lock, table))

    assert refused == [("UPDATE", "products"), ("NO KEY UPDATE", "history_progress")]


@only_postgresql
def test_while_an_import_is_under_way_the_gap_of_another_product_is_recorded(database, product):
    other = make_product(database, "Lamp")
    observe(database, other, after(), {B: (70, 1)})
    with Staged() as staged, database.sessions.begin() as session:
        stage(staged, [(1, line(product, A, after(), 1, 1))], database.sessions, datetime.now(UTC))
        import_(session, staged)

        observe(database, other, after(days=9), {B: (70, 1)}, gap_from=after(days=1))

    assert set(late(database)) == {product, other}


def test_until_they_are_rolled_up_again_imported_days_are_read_from_raw_rows(database, product):
    bring(database, [line(product, A, after(), 1, 1)])
    roll_up_to(database, LONG_AGO)

    bring(database, [line(product, A, after(days=9), 2, 2)], replace=True)

    assert late(database) == {product: START.replace(hour=0)}
    with database.reader.connect() as connection:
        found = known(connection, product, timedelta(days=9999), LONG_AGO)
    assert found is not None
    assert found.rolled_until == microseconds(START.replace(hour=0))


@only_postgresql
def test_an_import_during_which_raw_rows_are_dropped_is_refused(database, product):
    roll_up_to(database, LONG_AGO)

    def drop(_statement):
        with database.writer.begin() as connection:
            connection.execute(update(HistoryProgress).values(raw_from=after(days=30)))

    with (
        before_statement(database.writer, "INSERT INTO history_late", drop),
        pytest.raises(Refused, match="a compaction dropped rows meanwhile"),
    ):
        bring(database, [line(product, A, after(), 1, 1)])

    assert not any(everything(database).values())


def test_the_lines_of_one_product_are_written_while_they_are_read(database, product, monkeypatch):
    monkeypatch.setattr(importing, "_BATCH", 10)
    told: list[int] = []
    written: list[int] = []

    with before_statement(database.writer, "INSERT INTO offer_prices ", lambda _statement: written.append(len(told))):
        bring(
            database,
            [line(product, A, after(hours=number), number, 1) for number in range(100)],
            progress=lambda done, _total: told.append(done),
        )

    assert told == list(range(10, 101, 10))
    assert written[:3] == [0, 1, 2]
