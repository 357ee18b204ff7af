"""Strict parsing of JSON from outside: a member that occurs twice in one object is an error.

orjson reads JSON fast and to the letter of RFC 8259, which leaves duplicates to the reader, and reports none. An
earlier check (a proxy's, say) might have looked at the other member. So values that can contain objects are read once
more, by the standard library.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

_SPACE = re.compile(rb"[ \t\n\r]*")
_OPENING = re.compile(_SPACE.pattern + rb"\[")
# Strings, the last of which may have no end, and the characters that make the structure.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


class NotAnArray(ValueError):
    """The text is not a JSON array."""


class TooManyTokens(ValueError):
    """The array has more items and members than the caller allows."""


def loads(text: bytes) -> Any:
    """The value. Raises ValueError with the reason if the text is not strict JSON."""
    value = orjson.loads(text)
    if isinstance(value, dict | list):
        _check_duplicates(text)
    return value


def _check_duplicates(text: bytes) -> None:
    try:
        _DUPLICATES.decode(text.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def items(array: bytes, max_tokens: int) -> Iterator[bytes]:
    """The items of an array as they are written, one at a time, for `loads`.

    This keeps the memory for a large array small: parsed texts need up to four times as much memory as the JSON, and
    numbers far more. The iteration raises NotAnArray, TooManyTokens, or ValueError if the text is not JSON. A token is
    a string, a bracket, a brace or a comma.
    """
    first = start = _first_item(array)
    for token in _separators(array, start, max_tokens):
        end = token.start()
        if token[0] == b",":
            yield array[start:end]
            start = token.end()
    _check_end(array, end)
    if start != first or not _SPACE.fullmatch(array, start, end):
        yield array[start:end]


def _first_item(array: bytes) -> int:
    opening = _OPENING.match(array)
    if not opening:
        raise NotAnArray
    return opening.end()


def _check_end(array: bytes, end: int) -> None:
    if array[end : end + 1] != b"]" or not _SPACE.fullmatch(array, end + 1):
        raise ValueError("the array does not end with its closing bracket")


def _separators(array: bytes, start: int, max_tokens: int) -> Iterator[re.Match[bytes]]:
    """The commas between the items of an array, and the bracket or brace that closes it, which is always there."""
    depth = 1
    for number, token in enumerate(_TOKEN.finditer(array, start)):
        if number >= max_tokens:
            raise TooManyTokens
        kind = array[token.start() : token.start() + 1]
        depth += _DEPTH.get(kind, 0)
        if depth == 0:
            yield token
            return
        if depth == 1 and kind == b",":
            yield token
    raise ValueError("it has no end")


def _refuse_duplicates(members: Sequence[tuple[str, object]]) -> None:
    names = [name for name, _ in members]
    if len(set(names)) < len(names):
        [(duplicate, _)] = Counter(names).most_common(1)
        raise ValueError(f"the member {duplicate[:100]!r} occurs more than once")


# Floats, because long integers are slow to read, and the numbers do not matter here.
_DUPLICATES = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_int=float)
