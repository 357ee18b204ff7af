"""GET /products/{id}/offers?closed=true: sold-out offers, a page at a time."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import time_machine
from sqlalchemy import insert, update

from productagg.db.models import OFFERS_SOURCE, HistoryProgress, Offer
from tests.databases import only_sqlite
from tests.factories import OFFER_FACTS, make_product
from tests.functional.problems import assert_problem

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
CURRENT, CURRENT_TOO = UUID(int=1), UUID(int=2)
AT_NOON = {"source_id": OFFERS_SOURCE, "first_seen_at": NOON, "changed_at": NOON}


@pytest.fixture
def path(database):
    """Two current offers, and seven that were closed one after the other; the seventh first of all."""
    product_id = make_product(database)
    common = {"product_id": product_id, **AT_NOON, "items_in_stock": 0, **OFFER_FACTS}
    times = {CURRENT: None, CURRENT_TOO: None, **{UUID(int=9 - number): minutes(number) for number in range(7)}}
    with database.sessions.begin() as session:
        session.execute(
            insert(Offer),
            [{**common, "id": id_, "price": id_.int, "closed_at": closed_at} for id_, closed_at in times.items()],
        )
    return f"/products/{product_id}/offers"


def minutes(number):
    return NOON + timedelta(minutes=number)


def link(answer):
    found = re.fullmatch(r'<http://localhost(/products/[^>]+)>; rel="next"', answer.headers.get("Link", ""))
    return found and found[1]


def walk(client, path):
    while path is not None:
        answer = client.get(path)
        yield answer
        path = link(answer)


def ids(answer):
    return [UUID(offer["id"]).int for offer in answer.json]


@pytest.mark.parametrize(
    ("limit", "pages"),
    [
        (1, [[1, 2, 3], [4], [5], [6], [7], [8], [9]]),
        (3, [[1, 2, 3, 4, 5], [6, 7, 8], [9]]),
        (7, [[1, 2, 3, 4, 5, 6, 7, 8, 9]]),
        (200, [[1, 2, 3, 4, 5, 6, 7, 8, 9]]),
    ],
)
def test_the_first_page_begins_with_the_current_offers_and_the_last_closed_come_first(client, path, limit, pages):
    assert [ids(answer) for answer in walk(client, f"{path}?closed=true&limit={limit}")] == pages


def test_without_a_limit_a_page_has_50_closed_offers(client, database, path):
    with database.sessions.begin() as session:
        (product_id,) = set(session.scalars(Offer.__table__.select().with_only_columns(Offer.product_id)))
        common = {"product_id": product_id, **AT_NOON, "items_in_stock": 0, "price": 1, **OFFER_FACTS}
        more = [{**common, "id": UUID(int=number), "closed_at": NOON} for number in range(100, 193)]
        session.execute(insert(Offer), more)

    assert [len(answer.json) for answer in walk(client, f"{path}?closed=true")] == [52, 50]


def test_the_cursor_of_the_next_page_is_a_header_of_its_own(client, path):
    first = client.get(f"{path}?limit=4&closed=true")

    assert link(first) == f"{path}?limit=4&closed=true&cursor={first.headers['Next-Cursor']}"
    last = client.get(path, {"closed": "true", "limit": 4, "cursor": first.headers["Next-Cursor"]})
    assert ids(last) == [7, 8, 9]
    assert "Next-Cursor" not in last.headers and "Link" not in last.headers


def test_what_is_sold_out_or_offered_again_between_two_pages_moves_no_other(client, database, path):
    answers = walk(client, f"{path}?closed=true&limit=2")
    found = ids(next(answers))
    with database.writer.begin() as connection:
        connection.execute(update(Offer).where(Offer.id == CURRENT).values(closed_at=minutes(30)))
        connection.execute(update(Offer).where(Offer.id.in_([UUID(int=3), UUID(int=8)])).values(closed_at=None))

    assert found + [id_ for answer in answers for id_ in ids(answer)] == [1, 2, 3, 4, 5, 6, 7, 9]


@only_sqlite
def test_only_with_closed_offers_there_are_pages(client, send, path):
    assert ids(client.get(path)) == ids(client.get(f"{path}?closed=false")) == [1, 2]
    why = "must not be given without 'closed=true'"
    for query in ("", "closed=false&"):
        assert_problem(send("GET", f"{path}?{query}limit=5"), "invalid-data", {"limit": why})
        assert_problem(send("GET", f"{path}?{query}cursor=x&limit=5"), "invalid-data", {"limit": why, "cursor": why})
    why = "must not be given together with 'at'"
    assert_problem(send("GET", f"{path}?at=2026-01-01T00:00:00Z&limit=5"), "invalid-data", {"limit": why})
    for limit in ("0", "201", "x"):
        answer = send("GET", f"{path}?closed=true&limit={limit}")
        assert_problem(answer, "invalid-data", {"limit": "must be a whole number from 1 to 200"})


def test_a_cursor_goes_with_its_product_and_question_only(client, send, database, path):
    cursor = client.get(f"{path}?closed=true&limit=1").headers["Next-Cursor"]
    other = make_product(database, "Pot")
    make_product(database, "Lamp")
    of_products = client.get("/products?limit=1").headers["Link"].partition("cursor=")[2].partition(">")[0]

    for where in (
        f"{path}?closed=true&limit=2&cursor={cursor}",
        f"/products/{other}/offers?closed=true&limit=1&cursor={cursor}",
        f"/products?limit=1&cursor={cursor}",
        f"{path}?closed=true&limit=1&cursor={of_products}",
        f"{path}?closed=true&limit=1&cursor=x",
    ):
        assert_problem(send("GET", where), "invalid-cursor")
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=24, minutes=1)):
        assert_problem(send("GET", f"{path}?closed=true&limit=1&cursor={cursor}"), "invalid-cursor")


def test_a_page_can_be_revalidated_although_its_cursor_is_another_one(client, send, path):
    first = client.get(f"{path}?closed=true&limit=1")

    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=5)):
        again = send("GET", f"{path}?closed=true&limit=1", None, {"If-None-Match": first.headers["ETag"]})

    assert again.status_int == 304
    assert again.headers["Next-Cursor"] != first.headers["Next-Cursor"]


def test_a_time_before_which_offers_were_removed_is_refused(client, send, database, path):
    with database.writer.begin() as connection:
        connection.execute(update(HistoryProgress).values(offers_from=NOON))

    answer = send("GET", f"{path}?at=2026-01-31T11:59:59.999999Z")

    why = "must not be before 2026-01-31T12:00:00Z: offers that were closed earlier are no longer kept"
    assert_problem(answer, "invalid-data", {"at": why})
    assert client.get(f"{path}?at=2026-01-31T12:00:00Z").json["offers"] == []
