"""The migration that introduces sources keeps every row: what there was is at the Offers service."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Uuid, column, insert, inspect, select, table, text

from productagg.catalog import products
from productagg.db.models import (
    OFFERS_SOURCE,
    Offer,
    OfferPrice,
    Product,
    ProductPrice,
    ProductSource,
    ProductSummary,
    Source,
    UtcDateTime,
)
from productagg.settings import Settings
from productagg.sync.run import Synchronizer
from tests.conftest import ini
from tests.factories import rows
from tests.integration.migrated_tables import columns, contents

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
TIMES = ("registered_at", "next_sync_at", "leased_until", "last_asked_at", "last_synced_at", "last_changed_at")
BEFORE = table(
    "product_sync",
    column("product_id", Uuid()),
    column("registration"),
    *(column(name, UtcDateTime()) for name in TIMES),
    column("failures"),
    column("last_error"),
)
OFFERS_BEFORE = table(
    "offers",
    column("product_id", Uuid()),
    column("id", Uuid()),
    column("price"),
    column("items_in_stock"),
    *(column(name, UtcDateTime()) for name in ("first_seen_at", "changed_at", "closed_at")),
)


def a_product(number: int) -> dict[str, Any]:
    return {
        "id": UUID(int=number),
        "name": f"Kettle {number}",
        "description": "Boils water",
        "version": 1,
        "created_at": NOON,
        "updated_at": NOON,
        "search_text": " kettle \n  ",
        "sort_name": f"kettle {number}",
    }


def a_state(number: int) -> dict[str, Any]:
    """A state at the Offers service in which every column has a value, and another one for each product."""
    times = {name: NOON + timedelta(hours=place, microseconds=number) for place, name in enumerate(TIMES)}
    registration = ("pending", "registered", "failed")[number % 3]
    state = {"product_id": UUID(int=number), "registration": registration, "failures": number, **times}
    return {**state, "last_error": f"error {number}"}


def empty_state(number: int) -> dict[str, Any]:
    state = {**dict.fromkeys(a_state(number)), "product_id": UUID(int=number), "registration": "pending"}
    return {**state, "next_sync_at": NOON, "failures": 0}


def offers_of(number: int) -> list[dict[str, Any]]:
    common = {"product_id": UUID(int=number), "first_seen_at": NOON, "changed_at": NOON + timedelta(hours=1)}
    return [
        {**common, "id": UUID(int=number * 1000 + 1), "price": 2**40, "items_in_stock": 5, "closed_at": None},
        {**common, "id": UUID(int=number * 1000 + 2), "price": 7, "items_in_stock": 0, "closed_at": NOON},
    ]


@pytest.fixture
def filled(blank_database):
    """A database of 0002: three products with all there can be, and one that was never asked for."""
    blank_database.migrate("0002")
    step = {"price": 7, "items_in_stock": 5, "observed_at": NOON}
    with blank_database.writer.begin() as connection:
        connection.execute(insert(Product), [a_product(number) for number in range(1, 5)])
        connection.execute(insert(BEFORE), [*map(a_state, range(1, 4)), empty_state(4)])
        connection.execute(insert(OFFERS_BEFORE), [offer for number in range(1, 4) for offer in offers_of(number)])
        connection.execute(insert(OfferPrice), [{**step, "product_id": UUID(int=1), "offer_id": UUID(int=1001)}])
        of_product = {"lowest": 7, "average": 7, "offers": 1, "items_in_stock": 5, "observed_at": NOON}
        connection.execute(insert(ProductPrice).values(product_id=UUID(int=1), observed=True, **of_product))
        for number in range(1, 5):
            connection.execute(insert(ProductSummary).values(product_id=UUID(int=number), **of_product))
    return blank_database


def stored(database, selected):
    with database.reader.connect() as connection:
        return [dict(row) for row in connection.execute(selected).mappings()]


def test_every_state_becomes_that_at_the_offers_service(filled):
    filled.migrate()

    found = [dict(row._mapping) for row in rows(filled, ProductSource)]
    added = {"source_id": OFFERS_SOURCE, "locator": None, "validators": None}
    assert found == [{**state, **added} for state in (*map(a_state, range(1, 4)), empty_state(4))]


def test_every_offer_becomes_one_of_the_offers_service(filled):
    before = contents(filled, {"offers": [*OFFERS_BEFORE.columns.keys()]})

    filled.migrate("0003")

    assert len(before["offers"]) == 6
    assert contents(filled, {"offers": [*OFFERS_BEFORE.columns.keys()]}) == before
    assert set(contents(filled, {"offers": ["source_id"]})["offers"]) == {(OFFERS_SOURCE,)}


def test_there_is_one_source_which_has_no_secret_and_takes_the_settings(filled):
    filled.migrate()

    (source,) = rows(filled, Source)
    assert (source.id, source.kind, source.name) == (OFFERS_SOURCE, "offers_service", "offers")
    assert source.enabled
    assert (source.configuration, source.secret_variable, source.interval_seconds) == ({}, None, None)


def test_histories_summaries_and_products_stay_as_they_are(filled):
    kept = {name: names for name, names in columns(filled).items() if name not in ("product_sync", "offers")}
    before = contents(filled, kept)

    filled.migrate("0003")

    assert len(before["products"]) == len(before["product_summaries"]) == 4
    assert contents(filled, kept) == before


def test_migrated_products_are_read_like_new_ones(filled):
    filled.migrate()

    with filled.reader.connect() as connection:
        found = products.get(connection, UUID(int=1))
    assert '"registration":"registered"' in found.json_members
    assert f"{2**40}" in found.offers


def test_up_and_down_again_nothing_is_lost(filled):
    states, offers = select(BEFORE).order_by(BEFORE.c.product_id), select(OFFERS_BEFORE).order_by(OFFERS_BEFORE.c.id)
    before = stored(filled, states), stored(filled, offers)

    filled.migrate("0003")
    filled.migrate("0002", down=True)

    assert (stored(filled, states), stored(filled, offers)) == before
    assert not {"sources", "product_sources"} & set(inspect(filled.writer).get_table_names())


def test_a_migrated_catalogue_can_be_synced(filled, upstream):
    filled.migrate()
    with filled.writer.begin() as connection:
        connection.execute(text("UPDATE product_sources SET leased_until = NULL, registration = 'pending'"))
    offer_id = uuid4()
    upstream.offer(UUID(int=4), {offer_id: (100, 5)})

    with Synchronizer(Settings.load(ini(filled, upstream), environ={}), filled.sessions) as synchronizer:
        result = synchronizer.run()

    assert (result.fetched, result.failed) == (4, 0)
    assert [row.id for row in rows(filled, Offer, product_id=UUID(int=4))] == [offer_id]
    assert all(row.closed_at is not None for row in rows(filled, Offer) if row.id != offer_id)
