"""Searching, filtering, sorting and paging; a walk through the pages meets everybody once, whatever happens."""

import json
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from productagg.catalog import listing, listing_sql, products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.product_members import MEMBERS
from productagg.catalog.product_query import SORTS, ProductQuery
from productagg.catalog.search_text import search_words
from productagg.db.models import ProductSummary
from productagg.offers.reconcile import Observation
from tests.factories import make_product, offer_state
from tests.integration.conftest import before_statement
from tests.integration.history_writer import examples
from tests.integration.offer_history import write_down

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LARGEST = 2**63 - 1


class Shelf:
    """Products by name, and what a test does to them, a minute after the other."""

    def __init__(self, database):
        self.database = database
        self.now = NOON

    def write(self, write, *arguments, **values):
        self.now += MINUTE
        with self.database.sessions.begin() as session:
            return write(session, *arguments, now=self.now, **values)

    def add(self, *names, description="", **facts):
        return self.write(create_many, [NewProduct(name, description, **facts) for name in names])

    def change(self, product_id, **values):
        self.write(products.change, product_id, **values)

    def remove(self, product_id):
        self.write(products.remove, product_id)

    def offer(self, product_id, *offers):
        """Let a list of offers, as pairs of price and stock, be what the sync observed."""
        self.offer_all({product_id: offers})

    def offer_all(self, offers):
        """Such lists of several products, one after the other."""
        observations = []
        for product_id, states in offers.items():
            self.now += MINUTE
            observed = {uuid4(): offer_state(*state) for state in states}
            observations.append(Observation(product_id, observed, self.now, first=False))
        with self.database.sessions.begin() as session:
            write_down(session, *observations)

    def find(self, limit=200, cursor=None, **query):
        with self.database.reader.connect() as connection:
            found = listing.page(connection, ProductQuery(**query), limit, cursor)
        products: Any = [json.loads(product) for product in found.products]
        return replace(found, products=products)

    def names(self, **query):
        return [product["name"] for product in self.find(fields=("name",), **query).products]

    def walk(self, limit, **query):
        """All pages from the first to the last one, and those from there back to the first."""
        there: list[Any] = [self.find(limit, **query)]
        while there[-1].following is not None:
            there.append(self.find(limit, there[-1].following, **query))
        back: list[Any] = []
        cursor = there[-1].previous
        while cursor is not None:
            back.append(self.find(limit, cursor, **query))
            cursor = back[-1].previous
        return there, back

    def total(self, *, exact=False, **query):
        with self.database.reader.connect() as connection:
            return listing.total(connection, ProductQuery(**query), exact=exact)


@pytest.fixture
def shelf(database):
    return Shelf(database)


@cache
def statements(count):
    """The pages' statements where so many products are few: kept for all tests, as the application keeps its own."""
    return lru_cache(listing_sql.page_statement.__wrapped__)


@contextmanager
def few(count):
    """By relevance, more products than that are many."""
    with patch.object(listing_sql, "MAX_RANKED", count), patch.object(listing, "page_statement", statements(count)):
        yield


@pytest.fixture(params=[0, 3, 1000])
def some_are_few(request):
    with few(request.param):
        yield


@pytest.fixture
def sorted_shelf(shelf):
    """Products whose order is another one under each sort; two have no price, and two share one."""
    ids = shelf.add("Čaj", "apple", "Zebra", "Banana", "éclair")
    offers = [[(5, 9)], [(2, 3), (1, 0), (9, 1)], [], [(5, 0)], [(2, LARGEST)]]
    shelf.offer_all(dict(zip(ids, offers, strict=True)))
    shelf.change(ids[2], description="Striped")
    return shelf


