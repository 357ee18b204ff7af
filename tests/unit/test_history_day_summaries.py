"""What compaction leaves of days: never more than there was, and nothing that an answer needs is lost (Hypothesis)."""

from uuid import UUID

import orjson
from hypothesis import given
from hypothesis import strategies as st

from productagg.history.day_summaries import FEWEST_REPLACED, compact_offer, compact_product
from productagg.history.timeline import DAY, HOUR, OfferStep, ProductStep, bucket_start, gap_turns
from tests.history_strategies import DAY as A_DAY
from tests.history_strategies import LARGEST, offer_histories, offer_steps, product_histories

OFFER = UUID(int=1)
# A step of a product with its key, and one of an offer, on PostgreSQL.
PRODUCT_BYTES, OFFER_BYTES = 128, 136


BEFORE = ProductStep(0, 1, 1, 1, 1, observed=True)


def busy(count, **values):
    """So many steps on a day, from its second hour on."""
    step = {"lowest": LARGEST, "average": LARGEST, "offers": 2**31 - 1, "items_in_stock": LARGEST, "observed": True}
    return [ProductStep(at=DAY + HOUR + number, **{**step, **values}) for number in range(count)]


@given(product_histories(A_DAY))
def test_steps_that_are_left_are_some_of_those_there_were(rows):
    steps = [row.step for row in rows]

    left = list(compact_product(None, steps))

    assert {step._replace(summary=None) for step in left} <= set(steps)
    # The last step of each day, and where gaps begin and end.
    assert {bucket_start(step.at, DAY): step.at for step in left} == {
        bucket_start(step.at, DAY): step.at for step in steps
    }
    assert gap_turns(left) == gap_turns(steps)


@given(offer_histories(1, A_DAY), product_histories(A_DAY))
def test_an_offers_steps_that_are_left_are_some_of_those_there_were(offers, rows):
    steps = offer_steps(offers, OFFER)

    left = list(compact_offer(None, steps, gap_turns([row.step for row in rows])))

    assert {step._replace(summary=None) for step in left} <= set(steps)
    assert {bucket_start(step.at, DAY): step.at for step in left} == {
        bucket_start(step.at, DAY): step.at for step in steps
    }


def test_a_day_is_summarised_if_that_replaces_enough_steps():
    few, many = busy(FEWEST_REPLACED), busy(FEWEST_REPLACED + 1)

    assert list(compact_product(BEFORE, few)) == few
    (left,) = compact_product(BEFORE, many)
    assert left.summary is not None
    assert left._replace(summary=None) == many[-1]


def test_a_step_at_the_beginning_of_a_day_is_kept():
    steps = [busy(1)[0]._replace(at=DAY), *busy(9)]

    first, last = compact_product(BEFORE, steps)

    assert first == steps[0]
    assert last.at == steps[-1].at


@given(st.integers(0, LARGEST), st.integers(0, LARGEST), st.integers(0, 9))
def test_what_is_left_of_a_day_is_smaller_at_any_price(lowest, average, more):
    prices = [{"lowest": lowest, "average": average}, {"lowest": 0, "average": LARGEST}]
    steps = [step._replace(**prices[number % 2]) for number, step in enumerate(busy(FEWEST_REPLACED + 1 + more))]
    offers = [OfferStep(step.at, step.lowest or 0, 1) for step in steps]

    (product,) = compact_product(BEFORE, steps)
    (offer,) = compact_offer(None, offers, ())

    assert PRODUCT_BYTES + len(orjson.dumps(product.summary)) < PRODUCT_BYTES * len(steps)
    assert OFFER_BYTES + len(orjson.dumps(offer.summary)) < OFFER_BYTES * len(offers)
