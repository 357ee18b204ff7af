"""How well products meet the words that somebody looks for, as SQL. For browsing; it runs nothing.

A word is best met as a whole word, then as the beginning of one, then as any part; each time in the name before the
description. A product is as relevant as the word that it meets worst. See docs/decisions/0010-browsing.md.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Integer, Text, and_, bindparam, case, literal_column, or_
from sqlalchemy.orm import InstrumentedAttribute

_Text = ColumnElement[str] | InstrumentedAttribute[str]

# The level of products that do not have all the words.
NONE = 6
# What a search text (see catalog/search_text.py) has around a word at a level or a better one. A name ends with the line.
_AT_LEAST: Sequence[Sequence[tuple[str, str]]] = (
    (("% ", " %\n%"),),
    (("% ", " %"),),
    (("% ", " %"), ("% ", "%\n%")),
    (("% ", "%"),),
    (("% ", "%"), ("%", "%\n%")),
    (("%", "%"),),
)
# The best one first.
LEVELS = range(len(_AT_LEAST))


def escaped(word: str) -> str:
    """A word as the parameter of `meets`: nothing in it has a special meaning."""
    for special in "/%_":
        word = word.replace(special, f"/{special}")
    return word


def meets(text: _Text, words: Iterable[str], level: int = LEVELS[-1]) -> ColumnElement[bool]:
    """Whether a search text meets all words at a level or a better one. `words` are the names of parameters."""
    return and_(True, *(or_(*(_like(text, word, *around) for around in _AT_LEAST[level])) for word in words))


def level(text: _Text, words: Sequence[str]) -> ColumnElement[int]:
    """At which level a search text meets all words; NONE if it does not."""
    return case(*((meets(text, words, each), _constant(each)) for each in LEVELS), else_=_constant(NONE))


def _like(text: _Text, word: str, before: str, after: str) -> ColumnElement[bool]:
    pattern = literal_column(f"'{before}'", Text) + bindparam(word, type_=Text) + literal_column(f"'{after}'", Text)
    return text.like(pattern, escape="/")


def _constant(value: int) -> ColumnElement[int]:
    return literal_column(str(value), Integer)
