"""Names and passwords: which are accepted, and that the published contract agrees."""

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg import text_rules
from productagg.catalog.product_schema import NEW_PRODUCT
from productagg.schema_types import validate
from productagg.text_rules import has_control, has_invisible, is_blank, normalize_name


def tags(text):
    return "".join(chr(0xE0000 + ord(char)) for char in text)


FLAG, END = "\U0001f3f4", "\U000e007f"
ACCEPTED = {
    "the flag of England": f"{FLAG}{tags('gbeng')}{END}",
    "the flag of Scotland": f"{FLAG}{tags('gbsct')}{END}",
    "the flag of Wales": f"{FLAG}{tags('gbwls')}{END}",
    "the flag of a country": "\U0001f1ec\U0001f1e7",
    "the rainbow flag": "\U0001f3f3\ufe0f\u200d\U0001f308",
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "an astronaut with a skin tone": "\U0001f469\U0001f3fd\u200d\U0001f680",
    "red hair": "\U0001f9d1\u200d\U0001f9b0",
    "a keycap": "1\ufe0f\u20e3",
    "a heart in colour": "\u2764\ufe0f",
    "a watch in black": "\u231a\ufe0e",
    "a heart on fire": "\u2764\ufe0f\u200d\U0001f525",
    "a Persian joiner": "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "a joiner after a vowel sign": "\u0646\u064e\u200c\u0635",
    "a Devanagari joiner": "\u0915\u094d\u200d\u0937",
    "a Sinhala joiner": "\u0d9a\u0dcf\u0dbb\u0dca\u200d\u0dba",
    "a variant of a kanji": "\u845b\U000e0100\u57ce",
    "a variant of a Mongolian letter": "\u1820\u180b",
    "an Arabic number sign": "\u0600\u0661",
}
REFUSED = {
    "a filler": "a\u115f",
    "another filler": "a\u1160",
    "a filler of Hangul": "a\u3164",
    "a filler of half width": "a\uffa0",
    "a combining joiner": "a\u034f",
    "a Khmer vowel that does not show": "a\u17b4",
    "a selector after a letter": "a\ufe0f",
    "a selector of the other kind": "a\ufe00",
    "a selector after a digit that is no keycap": "1\ufe0f",
    "a selector after a flag": "\U0001f1ec\U0001f1e7\ufe0e",
    "a selector of ideographs after a letter": "a\U000e0100",
    "a selector of Mongolian after a letter": "a\u180b",
    "a flag with another tag": f"{FLAG}{tags('hi')}{END}",
    "a flag with no tag": f"{FLAG}{END}",
    "a flag that does not end": f"{FLAG}{tags('gbeng')}",
    "tags after a letter": f"a{tags('gbeng')}{END}",
    "tags alone": tags("hidden"),
    "a joiner between letters": "a\u200db",
    "a non-joiner between letters": "a\u200cb",
    "a joiner after an emoji": "\U0001f600\u200d",
    "a joiner before an emoji": "\u200d\U0001f600",
    "two joiners": "\u0646\u200c\u200c\u062e",
    "a writing direction": "a\u202eb",
    "a zero-width space": "a\u200bb",
    "a soft hyphen": "a\u00adb",
    "an annotation": "a\ufff9b",
    "a line separator": "a\u2028b",
    "a reserved character that would not show": "a\U000e0fff",
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_sequence_defined_by_unicode_is_accepted_unchanged(what):
    name = f"Mug {ACCEPTED[what]} blue"

    assert not has_invisible(name)
    assert normalize_name(name) == name


@pytest.mark.parametrize("what", REFUSED)
def test_an_invisible_character_is_refused(what):
    assert has_invisible(normalize_name(REFUSED[what]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u231a\ufe0f", "\u231a"),  # a watch, which is in colour anyway
        ("\u260e\ufe0e", "\u260e"),  # a telephone, which is a letter-like symbol anyway
        ("e\u0301", "\u00e9"),
        (" \u3000name\u00a0", "name"),
    ],
)
def test_spellings_that_look_the_same_become_one_name(one, other):
    assert normalize_name(one) == normalize_name(other) == other


@pytest.mark.parametrize(
    "text", ["", " \t\u3000\u00a0", "\x00\x1f", "\u200b", "\u115f\u3164", "\ufe0f", "\u2800", "\u2800 \u200d"]
)
def test_a_text_without_visible_characters_is_blank(text):
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " a ", "\u00e9", *ACCEPTED.values()])
def test_a_text_with_a_visible_character_is_not_blank(text):
    assert not is_blank(text)


