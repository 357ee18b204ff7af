"""How well products match the words of a search, as SQL. For the listing; it runs nothing.

The best match of a word is a whole word, then the beginning of a word, then any part of a word. A match in the name is
better than the same match in the brand, the category or the GTIN, which is better than the same in the description. A
product is as relevant as its worst word. See docs/decisions/0010-listing.md.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Integer, Text, and_, bindparam, case, func, literal_column, or_
from sqlalchemy.orm import InstrumentedAttribute

_Text = ColumnElement[str] | InstrumentedAttribute[str]

# What surrounds a word in a search text (see search_text.py), from the best match to the worst. The line break ends the
# name; the tab ends brand, category and GTIN.
_PATTERNS = (
    ("% ", " %\n%"),
    ("% ", " %\t%"),
    ("% ", " %"),
    ("% ", "%\n%"),
    ("% ", "%\t%"),
    ("% ", "%"),
    ("%", "%\n%"),
    ("%", "%\t%"),
    ("%", "%"),
)
# A level for every pattern.
LEVELS = range(len(_PATTERNS))
# The level of products that lack one of the words.
NO_MATCH = len(_PATTERNS)


def escape_like(word: str) -> str:
    """A word as a parameter of `matches`, in which no character is a wildcard."""
    for special in "/%_":
        word = word.replace(special, f"/{special}")
    return word


def matches(text: _Text, words: Iterable[str], level: int = LEVELS[-1]) -> ColumnElement[bool]:
    """Whether a search text matches all words at this level or a better one. `words` are names of parameters."""
    patterns = _patterns_until(level)
    return and_(True, *(or_(*(_like(text, word, *pattern) for pattern in patterns)) for word in words))


def _patterns_until(level: int) -> Sequence[tuple[str, str]]:
    """The patterns of this level and of all better ones, without those that others contain: the third of each three."""
    place = level % 3
    return _PATTERNS[level : level + 1] if place == 2 else _PATTERNS[max(level - place - 1, 0) : level + 1]


def match_level(dialect: str, text: _Text, words: Sequence[str]) -> ColumnElement[int]:
    """The best level at which a search text matches all words, or NO_MATCH. Without words, it is the best of all."""
    levels = [_word_level(text, word) for word in words] or [_constant(LEVELS[0])]
    if len(levels) == 1:
        return levels[0]  # with one argument, SQLite's max is an aggregate
    worst = func.max if dialect == "sqlite" else func.greatest
    return worst(*levels, type_=Integer)


def _word_level(text: _Text, word: str) -> ColumnElement[int]:
    levels = ((_like(text, word, *_PATTERNS[level]), _constant(level)) for level in LEVELS)
    return case(*levels, else_=_constant(NO_MATCH))


def _like(text: _Text, word: str, before: str, after: str) -> ColumnElement[bool]:
    pattern = literal_column(f"'{before}'", Text) + bindparam(word, type_=Text) + literal_column(f"'{after}'", Text)
    return text.like(pattern, escape="/")


def _constant(value: int) -> ColumnElement[int]:
    return literal_column(str(value), Integer)
