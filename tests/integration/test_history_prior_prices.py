"""Prior prices from the database are those of the pure function, for raw and for compacted steps."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from sqlalchemy import event, update

from productagg.db.models import Offer
from productagg.history import UnknownOffer, UnknownProduct
from productagg.history.prior_price import LOOK_BACK, prior_price
from productagg.history.prior_prices import OfferKey, prior_prices
from productagg.history.timeline import in_window, microseconds
from tests.factories import make_product
from tests.history_strategies import DAY, OBSERVED_FOR, ProductRow, as_steps, compacted_pasts, midnight, pasts
from tests.integration.history_writer import examples
from tests.reference_statistics import OfferRow, offer_history

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
A, B = UUID(int=1), UUID(int=2)
MONTH = 30 * DAY


@pytest.fixture
def read(database):
    """Prior prices as of a time: `read(now, (product_id, offer_id), …)`."""

    def read(now, *keys):
        with database.reader.connect() as connection:
            found = prior_prices(connection, [OfferKey(*key) for key in keys], now=now, observed_for=OBSERVED_FOR)
        return [found[key] for key in keys]

    return read


def offer_row(id_, days_ago, price, items=5):
    return OfferRow(id_, NOW - timedelta(days=days_ago), price, items)


def product_row(days_ago, *, observed=True):
    at = NOW - timedelta(days=days_ago)
    return ProductRow(at, 1, 1, 1, 5, observed) if observed else ProductRow(at, None, None, 0, 0, observed)


@examples(60)
@given(past=pasts(800 * DAY))
def test_the_database_gives_what_the_steps_give(writer, read, past):
    writer.write(past.rows, past.offers, synced_at=past.synced_at)
    ids = sorted({row.id for row in past.offers})
    now = microseconds(past.now)

    found = read(past.now, *((writer.product_id, id_) for id_ in ids))

    for id_, answer in zip(ids, found, strict=True):
        history = offer_history(past.offers, past.of("lowest"), id_)
        steps = in_window(as_steps(history), now - LOOK_BACK, now)
        is_closed = [row.items_in_stock for row in past.offers if row.id == id_][-1] == 0
        assert answer == prior_price(steps, now, "EUR", is_closed=is_closed)


@examples(80)
@given(compacted=compacted_pasts(400 * DAY))
def test_what_summarised_days_answer_is_exact_or_says_that_it_is_not(writer, read, compacted):
    past, raw_from = compacted
    writer.write(compacted.rows, past.offers, synced_at=past.synced_at)
    keys = [(writer.product_id, id_) for id_ in sorted({row.id for row in past.offers})]
    exact = read(past.now, *keys)
    writer.write(compacted.rows, past.offers, synced_at=past.synced_at, raw_from=raw_from)

    for from_steps, from_days in zip(exact, read(past.now, *keys), strict=True):
        assert (from_days.price, from_days.state) == (from_steps.price, from_steps.state)
        if from_days.resolution == "raw":
            assert from_days == from_steps
        else:
            assert "days_summarised" in [reason.code for reason in from_days.reasons]


@pytest.mark.parametrize("compacted", [False, True], ids=["raw", "compacted"])
def test_many_offers_of_many_products_are_answered_at_once(database, writer, read, compacted):
    other = make_product(database, "Toaster")
    rows = [offer_row(A, 200, 100), offer_row(A, 120, 80), offer_row(A, 120, 80, 3), offer_row(B, 200, 90)]
    rows = [row._replace(at=row.at + number * DAY / 100) for number, row in enumerate(rows)]
    writer.write([product_row(200)], rows, synced_at=NOW, raw_from=midnight(NOW - 90 * DAY) if compacted else None)

    one, two, no_offer, no_product = read(NOW, (writer.product_id, A), (writer.product_id, B), (other, A), (A, A))

    assert (one.is_reduced, one.price, one.prior_price, one.reduction_percent) == (True, 80, 100, 20.0)
    assert (two.is_reduced, two.price, two.prior_price, two.reasons) == (False, 90, None, [])
    assert isinstance(no_offer, UnknownOffer)
    assert isinstance(no_product, UnknownProduct)


def test_the_number_of_statements_is_that_for_one_offer(database, writer, read):
    ids = [uuid4() for _ in range(50)]
    writer.write([product_row(99)], [offer_row(id_, 90, 100) for id_ in ids], synced_at=NOW)
    statements = []
    event.listen(database.reader, "before_cursor_execute", lambda *event: statements.append(event[2]))

    read(NOW, (writer.product_id, ids[0]))
    of_one = len(statements)
    read(NOW, *((writer.product_id, id_) for id_ in ids))

    assert len(statements) == 2 * of_one
    assert of_one == 3


def test_no_offer_asked_for_is_no_answer(read):
    assert read(NOW) == []


def test_an_offer_has_its_own_currency(database, writer, read):
    writer.write([product_row(99)], [offer_row(A, 90, 100)], synced_at=NOW)
    with database.sessions.begin() as session:
        session.execute(update(Offer).values(currency="CZK"))

    (found,) = read(NOW, (writer.product_id, A))

    assert (found.currency, found.price) == ("CZK", 100)


def test_a_closed_offer_and_one_that_is_not_observed_say_so(writer, read):
    rows = [offer_row(A, 90, 100), offer_row(B, 90, 100), offer_row(A, 5, 100, 0)]
    writer.write([product_row(90)], rows, synced_at=NOW - DAY)

    closed, unobserved = read(NOW, (writer.product_id, A), (writer.product_id, B))

    assert [closed.reasons[0].code, unobserved.reasons[0].code] == ["closed", "not_observed"]
    assert (closed.is_reduced, unobserved.is_reduced) == (None, None)


def test_a_gap_of_the_product_lowers_the_confidence(writer, read):
    products = [product_row(90), product_row(20, observed=False), product_row(10)]
    writer.write(products, [offer_row(A, 90, 100), offer_row(A, 5, 80)], synced_at=NOW)

    (found,) = read(NOW, (writer.product_id, A))

    assert (found.is_reduced, found.prior_price) == (True, 100)
    assert [reason.code for reason in found.reasons] == ["gaps"]


def test_an_offer_in_stock_without_a_number_has_a_price(writer, read):
    writer.write([product_row(90)], [offer_row(A, 90, 100, None), offer_row(A, 5, 80, None)], synced_at=NOW)

    (found,) = read(NOW, (writer.product_id, A))

    assert (found.state, found.is_reduced, found.prior_price) == ("in_stock", True, 100)


def test_of_a_summarised_day_the_lowest_price_counts_and_the_day(writer, read):
    hours = [(110, 0, 100), (95, 0, 100), (95, 1, 70), (95, 2, 90), (95, 3, 80), (95, 4, 120), (80, 0, 110)]
    rows = [offer_row(A, days - hour / 24, price) for days, hour, price in hours]
    writer.write([product_row(120)], rows, synced_at=NOW, raw_from=midnight(NOW - 90 * DAY))

    (found,) = read(NOW, (writer.product_id, A))

    assert (found.resolution, found.fell_at) == ("day", NOW - 80 * DAY)
    assert (found.is_reduced, found.prior_price) == (False, 70)
    assert [reason.code for reason in found.reasons] == ["days_summarised"]


@pytest.mark.parametrize(
    ("prices", "expected"), [((120, 80, 130, 110), ["days_summarised"]), ((120, 80, 100, 130), [])]
)
def test_a_summarised_day_that_may_end_with_a_fall_after_a_rise_lowers_the_confidence(writer, read, prices, expected):
    day = [offer_row(A, 200 - hour / 24, price) for hour, price in enumerate(prices)]
    raw_from = midnight(NOW - 90 * DAY)
    writer.write([product_row(300)], [offer_row(A, 300, 100), *day], synced_at=NOW, raw_from=raw_from)

    (found,) = read(NOW, (writer.product_id, A))

    assert (found.is_reduced, found.prior_price) == (False, None)
    assert [reason.code for reason in found.reasons] == expected
