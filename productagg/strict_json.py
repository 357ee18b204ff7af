"""JSON from elsewhere, where a member that stands twice in one object is an error and not the last one's victory.

orjson reads, and says what is no JSON, fast and to the letter of RFC 8259. It keeps no trace of duplicates, which that
RFC leaves to each reader: a check before us (a proxy's, say) might have looked at the other one. So whatever holds an
object is read once more, by the standard library.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

_SPACE = rb"[ \t\n\r]*"
_BEGINNING, _REST = re.compile(_SPACE + rb"\["), re.compile(_SPACE)
# Strings, the last of which may have no end, and what else gives structure.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)


class NotAnArray(ValueError):
    """Something else stands where an array should."""


class TooManyParts(ValueError):
    """It has more items and members than may be."""


def loads(text: bytes) -> Any:
    """Raises ValueError, which says what is wrong with it."""
    value = orjson.loads(text)
    if isinstance(value, dict | list):
        try:
            _DUPLICATES.decode(text.decode())
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
    return value


def items(array: bytes, most_tokens: int) -> Iterator[bytes]:
    """The items of an array as they are written, one after another, each for `loads`.

    So a large array never is in memory as a whole but as it is written: what is read takes up to four times as much for
    a text, far more for numbers. Before it comes to the end, it raises NotAnArray, TooManyParts, or ValueError for what
    is no JSON. A token is a string, a bracket, a brace or a comma.
    """
    beginning = _BEGINNING.match(array)
    if not beginning:
        raise NotAnArray
    start, depth = beginning.end(), 1
    for number, token in enumerate(_TOKEN.finditer(array, start)):
        if number >= most_tokens:
            raise TooManyParts
        kind = array[token.start() : token.start() + 1]
        if kind in b"[{":
            depth += 1
        elif kind in b"]}":
            depth -= 1
        if depth == 0:
            break
        if kind == b"," and depth == 1:
            yield array[start : token.start()]
            start = token.end()
    else:
        raise ValueError("it has no end")
    end = token.end()
    if kind != b"]" or not _REST.fullmatch(array, end):
        raise ValueError("something else stands where it should end")
    if start != beginning.end() or not _REST.fullmatch(array, start, end - 1):
        yield array[start : end - 1]


def _refuse_duplicates(members: Sequence[tuple[str, object]]) -> None:
    names = {name for name, _ in members}
    if len(names) < len(members):
        seen: set[str] = set()
        twice = next(name for name, _ in members if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the member {twice[:100]!r} is there more than once")


# Numbers are of no interest to it, and Python's integers take long to read if they are long.
_DUPLICATES = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_int=float)
