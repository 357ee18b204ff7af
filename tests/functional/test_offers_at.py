"""GET /products/{id}/offers?at=: the offers as they stood at a time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import time_machine

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.history_strategies import ProductRow
from tests.reference_statistics import OfferRow

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
A, B, C = (UUID(int=number) for number in (1, 2, 3))
FACTS = {"seller": None, "currency": "EUR", "comparable": True}


@pytest.fixture
def then(client, past):
    """The offers as they stood at a time, of a product that was last asked for at NOW - 1 hour."""
    past.write(
        [
            ProductRow(NOW - 5 * HOUR, 100, 150, 2, 8, True),
            ProductRow(NOW - 4 * HOUR, 200, 200, 1, 4, True),
            ProductRow(NOW - 3 * HOUR, None, None, 0, 0, True),
            ProductRow(NOW - 2 * HOUR, 90, 90, 1, 1, True),
        ],
        [
            OfferRow(A, NOW - 5 * HOUR, 100, 4),
            OfferRow(B, NOW - 5 * HOUR, 200, 4),
            OfferRow(A, NOW - 4 * HOUR, 100, 0),
            OfferRow(B, NOW - 3 * HOUR, 200, 0),
            OfferRow(C, NOW - 2 * HOUR, 90, 1),
        ],
        synced_at=NOW - HOUR,
    )

    def then(at):
        return client.get(f"/products/{past.product_id}/offers?at={at.isoformat().replace('+00:00', 'Z')}").json

    with time_machine.travel(NOW, tick=False):
        yield then


def test_the_offers_at_a_time_are_those_in_stock_then(then):
    assert then(NOW - 4.5 * HOUR) == {
        "at": "2026-01-31T07:30:00Z",
        "currency": "EUR",
        "state": "observed",
        "resolution": "raw",
        "offers": [
            {"id": str(A), "price": 100, "items_in_stock": 4, "since": "2026-01-31T07:00:00Z", **FACTS},
            {"id": str(B), "price": 200, "items_in_stock": 4, "since": "2026-01-31T07:00:00Z", **FACTS},
        ],
    }


@pytest.mark.parametrize(
    ("hours", "state", "ids"),
    [
        (6, "not_observed", []),
        (5, "observed", [A, B]),
        (4, "observed", [B]),
        (3, "observed", []),
        (2, "observed", [C]),
        (1, "observed", [C]),
        (0.99, "not_observed", [C]),
        (0, "not_observed", [C]),
    ],
)
def test_a_time_at_which_something_changed_is_already_after_it(then, hours, state, ids):
    answer = then(NOW - hours * HOUR)

    assert (answer["state"], [offer["id"] for offer in answer["offers"]]) == (state, [str(id_) for id_ in ids])


def test_offers_of_a_summarised_day_are_those_at_its_end(client, past):
    kept_from = datetime(2026, 1, 30, tzinfo=UTC)
    seen = [kept_from - hours * HOUR for hours in (9, 7, 5)]
    past.write(
        [ProductRow(at, 100, 100, 1, 4, True) for at in seen[:1]],
        [OfferRow(A, at, 100 + number, 4) for number, at in enumerate(seen)],
        synced_at=NOW,
        raw_from=kept_from,
    )

    answer = client.get(f"/products/{past.product_id}/offers?at=2026-01-29T16:30:00Z").json

    assert answer == {
        "at": "2026-01-30T00:00:00Z",
        "currency": "EUR",
        "state": "observed",
        "resolution": "day",
        "offers": [{"id": str(A), "price": 102, "items_in_stock": 4, "since": "2026-01-29T19:00:00Z", **FACTS}],
    }


@only_sqlite
def test_a_time_of_the_future_or_together_with_closed_is_refused(send, past):
    path = f"/products/{past.product_id}/offers"

    answer = send("GET", f"{path}?at=9999-12-31T23:59:59Z")
    assert_problem(answer, "invalid-data", {"at": "must not lie in the future"})
    for closed in ("true", "false"):
        answer = send("GET", f"{path}?at=2026-01-01T00:00:00Z&closed={closed}")
        assert_problem(answer, "invalid-data", {"closed": "must not be given together with 'at'"})