def test_a_product_says_what_people_browse_by(shelf):
    product_id, _ = shelf.add("Lamp", "Kettle")
    shelf.offer(product_id, (300, 2), (200, 5), (100, 0))
    with shelf.database.writer.begin() as connection:
        connection.execute(update(ProductSummary).where(ProductSummary.product_id == product_id).values(lowest_24h=300))

    lamp, kettle = shelf.find().products

    assert tuple(lamp) == MEMBERS
    summary = ("lowest_price", "offer_count", "items_in_stock", "change_24h", "change_24h_percent")
    assert [lamp[name] for name in summary] == [200, 2, 7, -100, -33.33]
    assert [kettle[name] for name in summary] == [None, 0, 0, None, None]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [(None, 5, (None, None)), (5, None, (None, None)), (0, 5, (5, None)), (5, 0, (-5, -100.0)), (7, 7, (0, 0.0))],
)
def test_a_change_needs_both_prices_and_a_percentage_something_to_compare_with(shelf, before, now, expected):
    make_product(shelf.database)
    with shelf.database.writer.begin() as connection:
        connection.execute(update(ProductSummary).values(lowest=now, lowest_24h=before))

    (product,) = shelf.find(fields=("change_24h", "change_24h_percent")).products

    assert tuple(product.values()) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("created_at", ["Čaj", "apple", "Zebra", "Banana", "éclair"]),
        ("name", ["apple", "Banana", "Čaj", "éclair", "Zebra"]),
        ("updated_at", ["Čaj", "apple", "Banana", "éclair", "Zebra"]),
        ("items_in_stock", ["Zebra", "Banana", "apple", "Čaj", "éclair"]),
        ("-items_in_stock", ["éclair", "Čaj", "apple", "Banana", "Zebra"]),
        ("lowest_price", ["apple", "éclair", "Čaj", "Zebra", "Banana"]),
        ("-lowest_price", ["Čaj", "éclair", "apple", "Banana", "Zebra"]),
        ("-name", ["Zebra", "éclair", "Čaj", "Banana", "apple"]),
        ("-created_at", ["éclair", "Banana", "Zebra", "apple", "Čaj"]),
        ("-updated_at", ["Zebra", "éclair", "Banana", "apple", "Čaj"]),
    ],
)
def test_pages_lead_through_all_products_in_order_and_back(sorted_shelf, sort, expected):
    for limit in (1, 2, 3, 5, 6):
        pages, back = sorted_shelf.walk(limit, sort=sort, fields=("name",))

        assert [product["name"] for page in pages for product in page.products] == expected
        assert all(len(page.products) == limit for page in pages[:-1])
        assert [page.products for page in reversed(back)] == [page.products for page in pages[:-1]]


def test_the_dearest_price_there_can_be_comes_before_none_and_free_is_a_price(shelf):
    free, dearest, _, dear = shelf.add("free", "dearest", "none", "dear")
    shelf.offer(free, (0, 1))
    shelf.offer(dearest, (LARGEST, 1))
    shelf.offer(dear, (LARGEST - 1, 1))

    assert shelf.names(sort="lowest_price") == ["free", "dear", "dearest", "none"]
    assert shelf.names(sort="-lowest_price") == ["dearest", "dear", "free", "none"]


@pytest.mark.parametrize("sort", ["created_at", "lowest_price"])
def test_filters_narrow_down_and_all_of_them_must_be_met(sorted_shelf, sort):
    expected: list[tuple[dict[str, Any], set[str]]] = [
        ({"min_price": 2}, {"Čaj", "apple", "éclair"}),
        ({"min_price": 3}, {"Čaj"}),
        ({"max_price": 4}, {"apple", "éclair"}),
        ({"min_price": 0, "max_price": LARGEST}, {"Čaj", "apple", "éclair"}),
        ({"min_price": 2, "max_price": 2}, {"apple", "éclair"}),
        ({"in_stock": True}, {"Čaj", "apple", "éclair"}),
        ({"in_stock": False}, {"Zebra", "Banana"}),
        ({"in_stock": False, "max_price": 5}, set()),
        ({"registration": "pending"}, {"Čaj", "apple", "Zebra", "Banana", "éclair"}),
        ({"registration": "failed"}, set()),
        ({"words": ["striped"]}, {"Zebra"}),
        ({"words": ["a"], "in_stock": True}, {"Čaj", "apple", "éclair"}),
    ]

    found = [(query, sorted_shelf.names(sort=sort, **query)) for query, _ in expected]

    assert [(query, sorted(names)) for query, names in found] == [(query, sorted(names)) for query, names in expected]
    counts = [(query, len(names)) for query, names in expected]
    assert [(query, sorted_shelf.total(**query)) for query, _ in expected] == counts
    assert [(query, sorted_shelf.total(exact=True, **query)) for query, _ in expected] == counts


