"""How names and descriptions are compared by people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.words import fold, search_text, sort_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Čaj", "caj"),
        ("ČAJ", "caj"),
        ("Straße", "strasse"),
        ("STRAẞE", "strasse"),
        ("İstanbul", "istanbul"),
        ("ﬁnd", "find"),
        ("ΣΊΣΥΦΟΣ σίσυφος", "σισυφοσ σισυφοσ"),
        ("１２", "12"),
        ("हिन्दी", "हिनदी"),
        ("", ""),
    ],
)
def test_case_accents_and_presentation_make_no_difference(text, expected):
    assert fold(text) == expected


@given(before=st.text(max_size=5), text=st.text(max_size=5), after=st.text(max_size=5))
def test_what_is_part_of_a_text_is_part_of_it_when_both_are_folded(before, text, after):
    assert fold(text) in fold(before + text + after)


def test_a_word_that_spans_name_and_description_is_none():
    assert search_text("Lamp", "Shade") == "lamp\nshade"


def test_what_a_name_is_sorted_by_fits_into_an_index():
    # PostgreSQL takes 2,704 bytes.
    assert len(sort_name("ﷺ" * 200).encode()) <= 800
