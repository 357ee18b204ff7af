"""Products: creating, changing, removing, finding and paging through them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from productagg.catalog import products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.db.models import Product, ProductSource, ProductSummary
from tests.databases import only_postgresql
from tests.factories import LONG_AGO, make_product, rows, sync_row
from tests.integration.conftest import before_statement, wait_until

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
UNKNOWN_FACTS = [None] * 6  # and the keys of two of them


def test_a_new_product_is_at_version_1_and_due_for_registration_at_once(database):
    with database.sessions.begin() as session:
        product_id = products.create(session, "Kettle", "Boils water", NOON)

    assert rows(database, Product) == [
        (product_id, "Kettle", "Boils water", 1, NOON, NOON, " kettle \n boils water ", "kettle", *UNKNOWN_FACTS)
    ]
    row = sync_row(database, product_id)
    assert (row.registration, row.next_sync_at, row.failures, row.leased_until) == ("pending", NOON, 0, None)


def test_a_taken_name_is_refused_and_the_session_stays_usable(database):
    make_product(database, "Kettle")

    with database.sessions.begin() as session:
        with pytest.raises(products.DuplicateName):
            products.create(session, "Kettle", "Another one", NOON)
        products.create(session, "Toaster", "Toasts", NOON)

    assert [row.name for row in rows(database, Product)] == ["Kettle", "Toaster"]
    assert len(rows(database, ProductSource)) == 2


def test_of_many_products_those_are_added_whose_names_are_free(database):
    make_product(database, "Kettle")
    new = [NewProduct(name, "") for name in ("Toaster", "Kettle", "Lamp", "Toaster", "Iron")]

    with database.sessions.begin() as session:
        created = create_many(session, new, NOON)

    assert [id_ is not None for id_ in created] == [True, False, True, False, True]
    assert {row.id: row.name for row in rows(database, Product) if row.created_at == NOON} == {
        id_: product.name for id_, product in zip(created, new, strict=True) if id_ is not None
    }
    for model in (ProductSource, ProductSummary):
        assert {row.product_id for row in rows(database, model)} == {row.id for row in rows(database, Product)}


@only_postgresql
def test_two_that_add_the_same_names_in_another_order_do_not_wait_for_each_other(database):
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def add(names):
        with database.sessions.begin() as session:
            return create_many(session, [NewProduct(name, "") for name in names], NOON)

    # Given one who holds a name in the middle, for which both have to wait
    with ThreadPoolExecutor(2) as pool, database.reader.connect() as looker:
        with database.sessions.begin() as session:
            products.create(session, "Kettle", "", NOON)
            adding = [pool.submit(add, names) for names in (["Iron", "Kettle", "Lamp"], ["Lamp", "Kettle", "Iron"])]
            wait_until(lambda: looker.execute(waiting).scalar_one() == 2)
        created = [future.result() for future in adding]

    assert sorted(row.name for row in rows(database, Product)) == ["Iron", "Kettle", "Lamp"]
    assert sum(id_ is not None for ids in created for id_ in ids) == 2


def test_many_products_take_as_many_statements_as_one(database):
    counts = []
    for number in (1, 500):
        new = [NewProduct(f"{number} {copy}", "") for copy in range(number)]
        statements: list[str] = []
        with before_statement(database.writer, "", statements.append), database.sessions.begin() as session:
            assert None not in create_many(session, new, NOON)
        counts.append(len(statements))

    assert counts[0] == counts[1] > 0


def test_a_change_raises_the_version_and_keeps_what_is_not_given(database):
    product_id = make_product(database, "Kettle", "Boils water")

    with database.sessions.begin() as session:
        products.change(session, product_id, LATER, name="Better kettle")

    assert rows(database, Product) == [
        (
            product_id,
            "Better kettle",
            "Boils water",
            2,
            LONG_AGO,
            LATER,
            " better kettle \n boils water ",
            "better kettle",
            *UNKNOWN_FACTS,
        )
    ]


def test_values_that_the_product_has_already_change_nothing(database):
    product_id = make_product(database, "Kettle", "Boils water")
    before = rows(database, Product)

    with database.sessions.begin() as session:
        products.change(session, product_id, LATER, name="Kettle", description="Boils water")

    assert rows(database, Product) == before


def test_a_product_cannot_take_anothers_name_and_the_session_stays_usable(database):
    kettle, toaster = make_product(database, "Kettle"), make_product(database, "Toaster")

    with database.sessions.begin() as session:
        with pytest.raises(products.DuplicateName):
            products.change(session, toaster, LATER, name="Kettle")
        products.change(session, kettle, LATER, description="Whistles")

    assert [(row.name, row.description, row.version) for row in rows(database, Product)] == [
        ("Kettle", "Whistles", 2),
        ("Toaster", "Boils water", 1),
    ]


@pytest.mark.parametrize(
    "act",
    [
        lambda session, product_id: products.change(session, product_id, LATER, name="Other", versions=[2, 3]),
        lambda session, product_id: products.remove(session, product_id, LATER, versions=[2]),
    ],
)
def test_a_product_that_is_not_at_an_expected_version_is_left_alone(database, act):
    product_id = make_product(database)
    before = rows(database, Product)

    with database.sessions.begin() as session, pytest.raises(products.StaleVersion):
        act(session, product_id)

    assert rows(database, Product) == before


def test_one_of_several_expected_versions_is_enough(database):
    product_id = make_product(database)

    with database.sessions.begin() as session:
        products.remove(session, product_id, LATER, versions=[7, 1])

    assert rows(database, Product) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda session: products.change(session, uuid4(), LATER, name="Other"),
        lambda session: products.remove(session, uuid4(), LATER),
        lambda session: products.get(session, uuid4()),
    ],
)
def test_an_unknown_product_is_not_found(session, act):
    with pytest.raises(products.NotFound):
        act(session)


@pytest.mark.parametrize(
    ("registration", "expected"), [("failed", ("pending", LATER, 0)), ("registered", ("registered", LONG_AGO, 3))]
)
def test_only_a_product_that_the_service_refused_is_due_for_another_try_when_it_changes(
    database, registration, expected
):
    product_id = make_product(database, registration=registration, failures=3)

    with database.sessions.begin() as session:
        products.change(session, product_id, LATER, description="New")

    row = sync_row(database, product_id)
    assert (row.registration, row.next_sync_at, row.failures) == expected


def test_a_catalogue_is_empty_until_it_has_a_product(session):
    assert products.is_empty(session)

    products.create(session, "Kettle", "Boils water", NOON)

    assert not products.is_empty(session)