def test_what_changed_at_that_very_time_has_changed_since(shelf):
    before, at, _ = (shelf.add(name) for name in ("before", "at", "after"))
    (found,) = shelf.find(ids=at).products
    shelf.offer(before[0], (1, 1))

    assert shelf.names(updated_since=datetime.fromisoformat(found["updated_at"])) == ["at", "after"]
    assert shelf.names(updated_since=datetime.fromisoformat(found["updated_at"]) + MINUTE) == ["after"]


def test_of_ids_those_are_found_that_there_are(shelf):
    first, _, third = shelf.add("first", "second", "third")

    assert shelf.names(ids=[third, uuid4(), first, first]) == ["first", "third"]
    assert shelf.names(ids=[uuid4()]) == []


def test_every_word_must_occur_and_case_accents_and_wildcards_mean_nothing(shelf):
    shelf.add("Brass lamp", "Lámpa", "lamp 100%", "1000", "0% fat", "snake_case", "and/or", "back\\slash", "Straße")
    shelf.add("find", "한국어", "Čaj", "ŁÓDŹ", "Лампа", "電灯")
    shelf.add("Words", description="Both\nof them")
    expected: dict[str, set[str]] = {
        "LAMP": {"Brass lamp", "Lámpa", "lamp 100%"},
        "lampa": {"Lámpa"},
        "amp rass": {"Brass lamp"},
        "100%": {"lamp 100%"},
        "0%": {"lamp 100%", "0% fat"},
        "_": {"snake_case"},
        "/": {"and/or"},
        "\\": {"back\\slash"},
        "strasse": {"Straße"},
        "STRAẞE": {"Straße"},
        "ﬁnd": {"find"},
        "한": {"한국어"},
        "lodz": {"ŁÓDŹ"},
        "Łodz": {"ŁÓDŹ"},
        "лампа": {"Лампа"},
        "灯": {"電灯"},
        "d/o": {"and/or"},
        "e_c": {"snake_case"},
        "caj": {"Čaj"},
        "čÁJ": {"Čaj"},
        "both words": {"Words"},
        "brassshines": set(),
        "'; DROP TABLE products; --": set(),
    }

    assert {query: set(shelf.names(words=search_words(query))) for query in expected} == expected


# From the most to the least relevant for "lamp", with the descriptions.
LAMPS = {
    "Desk lamp": "",
    "LÁMP-shade": "Without one",
    "Shade": "For a desk lamp.",
    "Lampshade": "",
    "Lamps": "Two",
    "Bulb": "For lamps",
    "Clamp": "",
    "Vise": "Clamps",
}


@pytest.fixture
def lamps(shelf, some_are_few):
    """The least relevant one is the oldest, but of equals the better one in LAMPS is."""
    new = [NewProduct(name, text) for name, text in LAMPS.items()]
    for first, last in ((7, 8), (6, 7), (5, 6), (3, 5), (2, 3), (0, 2)):
        shelf.write(create_many, new[first:last])
    shelf.add("Kettle")
    return shelf


def test_whole_words_come_first_then_beginnings_then_other_parts_and_names_before_descriptions(lamps):
    for limit in (1, 2, 3, 8, 9):
        there, back = lamps.walk(limit, sort="relevance", words=["lamp"], fields=("name",))

        assert [product["name"] for page in there for product in page.products] == list(LAMPS)
        assert [page.products for page in reversed(back)] == [page.products for page in there[:-1]]


def test_a_product_is_as_relevant_as_the_word_that_it_meets_worst(lamps):
    expected = {
        "lamp desk": ["Desk lamp", "Shade"],
        "desk l": ["Desk lamp", "Shade"],
        "la for": ["Bulb", "Shade"],  # both are as relevant, Bulb is older
        "sh la": ["LÁMP-shade", "Shade", "Lampshade"],
        "-": ["LÁMP-shade"],
        "p-s": ["LÁMP-shade"],
    }

    assert {query: lamps.names(sort="relevance", words=search_words(query)) for query in expected} == expected


