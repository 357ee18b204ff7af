"""How names and descriptions are compared by people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.catalog.search_text import fold, search_text, search_words, sort_name


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
        ("ŁÓDŹ łódź", "lodz lodz"),
        ("Øl ØL Đakovo ÆBLE ŒUF", "ol ol dakovo aeble oeuf"),
        ("IŞIK ışık", "isik isik"),
        ("Þór Ðóra Ħal Ŋ ŧ Ǿ", "thor dora hal n t o"),
        ("ЛАМПА лампа Ґанок", "лампа лампа ґанок"),
        ("電灯 λάμπα منارة מנורה", "電灯 λαμπα منارة מנורה"),
        ("", ""),
    ],
)
def test_case_accents_and_presentation_make_no_difference(text, expected):
    assert fold(text) == expected


@given(before=st.text(max_size=5), text=st.text(max_size=5), after=st.text(max_size=5))
def test_what_is_part_of_a_text_is_part_of_it_when_both_are_folded(before, text, after):
    assert fold(text) in fold(before + text + after)


# Letters with strokes, marks of Indic scripts, joiners, underscores and emoji among them.
TEXTS = st.text(
    st.sampled_from("aŁßæ1_-%/ \t\nहिन्\u200d❤\ufe0f한 गिा") | st.characters(exclude_categories=["Cs"]), max_size=6
)


@given(before=TEXTS, text=TEXTS, after=TEXTS)
def test_a_word_is_found_in_every_text_that_it_is_part_of(before, text, after):
    for found in search_words(text):
        assert found in search_text("", before + text + after)
        assert found in search_text(before + text + after, "")


@given(before=TEXTS, word=st.text(st.sampled_from("aŁß1हि한"), min_size=1, max_size=4), after=TEXTS)
def test_a_whole_word_stands_between_spaces(before, word, after):
    for found in search_words(word):  # none, of marks alone
        for punctuation in " ", "-", "/", "(", "_", "…":
            assert f" {found} " in search_text(before + punctuation + word + punctuation + after, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Desk LAMP desk", ("desk", "lamp")),
        ("and/or 100%", ("and / or", "100 %")),
        ("snake_case d'été", ("snake _ case", "d ' ete")),
        ("हिन्दी", ("हिनदी",)),
        (" \u0301 ", ()),
    ],
)
def test_a_search_is_made_of_words_as_texts_have_them(text, words):
    assert search_words(text) == words


def test_a_word_that_spans_name_and_description_is_none():
    assert search_text("Brass lamp", "Shade, a/b") == " brass lamp \n shade , a / b "


def test_what_a_name_is_sorted_by_fits_into_an_index():
    # PostgreSQL takes 2,704 bytes.
    assert len(sort_name("ﷺ" * 200).encode()) <= 800
