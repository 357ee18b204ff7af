"""An admin corrects recorded prices over HTTP."""

from uuid import uuid4

import pytest

from tests.databases import only_sqlite
from tests.factories import make_product
from tests.functional.problems import assert_problem

REASON = "The shop listed cents as euros."


@pytest.fixture
def offer(client, database, upstream, sync):
    """The path of an offer that has cost 1000, 50000 and 1000 again."""
    product_id, offer_id = make_product(database), uuid4()
    for price in (1000, 50000, 1000):
        upstream.offer(product_id, {offer_id: (price, 3)})
        sync(product_id)
    return f"/products/{product_id}/offers/{offer_id}"


@pytest.fixture
def product(offer):
    return offer.partition("/offers")[0]


@pytest.fixture
def times(client, offer):
    """When the three prices were recorded."""
    return [point["at"] for point in client.get(f"{offer}/prices?resolution=raw").json["points"]]


@pytest.fixture
def correct(send, admin, offer):
    def correct(begin, until, price=None, *, offer=offer, headers=None, **others):
        body = {"from": begin, "until": until, "price": price, "reason": REASON, **others}
        return send("POST", f"{offer}/prices/corrections", body, {**admin, **(headers or {})})

    return correct


def test_a_corrected_price_is_so_in_the_prices_of_offer_and_product(client, admin, product, offer, times, correct):
    answer = correct(times[1], times[2])

    assert answer.status_int == 201
    made = answer.json
    assert (made["username"], made["reason"], made["currency"], made["price"]) == ("admin", REASON, "EUR", None)
    assert (made["from"], made["until"]) == (times[1], times[2])
    assert made["changes"] == [{"at": times[1], "old_price": 50000, "new_price": 1000}]
    for path in (f"{offer}/prices?resolution=raw", f"{product}/prices?resolution=raw"):
        assert [point["at"] for point in client.get(path).json["points"]] == times[:1]
    assert client.get(f"{offer}/prices/corrections", headers=admin).json == [made]


def test_the_newest_correction_comes_first(client, admin, offer, times, correct):
    for price in (900, 950):
        assert correct(times[1], times[2], price).status_int == 201

    found = client.get(f"{offer}/prices/corrections?limit=1", headers=admin).json

    assert [(each["price"], each["changes"][0]["old_price"]) for each in found] == [(950, 900)]


def test_a_repeated_request_corrects_once(client, admin, offer, times, correct):
    key = {"Idempotency-Key": "once"}
    first, again = (correct(times[1], times[2], headers=key) for _ in range(2))

    assert again.json == first.json
    assert len(client.get(f"{offer}/prices/corrections", headers=admin).json) == 1


@only_sqlite
def test_what_cannot_be_corrected_is_a_problem(client, product, offer, times, correct, subtests):
    for name, code, arguments in (
        ("no price in that time", "cannot-correct", {"until": times[1]}),
        ("no such offer", "not-found", {"offer": f"{product}/offers/{uuid4()}"}),
        ("no such product", "product-not-found", {"offer": f"/products/{uuid4()}/offers/{uuid4()}"}),
    ):
        with subtests.test(name):
            assert_problem(correct(**{"begin": times[1], "until": times[2], **arguments}), code)
    assert len(client.get(f"{offer}/prices?resolution=raw").json["points"]) == 3


@only_sqlite
def test_a_correction_that_is_not_understood_is_refused(correct):
    time = "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"

    assert_problem(
        correct("yesterday", 5, -1, reason=" "),
        "invalid-data",
        {
            "/from": time,
            "/until": time,
            "/price": "must be an integer from 0 to 9223372036854775807 or null",
            "/reason": "must not be empty",
        },
    )


@only_sqlite
def test_corrections_of_an_unknown_product_are_not_found(send, admin):
    assert_problem(
        send("GET", f"/products/{uuid4()}/offers/{uuid4()}/prices/corrections", None, admin), "product-not-found"
    )
