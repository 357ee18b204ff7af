"""How people compare names and descriptions: without case, accents and strokes. The same on every database.

The catalogue stores the folded texts, browsing searches and sorts by them. Whoever changes what these functions return
adds a migration that folds all products again.
"""

import re
import unicodedata
from functools import lru_cache

# What a sort needs of a name; an index entry holds no more than a third of a page, and folding can lengthen a name.
_SORTED_BY = 200
# Latin letters that no Unicode decomposition takes apart, such as ł, ø, đ and æ: their names, which never change, say
# what they are made of.
_MADE_OF = re.compile(r"LATIN SMALL (?:LETTER|LIGATURE) (?:(?:DOTLESS|OPEN) )?([A-Z]{1,2})(?: WITH .+)?")
# Those with names of their own, as in the transform Latin-ASCII of Unicode's CLDR.
_OTHERS = {"ð": "d", "þ": "th", "ŋ": "n", "ĸ": "q"}


def fold(text: str) -> str:
    """The text without case, accents and other differences of presentation: 'ČAJ' is 'caj', 'Łódź' is 'lodz'.

    Letters of other scripts stay what they are: 'Лампа' is 'лампа'.
    """
    decomposed = unicodedata.normalize("NFKD", text)
    # Each character is looked up once, however long the text is.
    for char in set(decomposed):
        if unicodedata.combining(char):
            decomposed = decomposed.replace(char, "")
    folded = decomposed.casefold()
    for char in set(folded):
        if not char.isascii():
            folded = folded.replace(char, _plain(char))
    return folded


def search_text(name: str, description: str) -> str:
    """What a product is found by: the folded name, a line's end, the folded description.

    A space stands before and after each word, and where punctuation or a symbol touches a word: ' a / b \\n'.
    """
    return "\n".join(f" {_spaced(fold(text))} " for text in (name, description))


def search_words(text: str) -> tuple[str, ...]:
    """The words of a search, each once, as they occur in a `search_text`."""
    return tuple(dict.fromkeys(map(_spaced, fold(text).split())))


def sort_name(name: str) -> str:
    """By what products are sorted by name: 'apple', 'Banana', 'Čaj'."""
    return fold(name)[:_SORTED_BY]


def _spaced(folded: str) -> str:
    # Vowel signs of Indic scripts belong to their words.
    marks = "".join(sorted(char for char in set(folded) if unicodedata.category(char)[0] == "M"))
    return " ".join(_parts(marks).findall(folded))


@lru_cache(maxsize=256)
def _parts(marks: str) -> re.Pattern[str]:
    """Words, and what is between words, but for white space."""
    return re.compile(rf"(?:[^\W_]|[{marks}])+|(?:[^\w\s{marks}]|_)+" if marks else r"[^\W_]+|(?:[^\w\s]|_)+")


@lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    found = _MADE_OF.fullmatch(unicodedata.name(char, ""))
    return found[1].lower() if found else _OTHERS.get(char, char)
