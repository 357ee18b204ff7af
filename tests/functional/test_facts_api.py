"""A product's GTIN, brand, category and image over HTTP: written, read, removed, filtered."""

from urllib.parse import urlencode

import pytest

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.functional.product_pages import link, names, walk

FACTS = {
    "gtin": "4006381333931",
    "brand": "Łampa",
    "category": "Food, Beverages > Tea",
    "image_url": "https://images.example/lamp.jpg",
}
UNKNOWN = dict.fromkeys(FACTS)
GTIN = "must be a GTIN with a right check digit, and not a number that a shop assigned itself"
URL = "must be an http or https URL without a user name and without white space"


@pytest.fixture
def add(client, admin):
    """Create a product: `add("Lamp", brand="…")`."""

    def add(name, **facts):
        return client.post_json("/products", {"name": name, "description": "", **facts}, headers=admin, status=201).json

    return add


@pytest.fixture
def patch(send, admin):
    """Patch a product, and return the response."""
    return lambda product, body, **headers: send("PATCH", f"/products/{product['id']}", body, {**admin, **headers})


def facts(product):
    return {name: product[name] for name in FACTS}


def test_facts_are_answered_as_they_are_stored(client, add):
    made = add("Lamp", **FACTS)

    assert facts(made) == facts(client.get(f"/products/{made['id']}").json) == FACTS
    assert [facts(product) for product in client.get("/products").json] == [FACTS]


def test_facts_are_stored_in_one_form(add):
    made = add("Lamp", gtin=" 0360-0029-1452 ", brand=" Cafe\u0301 ", category="A\u00a0")

    assert facts(made) == {**UNKNOWN, "gtin": "0036000291452", "brand": "Caf\u00e9", "category": "A"}


@pytest.mark.parametrize("given", [{}, UNKNOWN], ids=["absent", "null"])
def test_what_is_not_given_is_not_known(add, given):
    assert facts(add("Lamp", **given)) == UNKNOWN


@pytest.mark.parametrize("name", FACTS)
def test_a_merge_patch_sets_one_fact_and_null_removes_it(add, patch, name):
    made = add("Lamp")

    assert facts(patch(made, {name: FACTS[name]}).json) == {**UNKNOWN, name: FACTS[name]}
    assert facts(patch(made, {"description": "Other"}).json) == {**UNKNOWN, name: FACTS[name]}
    assert facts(patch(made, {name: None}).json) == UNKNOWN


def test_the_version_and_the_tag_of_a_product_change_with_its_facts(client, add, patch):
    made = add("Lamp")
    before = client.get(f"/products/{made['id']}").headers["ETag"]

    changed = patch(made, {"brand": "Łampa"}, **{"If-Match": before})

    assert changed.status_int == 200
    assert client.get(f"/products/{made['id']}").headers["ETag"] != before
    assert_problem(patch(made, {"brand": None}, **{"If-Match": before}), "stale-version")
    assert [change["kind"] for change in client.get("/changes").json if change["kind"] != "offers"] == [
        "created",
        "changed",
    ]


WRONG = {
    "a wrong check digit": ("gtin", "4006381333932", GTIN),
    "a number of a shop": ("gtin", "2012345678900", GTIN),
    "an empty GTIN": ("gtin", "", GTIN),
    "a GTIN as a number": ("gtin", 4006381333931, "must be a string or null"),
    "an empty brand": ("brand", " ", "must not be empty"),
    "a long brand": ("brand", "x" * 101, "must have at most 100 characters"),
    "a brand of two lines": ("brand", "A\nB", "must not contain control characters"),
    "an invisible character": ("brand", "A\u200bB", "must not contain invisible characters"),
    "a long category": ("category", "x" * 201, "must have at most 200 characters"),
    "a category as a list": ("category", ["A"], "must be a string or null"),
    "a script": ("image_url", "javascript:alert(1)", URL),
    "a password": ("image_url", "https://a:b@images.example/", URL),
    "NUL": ("image_url", "https://images.example/\0", URL),
    "a lone surrogate": ("image_url", "https://images.example/\ud800", None),
    "a long URL": ("image_url", f"https://images.example/{'x' * 1978}", "must have at most 2000 characters"),
}


@only_sqlite
@pytest.mark.parametrize(("name", "value", "reason"), WRONG.values(), ids=WRONG)
def test_a_fact_that_cannot_be_is_refused_with_the_reason(send, admin, add, patch, stored, name, value, reason):
    made = add("Lamp")
    answers = [send("POST", "/products", {"name": "New", "description": "", name: value}, admin)]
    answers.append(patch(made, {name: value}))

    for answer in answers:
        if reason is None:
            assert answer.status_int in (400, 422)
        else:
            assert_problem(answer, "invalid-data", {f"/{name}": reason})
    assert stored() == 1


def test_a_batch_has_facts_too(client, admin):
    items = [{"name": "A", "description": "", **FACTS}, {"name": "B", "description": "", "gtin": "1"}]

    outcome = client.post_json("/products/batch", items, headers=admin, status=207).json

    assert [each["status"] for each in outcome] == [201, 422]
    assert outcome[1]["problem"]["errors"] == [{"pointer": "/1/gtin", "detail": GTIN}]
    assert [facts(product) for product in client.get("/products").json] == [FACTS]


def test_facts_can_be_chosen_as_members(client, add):
    made = add("Lamp", **FACTS)

    found = client.get("/products/partial?fields=brand,gtin").json

    assert found == [{"id": made["id"], "gtin": FACTS["gtin"], "brand": FACTS["brand"]}]


@pytest.fixture
def shop(add):
    add("A", brand="Łampa", category="Food, Beverages > Tea")
    add("B", brand="LAMPA", category="food, beverages>TEA")
    add("C", brand="Kohler, Co.", category="Food, Beverages")
    add("D")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ([("brand", "lampa")], "AB"),
        ([("brand", "lampa"), ("brand", "kohler, co.")], "ABC"),
        ([("brand", "lampa,kohler")], ""),
        ([("category", "Food, Beverages")], "C"),
        ([("category", "food, beverages > tea"), ("brand", "ŁAMPA")], "AB"),
        ([("category", "food, beverages"), ("brand", "lampa")], ""),
        ([("q", "tea"), ("brand", "lampa")], "AB"),
    ],
)
def test_products_are_filtered_by_brand_and_category(client, shop, query, expected):
    answer = client.get(f"/products?{urlencode(query)}")

    assert "".join(product["name"] for product in answer.json) == expected
    assert answer.headers["Total-Count"] == str(len(expected))


def test_links_keep_all_brands(client, shop):
    query = urlencode([("brand", "lampa"), ("limit", "2"), ("brand", "Kohler, Co.")])
    first = client.get(f"/products?{query}")

    assert names([first, *walk(client, link(first))]) == [["A", "B"], ["C"]]


def test_a_cursor_belongs_to_its_brands(client, send, shop):
    cursor = client.get("/products?brand=lampa&limit=1").headers["Next-Cursor"]

    assert_problem(send("GET", f"/products?brand=kohler&limit=1&cursor={cursor}"), "invalid-cursor")


@only_sqlite
@pytest.mark.parametrize("values", [[""], ["x" * 101], ["a%00"], ["a"] * 21, ["a", ""]])
def test_a_brand_that_cannot_be_is_refused(send, values):
    answer = send("GET", f"/products?{'&'.join(f'brand={value}' for value in values)}")

    reason = "must be 1 to 20 texts of 1 to 100 characters, none of which is a control character"
    assert_problem(answer, "invalid-data", {"brand": reason})
