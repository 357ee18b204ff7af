"""The generated offers: a plausible market that is the same for every observer."""

from collections import defaultdict
from itertools import pairwise
from statistics import mean
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from productagg.sandbox import Offer, offers_at
from tests.scale import examples

MINUTE = 60
HOUR = 60 * MINUTE
PRODUCTS = [UUID(int=number << 96 | number, version=4) for number in range(1, 41)]

products = st.uuids()
times = st.floats(min_value=0, max_value=1e11)


def histories(product_id: UUID, start: float, minutes: int) -> dict[UUID, list[tuple[int, Offer]]]:
    """Observe the offers once a minute. Returns the minutes and states of every offer."""
    seen: dict[UUID, list[tuple[int, Offer]]] = defaultdict(list)
    for minute in range(minutes):
        for offer in offers_at(product_id, start + minute * MINUTE):
            seen[offer.id].append((minute, offer))
    return seen


@given(products, times)
def test_the_same_product_at_the_same_time_has_the_same_offers(product_id, when):
    assert offers_at(product_id, when) == offers_at(product_id, when)


@given(products, st.floats(min_value=0, allow_infinity=False))
def test_at_any_time_the_offers_are_distinct_and_have_a_price_and_a_stock(product_id, when):
    offers = offers_at(product_id, when)

    assert len({offer.id for offer in offers}) == len(offers)
    for offer in offers:
        assert offer.id.version == 4
        assert type(offer.price) is int
        assert 0 < offer.price < 2**31
        assert type(offer.items_in_stock) is int
        assert 0 < offer.items_in_stock < 2**31


@settings(max_examples=examples(20))
@given(products, times)
def test_the_stock_of_an_offer_never_rises(product_id, start):
    for history in histories(product_id, start, 120).values():
        stocks = [offer.items_in_stock for _, offer in history]
        assert stocks == sorted(stocks, reverse=True)


@settings(max_examples=examples(20))
@given(products, times)
def test_an_offer_that_has_disappeared_never_comes_back(product_id, start):
    for history in histories(product_id, start, 10 * 60).values():
        minutes = [minute for minute, _ in history]
        assert minutes == list(range(minutes[0], minutes[-1] + 1))


@settings(max_examples=examples(20))
@given(products, times)
def test_a_price_moves_no_more_than_three_percent_a_minute(product_id, start):
    for history in histories(product_id, start, 120).values():
        for (_, before), (_, after) in pairwise(history):
            assert abs(after.price - before.price) <= before.price * 3 // 100 + 1


@given(products, times, st.floats(min_value=0, max_value=MINUTE))
def test_offers_change_at_most_once_within_a_minute(product_id, start, later):
    looks = [offers_at(product_id, start), offers_at(product_id, start + later), offers_at(product_id, start + MINUTE)]

    assert looks[1] in (looks[0], looks[2])


def test_most_prices_change_from_one_minute_to_the_next():
    changed = [
        before.price != after.price
        for product_id in PRODUCTS
        for history in histories(product_id, 0, 20).values()
        for (_, before), (_, after) in pairwise(history)
        if before.price > 1000
    ]

    assert mean(changed) > 0.9


def test_over_a_day_offers_sell_out_and_new_ones_appear_but_there_is_nearly_always_one():
    for product_id in PRODUCTS[:2]:
        seen = histories(product_id, 0, 24 * 60)
        minutes_with_offers = {minute for history in seen.values() for minute, _ in history}

        assert len(seen) > 2 * max(len(offers_at(product_id, hour * HOUR)) for hour in range(24))
        assert len(minutes_with_offers) > 0.9 * 24 * 60


def test_offers_of_one_product_cost_about_the_same():
    for product_id in PRODUCTS:
        prices = [offer.price for offer in offers_at(product_id, 0)]
        assert max(prices, default=0) < 2 * min(prices, default=1)


@given(products, times, st.integers(min_value=500, max_value=1_000_000))
def test_offers_of_a_product_with_a_usual_price_cost_about_that(product_id, when, usual_price):
    for offer in offers_at(product_id, when, usual_price):
        assert 0.7 * usual_price < offer.price < 1.3 * usual_price


def test_the_service_asks_the_usual_prices_of_sample_products(client):
    client.authenticate()
    product_id = str(PRODUCTS[0])
    machine = {"id": product_id, "name": "Ormeley Pull 9 Bar Espresso Machine", "description": "Brews"}
    client.send("POST", "/products/register", client.access_token, json=machine)

    prices = [offer["price"] for offer in client.offers(product_id).json()]

    assert prices
    assert all(31_000 < price < 59_000 for price in prices)


def test_products_differ_in_offers_and_price():
    first_offers = [offers_at(product_id, 0)[:1] for product_id in PRODUCTS]

    assert len({offer.id for offers in first_offers for offer in offers}) > 30
    assert len({offer.price for offers in first_offers for offer in offers}) > 30


def test_not_all_products_change_in_the_same_second():
    changed = sum(offers_at(product_id, 1e9) != offers_at(product_id, 1e9 + 30) for product_id in PRODUCTS)

    assert 5 < changed < 35