@pytest.mark.parametrize("some_are_few", [0, 1000], indirect=True)
def test_as_many_words_as_there_can_be_are_met_at_once(shelf, some_are_few):
    words = "abcdefghij"
    worse, better = f"{' '.join(words[:-1])} xj", " ".join(words)
    shelf.add(worse, better)
    query = {"sort": "relevance", "words": list(words), "fields": ("name",)}

    first = shelf.find(1, **query)
    second = shelf.find(1, first.following, **query)

    assert [product["name"] for product in shelf.find(2, **query).products] == [better, worse]
    assert first.following is not None and first.following.key == 0
    assert [product["name"] for product in second.products] == [worse]


def test_by_relevance_all_other_filters_are_met_too(lamps):
    (first,) = lamps.find(1, sort="relevance", words=["lamp"], fields=("id",)).products
    lamps.offer(UUID(first["id"]), (5, 1))

    assert lamps.names(sort="relevance", words=["lamp"], in_stock=True) == ["Desk lamp"]
    assert lamps.names(sort="relevance", words=["lamp"], in_stock=False) == list(LAMPS)[1:]


@pytest.mark.parametrize("word", ["%", "_", "/", "100%", "a_c", "a/c"])
def test_no_character_of_a_word_means_anything_by_relevance(shelf, some_are_few, word):
    shelf.add("abc", "1000", word, f"x{word}x")

    assert shelf.names(sort="relevance", words=search_words(word)) == [word, f"x{word}x"]


def test_what_a_product_is_found_and_sorted_by_follows_its_changes(shelf):
    lamp, _ = shelf.add("Lamp", "Kettle")

    shelf.change(lamp, name="Žárovka", description="Glows")

    assert shelf.names(words=["lamp"]) == []
    assert shelf.names(words=["glows", "zarovka"]) == ["Žárovka"]
    assert shelf.names(sort="name") == ["Kettle", "Žárovka"]


def test_counting_stops_where_it_would_take_long_unless_it_must_not(shelf, monkeypatch):
    monkeypatch.setattr(listing, "COUNT_LIMIT", 3)
    shelf.add("A", "B", "C")

    assert (shelf.total(), shelf.total(exact=True)) == (3, 3)
    shelf.add("D")
    assert (shelf.total(), shelf.total(exact=True)) == (None, 4)
    assert shelf.total(words=["a"]) == 1


@pytest.mark.parametrize("sort", SORTS)
def test_a_page_is_as_many_statements_however_many_products_it_has(shelf, sort):
    shelf.add(*(f"{number:02}" for number in range(12)))
    statements: list[str] = []

    with before_statement(shelf.database.reader, "", statements.append):
        cursor = shelf.find(1, sort=sort, fields=("id",)).following
        assert len(shelf.find(10, cursor, sort=sort, fields=("id",)).products) == 10

    # Later pages by what edits change begin with counting those.
    assert len(statements) == (3 if sort.removeprefix("-") in ("name", "updated_at", "relevance") else 2)


@pytest.mark.parametrize("back", [False, True])
def test_where_everything_ahead_is_gone_the_way_back_leads_to_where_one_was(shelf, back):
    ids = shelf.add("A", "B", "C")
    page = shelf.find(1)
    if back:
        page = shelf.find(1, page.following)
    gone = ids[:1] if back else ids[1:]
    cursor = page.previous if back else page.following
    for product_id in gone:
        shelf.remove(product_id)

    empty = shelf.find(1, cursor)
    again = shelf.find(1, empty.following if back else empty.previous)

    assert empty.products == []
    assert again.products == page.products


# Names that share what they are sorted by, and all ways to meet the word "a"; prices that meet, and none.
NAMES = [f"{text}{number}" for number in range(3) for text in ("a", "A", "á", "a ", "ba")]
DESCRIPTIONS = ["", "a", "an", "ban", "b", "b a"]
BRANDS = [None, "a", "A", "ba"]
OFFERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=2)


