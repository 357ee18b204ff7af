"""How well products match the words of a search, as SQL. For the listing; it runs nothing.

The best match of a word is a whole word, then the beginning of a word, then any part of a word; a match in the
name is better than the same match in the description. A product is as relevant as its worst word. See
docs/decisions/0010-listing.md.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Integer, Text, and_, bindparam, case, literal_column, or_
from sqlalchemy.orm import InstrumentedAttribute

_Text = ColumnElement[str] | InstrumentedAttribute[str]

# The level of products that lack one of the words.
NO_MATCH = 6
# What surrounds a word in a search text (see search_text.py), at each level and at all better ones. The line break ends
# the name.
_AT_LEAST: Sequence[Sequence[tuple[str, str]]] = (
    (("% ", " %\n%"),),
    (("% ", " %"),),
    (("% ", " %"), ("% ", "%\n%")),
    (("% ", "%"),),
    (("% ", "%"), ("%", "%\n%")),
    (("%", "%"),),
)
# From the best to the worst.
LEVELS = range(len(_AT_LEAST))


def escape_like(word: str) -> str:
    """A word as a parameter of `matches`, in which no character is a wildcard."""
    for special in "/%_":
        word = word.replace(special, f"/{special}")
    return word


def matches(text: _Text, words: Iterable[str], level: int = LEVELS[-1]) -> ColumnElement[bool]:
    """Whether a search text matches all words at this level or a better one. `words` are names of parameters."""
    return and_(True, *(or_(*(_like(text, word, *around) for around in _AT_LEAST[level])) for word in words))


def match_level(text: _Text, words: Sequence[str]) -> ColumnElement[int]:
    """The best level at which a search text matches all words, or NO_MATCH."""
    return case(*((matches(text, words, level), _constant(level)) for level in LEVELS), else_=_constant(NO_MATCH))


def _like(text: _Text, word: str, before: str, after: str) -> ColumnElement[bool]:
    pattern = literal_column(f"'{before}'", Text) + bindparam(word, type_=Text) + literal_column(f"'{after}'", Text)
    return text.like(pattern, escape="/")


def _constant(value: int) -> ColumnElement[int]:
    return literal_column(str(value), Integer)
