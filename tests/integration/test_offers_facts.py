"""What else than a price and a stock is kept of an offer, and what it does to the histories and to the summary."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from productagg.db.models import Offer, OfferPrice, ProductChange, ProductPrice, ProductSummary
from productagg.offers.reconcile import Observation, OfferState
from tests.factories import make_product, offer_state, rows
from tests.integration.offer_history import write_down

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
A, B, C = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture
def product_id(database):
    return make_product(database)


@pytest.fixture
def observe(database, product_id):
    """A complete list arrives: `observe({offer_id: state}, at)`."""

    def observe(offers, at=NOON):
        with database.sessions.begin() as session:
            write_down(session, Observation(product_id, offers, at, first=at == NOON))

    return observe


def steps(database, offer_id):
    return [(row.price, row.items_in_stock) for row in rows(database, OfferPrice, offer_id=offer_id)]


def summary(database):
    (row,) = rows(database, ProductSummary)
    return row.lowest, row.average, row.offers, row.items_in_stock


def test_every_fact_is_stored_as_the_source_states_it(database, observe):
    state = OfferState(
        price=4990,
        items_in_stock=3,
        currency="CZK",
        availability="preorder",
        condition="refurbished",
        seller="Müller & Söhne",
        url="https://shop.test/p?variant=1#top",
        shipping=0,
        external_id="sku 1",
    )

    observe({A: state})

    (row,) = rows(database, Offer)
    assert {name: getattr(row, name) for name in OfferState._fields} == state._asdict()


def test_what_is_in_stock_without_a_number_has_a_price_and_no_items(database, observe):
    observe({A: offer_state(100), B: offer_state(200, 5), C: offer_state(300, 0)})

    assert [steps(database, id_) for id_ in (A, B, C)] == [[(100, None)], [(200, 5)], [(300, 0)]]
    assert summary(database) == (100, 150, 2, 5)


@pytest.mark.parametrize("availability", ["out_of_stock", "preorder", "backorder", "discontinued", "unknown"])
def test_what_is_not_in_stock_has_no_price_whatever_its_number(database, observe, availability):
    items = None if availability == "unknown" else 7

    observe({A: offer_state(100, items, availability=availability)})

    assert steps(database, A) == [(100, 0)]
    assert summary(database) == (None, None, 0, 0)
    assert [row.items_in_stock for row in rows(database, Offer)] == [items]


def test_other_facts_change_the_offer_and_not_its_history(database, observe, product_id):
    observe({A: offer_state(100, 5, url="https://shop.test/old"), B: offer_state(1, 1)})

    observe({A: offer_state(100, 5, url="https://shop.test/new", shipping=490), B: offer_state(1, 1)}, LATER)

    (changed,) = rows(database, Offer, id=A)
    assert (changed.url, changed.shipping, changed.changed_at) == ("https://shop.test/new", 490, LATER)
    assert steps(database, A) == [(100, 5)]
    assert len(rows(database, ProductPrice)) == 1
    assert [row.kind for row in rows(database, ProductChange, product_id=product_id)] == ["created", "offers", "offers"]


def test_a_number_that_says_nothing_about_the_stock_is_no_step(database, observe):
    observe({A: offer_state(100, 5, availability="preorder")})

    observe({A: offer_state(100, 4, availability="preorder")}, LATER)

    assert steps(database, A) == [(100, 0)]


def test_a_number_that_is_told_later_is_a_step(database, observe):
    observe({A: offer_state(100)})
    observe({A: offer_state(100, 3)}, LATER)

    assert steps(database, A) == [(100, None), (100, 3)]
    assert summary(database) == (100, 100, 1, 3)


def test_an_offer_that_vanished_is_out_of_stock(database, observe):
    observe({A: offer_state(100, shipping=5)})
    observe({}, LATER)

    (closed,) = rows(database, Offer)
    assert (closed.availability, closed.items_in_stock, closed.shipping, closed.closed_at) == (
        "out_of_stock",
        0,
        5,
        LATER,
    )
    assert steps(database, A) == [(100, None), (100, 0)]


def test_a_product_is_summed_up_from_the_offers_in_the_catalogues_currency(database, observe):
    observe({A: offer_state(100, 5), B: offer_state(1, 50, currency="CZK"), C: offer_state(300, 1, currency="EUR")})

    assert summary(database) == (100, 200, 2, 6)
    assert steps(database, B) == [(1, 50)]


def test_offers_in_other_currencies_alone_are_no_price(database, observe):
    observe({A: offer_state(100, 5, currency="USD")})

    assert summary(database) == (None, None, 0, 0)


def test_a_price_in_another_currency_does_not_change_the_products_history(database, observe):
    observe({A: offer_state(100, 5), B: offer_state(1, 50, currency="CZK")})
    observe({A: offer_state(100, 5), B: offer_state(2, 49, currency="CZK")}, LATER)

    assert len(rows(database, ProductPrice)) == 1
    assert steps(database, B) == [(1, 50), (2, 49)]
