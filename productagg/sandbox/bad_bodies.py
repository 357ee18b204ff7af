"""Bodies that are wrong on purpose: what the faults put in place of the honest answer.

The tables name what a fault can be asked for, so `faults.py` checks against them and `responses.py` looks them up. Nothing
here knows of sockets or of the contract's state; what is large is made piece by piece and never held in memory.
"""

import copy
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

BLOCK = 64 * 1024

_MISSING = object()
_SAMPLE_OFFER = {"id": "00000000-0000-4000-8000-000000000001", "price": 100, "items_in_stock": 1}

# What to put into the body when it is an object, into the first of its objects when it is a list.
_WRONG_FIELDS: dict[str, dict[str, Any]] = {
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

WRONG_TYPES: tuple[str, ...] = (*_WRONG_FIELDS, *_WRONG_SHAPES)

MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda payload: payload[:-1],
    "empty": lambda payload: b"",
    "html": lambda payload: b"<html><body><h1>It works!</h1></body></html>",
    "not_utf8": lambda payload: b'[{"id": "\xff\xfe"}]',
    "deep": lambda payload: b"[" * 100_000 + b"]" * 100_000,
}


def wrong_types(body: Any, form: str) -> Any:
    """Return a copy of the JSON body that is wrong in the named way; an empty list is given an offer to be wrong."""
    body = copy.deepcopy(body) if body else [dict(_SAMPLE_OFFER)]
    if form in _WRONG_SHAPES:
        return _WRONG_SHAPES[form](body if isinstance(body, list) else [body])
    target = body[0] if isinstance(body, list) else body
    target.update(_WRONG_FIELDS[form])
    for field in [name for name, value in target.items() if value is _MISSING]:
        del target[field]
    return body


def oversized(size: int) -> Iterator[bytes]:
    """Yield `size` bytes (2 or more) that are one valid, empty JSON list: who reads it all is not even told off."""
    yield b"["
    spaces = b" " * BLOCK
    for start in range(0, size - 2, BLOCK):
        yield spaces[: size - 2 - start]
    yield b"]"


@lru_cache(maxsize=4)
def gzip_bomb(size: int) -> bytes:
    """Return what unpacks to `oversized(size)` and is about a thousand times smaller."""
    compressor = zlib.compressobj(level=9, wbits=zlib.MAX_WBITS | 16)
    return b"".join(compressor.compress(piece) for piece in oversized(size)) + compressor.flush()
