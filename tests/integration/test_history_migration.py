"""A database with years of history moves to the revision that keeps it for good, and back, and loses nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from alembic.config import Config
from sqlalchemy import BigInteger, Integer, Uuid, column, insert, table, text
from uuid_utils.compat import uuid7

from alembic import command
from productagg.catalog import products as catalog
from productagg.db.models import OfferPrice, ProductPrice, ProductSummary, ProductSync, UtcDateTime
from tests.factories import LONG_AGO, rows

NOW = datetime.now(UTC)
# The tables as revision 0002 has them.
PRODUCTS = table(
    "products",
    column("id", Uuid),
    column("name"),
    column("description"),
    column("version"),
    column("created_at", UtcDateTime),
    column("updated_at", UtcDateTime),
)
OFFER_PRICES = table(
    "offer_prices",
    column("product_id", Uuid),
    column("offer_id", Uuid),
    column("observed_at", UtcDateTime),
    column("price", BigInteger),
    column("items_in_stock", BigInteger),
)
PRODUCT_PRICES = table(
    "product_prices",
    column("product_id", Uuid),
    column("observed_at", UtcDateTime),
    column("lowest", BigInteger),
    column("average", BigInteger),
    column("offers", Integer),
    column("items_in_stock", BigInteger),
)
TIMES = sorted(
    [
        datetime(2001, 2, 28, 23, 59, 59, 999999, UTC),  # older than the oldest partition
        NOW - timedelta(days=5 * 365),
        datetime(NOW.year - 1, 12, 31, 23, 59, 59, 999999, UTC),
        datetime(NOW.year, 1, 1, tzinfo=UTC),
        NOW - timedelta(days=40),
        NOW,
        NOW + timedelta(days=31),  # from when the clock was ahead
    ]
)


@dataclass
class Past:
    """What a database of revision 0002 holds of a product's past: rows as lists of values, in the order of time."""

    product_id: UUID
    offers: list[dict[str, object]]
    products: list[dict[str, object]]


@pytest.fixture
def pasts(blank_database):
    """A database of revision 0002 with two products, whose prices changed at each of the times, sold out in between."""
    blank_database.migrate("0002")
    ids = [_create(blank_database, name) for name in ("Kettle", "Toaster")]
    made = [_past(product_id, 2**62 + number) for number, product_id in enumerate(ids)]
    with blank_database.writer.begin() as connection:
        for past in made:
            connection.execute(insert(OFFER_PRICES), past.offers)
            connection.execute(insert(PRODUCT_PRICES), past.products)
    return made


def _create(database, name):
    """Add a product as revision 0002 has it. Returns its id."""
    product_id = uuid7()
    product = {"id": product_id, "name": name, "description": "", "version": 1}
    with database.writer.begin() as connection:
        connection.execute(insert(PRODUCTS).values(**product, created_at=LONG_AGO, updated_at=LONG_AGO))
        sync = {"registration": "pending", "next_sync_at": LONG_AGO, "failures": 0}
        connection.execute(insert(ProductSync).values(product_id=product_id, **sync))
    return product_id


def _past(product_id, price):
    offer_id = uuid4()
    offers, products = [], []
    for number, at in enumerate(TIMES):
        key = {"product_id": product_id, "observed_at": at}
        if number == 3:
            offers.append({**key, "offer_id": offer_id, "price": price, "items_in_stock": 0})
            products.append({**key, "lowest": None, "average": None, "offers": 0, "items_in_stock": 0})
        else:
            price += 1
            offers.append({**key, "offer_id": offer_id, "price": price, "items_in_stock": 3})
            products.append({**key, "lowest": price, "average": price, "offers": 1, "items_in_stock": 3})
    return Past(product_id, offers, products)


def downgrade(database, revision, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.url)
    command.downgrade(Config("development.ini"), revision)


def read(database, model, past):
    return [dict(row._mapping) for row in rows(database, model, product_id=past.product_id)]


def observed(past):
    return [{**row, "observed": True} for row in past.products]


def test_every_row_is_kept_and_counts_as_observed(blank_database, pasts):
    blank_database.migrate()

    for past in pasts:
        assert read(blank_database, OfferPrice, past) == past.offers
        assert read(blank_database, ProductPrice, past) == observed(past)


def test_the_newest_price_of_each_product_becomes_its_summary(blank_database, pasts):
    blank_database.migrate()

    for past in pasts:
        [summary] = read(blank_database, ProductSummary, past)
        newest = past.products[-1]
        assert {name: summary[name] for name in newest} == newest
        assert summary["compare_at"] == newest["observed_at"]  # so that what it cost a while ago is looked up


def test_a_product_that_was_never_observed_has_a_summary_that_says_nothing(blank_database):
    blank_database.migrate("0002")
    _create(blank_database, "Kettle")

    blank_database.migrate()

    (summary,) = rows(blank_database, ProductSummary)
    assert (summary.observed_at, summary.lowest, summary.offers, summary.items_in_stock) == (None, None, 0, 0)
    assert summary.compare_at is None


@pytest.mark.parametrize("blank_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", ["offer_prices", "product_prices"])
def test_every_row_lies_in_the_partition_of_its_month_and_only_what_is_very_old_in_none(blank_database, pasts, name):
    blank_database.migrate()

    with blank_database.reader.connect() as connection:
        found = connection.execute(text(f"SELECT observed_at, tableoid::regclass::text FROM {name}")).all()
    very_old, *others = TIMES
    expected = {very_old: f"{name}_default", **{at: f"{name}_{at:%Y_%m}" for at in others}}
    assert sorted(found) == sorted([*expected.items()] * 2)


def test_the_rows_still_go_with_their_product(blank_database, pasts):
    blank_database.migrate()
    doomed, kept = pasts

    with blank_database.sessions.begin() as session:
        catalog.remove(session, doomed.product_id, datetime.now(UTC))

    for model in (OfferPrice, ProductPrice, ProductSummary):
        assert {row.product_id for row in rows(blank_database, model)} == {kept.product_id}


def test_the_way_back_keeps_all_but_the_gaps_and_can_be_gone_again(blank_database, pasts, monkeypatch):
    blank_database.migrate()
    gap = {"observed_at": TIMES[-1] + timedelta(days=1), "offers": 0, "items_in_stock": 0, "observed": False}
    with blank_database.writer.begin() as connection:
        connection.execute(insert(ProductPrice), [{**gap, "product_id": past.product_id} for past in pasts])

    downgrade(blank_database, "0002", monkeypatch)

    with blank_database.reader.connect() as connection:
        for kept, of_past in ((OFFER_PRICES, "offers"), (PRODUCT_PRICES, "products")):
            found = connection.execute(kept.select().order_by(kept.c.product_id, kept.c.observed_at)).mappings().all()
            assert found == [row for past in pasts for row in getattr(past, of_past)]

    blank_database.migrate()

    for past in pasts:
        assert read(blank_database, OfferPrice, past) == past.offers
        assert read(blank_database, ProductPrice, past) == observed(past)
