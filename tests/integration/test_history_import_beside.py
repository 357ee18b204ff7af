"""An import beside passes, and how much of it is held at a time."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from productagg.db.models import OfferPrice, ProductPrice
from productagg.history import importing
from productagg.history.importing import import_
from productagg.history.staging import Staged, stage
from tests.databases import only_postgresql
from tests.factories import make_product, rows
from tests.integration.import_export import A, B, after, line, observe


@pytest.fixture
def product(database):
    return make_product(database)


@only_postgresql
def test_while_an_import_is_under_way_the_products_are_synced_and_neither_compacted_nor_deleted(database, product):
    refused = []
    with Staged() as staged, database.sessions.begin() as session:
        stage(staged, [(1, line(product, A, after(), 1, 1))], database.sessions, datetime.now(UTC))
        import_(session, staged)
        for lock in ("KEY SHARE", "NO KEY UPDATE", "UPDATE"):
            try:
                with database.writer.begin() as connection:
                    connection.execute(text(f"SELECT id FROM products FOR {lock} NOWAIT"))
            except OperationalError:
                refused.append(lock)

    assert refused == ["NO KEY UPDATE", "UPDATE"]


@only_postgresql
def test_while_an_import_is_under_way_the_gap_of_another_product_is_recorded(database, product):
    other = make_product(database, "Lamp")
    observe(database, other, after(), {B: (70, 1)})
    with Staged() as staged, database.sessions.begin() as session:
        stage(staged, [(1, line(product, A, after(), 1, 1))], database.sessions, datetime.now(UTC))
        import_(session, staged)

        observe(database, other, after(days=9), {B: (70, 1)}, gap_from=after(days=1))

    assert [row.observed for row in rows(database, ProductPrice, product_id=other)] == [True, False, True]


def test_the_lines_of_one_product_are_written_while_they_are_read(database, product, monkeypatch):
    monkeypatch.setattr(importing, "ROWS_PER_INSERT", 10)
    written: list[int] = []

    with Staged() as staged, database.sessions.begin() as session:
        lines = [(number, line(product, A, after(hours=number), number, 1)) for number in range(100)]
        stage(staged, lines, database.sessions, datetime.now(UTC))
        import_(session, staged, progress=lambda *_: written.append(session.query(OfferPrice).count()))

    assert written == list(range(10, 101, 10))
