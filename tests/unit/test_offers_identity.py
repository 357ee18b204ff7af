"""Ids of offers whose source gives them none that is a UUID."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from productagg.offers.identity import offer_id

SOURCE = UUID("019aa3f2-6c1e-7d43-9a51-0c6f2d9b7e10")
keys = st.tuples(st.uuids(), st.text(st.characters(codec="utf-8")), st.sampled_from(["EUR", "CZK", "EUW"]))


def test_an_offer_has_the_same_id_for_ever():
    assert offer_id(SOURCE, "sku-1", "EUR") == UUID("ce6efc7e-62ed-5ee0-9be1-735e5bf8eaf7")


def test_in_another_currency_it_is_another_offer():
    assert offer_id(SOURCE, "sku-1", "EUR") != offer_id(SOURCE, "sku-1", "CZK")


@given(keys, keys)
def test_two_offers_have_one_id_only_if_source_external_id_and_currency_are_the_same(one, other):
    assert (offer_id(*one) == offer_id(*other)) == (one == other)
