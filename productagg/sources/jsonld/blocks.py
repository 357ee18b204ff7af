"""JSON-LD blocks as shops print them: often with damage that is harmless, which is repaired; else the block is skipped.

A repair changes no value: it drops what stands around values, or writes properly what stands in a string.
"""

import html
import json
import re
from typing import Any, NamedTuple

import orjson

# Repairing takes far longer than reading.
_MAX_REPAIRED = 1_000_000
_AROUND = " \t\r\n;\ufeff"
_WRAPPING = re.compile(r"<!--[^{\[]{0,200}?-->|(?://|/\*)?\s*(?:<!--|<!\[CDATA\[)\s*(?:\*/)?")
_WRAPPING_END = re.compile(r"(?://|/\*)?\s*(?:-->|\]\]>)\s*(?:\*/)?\Z")
_LONGEST_WRAPPING_END = 20
_MOST_WRAPPINGS = 3
_ESCAPED_START = re.compile(r"[\[{]\s*(?:[\[{]\s*)*&(?:quot|#34|#x22);", re.IGNORECASE)
_DOUBLE_START = re.compile(r"\{\s*(?=\{)")
# A string ends at a quotation mark after which JSON goes on. Any other is one that the shop forgot to escape.
_GOES_ON = r"""(?=\s*+(?:[:}\]]|\Z|/[/*]|,\s*+(?:["\[{}\],]|-?\d|true\b|false\b|null\b|/[/*]|\Z)))"""
_TOKEN = re.compile(
    rf"""
    (?P<string>"(?:[^"\\]++|\\.|"(?!{_GOES_ON}))*+(?:"|\\?\Z))
    |(?P<missing>:(?=\s*+[,}}\]]))
    |/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z)|//[^\n]*     # comments
    |,(?=\s*+[}}\],])                               # a comma after which nothing comes
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_STRING = re.compile(r"""\\(?:u[0-9A-Fa-f]{4}|["\\/bfnrt])|\\'|[\\"\x00-\x1f]""")
_BETWEEN_VALUES = re.compile(r"[\s,;]*([}\]]*)[\s,;}\]]*")
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


class Damaged(ValueError):
    """The block cannot be read."""


class Block(NamedTuple):
    """What a block says."""

    values: list[Any]
    """One, or several if the shop printed several in a row."""
    is_guess: bool = False
    """Whether quotation marks or brackets did not match, so that a part may be missing or in the wrong place."""


def parse_block(content: bytes) -> Block:
    """The values of a block. Raises Damaged."""
    try:
        return Block([orjson.loads(content)])
    except orjson.JSONDecodeError:
        text = _unwrapped(content.decode("utf-8", "replace"))
    if not text:
        return Block([])
    try:
        return Block([orjson.loads(text)])
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        if len(text) > _MAX_REPAIRED:
            raise Damaged(f"it is too long to be repaired: {error}") from None
    return _repaired(text)


def _unwrapped(text: str) -> str:
    """Without the comments and CDATA sections that hide scripts from old programs, and with its quotation marks."""
    text = text.strip(_AROUND)
    for _ in range(_MOST_WRAPPINGS):
        if match := _WRAPPING.match(text):
            text = text[match.end() :].lstrip(_AROUND)
        if match := _WRAPPING_END.search(text, max(0, len(text) - _LONGEST_WRAPPING_END)):
            text = text[: match.start()].rstrip(_AROUND)
    # XHTML, or a template that escapes once too often. Only a whole block: references within strings stay.
    return html.unescape(text) if _ESCAPED_START.match(text) else text


def _repaired(text: str) -> Block:
    double = _DOUBLE_START.match(text)
    repair = _Repair()
    try:
        values, brackets = _values(_TOKEN.sub(repair, text[double.end() :] if double else text).strip())
    except (ValueError, RecursionError) as error:
        raise Damaged(str(error) or "it is nested too deeply") from None
    return Block(values, is_guess=bool(repair.quotation_marks or brackets or double))


class _Repair:
    """Replaces one token, and counts the quotation marks that were taken for text."""

    def __init__(self) -> None:
        self.quotation_marks = 0

    def __call__(self, token: re.Match[str]) -> str:
        string = token["string"]
        if not string:
            return ": null" if token["missing"] else ""
        if len(string) < 2 or not string.endswith('"'):
            raise Damaged("a string has no end")
        return f'"{_IN_STRING.sub(self._escape, string[1:-1])}"'

    def _escape(self, match: re.Match[str]) -> str:
        found = match[0]
        if found == "\\'":
            return "'"
        if len(found) > 1:
            return found
        self.quotation_marks += found == '"'
        return f"\\{found}" if found in '"\\' else f"\\u{ord(found):04x}"


def _values(text: str) -> tuple[list[Any], int]:
    """Values in a row, and how often closing brackets too many follow. Raises ValueError, RecursionError."""
    values, brackets = [], 0
    position = 0
    while position < len(text):
        try:
            value, position = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise Damaged(f"{error.msg} at character {error.pos}") from None
        values.append(value)
        between = _BETWEEN_VALUES.match(text, position)
        if between is not None:
            brackets += bool(between[1])
            position = between.end()
    return values, brackets
