"""How people compare the texts of products: without case, accents and strokes. It works alike on every database.

The catalogue stores the folded texts; the listing searches and sorts by them. A change of what these functions return
needs a migration that folds all products again.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# Products are sorted by this many characters. An index entry may take a third of a page, and folding can make
# a name longer.
_SORT_LENGTH = 200
# Brands and categories are filtered by this many characters, for the same reason. Only folding reaches it.
_KEY_LENGTH = 600
# Latin letters without a Unicode decomposition, such as ł, ø, đ and æ. Their Unicode names, which never change, contain
# the plain letters.
_LATIN_NAME = re.compile(r"LATIN SMALL (?:LETTER|LIGATURE) (?:(?:DOTLESS|OPEN) )?([A-Z]{1,2})(?: WITH .+)?")
# Latin letters whose Unicode names do not contain the plain letters, as in the transform Latin-ASCII of Unicode's CLDR.
_LATIN_EXCEPTIONS = {"ð": "d", "þ": "th", "ŋ": "n", "ĸ": "q"}


def fold(text: str) -> str:
    """The text without case, accents and other differences of presentation: 'ČAJ' is 'caj', 'Łódź' is 'lodz'.

    Letters of other scripts only lose their case: 'Лампа' is 'лампа'.
    """
    folded = _without_accents(text).casefold()
    if folded.isascii():
        return folded
    for char in set(folded):
        folded = folded.replace(char, _plain(char))
    return folded


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    # A loop over the distinct characters: long texts have few of them.
    for char in filter(unicodedata.combining, set(decomposed)):
        decomposed = decomposed.replace(char, "")
    return decomposed


def search_text(name: str, description: str, facts: Iterable[str] = ()) -> str:
    """The text in which a search looks for words: the folded name, a line break, the folded description.

    Facts, such as the brand, stand between the two, and a tab ends them. A space stands before and after every word,
    and between a word and punctuation or a symbol: ' a / b \\n'.
    """
    of_facts = " ".join(map(_words, facts))
    return f" {_words(name)} \n" + (f" {of_facts} \t" if of_facts else "") + f" {_words(description)} "


def search_words(text: str) -> tuple[str, ...]:
    """The distinct words of a search, as they occur in a `search_text`."""
    return tuple(dict.fromkeys(map(_spaced, fold(text).split())))


def sort_name(name: str) -> str:
    """The key of the sort by name: 'apple', 'Banana', 'Čaj'."""
    return fold(name)[:_SORT_LENGTH]


def filter_key(text: str) -> str:
    """The key by which products of a brand or a category are found: 'Čaj>Earl Grey' is 'caj > earl grey'."""
    return _words(text)[:_KEY_LENGTH]


def search_columns(
    name: str, description: str, gtin: str | None, brand: str | None, category: str | None
) -> dict[str, str | None]:
    """The columns of a product that are computed from its other texts."""
    return {
        "search_text": search_text(name, description, filter(None, (brand, category, gtin))),
        "sort_name": sort_name(name),
        "brand_key": brand and filter_key(brand),
        "category_key": category and filter_key(category),
    }


def _words(text: str) -> str:
    """The words of a text and the punctuation between them, folded, with single spaces between all of them."""
    return _spaced(fold(text))


def _spaced(folded: str) -> str:
    # Vowel signs of Indic scripts belong to their words.
    marks = "".join(sorted(char for char in set(folded) if unicodedata.category(char)[0] == "M"))
    return " ".join(_tokens(marks).findall(folded))


@lru_cache(maxsize=256)
def _tokens(marks: str) -> re.Pattern[str]:
    """Words, which may contain the marks, and runs of other characters that are not white space."""
    return re.compile(rf"(?:[^\W_]|[{marks}])+|(?:[^\w\s{marks}]|_)+" if marks else r"[^\W_]+|(?:[^\w\s]|_)+")


@lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    match = _LATIN_NAME.fullmatch(unicodedata.name(char, ""))
    return match[1].lower() if match else _LATIN_EXCEPTIONS.get(char, char)
