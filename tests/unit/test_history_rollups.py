"""What a roll-up's row says: both prices of a product, or an offer with its product's gaps; and what is read of it."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.history.rollups import (
    OfferStep,
    ProductBucket,
    ProductStep,
    bucket_of,
    offer_buckets,
    offer_row,
    product_buckets,
    product_row,
    with_gaps,
)
from productagg.history.steps import DAY, HOUR, WEEK, Bucket, Step, bucket_start, roll_up
from tests.reference import offer_history
from tests.timelines import LARGEST, as_steps, offer_histories, offer_steps, product_histories

lengths = st.sampled_from([HOUR, DAY])
OFFER = UUID(int=1)


def ends(steps, length):
    """The last step of each bucket."""
    return list({bucket_start(step.at, length): step for step in steps}.values())


@given(product_histories(), lengths, st.data())
def test_a_products_buckets_are_those_of_both_prices_with_the_counts_of_their_ends(rows, length, data):
    steps = [row.step for row in rows]
    # What is carried in may be from any time before.
    carried = data.draw(st.sampled_from([None, *[step._replace(at=0) for step in steps]]))

    found = list(product_buckets(carried, steps, length))

    for metric in ("lowest", "average"):
        prices = [step.of(metric) for step in steps]
        expected = roll_up(carried.of(metric) if carried else None, prices, length)
        assert [getattr(bucket, metric) for bucket in found] == list(expected)
    assert [(bucket.offers, bucket.items_in_stock) for bucket in found] == [
        (step.offers, step.items_in_stock) for step in ends(steps, length)
    ]


@given(offer_histories(1), product_histories(), lengths)
def test_an_offers_buckets_are_those_of_its_price_with_its_items_at_their_ends(offers, rows, length):
    steps = with_gaps(offer_steps(offers, OFFER), [row.step for row in rows])

    found = list(offer_buckets(None, steps, length))

    of_prices = roll_up(None, [step.of() for step in steps], length)
    for bucket, of_price, last in zip(found, of_prices, ends(steps, length), strict=True):
        in_a_gap = of_price.close is None and last.items_in_stock > 0
        # Where it ends with a gap, what was last seen is kept: that is what it costs when the gap is over.
        assert bucket.price == (of_price._replace(close=last.price) if in_a_gap else of_price)
    assert [bucket.items_in_stock for bucket in found] == [step.items_in_stock for step in ends(steps, length)]


def without_repeats(steps):
    """Those steps that tell more than the one before."""
    told: list[Step] = []
    for step in steps:
        if not told or told[-1][1:] != step[1:]:
            told.append(step)
    return told


@given(offer_histories(1), product_histories())
def test_nothing_is_known_of_an_offer_while_its_product_is_not_observed(offers, rows):
    product = [row.of("lowest") for row in rows]

    merged = with_gaps(offer_steps(offers, OFFER), [row.step for row in rows])

    assert [step.at for step in merged] == sorted({step.at for step in merged})
    expected = as_steps(offer_history(offers, product, OFFER))
    assert without_repeats(known(step.of()) for step in merged) == without_repeats(expected)


def known(step):
    """While nobody knows, the price that it had does not matter."""
    return step if step.observed else Step(step.at, None, observed=False)


def test_an_offer_is_after_a_gap_as_it_was_before_it():
    seen = ProductStep(0, 100, 100, 1, 5, observed=True)
    lost = ProductStep(10, None, None, 0, 0, observed=False)

    merged = with_gaps([OfferStep(0, 100, 5)], [seen, lost, seen._replace(at=20)])

    assert merged == [OfferStep(0, 100, 5), OfferStep(10, 100, 5, observed=False), OfferStep(20, 100, 5)]


def test_an_offer_that_changed_during_a_gap_is_seen_to_have_changed_at_its_end():
    seen = ProductStep(0, 100, 100, 1, 5, observed=True)
    lost = ProductStep(10, None, None, 0, 0, observed=False)

    merged = with_gaps([OfferStep(0, 100, 5), OfferStep(20, 90, 5)], [seen, lost, seen._replace(at=20)])

    assert merged == [OfferStep(0, 100, 5), OfferStep(10, 100, 5, observed=False), OfferStep(20, 90, 5)]


def test_a_gap_before_an_offers_first_step_is_none_of_its_own():
    seen = ProductStep(0, None, None, 0, 0, observed=True)
    lost = ProductStep(10, None, None, 0, 0, observed=False)

    merged = with_gaps([OfferStep(20, 100, 5)], [seen, lost, seen._replace(at=20)])

    assert merged == [OfferStep(20, 100, 5)]


@given(product_histories(), lengths)
def test_a_products_row_says_both_prices_buckets_exactly(rows, length):
    for bucket in product_buckets(None, [row.step for row in rows], length):
        row = product_row(bucket)

        assert bucket_of(bucket.lowest.at, row) == bucket.lowest
        assert bucket_of(bucket.lowest.at, row, "average_") == bucket.average
        assert (row["offers"], row["items_in_stock"]) == (bucket.offers, bucket.items_in_stock)
        check_the_columns_hold(row)


@given(offer_histories(1), product_histories(), lengths)
def test_an_offers_row_says_its_bucket_exactly(offers, rows, length):
    for bucket in offer_buckets(None, with_gaps(offer_steps(offers, OFFER), [row.step for row in rows]), length):
        row = offer_row(bucket)

        assert bucket_of(bucket.price.at, row) == bucket.price
        assert row["items_in_stock"] == bucket.items_in_stock
        check_the_columns_hold(row)


def check_the_columns_hold(row):
    """Both databases' integers have 64 bits; a sum of prices times microseconds would not fit, a mean does."""
    assert all(0 <= value <= LARGEST for value in row.values() if isinstance(value, int))


@pytest.mark.parametrize("in_stock_us", [1, 7, HOUR, WEEK])
@pytest.mark.parametrize("less", [0, 1, 3])
def test_the_mean_of_the_largest_prices_is_rounded_down_and_its_remainder_kept(in_stock_us, less):
    weighted = LARGEST * in_stock_us - min(less, in_stock_us)
    bucket = Bucket(0, "in_stock", in_stock_us, in_stock_us, LARGEST, LARGEST, LARGEST - 3, LARGEST, weighted, 1)

    row = product_row(ProductBucket(bucket, bucket, 1, 1))

    assert row["mean"] == weighted // in_stock_us
    assert row["remainder"] == weighted % in_stock_us
    assert bucket_of(0, row).weighted == weighted
