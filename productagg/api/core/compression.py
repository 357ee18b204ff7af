"""gzip, for what is large enough to gain by it and for clients that take it. The tween asks, for every answer.

What a view itself says is not to be stored is left alone: the length of an answer with a secret in it must not tell how
much the secret is like something else in it.
"""

import gzip
from functools import lru_cache
from typing import Any

from pyramid.response import Response
from webob.acceptparse import AcceptEncodingValidHeader, create_accept_encoding_header

SMALLEST = 1024
SUFFIX = "-gzip"
# WebOb always takes the best, 9: twice the time of this for a tenth less.
_LEVEL, _BEST = 4, 9


class Unchanging(Response):
    """An answer that is always the same: it is compressed only once."""


def is_wanted(request: Any, response: Any) -> bool:
    """Whether the answer is to be compressed. If it might be, for another client, this says so (Vary)."""
    headers = dict(response.headerlist)
    if int(headers.get("Content-Length", 0)) < SMALLEST or not _is_text(headers.get("Content-Type", "")):
        return False
    if "Content-Encoding" in headers or "no-store" in headers.get("Cache-Control", ""):
        return False
    vary(response, "Accept-Encoding")
    return _takes_gzip(request.environ.get("HTTP_ACCEPT_ENCODING"))


def mark(response: Any) -> None:
    """Say that it is compressed. It has another tag then: its bytes are others (RFC 9110, 8.8.3.3)."""
    response.headers["Content-Encoding"] = "gzip"
    if "ETag" in response.headers:
        response.headers["ETag"] = f'{response.headers["ETag"][:-1]}{SUFFIX}"'


def compress(response: Any) -> None:
    """Compress the body, and nothing else."""
    response.body = _once(response.body) if isinstance(response, Unchanging) else _compressed(response.body)


def vary(response: Any, name: str) -> None:
    """Add to Vary."""
    headers = response.headerlist
    for place, (given, value) in enumerate(headers):
        if given == "Vary":
            headers[place] = (given, f"{value}, {name}")
            return
    headers.append(("Vary", name))


def _is_text(content_type: str) -> bool:
    kind = content_type.partition(";")[0]
    return kind.startswith("text/") or kind.endswith("json")


@lru_cache(maxsize=64)
def _takes_gzip(given: str | None) -> bool:
    """By the header: only who says so, and does not rather want it as it is. What cannot be read says nothing."""
    accepted = create_accept_encoding_header(given)
    if not isinstance(accepted, AcceptEncodingValidHeader):
        return False
    found = dict(accepted.acceptable_offers(["gzip"]))
    # Not WebOb's comparison: for that one, who does not name it prefers it to everything below 1.
    as_it_is = max((quality for coding, quality in accepted.parsed if coding.lower() == "identity"), default=0.0)
    return "gzip" in found and found["gzip"] >= as_it_is


def _compressed(body: bytes, level: int = _LEVEL) -> bytes:
    return gzip.compress(body, level, mtime=0)


@lru_cache(maxsize=16)
def _once(body: bytes) -> bytes:
    return _compressed(body, _BEST)
