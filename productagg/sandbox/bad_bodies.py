"""Bodies that are wrong on purpose: a fault sends one instead of the correct body.

`faults.py` checks the names of faults against the tables here, and `responses.py` looks them up. This module knows
neither sockets nor the state of the service. It makes large bodies piece by piece and never holds one in memory.
"""

import copy
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

_PIECE_BYTES = 64 * 1024

_MISSING = object()
_SAMPLE_OFFER = {"id": "00000000-0000-4000-8000-000000000001", "price": 100, "items_in_stock": 1}

# The members to put into the body if it is an object, or into the first object if it is a list.
_WRONG_MEMBERS: dict[str, dict[str, Any]] = {
    "price_text": {"price": "100"},
    "price_float": {"price": 99.5},
    "price_bool": {"price": True},
    "price_null": {"price": None},
    "price_nan": {"price": float("nan")},
    "price_negative": {"price": -1},
    "price_huge": {"price": 2**63},
    "price_missing": {"price": _MISSING},
    "stock_text": {"items_in_stock": "1"},
    "stock_negative": {"items_in_stock": -1},
    "stock_huge": {"items_in_stock": 2**63},
    "id_missing": {"id": _MISSING},
    "id_not_uuid": {"id": "offer-1"},
    "token_missing": {"access_token": _MISSING},
    "token_number": {"access_token": 12345},
}

_WRONG_SHAPES: dict[str, Callable[[list[Any]], Any]] = {
    "object_for_list": lambda body: {"offers": body},
    "null_in_list": lambda body: [*body, None],
    "duplicate_ids": lambda body: [*body, {**body[0], "price": 1}],
}

WRONG_TYPES: tuple[str, ...] = (*_WRONG_MEMBERS, *_WRONG_SHAPES)

MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda payload: payload[:-1],
    "empty": lambda payload: b"",
    "html": lambda payload: b"<html><body><h1>It works!</h1></body></html>",
    "not_utf8": lambda payload: b'[{"id": "\xff\xfe"}]',
    "deep": lambda payload: b"[" * 100_000 + b"]" * 100_000,
}


def wrong_types(body: Any, form: str) -> Any:
    """Return a copy of the JSON body that is wrong in the named way. An empty list first gets an offer."""
    body = copy.deepcopy(body) if body else [dict(_SAMPLE_OFFER)]
    if form in _WRONG_SHAPES:
        return _WRONG_SHAPES[form](body if isinstance(body, list) else [body])
    _replace_members(body[0] if isinstance(body, list) else body, _WRONG_MEMBERS[form])
    return body


def _replace_members(target: dict[str, Any], members: dict[str, Any]) -> None:
    for name, value in members.items():
        if value is _MISSING:
            target.pop(name, None)
        else:
            target[name] = value


def oversized(size: int) -> Iterator[bytes]:
    """Yield one valid, empty JSON list of `size` bytes (2 or more): a client that reads all of it sees no error."""
    yield b"["
    spaces = b" " * _PIECE_BYTES
    for start in range(0, size - 2, _PIECE_BYTES):
        yield spaces[: size - 2 - start]
    yield b"]"


@lru_cache(maxsize=4)
def gzip_bomb(size: int) -> bytes:
    """Return `oversized(size)` compressed, which is about a thousand times smaller."""
    compressor = zlib.compressobj(level=9, wbits=zlib.MAX_WBITS | 16)
    return b"".join(compressor.compress(piece) for piece in oversized(size)) + compressor.flush()
