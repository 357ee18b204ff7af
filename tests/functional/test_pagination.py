"""What leads from one page to another: the headers of every list that has pages, also after long questions."""

from itertools import chain
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.databases import only_sqlite
from tests.factories import make_products, make_runs
from tests.functional.problems import assert_problem

LISTS = {"/products": "cursor", "/changes": "since", "/sync-runs": "cursor"}
# Nearly as many ids as a question can have: links with them would have 24 KB.
IDS = ",".join(str(uuid4()) for _ in range(190))


@pytest.fixture
def five(client, database):
    """Products, changes and passes, five of each."""
    make_runs(database, 5)
    return [str(each) for each in make_products(database, 5)]


@pytest.fixture
def read(client, admin):
    """A page: `read("/products", limit=2)`."""
    return lambda path, question="", **more: client.get(
        "&".join([f"{path}?limit=2", *filter(None, [question]), *(f"{name}={value}" for name, value in more.items())]),
        headers=admin,
    )


def walk(read, path, question=""):
    """All pages, by nothing but their Next-Cursor."""
    answer = read(path, question)
    yield answer
    while "Next-Cursor" in answer.headers:
        answer = read(path, question, **{LISTS[path]: answer.headers["Next-Cursor"]})
        yield answer


def said(pages):
    return list(chain.from_iterable(page.json for page in pages))


@pytest.mark.parametrize("path", LISTS)
def test_the_next_cursor_leads_through_every_list(client, admin, read, five, path):
    whole = client.get(f"{path}?limit=200", headers=admin)

    pages = list(walk(read, path))

    assert said(pages) == whole.json
    assert [len(page.json) for page in pages] == [2, 2, 1]
    assert "Next-Cursor" not in whole.headers


@pytest.mark.parametrize("path", LISTS)
def test_the_link_and_the_cursor_lead_to_the_same_page(client, admin, read, five, path):
    first = read(path)
    link = first.headers["Link"].partition(">")[0].removeprefix("<http://localhost")

    by_link = client.get(link, headers=admin)

    assert by_link.json == read(path, **{LISTS[path]: first.headers["Next-Cursor"]}).json != first.json
    assert f"{LISTS[path]}={first.headers['Next-Cursor']}" in link


def test_the_prev_cursor_leads_back(read, five):
    first, second, _ = walk(read, "/products")

    again = read("/products", cursor=second.headers["Prev-Cursor"])

    assert again.json == first.json
    assert "Prev-Cursor" not in first.headers


ROCKETS = "🚀" * 199


@pytest.fixture
def rockets(client, admin):
    """Five products whose names are as long as can be, to search for and to sort by."""
    names = [ROCKETS + letter for letter in "ABCDE"]
    return [
        client.post_json("/products", {"name": each, "description": ""}, headers=admin).json["id"] for each in names
    ]


@only_sqlite
@pytest.mark.parametrize(
    "question", [f"ids={{ids}},{IDS}", f"q={quote(ROCKETS)}", f"q={quote(ROCKETS)}&ids={IDS},{{ids}}"]
)
def test_no_question_is_too_long_for_the_headers_of_its_answer(read, rockets, question):
    """The client that the fixtures use refuses every answer whose headers are too long."""
    pages = list(walk(read, "/products", f"{question.format(ids=','.join(rockets))}&sort=name"))

    assert [product["id"] for product in said(pages)] == rockets
    assert {"Next-Cursor", "Prev-Cursor"} <= set(pages[1].headers)
    assert all("Link" not in page.headers for page in pages)


def test_a_page_by_the_longest_names_has_short_headers(read, rockets):
    pages = list(walk(read, "/products", "sort=name"))

    assert [product["id"] for product in said(pages)] == rockets
    assert {"Next-Cursor", "Prev-Cursor"} <= set(pages[1].headers)


@only_sqlite
@pytest.mark.parametrize("path", ["/products", "/sync-runs"])
def test_a_cursor_that_was_made_up_is_refused(send, admin, path):
    assert_problem(send("GET", f"{path}?cursor=1", None, admin), "invalid-cursor")