def test_letters_digits_signs_and_spaces_of_all_scripts_are_accepted_and_control_characters_are_not():
    by_category: dict[str, list[str]] = {}
    for char in map(chr, range(sys.maxunicode + 1)):
        by_category.setdefault(unicodedata.category(char), []).append(char)

    for category in ("Lu", "Ll", "Nd", "Sc", "Sm", "Ps", "Pe", "Zs"):
        text = "a".join(by_category[category])
        assert not has_invisible(text) and not has_control(text)
    assert all(has_control(char) for category in ("Cc", "Cs") for char in by_category[category])


def test_the_contract_refuses_the_characters_of_the_basic_plane_that_are_always_refused():
    [name] = [node for node in NEW_PRODUCT if node.name == "name"]
    pattern = re.compile(name.typ.schema["pattern"])
    somewhere = {char for sequence in ACCEPTED.values() for char in sequence} | {
        chr(code) for code in range(0x180B, 0x1810)
    }

    for char in map(chr, range(0xFFFF)):
        refused = has_control(char) or has_invisible(normalize_name(f"a{char}b"))
        allowed = not refused or char in somewhere or char == "\ufe0e"
        if not 0xD800 <= ord(char) < 0xE000:  # a surrogate is no character
            assert bool(pattern.search(f"a{char}b")) == allowed, hex(ord(char))


@given(st.text())
def test_an_accepted_name_matches_the_contract_and_is_normalized(text):
    values, faults = validate(NEW_PRODUCT, {"name": text, "description": ""})
    if not faults:
        [name] = [node for node in NEW_PRODUCT if node.name == "name"]
        assert re.search(name.typ.schema["pattern"], values["name"])
        assert normalize_name(values["name"]) == values["name"]


@pytest.mark.parametrize("text", ["root", "ren\u00e9", "O'Neill (night shift)", "x" * 200])
def test_a_user_name_is_accepted(text):
    assert text_rules.valid_username(f" {text} ") == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        (" \u3000", "is empty"),
        ("\u3164", "is empty"),
        ("ro\0ot", "has control characters"),
        ("ro\not", "has control characters"),
        ("ro\udce9", "has control characters"),
        ("ro\u200bot", "has invisible characters"),
        ("x" * 201, "has more than 200 characters"),
    ],
)
def test_a_user_name_is_refused(text, problem):
    with pytest.raises(ValueError, match=problem):
        text_rules.valid_username(text)


def test_a_password_is_normalized_and_otherwise_unchanged():
    assert text_rules.valid_password(" cafe\u0301 au lait ") == " caf\u00e9 au lait "
    assert text_rules.valid_password("x" * 8) == "x" * 8
    assert text_rules.valid_password("x" * 1000) == "x" * 1000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        (" " * 8, "is empty"),
        ("\u3164" * 8, "is empty"),
        ("hunter2", "has fewer than 8 characters"),
        ("e\u0301" * 7, "has fewer than 8 characters"),
        ("hunter2" * 143, "has more than 1000 characters"),
        ("hunter2\nhunter2", "has control characters"),
        ("hunter2hunter2\udce9", "has control characters"),
    ],
)
def test_a_password_is_refused_without_being_shown(text, problem):
    with pytest.raises(ValueError, match=problem) as raised:
        text_rules.valid_password(text)

    assert "hunter2" not in str(raised.value)
