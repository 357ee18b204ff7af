"""GET /products for those who browse: parameters, links and their cursors, counts, members of one's choice."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import time_machine

from productagg.api.core.fields import MAX_LIMIT
from productagg.catalog import listing
from productagg.catalog.product_members import MEMBERS
from productagg.catalog.product_query import SORTS
from tests.databases import only_sqlite
from tests.factories import make_products, states
from tests.functional.problems import assert_problem
from tests.functional.product_pages import link, names, walk

LARGEST = 2**63 - 1


@pytest.fixture
def shop(client, create, upstream, sync):
    """A lamp for 200, a kettle for 100, and a chair that nobody offers."""
    products = {}
    for name, offers in (("Lamp", [(200, 5), (300, 1)]), ("Kettle", [(100, 2)]), ("Čaj", [])):
        products[name] = create(name=name, description=f"A {name}")["id"]
        upstream.offer(UUID(products[name]), states(*offers))
        sync(products[name])
    return products


def found(client, query):
    return {product["name"] for product in client.get(f"/products?{query}").json}


def test_a_product_says_the_same_in_the_list_as_by_itself(client, shop):
    for listed in client.get("/products").json:
        product = client.get(f"/products/{listed['id']}").json
        del product["offers"]
        assert listed == product


def test_a_listed_product_has_the_summary_that_people_browse_by(client, shop):
    lamp, _, chair = client.get("/products").json

    summary = ("lowest_price", "offer_count", "items_in_stock", "change_24h", "change_24h_percent")
    assert [lamp[name] for name in summary] == [200, 2, 6, None, None]
    assert [chair[name] for name in summary] == [None, 0, 0, None, None]


FILTERS = {
    "q=caj": {"Čaj"},
    "q=a%20LAMP": {"Lamp"},
    "q=A+%C4%8CAJ": {"Čaj"},
    "min_price=100&max_price=199": {"Kettle"},
    "min_price=200": {"Lamp"},
    f"max_price={LARGEST}": {"Lamp", "Kettle"},
    "in_stock=true": {"Lamp", "Kettle"},
    "in_stock=false": {"Čaj"},
    "registration=registered": {"Lamp", "Kettle", "Čaj"},
    "registration=failed": set(),
    "updated_since=2026-01-01T00:00:00Z": {"Lamp", "Kettle", "Čaj"},
    "updated_since=2100-01-01T00:00:00%2B02:00": set(),
    "q=a&in_stock=true&min_price=150": {"Lamp"},
}


def test_filters(client, shop, subtests):
    for query, expected in FILTERS.items():
        with subtests.test(query):
            assert found(client, query) == expected


def test_ids_are_looked_up_and_unknown_ones_are_simply_not_there(client, shop):
    assert found(client, f"ids={shop['Lamp']},{uuid4()},{shop['Kettle'].upper()}") == {"Lamp", "Kettle"}
    assert found(client, f"ids={','.join(str(uuid4()) for _ in range(200))}") == set()


def test_each_sort_leads_through_all_of_them(client, shop, subtests):
    for sort in SORTS:
        with subtests.test(sort):
            answers = list(walk(client, f"/products?q=a&sort={sort}&limit=2"))

            assert [len(answer.json) for answer in answers] == [2, 1]
            assert {product["name"] for answer in answers for product in answer.json} == set(shop)


def test_the_cheapest_come_first_and_those_without_a_price_last(client, shop):
    assert names(walk(client, "/products?sort=lowest_price")) == [["Kettle", "Lamp", "Čaj"]]
    assert names(walk(client, "/products?sort=-lowest_price")) == [["Lamp", "Kettle", "Čaj"]]


def test_what_is_searched_for_comes_by_relevance_unless_another_sort_is_wanted(client, create):
    for name in ("Clamp", "Lampshade", "Desk lamp"):
        create(name=name)

    by_relevance = [["Desk lamp"], ["Lampshade"], ["Clamp"]]
    assert names(walk(client, "/products?q=LAMP&limit=1")) == by_relevance
    assert names(walk(client, "/products?q=LAMP&limit=1&sort=relevance")) == by_relevance
    assert names([client.get("/products?q=lamp&sort=created_at")]) == [["Clamp", "Lampshade", "Desk lamp"]]
    assert names([client.get("/products?q=lamp&sort=-name")]) == [["Lampshade", "Desk lamp", "Clamp"]]
    assert names([client.get("/products")]) == [["Clamp", "Lampshade", "Desk lamp"]]


def test_a_letter_with_a_stroke_is_found_by_its_base_letter_and_the_other_way_round(client, create):
    for name in ("ŁÓDŹ", "Lodz", "Лампа"):
        create(name=name)

    assert found(client, "q=lodz") == found(client, "q=%C5%81%C3%93D%C5%B9") == {"ŁÓDŹ", "Lodz"}
    assert found(client, "q=%D0%BB%D0%B0%D0%BC%D0%BF%D0%B0") == {"Лампа"}
    assert found(client, "q=lampa") == set()


def test_a_product_that_is_renamed_meanwhile_is_neither_repeated_nor_hidden_by_relevance(client, admin, create):
    ids = {name: create(name=name)["id"] for name in ("Clamp", "Lampshade", "Desk lamp")}
    first = client.get("/products?q=lamp&limit=1")
    client.patch_json(f"/products/{ids['Clamp']}", {"name": "Best lamp"}, headers=admin)
    client.patch_json(f"/products/{ids['Desk lamp']}", {"name": "Worst clamp"}, headers=admin)

    rest = list(walk(client, link(first)))

    assert names([first, *rest]) == [["Desk lamp"], ["Lampshade"], ["Best lamp"]]
    assert names([client.get(link(rest[0], "prev"))]) == [["Worst clamp"]]


def test_a_price_that_falls_meanwhile_neither_repeats_nor_hides_a_product(client, shop, upstream, sync):
    first = client.get("/products?sort=lowest_price&limit=1")
    upstream.offer(UUID(shop["Lamp"]), states((50, 1)))
    sync(shop["Lamp"])
    upstream.offer(UUID(shop["Kettle"]), states((500, 1)))
    sync(shop["Kettle"])

    rest = list(walk(client, link(first)))

    assert names([first, *rest]) == [["Kettle"], ["Lamp"], ["Čaj"]]
    assert rest[0].json[0]["lowest_price"] == 50
    assert names([client.get(link(rest[0], "prev")), client.get(link(first, "first"))]) == [["Kettle"], ["Lamp"]]


CHOSEN = {
    "name": {"id", "name"},
    "lowest_price,name,name": {"id", "name", "currency", "lowest_price"},
    "id": {"id"},
    "change_24h": {"id", "currency", "change_24h"},
    ",".join(MEMBERS): set(MEMBERS),
}


def test_members_are_picked_and_the_id_is_always_there_and_the_currency_of_a_price(client, shop, subtests):
    whole = client.get("/products").json
    for fields, members in CHOSEN.items():
        with subtests.test(fields):
            picked = client.get(f"/products/partial?fields={fields}").json

            assert picked == [{name: value for name, value in product.items() if name in members} for product in whole]


@only_sqlite
def test_an_array_may_be_sent_as_several_parameters(client, shop):
    """As many generated clients do, whatever the contract says."""
    lamp, kettle = shop["Lamp"], shop["Kettle"]
    for ids in (f"ids={lamp},{kettle}", f"ids={lamp}&ids={kettle}", f"ids={lamp}&limit=50&ids={kettle},{lamp}"):
        assert found(client, ids) == {"Lamp", "Kettle"}
    expected = client.get("/products/partial?fields=name,lowest_price").json
    assert client.get("/products/partial?fields=name&fields=lowest_price").json == expected


@only_sqlite
def test_a_cursor_goes_with_another_spelling_of_the_same_array(client, shop):
    first = client.get(f"/products?limit=1&ids={shop['Lamp']},{shop['Kettle']}")

    second = client.get(
        f"/products?limit=1&ids={shop['Lamp']}&ids={shop['Kettle']}&cursor={first.headers['Next-Cursor']}"
    )

    assert names([first, second]) == [["Lamp"], ["Kettle"]]


@only_sqlite
def test_chosen_members_have_pages_of_their_own(client, send, shop):
    whole = client.get("/products?limit=1").headers["Next-Cursor"]
    chosen = client.get("/products/partial?fields=name&limit=1").headers["Next-Cursor"]

    assert client.get(f"/products/partial?fields=name&limit=1&cursor={chosen}").json[0].keys() == {"id", "name"}
    for question in (f"?limit=1&cursor={chosen}", f"/partial?fields=name&limit=1&cursor={whole}"):
        assert_problem(send("GET", f"/products{question}"), "invalid-cursor")


@only_sqlite
@pytest.mark.parametrize("fields", ["", "name,", "name,offers", "search_text", "name&fields="])
def test_members_that_there_are_not_are_refused(send, fields):
    assert_problem(send("GET", f"/products/partial?fields={fields}"), "invalid-data", {"fields": FIELDS})


@only_sqlite
def test_without_members_to_choose_there_is_nothing_to_answer(send):
    assert_problem(send("GET", "/products/partial"), "invalid-data", {"fields": "is required"})


@only_sqlite
def test_links_repeat_the_question_as_it_was_asked(client, shop):
    question = "q=a&sort=-name&limit=1&fields=name&in_stock=true&total=true"
    answer = client.get(f"/products/partial?{question}")

    assert link(answer, "first") == f"/products/partial?{question}"
    assert re.fullmatch(re.escape(f"/products/partial?{question}&cursor=") + r"[\w.-]+", link(answer))
    second = client.get(link(answer))
    assert [product["name"] for product in second.json] == ["Kettle"]
    assert second.headers["Total-Count"] == "2"
    assert link(second, "first") == f"/products/partial?{question}"


@only_sqlite
def test_a_cursor_goes_with_its_question_only(client, send, shop):
    following = link(client.get("/products?limit=1&q=a"))
    cursor = following.partition("cursor=")[2]

    assert client.get(f"/products?q=A&cursor={cursor}&limit=1").json  # which means the same
    for other in ("limit=2&q=a", "q=a", "limit=1", "limit=1&q=a&sort=name", "limit=1&q=b"):
        answer = send("GET", f"/products?{other}&cursor={cursor}")
        assert_problem(answer, "invalid-cursor")
        assert "other parameters" in answer.json["detail"]


WRONG_BESIDE_A_CURSOR = {
    "limit=1&cursor={0}&cursor={0}": {"cursor": "is given more than once"},
    "cursor={0}&limit=1&cursor={0}": {"cursor": "is given more than once"},
    "c%75rsor={0}&limit=1&cursor={0}": {"cursor": "is given more than once"},
    "limit=1&limit=1&cursor={0}": {"limit": "is given more than once"},
    "limit=0&cursor={0}": {"limit": "must be a whole number from 1 to 200"},
    "limit=1&limits=1&cursor={0}": {"limits": "is not known"},
}


@only_sqlite
def test_what_is_wrong_before_a_cursor_is_told_as_without_one(client, send, shop, subtests):
    cursor = link(client.get("/products?limit=1")).partition("cursor=")[2]
    for question, errors in WRONG_BESIDE_A_CURSOR.items():
        with subtests.test(question):
            assert_problem(send("GET", f"/products?{question.format(cursor)}"), "invalid-data", errors)


@only_sqlite
def test_a_cursor_that_is_none_is_refused(client, send, shop, make_client, subtests):
    cursor = link(client.get("/products?limit=1")).partition("cursor=")[2]
    stranger = make_client(None, **{"jwt.secret": "another secret, just as long as the others"})
    for wrong in (
        "",
        "x",
        ".",
        f"{cursor}x",
        f"{cursor[:-1]}",
        cursor.swapcase(),
        f"A{cursor[1:]}",
        cursor.split(".")[0],
        "%00",
        "%F0%9F%92%A1",
        "x" * 5000,
        shop["Lamp"],
        link(stranger.get("/products?limit=1")).partition("cursor=")[2],
    ):
        with subtests.test(wrong[:40]):
            assert_problem(send("GET", f"/products?limit=1&cursor={wrong}"), "invalid-cursor")


@only_sqlite
def test_a_token_of_the_login_is_no_cursor(client, send, admin):
    token = admin["Authorization"].removeprefix("Bearer ")

    assert_problem(send("GET", f"/products?cursor={token}"), "invalid-cursor")


@only_sqlite
def test_cursors_are_good_until_a_day_after_the_first_page(client, send, shop):
    following = link(client.get("/products?limit=1"))

    with time_machine.travel(datetime.now(UTC) + timedelta(hours=23, minutes=59)):
        second = client.get(following)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=24, minutes=1)):
        answers = [send("GET", path) for path in (following, link(second), link(second, "prev"))]

    for answer in answers:
        assert_problem(answer, "invalid-cursor")
        assert "more than a day old" in answer.json["detail"]


@only_sqlite
def test_a_cursor_of_a_machine_whose_clock_is_ahead_is_good(client, shop):
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=5)):
        following = link(client.get("/products?limit=1"))

    assert len(client.get(following).json) == 1


def test_a_cursor_by_price_is_of_no_use_once_too_many_prices_have_changed(
    client, send, shop, sync, upstream, monkeypatch
):
    cheapest, oldest = (link(client.get(f"/products?limit=1&sort={sort}")) for sort in ("lowest_price", "created_at"))
    monkeypatch.setattr(listing, "MAX_CHANGES", 1)
    for price in (1, 2):
        assert client.get(cheapest).json
        upstream.offer(UUID(shop["Lamp"]), states((price, 1)))
        sync(shop["Lamp"])

    answer = send("GET", cheapest)

    assert_problem(answer, "invalid-cursor")
    assert "Too much has changed" in answer.json["detail"]
    assert client.get(oldest).json


@pytest.mark.parametrize("sort", ["name", "-updated_at"])
def test_a_cursor_by_what_edits_change_is_of_no_use_once_too_many_were_made(
    client, admin, send, shop, sort, monkeypatch
):
    by_edits, oldest = (link(client.get(f"/products?limit=1&sort={each}")) for each in (sort, "created_at"))
    monkeypatch.setattr(listing, "MAX_EDITS", 1)
    for description in ("one", "two"):
        assert client.get(by_edits).json
        client.patch_json(f"/products/{shop['Lamp']}", {"description": description}, headers=admin)

    assert_problem(send("GET", by_edits), "invalid-cursor")
    assert client.get(oldest).json


def test_a_page_with_a_next_one_can_be_revalidated_later(client, send, shop):
    answer = client.get("/products?limit=1")
    assert link(answer)

    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=90)):
        again = send("GET", "/products?limit=1", None, {"If-None-Match": answer.headers["ETag"]})

    assert again.status_int == 304
    assert link(again) != link(answer)


def test_the_longest_name_there_can_be_fits_into_a_cursor(client, create):
    # Each of these becomes 18 characters when it is folded.
    for number in range(2):
        create(name="ﷺ" * 199 + str(number))

    answers = list(walk(client, "/products?sort=name&limit=1"))

    assert [len(answer.json) for answer in answers] == [1, 1]
    assert len(link(answers[0])) < 2000


def test_a_count_is_there_while_it_is_cheap_or_whenever_it_is_asked_for(client, database, monkeypatch):
    monkeypatch.setattr(listing, "COUNT_LIMIT", 2)
    make_products(database, 3)

    counts = {
        query: client.get(f"/products?limit=1{query}").headers.get("Total-Count")
        for query in ("", "&total=true", "&total=false", "&q=kettle", "&q=2", "&q=2&total=false")
    }

    assert counts == {
        "": None,
        "&total=true": "3",
        "&total=false": None,
        "&q=kettle": None,
        "&q=2": "1",
        "&q=2&total=false": None,
    }


def test_a_page_can_be_kept_for_an_interval_and_revalidated(client, shop):
    answer = client.get("/products")

    again = client.get("/products", headers={"If-None-Match": answer.headers["ETag"]}, status=304)

    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert again.headers["Total-Count"] == "3"
    assert again.headers["Link"]


WHOLE = f"must be a whole number from 0 to {LARGEST}"
Q = "must be 1 to 10 words in at most 200 characters, none of which is a control character"
FIELDS = f"must be some of {', '.join(MEMBERS)}, comma separated"
IDS = f"must be 1 to {MAX_LIMIT} UUIDs, comma separated"


def test_what_makes_no_sense_is_refused_with_what_is_allowed(send, subtests):
    for query, errors in (
        ("min_price=-1", {"min_price": WHOLE}),
        (f"max_price={LARGEST + 1}", {"max_price": WHOLE}),
        ("max_price=1.5", {"max_price": WHOLE}),
        ("min_price=3&max_price=2", {"max_price": "must not be below 'min_price'"}),
        ("in_stock=yes", {"in_stock": "must be 'true' or 'false'"}),
        ("total=1", {"total": "must be 'true' or 'false'"}),
        ("registration=done", {"registration": "must be 'pending', 'registered' or 'failed'"}),
        ("updated_since=yesterday", {"updated_since": None}),
        ("sort=price", {"sort": None}),
        ("sort=--name", {"sort": None}),
        ("sort=Name", {"sort": None}),
        ("fields=name", {"fields": "is not known"}),
        ("ids=", {"ids": IDS}),
        ("ids=1", {"ids": IDS}),
        (f"ids={uuid4()},", {"ids": IDS}),
        (f"ids={','.join(str(uuid4()) for _ in range(201))}", {"ids": IDS}),
        ("q=", {"q": Q}),
        ("q=%20%20", {"q": Q}),
        ("q=%CC%81", {"q": Q}),  # an accent alone
        ("q=a%00b", {"q": Q}),
        (f"q={'x' * 201}", {"q": Q}),
        (f"q={'+'.join('abcdefghijk')}", {"q": Q}),
        ("q=a&q=b", {"q": "is given more than once"}),
        ("sort=relevance", {"sort": "must not be 'relevance' without 'q'"}),
        ("q=a&sort=-relevance", {"sort": None}),
        ("sort=name&sort=name", {"sort": "is given more than once"}),
        ("after=00000000-0000-0000-0000-000000000000", {"after": "is not known"}),
    ):
        with subtests.test(query[:60]):
            assert_problem(send("GET", f"/products?{query}"), "invalid-data", errors)


def test_sql_in_a_parameter_is_just_text(client, send, shop, stored):
    injection = "%27%3B%20DROP%20TABLE%20products%3B--"

    assert client.get(f"/products?q={injection}").json == []
    for name in ("sort", "ids", "cursor", "registration", "updated_since"):
        assert send("GET", f"/products?{name}={injection}").status_int in (400, 422)
    assert stored() == 3
