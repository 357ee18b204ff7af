"""GTIN, brand, category and image of a product: kept, changed, removed, searched and filtered."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from productagg.catalog import change_feed, listing, listing_sql, products
from productagg.catalog.batch_creation import MAX_CHARACTERS, NewProduct, create_many
from productagg.catalog.product_query import SORTS, ProductQuery
from productagg.catalog.product_values import FACTS
from productagg.catalog.search_text import filter_key, search_words
from productagg.db.models import Product
from tests.factories import LONG_AGO, make_product, rows
from tests.integration.conftest import before_statement

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LAMP: dict[str, Any] = {
    "gtin": "4006381333931",
    "brand": "Łampa & Co, Ltd",
    "category": "Lighting > Desk Lamps",
    "image_url": "https://images.example/lamp.jpg",
}


def facts(database):
    return [[getattr(row, fact) for fact in FACTS] for row in rows(database, Product)]


def change(database, product_id, **values):
    with database.sessions.begin() as session:
        products.change(session, product_id, NOON, **values)


def add(database, *new):
    with database.sessions.begin() as session:
        return create_many(session, new, NOON)


def find(database, limit=200, cursor=None, **query):
    with database.reader.connect() as connection:
        return listing.page(connection, ProductQuery(**query), limit, cursor, counted=True)


def names(page):
    return [json.loads(product)["name"] for product in page.products]


def test_a_product_keeps_what_is_known_of_it_and_nothing_else(database):
    add(database, NewProduct("Lamp", "", **LAMP), NewProduct("Kettle", "", brand="Kettlers"), NewProduct("Pan", ""))

    assert facts(database) == [[*LAMP.values()], [None, "Kettlers", None, None], [None] * 4]


def test_a_change_sets_and_removes_facts_and_leaves_the_others(database):
    [lamp] = add(database, NewProduct("Lamp", "Shines", **LAMP))

    change(database, lamp, brand="Other", gtin=None)

    assert facts(database) == [[None, "Other", LAMP["category"], LAMP["image_url"]]]
    [row] = rows(database, Product)
    assert (row.name, row.description, row.version) == ("Lamp", "Shines", 2)


@pytest.mark.parametrize("fact", FACTS)
def test_a_changed_fact_is_a_change_of_the_product_and_the_same_fact_is_none(database, fact):
    [lamp] = add(database, NewProduct("Lamp", "", **LAMP))

    change(database, lamp, **{fact: LAMP[fact]})
    assert rows(database, Product)[0].version == 1
    change(database, lamp, **{fact: None})
    change(database, lamp, **{fact: None})

    [row] = rows(database, Product)
    assert (row.version, row.updated_at > NOON) == (2, True)
    with database.reader.connect() as connection:
        assert [each.kind for each in change_feed.since(connection, 0, 10).changes] == ["created", "changed"]


def test_texts_of_many_products_are_cut_into_statements_by_all_their_characters(database):
    url = "https://images.example/" + "x" * 1900
    new = [NewProduct(f"Lamp {number}", "", image_url=url) for number in range(2 * MAX_CHARACTERS // len(url))]
    statements: list[str] = []

    with before_statement(database.writer, "", statements.append):
        add(database, *new)

    assert sum("INSERT INTO products " in statement for statement in statements) in (2, 3)


@pytest.mark.parametrize("words", ["łampa", "LAMPA ltd", "lighting", "desk", "4006381333931", "400638", "co , ltd"])
def test_a_product_is_found_by_brand_category_and_gtin(database, words):
    add(database, NewProduct("Torch", "Shines", **LAMP), NewProduct("Kettle", "Boils"))

    assert names(find(database, words=search_words(words))) == ["Torch"]


def test_a_product_is_found_by_the_facts_that_it_has_now(database):
    [torch] = add(database, NewProduct("Torch", "", **LAMP))

    change(database, torch, brand="Kettlers", category=None)

    assert [names(find(database, words=[word])) for word in ("lampa", "lighting", "kettlers")] == [[], [], ["Torch"]]


BY_RELEVANCE = [
    NewProduct("Brass lamp", "", brand="Torches"),
    NewProduct("Of a brand", "Glows", brand="Lamp"),
    NewProduct("Of a category", "", category="Home > Lamp"),
    NewProduct("Described", "For a lamp", brand="Torches"),
    NewProduct("Lampshade", ""),
    NewProduct("Of another brand", "", brand="Lampers"),
    NewProduct("Described otherwise", "For lampers", brand="Torches"),
    NewProduct("Clamp", "", category="Home"),
    NewProduct("Of a third brand", "", brand="Clampers"),
    NewProduct("Described badly", "For clamps", category="Home"),
]


@pytest.mark.parametrize("max_ranked", [1_000, 0], ids=["few matches", "many matches"])
def test_names_come_before_brands_and_categories_and_these_before_descriptions(database, monkeypatch, max_ranked):
    monkeypatch.setattr(listing_sql, "MAX_RANKED", max_ranked)
    monkeypatch.setattr(listing, "page_statement", listing_sql.page_statement.__wrapped__)
    expected = [new.name for new in BY_RELEVANCE]
    add(database, *BY_RELEVANCE[:5])
    add(database, *BY_RELEVANCE[5:])

    whole = find(database, sort="relevance", words=["lamp"])
    first = find(database, 4, sort="relevance", words=["lamp"])
    then = find(database, 4, first.following, sort="relevance", words=["lamp"])
    back = find(database, 4, then.previous, sort="relevance", words=["lamp"])

    assert [*map(set, _pairs(names(whole)))] == [*map(set, _pairs(expected))]
    assert names(first) + names(then) == names(whole)[:8]
    assert names(back) == names(first)


def _pairs(found):
    """The names of each level; the second level has two, whose order is that of their ids."""
    return [found[:1], found[1:3], *([name] for name in found[3:])]


def test_a_product_without_facts_is_as_relevant_as_before(database):
    add(database, NewProduct("Torch", "For a lamp"), NewProduct("Lamp", ""))

    assert names(find(database, sort="relevance", words=["lamp"])) == ["Lamp", "Torch"]


SHOP = [
    NewProduct("A", "", brand="Łampa", category="Food, Beverages > Tea"),
    NewProduct("B", "", brand="LAMPA", category="food,beverages>TEA"),
    NewProduct("C", "", brand="Lampa Plus", category="Food, Beverages"),
    NewProduct("D", ""),
]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"brands": ["lampa"]}, ["A", "B"]),
        ({"brands": ["LAMPA", " łampa  PLUS "]}, ["A", "B", "C"]),
        ({"brands": ["lamp"]}, []),
        ({"brands": ["%"]}, []),
        ({"categories": ["Food, Beverages > tea"]}, ["A", "B"]),
        ({"categories": ["food, beverages"]}, ["C"]),
        ({"brands": ["lampa", "lampa plus"], "categories": ["food, beverages"]}, ["C"]),
        ({"brands": ["lampa"], "in_stock": False, "words": ["tea"]}, ["A", "B"]),
        ({"brands": ["lampa"], "in_stock": True}, []),
    ],
)
@pytest.mark.parametrize("sort", [sort for sort in SORTS if sort != "relevance"])
def test_brands_and_categories_are_compared_whole_without_case_accents_and_white_space(
    database, sort, filters, expected
):
    add(database, *SHOP)
    keys = {name: [filter_key(text) for text in filters[name]] for name in ("brands", "categories") if name in filters}

    page = find(database, sort=sort, **{**filters, **keys})

    assert sorted(names(page)) == expected
    assert page.total == len(expected)


@pytest.mark.parametrize("sort", SORTS)
def test_pages_of_a_brand_have_all_its_products_once_and_its_total(database, sort):
    add(database, *(NewProduct(f"Lamp {number}", "", brand="A" if number % 3 else "B") for number in range(30)))
    query = {"sort": sort, "brands": ["a"], "words": ["lamp"]}

    page = find(database, 7, **query)
    found = names(page)
    while page.following is not None:
        page = find(database, 7, page.following, **query)
        assert page.total == 20
        found += names(page)

    assert sorted(found) == sorted(f"Lamp {number}" for number in range(30) if number % 3)


def test_a_category_that_grows_when_folded_fits_into_its_index(database):
    longest = "ﷺ" * 200

    add(database, NewProduct("Lamp", "", brand="ﷺ" * 100, category=longest))

    assert names(find(database, categories=[filter_key(longest)])) == ["Lamp"]


def test_the_offers_service_is_told_name_and_description_only(database, upstream, run):
    lamp = make_product(database, "Lamp", "Shines")
    change(database, lamp, **LAMP)
    sent: list[bytes] = []
    upstream.answer_with = lambda request: sent.append(request.body)

    assert run("sync").exit_code == 0

    assert json.loads(max(sent, key=len)) == {"id": str(lamp), "name": "Lamp", "description": "Shines"}


def test_products_of_long_ago_can_get_facts(database):
    lamp = make_product(database, "Lamp", "Shines")
    assert rows(database, Product)[0].updated_at == LONG_AGO

    change(database, lamp, **LAMP)

    assert facts(database) == [[*LAMP.values()]]
    assert rows(database, Product)[0].updated_at == NOON
