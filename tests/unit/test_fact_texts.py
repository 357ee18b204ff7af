"""How brands, categories and GTINs are searched and compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.catalog.search_text import filter_key, search_columns, search_text, search_words

TEXTS = st.text(st.sampled_from("aŁßæ1_-%>/ \t\nहिन्\u200d한") | st.characters(exclude_categories=["Cs"]), max_size=6)


def test_facts_stand_between_name_and_description():
    columns = search_columns("Brass lamp", "Glows", "4006381333931", "Łampa", "Home > Lamps")

    assert columns["search_text"] == " brass lamp \n lampa home > lamps 4006381333931 \t glows "
    assert (columns["brand_key"], columns["category_key"]) == ("lampa", "home > lamps")


def test_without_facts_the_search_text_is_what_it_was_before_there_were_any():
    columns = search_columns("Brass lamp", "Glows", None, None, None)

    assert columns["search_text"] == search_text("Brass lamp", "Glows") == " brass lamp \n glows "
    assert (columns["brand_key"], columns["category_key"]) == (None, None)


@given(name=TEXTS, fact=TEXTS, description=TEXTS)
def test_no_text_can_end_the_name_or_the_facts(name, fact, description):
    text = search_text(name, description, [fact])

    assert text.count("\n") == 1
    assert text.count("\t") == (1 if search_words(fact) else 0)


@given(before=TEXTS, fact=TEXTS, after=TEXTS)
def test_every_word_of_a_fact_is_found(before, fact, after):
    for word in search_words(fact):
        assert word in search_text("", "", [before + fact + after])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Łampa", "lampa"),
        (" Café  Noir ", "CAFE NOIR"),
        ("Home>Tea", "home > tea"),
        ("AT&T", "at & t"),
        ("Straße", "STRASSE"),
    ],
)
def test_case_accents_and_white_space_make_no_difference(one, other):
    assert filter_key(one) == filter_key(other)


@pytest.mark.parametrize(("one", "other"), [("Home > Tea", "Home"), ("A-B", "AB"), ("Lamp", "Lamps")])
def test_other_texts_are_others(one, other):
    assert filter_key(one) != filter_key(other)


@given(st.text(max_size=200))
def test_a_key_fits_into_an_index(text):
    # PostgreSQL takes 2,704 bytes.
    assert len(filter_key(text).encode("utf-8", "surrogatepass")) <= 2_400
