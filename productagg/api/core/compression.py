"""gzip for answers that are large enough to gain by it, to clients that accept it. The tween asks for every answer.

An answer that a view marks as `no-store` is not compressed: its length could reveal how similar a secret in it is to
other text in it.
"""

import gzip
from functools import lru_cache

from pyramid.response import Response
from webob.acceptparse import AcceptEncodingValidHeader, create_accept_encoding_header

from productagg.api.core.request import Request

MIN_BYTES = 1024
ETAG_SUFFIX = "-gzip"
# WebOb always uses level 9, which takes twice as long for a tenth less.
_LEVEL, _BEST_LEVEL = 4, 9


class Unchanging(Response):
    """An answer that is always the same, and so is compressed only once."""


def negotiate(request: Request, response: Response) -> bool:
    """Whether to compress the answer. If other clients could get another encoding, add Accept-Encoding to Vary."""
    headers = dict(response.headerlist)
    if int(headers.get("Content-Length", 0)) < MIN_BYTES or not _is_text(headers.get("Content-Type", "")):
        return False
    if "Content-Encoding" in headers or "no-store" in headers.get("Cache-Control", ""):
        return False
    add_vary(response, "Accept-Encoding")
    return _accepts_gzip(request.environ.get("HTTP_ACCEPT_ENCODING"))


def mark(response: Response) -> None:
    """Declare the answer as compressed. Its tag changes because its bytes do (RFC 9110, 8.8.3.3)."""
    response.headers["Content-Encoding"] = "gzip"
    if "ETag" in response.headers:
        response.headers["ETag"] = f'{response.headers["ETag"][:-1]}{ETAG_SUFFIX}"'


def compress(response: Response) -> None:
    """Compress the body, and change nothing else."""
    if isinstance(response, Unchanging):
        response.body = _compress_once(response.body)
    else:
        response.body = gzip.compress(response.body, _LEVEL, mtime=0)


def add_vary(response: Response, name: str) -> None:
    headers = response.headerlist
    for index, (header, value) in enumerate(headers):
        if header == "Vary":
            headers[index] = (header, f"{value}, {name}")
            return
    headers.append(("Vary", name))


def _is_text(content_type: str) -> bool:
    media_type = content_type.partition(";")[0]
    return media_type.startswith("text/") or media_type.endswith("json")


@lru_cache(maxsize=64)
def _accepts_gzip(header: str | None) -> bool:
    """Only if Accept-Encoding names gzip and does not prefer `identity`. An invalid header counts as none."""
    accepted = create_accept_encoding_header(header)
    if not isinstance(accepted, AcceptEncodingValidHeader):
        return False
    offers = dict(accepted.acceptable_offers(["gzip"]))
    # Not WebOb's comparison: if a header does not name `identity`, WebOb prefers it to everything with a q below 1.
    identity = max((quality for coding, quality in accepted.parsed if coding.lower() == "identity"), default=0.0)
    return "gzip" in offers and offers["gzip"] >= identity


@lru_cache(maxsize=16)
def _compress_once(body: bytes) -> bytes:
    return gzip.compress(body, _BEST_LEVEL, mtime=0)