class Walk:
    """What a client sees that goes from page to page while a catalogue changes, and what it should see."""

    def __init__(self, shelf, query):
        self._shelf = shelf
        self._query = {**query, "fields": ("id",)}
        # Those that were there, and as they should, at the first page and ever since.
        self._always = self._matching()
        self._first_order = [product["id"] for product in shelf.find(**self._query).products]
        self._pages: list[tuple[bool, list[UUID], listing.ProductPage]] = []

    def _matching(self):
        return {product["id"] for product in self._shelf.find(**{**self._query, "sort": "created_at"}).products}

    def read(self, limit, cursor=None):
        page = self._shelf.find(limit, cursor, **self._query)
        self._pages.append((cursor is not None and cursor.backward, [product["id"] for product in page.products], page))
        return page

    def changed(self):
        self._always &= self._matching()

    def check(self):
        """Each page begins where the one before ended, or ends where it began, of those that were there always."""
        order = [id_ for id_ in self._first_order if id_ in self._always]
        begin = end = 0
        for number, (back, ids, page) in enumerate(self._pages):
            assert len(set(ids)) == len(ids)
            seen = [id_ for id_ in ids if id_ in self._always]
            begin, end = (begin - len(seen), begin) if back else (end, end + len(seen))
            assert seen == order[max(begin, 0) : end]
            assert page.following is not None or end == len(order)
            assert page.previous is not None or begin == 0
            assert number > 0 or page.previous is None


def _happen(shelf, present, data):
    """Something happens to the catalogue."""
    what = data.draw(st.sampled_from(["create", "rename", "describe", "rebrand", "delete", "offers", "offers"]), "what")
    if what == "create":
        present += [id_ for id_ in shelf.add(data.draw(st.sampled_from(NAMES))) if id_ is not None]
    if not present:
        return
    which = data.draw(st.sampled_from(present), "of")
    if what == "rename":
        with suppress(products.DuplicateName):
            shelf.change(which, name=data.draw(st.sampled_from(NAMES)))
    elif what == "describe":
        shelf.change(which, description=data.draw(st.sampled_from(DESCRIPTIONS)))
    elif what == "rebrand":
        shelf.change(which, brand=data.draw(st.sampled_from(BRANDS)))
    elif what == "offers":
        shelf.offer(which, *data.draw(OFFERS))
    elif what == "delete":
        shelf.remove(which)
        present.remove(which)


FILTERS: list[dict[str, Any]] = [{}, {}, {"in_stock": True}, {"max_price": 2}, {"words": ["a"]}, {"brands": ["a"]}]
WORDS: list[dict[str, Any]] = [
    {"words": ["a"]},
    {"words": ["a"]},
    {"words": ["a", "b"]},
    {"words": ["a"], "max_price": 2},
]


@pytest.mark.parametrize(("sort", "count"), [*((sort, listing_sql.MAX_RANKED) for sort in SORTS), ("relevance", 2)])
@examples(8)
@given(data=st.data())
def test_no_product_is_skipped_or_repeated_whatever_happens_between_two_pages(database, sort, count, data):
    with few(count):
        _walk_while_things_happen(database, sort, data)


def _walk_while_things_happen(database, sort, data):
    database.empty()
    shelf = Shelf(database)
    names = data.draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=4, max_size=9), "names")
    present = list(shelf.add(*names, brand=data.draw(st.sampled_from(BRANDS), "brand")))
    shelf.offer_all({product_id: data.draw(OFFERS) for product_id in present})
    filters = data.draw(st.sampled_from(FILTERS if sort != "relevance" else WORDS), "filters")
    walk = Walk(shelf, {"sort": sort, **filters})

    page = walk.read(data.draw(st.integers(1, 3), "limit"))
    for _ in range(data.draw(st.integers(3, 9), "steps")):
        for _ in range(data.draw(st.integers(0, 3), "events")):
            _happen(shelf, present, data)
            walk.changed()
        cursors = [cursor for cursor in (page.following, page.following, page.previous) if cursor is not None]
        if not cursors:
            break
        page = walk.read(data.draw(st.integers(1, 3), "limit"), data.draw(st.sampled_from(cursors), "to"))

    walk.check()
