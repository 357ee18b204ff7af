"""The migration that gives prices a currency and offers their facts keeps what is stored, with its meaning."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from alembic.util import CommandError
from sqlalchemy import text

from productagg.db.models import Catalogue, Offer, OfferPrice, OfferPriceDay, ProductPrice
from productagg.db.startup_checks import UnusableDatabase, check_currency
from tests.factories import make_product, rows

PRODUCT, IN_STOCK, SOLD_OUT, CLOSED, OTHER = (UUID(int=number) for number in range(1, 6))
AT = datetime(2026, 5, 1, 12, 0, 0, 250, tzinfo=UTC)


def parameters(database, **more):
    sqlite = database.name == "sqlite"
    values = {"product": PRODUCT, "in_stock": IN_STOCK, "sold_out": SOLD_OUT, "closed": CLOSED, "at": AT, **more}
    if not sqlite:
        return values
    return {
        name: value.hex if isinstance(value, UUID) else f"{value:%Y-%m-%d %H:%M:%S.%f}" if value is AT else value
        for name, value in values.items()
    }


def write(database, *statements):
    with database.writer.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), parameters(database))


OLD_ROWS = (
    "INSERT INTO products (id, name, description, version, created_at, updated_at, search_text, sort_name)"
    " VALUES (:product, 'Kettle', '', 1, :at, :at, ' kettle ', 'kettle')",
    "INSERT INTO offers (product_id, id, price, items_in_stock, first_seen_at, changed_at, closed_at) VALUES"
    " (:product, :in_stock, 4990, 7, :at, :at, NULL), (:product, :sold_out, 4991, 0, :at, :at, NULL),"
    " (:product, :closed, 4992, 0, :at, :at, :at)",
    *(
        f"INSERT INTO {table} (product_id, offer_id, observed_at, price, items_in_stock)"
        " VALUES (:product, :in_stock, :at, 4990, 7), (:product, :closed, :at, 4992, 0)"
        for table in ("offer_prices", "offer_price_days")
    ),
    "INSERT INTO product_prices (product_id, observed_at, lowest, average, offers, items_in_stock, observed)"
    " VALUES (:product, :at, 4990, 4990, 1, 7, true)",
)


@pytest.fixture
def old(blank_database, monkeypatch):
    """A database of version 0.1.0, with a product, its offers and its histories; the currencies are not configured."""
    for name in ("CURRENCY", "OFFERS_CURRENCY"):
        monkeypatch.delenv(name, raising=False)
    blank_database.migrate("0001")
    write(blank_database, *OLD_ROWS)
    return blank_database


def test_what_is_stored_keeps_its_meaning_and_gets_the_currency(old, monkeypatch):
    monkeypatch.setenv("CURRENCY", "CZK")

    old.migrate()

    assert rows(old, Catalogue) == [(1, "CZK")]
    told = [("in_stock", 7, None), ("out_of_stock", 0, None), ("out_of_stock", 0, AT)]
    offers = rows(old, Offer)
    assert [(row.id, row.price) for row in offers] == [(IN_STOCK, 4990), (SOLD_OUT, 4991), (CLOSED, 4992)]
    assert [(row.availability, row.items_in_stock, row.closed_at) for row in offers] == told
    for row in offers:
        assert (row.currency, row.condition, row.first_seen_at) == ("CZK", "unknown", AT)
        assert (row.seller, row.url, row.shipping, row.external_id) == (None, None, None, None)
    steps = [(PRODUCT, IN_STOCK, AT, 4990, 7), (PRODUCT, CLOSED, AT, 4992, 0)]
    assert rows(old, OfferPrice) == steps
    assert rows(old, OfferPriceDay) == [(*step, None) for step in steps]
    assert rows(old, ProductPrice) == [(PRODUCT, AT, 4990, 4990, 1, 7, True)]


def test_without_a_setting_the_currency_is_the_euro(old):
    old.migrate()

    assert {row.currency for row in [*rows(old, Offer), *rows(old, Catalogue)]} == {"EUR"}


def test_prices_of_another_currency_do_not_become_the_catalogues(old, monkeypatch):
    monkeypatch.setenv("OFFERS_CURRENCY", "USD")

    with pytest.raises(CommandError, match="set CURRENCY=USD"):
        old.migrate()

    monkeypatch.setenv("CURRENCY", "USD")
    old.migrate()
    assert {row.currency for row in [*rows(old, Offer), *rows(old, Catalogue)]} == {"USD"}


def test_without_prices_the_currencies_may_differ(blank_database, monkeypatch):
    monkeypatch.setenv("OFFERS_CURRENCY", "USD")

    blank_database.migrate()

    assert rows(blank_database, Catalogue) == [(1, "EUR")]


def test_the_way_back_keeps_what_the_earlier_version_understands(old):
    old.migrate()
    write(
        old,
        "UPDATE offers SET items_in_stock = NULL WHERE id = :in_stock",
        "UPDATE offer_prices SET items_in_stock = NULL WHERE offer_id = :in_stock",
        "UPDATE offers SET currency = 'CZK' WHERE id = :closed",
    )

    old.migrate("0001", down=True)

    with old.reader.connect() as connection:
        stocks = connection.execute(text("SELECT price, items_in_stock FROM offers ORDER BY price")).all()
        steps = connection.execute(text("SELECT price, items_in_stock FROM offer_prices")).all()
    assert stocks == [(4990, 1), (4991, 0)]
    assert steps == [(4990, 1)]


def test_programs_do_not_start_with_another_currency_than_the_catalogues(database):
    make_product(database)

    check_currency(database.reader, "EUR")

    with pytest.raises(UnusableDatabase, match="set CURRENCY=EUR"):
        check_currency(database.reader, "CZK")
