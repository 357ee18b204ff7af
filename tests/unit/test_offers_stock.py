"""What counts as in stock."""

from typing import get_args

import pytest

from productagg.db.models import AVAILABILITIES, CONDITIONS
from productagg.offers.stock import stock_of
from productagg.sources.vocabulary import Availability, Condition


@pytest.mark.parametrize(
    ("availability", "items", "stock"),
    [
        pytest.param("in_stock", 5, 5, id="in stock, and so many"),
        pytest.param("in_stock", None, None, id="in stock, how many is not told"),
        pytest.param("in_stock", 0, 0, id="called in stock, but there are none"),
        pytest.param("unknown", 5, 5, id="only a number"),
        pytest.param("unknown", 0, 0, id="only a number, of none"),
        pytest.param("unknown", None, 0, id="nothing is told: not in stock"),
        *(
            pytest.param(availability, items, 0, id=f"{availability}, {items}")
            for availability in ("out_of_stock", "preorder", "backorder", "discontinued")
            for items in (5, 0, None)
        ),
    ],
)
def test_what_is_in_stock_by_what_a_source_says(availability, items, stock):
    assert stock_of(availability, items) == stock


def test_the_database_takes_the_words_of_the_vocabulary():
    assert (get_args(Availability), get_args(Condition)) == (AVAILABILITIES, CONDITIONS)
