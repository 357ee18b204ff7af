"""How a product's offers sum up to one row of its history."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.offers.summary import Summary, summarise

LARGEST = 2**63 - 1

in_stock = st.tuples(st.integers(0, LARGEST), st.integers(1, LARGEST) | st.none())
sold_out = st.tuples(st.integers(0, LARGEST), st.just(0))


@pytest.mark.parametrize(
    ("offers", "summary"),
    [
        ([], Summary(None, None, 0, 0)),
        ([(100, 0), (7, 0)], Summary(None, None, 0, 0)),
        ([(100, 5)], Summary(100, 100, 1, 5)),
        ([(0, 1)], Summary(0, 0, 1, 1)),
        # In stock, and nobody says how many: the price counts, and no number is made up.
        ([(100, None)], Summary(100, 100, 1, 0)),
        ([(100, None), (200, 7), (50, 0)], Summary(100, 150, 2, 7)),
        # Not weighted with the stock.
        ([(100, 1), (200, 999)], Summary(100, 150, 2, 1000)),
        # What is sold out has no say, however cheap it was.
        ([(1, 0), (100, 5), (200, 5)], Summary(100, 150, 2, 10)),
        # Half a unit is rounded up, to even and to odd alike; less is rounded down.
        ([(1, 1), (2, 1)], Summary(1, 2, 2, 2)),
        ([(2, 1), (3, 1)], Summary(2, 3, 2, 2)),
        ([(1, 1), (1, 1), (2, 1)], Summary(1, 1, 3, 3)),
        ([(1, 1), (2, 1), (2, 1)], Summary(1, 2, 3, 3)),
        # Beyond what a float can tell apart.
        ([(LARGEST, 1), (LARGEST - 1, 1)], Summary(LARGEST - 1, LARGEST, 2, 2)),
        ([(LARGEST, 1), (LARGEST - 2, 1)], Summary(LARGEST - 2, LARGEST - 1, 2, 2)),
    ],
)
def test_a_summary_is_of_what_is_in_stock(offers, summary):
    assert summarise(offers) == summary


@given(st.lists(in_stock, min_size=1), st.lists(sold_out), st.randoms())
def test_it_is_exact_and_depends_neither_on_the_order_nor_on_what_is_sold_out(offers, others, random):
    prices = [price for price, _ in offers]
    everything = [*offers, *others]
    random.shuffle(everything)

    assert summarise(everything) == Summary(
        lowest=min(prices),
        average=floor(Fraction(sum(prices), len(prices)) + Fraction(1, 2)),
        offers=len(prices),
        items_in_stock=sum(items or 0 for _, items in offers),
    )


@given(st.lists(in_stock, min_size=1))
def test_the_average_lies_between_the_lowest_and_the_highest_price(offers):
    average = summarise(offers).average

    assert average is not None
    assert min(price for price, _ in offers) <= average <= max(price for price, _ in offers)
