"""Which products the items of a document belong to: by locator, by GTIN, by name, or as new ones."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from productagg.catalog import products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.db.models import OFFERS_SOURCE, Offer, Product, ProductSource
from productagg.sources.base import ProductFacts
from productagg.sync.document_offers import write_chunk
from tests.factories import link, make_products, make_source, rows
from tests.integration.conftest import on_statement
from tests.integration.scripted_adapters import an_offer

GTIN, ANOTHER = "4006381333931", "9780306406157"
NOT_LONG = timedelta(hours=5)


@pytest.fixture
def source_id(database):
    return make_source(database, "feed", kind="feed")


@pytest.fixture
def make(database):
    """Make a product that has these facts."""

    def make(name="Kettle", **facts):
        with database.sessions.begin() as session:
            return products.create(session, name, "", **facts)

    return make


@pytest.fixture
def read(database, source_id):
    """Read a part of the source's document; returns the items of no product, and why."""

    def read(*offers, creates_products=False):
        with database.sessions.begin() as session:
            chunk = write_chunk(session, source_id, offers, NOT_LONG, creates_products=creates_products)
        return {offer.locator: reason for offer, reason in chunk.unmatched}

    return read


def item(locator, name=None, price=100, **facts):
    return an_offer(locator, external_id=locator, price=price, product=ProductFacts(name, **facts))


def prices(database, product_id):
    return sorted(row.price for row in rows(database, Offer, product_id=product_id))


def locators(database, source_id):
    return {row.product_id: row.locator for row in rows(database, ProductSource, source_id=source_id)}


def named(database):
    return {row.name: row for row in rows(database, Product)}


def test_an_item_without_its_locator_is_found_by_its_gtin_and_linked(database, source_id, make, read):
    product_id = make(gtin=GTIN)

    assert read(item("A", gtin=GTIN)) == {}

    assert prices(database, product_id) == [100]
    assert locators(database, source_id) == {product_id: "A"}


def test_from_then_on_its_locator_finds_it(database, make, read):
    product_id = make(gtin=GTIN)
    read(item("A", gtin=GTIN))

    assert read(item("A", price=90)) == {}

    assert prices(database, product_id) == [90]


def test_a_locator_goes_before_a_gtin(database, source_id, make, read):
    by_gtin, by_locator = make("Kettle", gtin=GTIN), make("Pot")
    link(database, by_locator, source_id, locator="A", next_sync_at=None)

    read(item("A", gtin=GTIN))

    assert (prices(database, by_gtin), prices(database, by_locator)) == ([], [100])


def test_two_products_of_one_gtin_both_have_the_offer(database, source_id, make, read):
    both = [make("Kettle", gtin=GTIN), make("Kettle, used", gtin=GTIN)]

    read(item("A", gtin=GTIN))

    assert [prices(database, product_id) for product_id in both] == [[100], [100]]
    assert locators(database, source_id) == dict.fromkeys(both, "A")


def test_two_items_of_one_gtin_are_offers_of_one_product(database, source_id, make, read):
    product_id = make(gtin=GTIN)

    assert read(item("A", gtin=GTIN), item("B", gtin=GTIN, price=80)) == {}
    assert read(item("A", gtin=GTIN), item("B", gtin=GTIN, price=70)) == {}

    assert prices(database, product_id) == [70, 100]
    assert len(locators(database, source_id)) == 1


def test_items_of_one_product_may_have_the_same_id_under_their_locators(database, make, read):
    product_id = make(gtin=GTIN)
    items = [
        item(locator, price=price, gtin=GTIN)._replace(external_id="1") for locator, price in (("A", 80), ("B", 70))
    ]

    read(*items)
    before = rows(database, Offer)
    read(items[1])
    read(items[0])

    assert prices(database, product_id) == [70, 80]
    assert rows(database, Offer) == before


def test_an_item_that_is_not_found_says_why(read, make):
    make("Kettle", gtin=GTIN)

    assert read(item("A", "Kettle"), item("B", "Pot", gtin=ANOTHER), an_offer("C")) == {
        "A": "no_gtin",
        "B": "gtin_unknown",
        "C": "no_gtin",
    }


def test_a_source_may_make_products_of_its_items(database, source_id, read):
    facts = {"gtin": GTIN, "brand": "Halvorn", "category": "Kitchen", "image_url": "https://shop.example/a.jpg"}

    assert read(item("A", " Kettle\n 2 l ", description="Boils", **facts), creates_products=True) == {}

    (product,) = rows(database, Product)
    assert (product.name, product.description) == ("Kettle 2 l", "Boils")
    assert {name: getattr(product, name) for name in facts} == facts
    assert prices(database, product.id) == [100]
    assert locators(database, source_id) == {product.id: "A"}
    (at_the_service,) = rows(database, ProductSource, source_id=OFFERS_SOURCE)
    assert (at_the_service.product_id, at_the_service.registration) == (product.id, "pending")


def test_the_next_document_makes_no_second_product(database, read):
    for price in (100, 90):
        read(item("A", "Kettle", price=price), creates_products=True)

    (product,) = rows(database, Product)
    assert prices(database, product.id) == [90]


