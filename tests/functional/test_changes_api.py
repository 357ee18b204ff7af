"""GET /changes: what a client that keeps a copy of the catalogue relies on."""

from uuid import UUID

import pytest

from tests.databases import only_sqlite
from tests.factories import states
from tests.functional.problems import assert_problem
from tests.integration.conftest import before_statement


def newest(client):
    return int(client.head("/changes").headers["Last-Sequence"])


def follow(client, path):
    """All changes from there on, page by page."""
    found = []
    while path:
        answer = client.get(path)
        found += answer.json
        path = answer.headers["Link"].partition(">")[0][1:] if "Link" in answer.headers else None
    return found


def test_a_client_hears_of_everything_in_the_order_in_which_it_happened(client, admin, create, sync, upstream):
    start = newest(client)
    lamp, kettle = create("Lamp")["id"], create("Kettle")["id"]
    client.patch_json(f"/products/{lamp}", {"name": "Brass lamp"}, headers=admin)
    client.background.wait()
    upstream.offer(UUID(kettle), states((100, 5)))
    sync(kettle)
    client.delete(f"/products/{lamp}", headers=admin)

    found = follow(client, f"/changes?since={start}&limit=2")

    assert [(each["kind"], each["product_id"]) for each in found] == [
        ("created", lamp),
        ("offers", lamp),
        ("created", kettle),
        ("offers", kettle),
        ("changed", lamp),
        ("offers", kettle),
        ("deleted", lamp),
    ]
    numbers = [each["sequence"] for each in found]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > start
    assert numbers[-1] == newest(client)


def test_who_reads_the_catalogue_and_then_follows_has_what_is_there(client, admin, create):
    first = [create(f"Lamp {number}")["id"] for number in range(3)]
    # Given a client that notes the newest number before it reads; what happens meanwhile it may hear of again
    number = newest(client)
    create("Late")
    copy = {each["id"]: each for each in client.get("/products").json}
    client.delete(f"/products/{first[0]}", headers=admin)
    client.patch_json(f"/products/{first[1]}", {"description": "Brighter"}, headers=admin)
    create("Later still")

    for change in follow(client, f"/changes?since={number}&limit=1"):
        if change["kind"] == "deleted":
            copy.pop(change["product_id"], None)
        else:
            answer = client.get(f"/products/{change['product_id']}", expect_errors=True)
            if answer.status_int == 200:
                copy[change["product_id"]] = {key: value for key, value in answer.json.items() if key != "offers"}

    assert copy == {each["id"]: each for each in client.get("/products").json}


def test_the_last_page_says_where_to_go_on(client, create):
    create()
    number = newest(client)

    answer = client.get(f"/changes?since={number}")

    assert (answer.json, answer.headers["Last-Sequence"]) == ([], str(number))
    assert not {"Link", "Next-Cursor"} & set(answer.headers)


def test_of_an_empty_catalogue_there_is_nothing_to_tell(client):
    answer = client.get("/changes")

    assert (answer.json, answer.headers["Last-Sequence"]) == ([], "0")


def test_who_knows_the_answer_gets_304_until_something_happens(client, create):
    create("Lamp")
    path = f"/changes?since={newest(client)}"
    first = client.get(path)
    known = {"If-None-Match": first.headers["ETag"]}

    unchanged = client.get(path, headers=known, status=304)
    create("Kettle")
    changed = client.get(path, headers=known, status=200)

    assert first.headers["Cache-Control"] == unchanged.headers["Cache-Control"] == "no-cache"
    assert unchanged.headers["Last-Sequence"] == first.headers["Last-Sequence"]
    assert [each["kind"] for each in changed.json] == ["created", "offers"]


def test_a_full_page_is_another_answer_when_there_is_more_after_it(client, create):
    create("Lamp")
    first = client.get("/changes?limit=2")

    create("Kettle")

    again = client.get("/changes?limit=2", headers={"If-None-Match": first.headers["ETag"]}, status=200)
    assert again.json == first.json
    assert ("Link" in first.headers, "Link" in again.headers) == (False, True)


def test_a_number_that_this_database_has_not_given_out_is_a_conflict_not_silence(client, create):
    create()
    number = newest(client)

    answer = client.get(f"/changes?since={number + 1}", expect_errors=True)

    assert answer.status_int == 409
    assert_problem(answer, "sequence-unknown")
    assert str(number) in answer.json["detail"]


@only_sqlite
@pytest.mark.parametrize(
    "query", ["since=-1", "since=", "since=x", "since=9223372036854775808", "limit=0", "limit=1001", "kind=created"]
)
def test_what_is_no_such_question_is_refused(client, query):
    answer = client.get(f"/changes?{query}", expect_errors=True)

    assert answer.status_int == 422
    assert answer.json["errors"][0]["parameter"] == query.partition("=")[0]


def test_the_largest_number_that_there_could_be_is_only_unknown(client):
    assert_problem(client.get(f"/changes?since={2**63 - 1}", expect_errors=True), "sequence-unknown")


def test_a_page_takes_one_statement(client, create):
    create()
    sent: list[str] = []
    _, reader = client.services.engines

    with before_statement(reader, "", sent.append):
        client.get("/changes")

    assert len(sent) == 1
