"""JSON from elsewhere, where a member that stands twice in one object is an error and not the last one's victory.

orjson reads, and says what is no JSON, fast and to the letter of RFC 8259. It keeps no trace of duplicates, which that
RFC leaves to each reader: a check before us (a proxy's, say) might have looked at the other one. So whatever holds an
object is read once more, by the standard library.
"""

import json
from collections.abc import Sequence
from typing import Any

import orjson


def loads(body: bytes) -> Any:
    """Raises ValueError, which says what is wrong with it."""
    value = orjson.loads(body)
    if isinstance(value, dict | list):
        try:
            _DUPLICATES.decode(body.decode())
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
    return value


def _refuse_duplicates(members: Sequence[tuple[str, object]]) -> None:
    names = {name for name, _ in members}
    if len(names) < len(members):
        seen: set[str] = set()
        twice = next(name for name, _ in members if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the member {twice[:100]!r} is there more than once")


# Numbers are of no interest to it, and Python's integers take long to read if they are long.
_DUPLICATES = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_int=float)