@pytest.mark.parametrize(
    ("there", "stated"),
    [
        ({}, {}),
        ({"gtin": GTIN}, {}),
        ({}, {"gtin": GTIN}),
        ({"brand": "Halvorn"}, {"brand": "HALVORN"}),
        ({"gtin": GTIN, "brand": "Halvorn"}, {"brand": "Halvorn"}),
    ],
)
def test_a_product_of_the_same_name_gets_the_item_unless_they_contradict(database, make, read, there, stated):
    product_id = make("Kettle", **there)

    assert read(item("A", "Kettle", **stated), creates_products=True) == {}

    assert len(rows(database, Product)) == 1
    assert prices(database, product_id) == [100]


@pytest.mark.parametrize(
    ("there", "stated"),
    [({"gtin": GTIN}, {"gtin": ANOTHER}), ({"brand": "Halvorn"}, {"brand": "Northpath"})],
    ids=["another-gtin", "another-brand"],
)
def test_a_name_that_another_product_has_is_taken(database, make, read, there, stated):
    product_id = make("Kettle", **there)

    assert read(item("A", "Kettle", **stated), creates_products=True) == {"A": "name_taken"}

    assert len(rows(database, Product)) == 1
    assert prices(database, product_id) == []


def test_items_of_one_document_share_the_product_of_their_gtin_or_name(database, read):
    items = [
        item("A", "Kettle", price=1, gtin=GTIN),
        item("B", "Kettle 2 l", price=2, gtin=GTIN),
        item("C", "Kettle", price=3),
        item("D", "Kettle", price=4, gtin=ANOTHER),
    ]

    assert read(*items, creates_products=True) == {"D": "name_taken"}

    (product,) = rows(database, Product)
    assert (product.name, prices(database, product.id)) == ("Kettle", [1, 2, 3])
    assert read(*items, creates_products=True) == {"D": "name_taken"}
    assert len(rows(database, Product)) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [(None, "no_name"), (" \n", "no_name"), ("x" * 201, "name_refused"), ("\u200b", "name_refused")],
)
def test_an_item_needs_a_name_to_become_a_product(database, read, name, reason):
    assert read(item("A", name), item("B", "Pot"), creates_products=True) == {"A": reason}

    assert set(named(database)) == {"Pot"}


def test_facts_that_a_product_cannot_have_are_left_out(database, read):
    wrong = {"brand": "x" * 101, "category": "\x07", "image_url": "ftp://shop.example/a.jpg", "gtin": GTIN}

    read(
        item("A", "Kettle", description="\x07", **wrong),
        item("B", "Pot", description="x" * 10_001),
        creates_products=True,
    )

    kettle = named(database)["Kettle"]
    assert (kettle.description, kettle.brand, kettle.category, kettle.image_url) == ("", None, None, None)
    assert kettle.gtin == GTIN
    assert len(named(database)["Pot"].description) == 10_000


def test_a_product_that_was_removed_is_not_linked(database, source_id, make, read):
    product_id = make(gtin=GTIN)
    read(item("A", gtin=GTIN))
    with database.sessions.begin() as session:
        products.remove(session, product_id)

    assert read(item("A", gtin=GTIN)) == {"A": "gtin_unknown"}
    assert locators(database, source_id) == {}


@pytest.mark.parametrize("creates_products", [False, True])
def test_the_number_of_statements_does_not_depend_on_the_number_of_items(database, source_id, read, creates_products):
    counts = []
    for size in (20, 60):
        known = make_products(database, size, f"Known {size}")
        gtins = [f"{number:08}" for number in range(size, 2 * size)]
        with database.sessions.begin() as session:
            create_many(session, [NewProduct(f"Of {gtin} {size}", "", gtin=gtin) for gtin in gtins])
        for number, product_id in enumerate(known):
            link(database, product_id, source_id, locator=f"{size} {number}", next_sync_at=None)
        items = [item(f"{size} {number}") for number in range(size)]
        items += [item(f"gtin {size} {gtin}", gtin=gtin) for gtin in gtins]
        items += [item(f"new {size} {number}", f"New {size} {number}") for number in range(size)]
        statements: list[str] = []
        with on_statement(database.writer, statements.append):
            read(*items, creates_products=creates_products)
        counts.append(len(statements))

    assert counts[0] == counts[1]
    assert counts[0] <= 25


def test_products_are_found_by_an_index_on_their_gtins(database):
    with database.sessions.begin() as session:
        create_many(session, [NewProduct(f"Kettle {number}", "", gtin=f"{number:013}") for number in range(3000)])
    explain = "EXPLAIN QUERY PLAN" if database.name == "sqlite" else "EXPLAIN"
    query = f"{explain} SELECT id FROM products WHERE gtin IN ('0000000000001', '0000000000002')"
    with database.writer.begin() as connection:
        connection.execute(text("ANALYZE products"))
        plan = "\n".join(str(row) for row in connection.execute(text(query)))

    assert "ix_products_gtin" in plan
