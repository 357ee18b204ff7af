"""GET /products: creation order, a page at a time."""

from datetime import UTC, datetime

from productagg.catalog import products as catalog
from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.functional.product_pages import link, names, walk


def test_an_empty_catalogue_is_an_empty_array(client):
    answer = client.get("/products")

    assert answer.json == []
    assert answer.content_type == "application/json"
    assert answer.headers["Total-Count"] == "0"
    assert link(answer) is None


def test_a_listed_product_is_the_product_without_its_offers(client, create):
    product = create()

    listed = client.get("/products").json

    assert listed == [{key: value for key, value in product.items() if key != "offers"}]


def test_the_catalogue_is_in_creation_order_whatever_is_changed_later(client, admin, create):
    created = [create(name=name) for name in ("B", "C", "A")]
    client.patch_json(f"/products/{created[0]['id']}", {"description": "changed"}, headers=admin)

    assert names([client.get("/products")]) == [["B", "C", "A"]]


def test_following_the_next_links_meets_every_product_once(client, create, subtests):
    for name in "ABCDE":
        create(name=name)

    for limit, pages in {1: "A B C D E", 2: "AB CD E", 4: "ABCD E", 5: "ABCDE", 200: "ABCDE"}.items():
        with subtests.test(limit):
            answers = list(walk(client, f"/products?limit={limit}"))

            assert names(answers) == [list(page) for page in pages.split()]
            assert {answer.headers["Total-Count"] for answer in answers} == {"5"}
            assert {link(answer, "first") for answer in answers} == {f"/products?limit={limit}"}


def test_the_prev_links_lead_back_the_same_way(client, create):
    for name in "ABCDE":
        create(name=name)
    last = list(walk(client, "/products?limit=2"))[-1]

    second = client.get(link(last, "prev"))
    first = client.get(link(second, "prev"))

    assert names([first, second, last]) == [["A", "B"], ["C", "D"], ["E"]]
    assert link(first, "prev") is None
    assert names(walk(client, link(first))) == [["C", "D"], ["E"]]


def test_products_that_come_and_go_between_two_pages_move_no_others(client, admin, create):
    made = {name: create(name=name) for name in "ABCDE"}
    first = client.get("/products?limit=2")
    # The one that the next link stands on, one that was seen, and one that is still to come.
    for name in "BAD":
        client.delete(f"/products/{made[name]['id']}", headers=admin)
    create(name="F")

    rest = list(walk(client, link(first)))

    assert names([first, *rest]) == [["A", "B"], ["C", "E"], ["F"]]
    assert rest[0].headers["Total-Count"] == "3"


def test_a_page_has_50_products_unless_told_otherwise(client, database):
    with database.sessions.begin() as session:
        for number in range(201):
            catalog.create(session, f"Lamp {number}", "", datetime.now(UTC))

    assert len(client.get("/products").json) == 50
    assert len(client.get("/products?limit=200").json) == 200


LIMIT = "must be a whole number from 1 to 200"


@only_sqlite
def test_a_limit_out_of_bounds_is_refused(send, subtests):
    wrong = [
        "0",
        "201",
        "-1",
        "+1",
        "1.0",
        "1e2",
        "",
        "%201",
        "1_0",
        "%D9%A3",
        "x",
        "true",
        "00000000100000",
        "9" * 5000,
    ]
    for limit in wrong:
        with subtests.test(limit[:20]):
            assert_problem(send("GET", f"/products?limit={limit}"), "invalid-data", {"limit": LIMIT})


@only_sqlite
def test_query_parameters_are_taken_as_literally_as_bodies(send, create, subtests):
    product_id = create()["id"]
    for path, errors in (
        ("/products?limit=1&limit=2", {"limit": "is given more than once"}),
        ("/products?after=1", {"after": "is not known"}),
        ("/products?page=2", {"page": "is not known"}),
        ("/products?Limit=2", {"Limit": "is not known"}),
        ("/products?limit=0&sort=x&page=1", {"limit": LIMIT, "sort": None, "page": "is not known"}),
        ("/products/{id}?x", {"x": "is not known"}),
        ("/products/{id}/offers?closed=1", {"closed": "must be 'true' or 'false'"}),
        ("/products/{id}/offers?closed=true&closed=true", {"closed": "is given more than once"}),
        ("/health/live?x=1", {"x": "is not known"}),
        ("/health/ready?x=1", {"x": "is not known"}),
        ("/problems/not-found?x=1", {"x": "is not known"}),
    ):
        with subtests.test(path):
            assert_problem(send("GET", path.format(id=product_id)), "invalid-data", errors)


def test_a_write_takes_no_query_parameters(send, admin, create, stored):
    path = f"/products/{create()['id']}?force=true"

    for answer in (
        send("DELETE", path, None, admin),
        send("PATCH", path, {"name": "Other"}, admin),
        send("POST", "/products?force=true", {"name": "New", "description": ""}, admin),
        send("POST", "/login?force=true", {"username": "admin", "password": "x"}),
    ):
        assert_problem(answer, "invalid-data", {"force": "is not known"})
    assert (stored("Lamp"), stored()) == (1, 1)


def test_a_query_that_is_not_utf_8_is_malformed(send):
    assert_problem(send("GET", "/products?q=%ff"), "malformed-request")
