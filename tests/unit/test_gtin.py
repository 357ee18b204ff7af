"""What stands in fields for a GTIN: the text is kept as digits, or it is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.gtin import normalize_gtin

NONE = {
    "empty": "",
    "a maker's code": "4311501-A",
    "a wrong check digit": "4006381333932",
    "a UPC that lost its zero": "36000291452",
    "assigned by a shop": "2012345678900",
    "a placeholder": "0000000000000",
    "too long": "400638133393100",
    "other digits": "٤٠٠٦٣٨١٣٣٣٩٣١",
}


@pytest.mark.parametrize(
    ("text", "gtin"),
    [
        ("4006381333931", "4006381333931"),
        (" 4006381333931 ", "4006381333931"),
        ("400-6381-33393-1", "4006381333931"),
        ("036000291452", "0036000291452"),
        ("04006381333931", "4006381333931"),
        ("73513537", "73513537"),
        ("10614141000415", "10614141000415"),
        ("9780306406157", "9780306406157"),
    ],
)
def test_it_is_kept(text, gtin):
    assert normalize_gtin(text) == gtin


@pytest.mark.parametrize("text", NONE.values(), ids=NONE)
def test_it_is_none(text):
    assert normalize_gtin(text) is None


@given(st.text("0123456789", min_size=7, max_size=14))
def test_it_is_idempotent(text):
    gtin = normalize_gtin(text)
    assert gtin is None or normalize_gtin(gtin) == gtin
