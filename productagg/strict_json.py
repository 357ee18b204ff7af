"""JSON from outside, in which a member that occurs twice in one object is an error; usually the last one wins.

orjson reads JSON fast and to the letter of RFC 8259, which leaves duplicates to the reader; it does not tell them. A
check before us (a proxy's, say) might have looked at the other one. So values that can contain objects are read once
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
        try:
            _DUPLICATES.decode(text.decode())
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
    return value


def items(array: bytes, max_tokens: int) -> Iterator[bytes]:
    """The items of an array as they are written, one at a time, for `loads`.

    This keeps the memory for a large array small: parsed texts need up to four times as much as the JSON, numbers need
    far more. While it is read, it raises NotAnArray, TooManyTokens, or ValueError if it is not JSON. A token is a
    string, a bracket, a brace or a comma.
    """
    opening = _OPENING.match(array)
    if not opening:
        raise NotAnArray
    start = opening.end()
    for token in _separators(array, start, max_tokens):
        end = token.start()
        if array[end : token.end()] == b",":
            yield array[start:end]
            start = token.end()
    if array[end : end + 1] != b"]" or not _SPACE.fullmatch(array, end + 1):
        raise ValueError("something else stands where it should end")
    if start != opening.end() or not _SPACE.fullmatch(array, start, end):
        yield array[start:end]


def _separators(array: bytes, start: int, max_tokens: int) -> Iterator[re.Match[bytes]]:
    """The commas between the items of an array, and the bracket or brace that closes it, which is always there."""
    depth = 1
    for number, token in enumerate(_TOKEN.finditer(array, start)):
        if number >= max_tokens:
            raise TooManyTokens
        kind = array[token.start() : token.start() + 1]
        depth += _DEPTH.get(kind, 0)
        if depth == 0 or (depth == 1 and kind == b","):
            yield token
        if depth == 0:
            return
    raise ValueError("it has no end")


def _refuse_duplicates(members: Sequence[tuple[str, object]]) -> None:
    names = [name for name, _ in members]
    if len(set(names)) < len(names):
        duplicate = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"the member {duplicate[:100]!r} occurs more than once")


# Floats, because long integers are slow to read, and the numbers do not matter here.
_DUPLICATES = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_int=float)
