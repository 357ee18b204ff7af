"""Turns responses into bytes: correct responses in one piece, spoiled responses piece by piece.

The server sends these bytes and handles sockets and time; this module does neither.
"""

import json
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from productagg.sandbox import bad_bodies, bad_documents
from productagg.sandbox.faults import Fault
from productagg.sandbox.service import Response

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_CLOSE = ("Connection", "close")


def encode(body: Any) -> bytes:
    """Return a body as it is sent: bytes as they are, anything else as JSON."""
    return body if isinstance(body, bytes) else _ENCODER.encode(body).encode()


def correct(response: Response, now: float, *, close: bool, with_body: bool = True) -> bytes:
    """Return the response as it should be. `close` announces that the connection ends with it."""
    payload = encode(response.body)
    # The length in a 304 would be that of the body that is not sent.
    headers = [] if response.status == 304 else [_length(payload)]
    if close:
        headers.append(_CLOSE)
    return _head(response, now, *headers) + (payload if with_body else b"")


def replacement(fault: Fault, now: float) -> Response | None:
    """Return the response of a fault that does not process the request, None for a fault that does."""
    if fault.kind == "error":
        status = fault.params["status"]
        return Response(status, {"detail": _REASONS[status]})
    if fault.kind == "rate_limit":
        seconds = fault.params["retry_after"]
        forms = {"seconds": str(seconds), "date": formatdate(now + seconds, usegmt=True), "nonsense": "soon"}
        status = fault.params["status"]
        return Response(status, {"detail": _REASONS[status]}, (("Retry-After", forms[fault.params["form"]]),))
    if fault.kind == "not_modified":
        return Response(304, b"")
    if fault.kind == "redirect":
        return Response(fault.params["status"], None, (("Location", fault.params["location"]),))
    return None


def spoiled(fault: Fault, response: Response, now: float) -> Iterator[bytes]:
    """Yield the pieces of a response that a fault has spoiled. The connection must be closed after the last one.

    For `dripping` the server pauses after every piece.
    """
    return _SPOILERS[fault.kind](fault, response, now)


def _truncated(_fault: Fault, response: Response, now: float) -> Iterator[bytes]:
    payload = encode(response.body)
    yield _head(response, now, _length(payload), _CLOSE) + _first_half(payload)


def _truncated_chunked(_fault: Fault, response: Response, now: float) -> Iterator[bytes]:
    half = _first_half(encode(response.body))
    yield _head(response, now, ("Transfer-Encoding", "chunked"), _CLOSE) + b"%x\r\n%b\r\n" % (len(half), half)


def _dripping(fault: Fault, response: Response, now: float) -> Iterator[bytes]:
    payload = encode(response.body)
    head = _head(response, now, _length(payload), _CLOSE)
    if fault.params["part"] == "body":
        yield head
        head = b""
    for byte in head + payload:
        yield bytes([byte])


def _oversized(fault: Fault, response: Response, now: float) -> Iterator[bytes]:
    size = fault.params["bytes"]
    declared = [("Content-Length", str(size))] if fault.params["declared"] else []
    yield _head(response, now, *declared, _CLOSE)
    yield from bad_bodies.oversized(size)


def _gzip_bomb(fault: Fault, response: Response, now: float) -> Iterator[bytes]:
    bomb = bad_bodies.gzip_bomb(fault.params["bytes"])
    yield _head(response, now, ("Content-Encoding", "gzip"), _length(bomb), _CLOSE) + bomb


def _malformed(fault: Fault, response: Response, now: float) -> Iterator[bytes]:
    payload = bad_bodies.MALFORMED[fault.params["form"]](encode(response.body))
    yield _head(response, now, _length(payload), _CLOSE) + payload


def _wrong_types(fault: Fault, response: Response, now: float) -> Iterator[bytes]:
    body = response.body
    if response.status < 400:
        body = bad_bodies.wrong_types(body, fault.params["form"])
    yield correct(response._replace(body=body), now, close=True)


def _wrong_document(fault: Fault, response: Response, now: float) -> Iterator[bytes]:
    if response.status == 200:
        response = bad_documents.FORMS[fault.kind][fault.params["form"]](response)
        # Those of the right document would let clients take this one for it, even when all is well again.
        headers = tuple(header for header in response.headers if header[0] not in ("ETag", "Last-Modified"))
        response = response._replace(headers=headers)
    yield correct(response, now, close=True)


_SPOILERS: dict[str, Callable[[Fault, Response, float], Iterator[bytes]]] = {
    "truncated": _truncated,
    "truncated_chunked": _truncated_chunked,
    "dripping": _dripping,
    "oversized": _oversized,
    "gzip_bomb": _gzip_bomb,
    "malformed": _malformed,
    "wrong_types": _wrong_types,
    "wrong_page": _wrong_document,
    "wrong_feed": _wrong_document,
    "wrong_json": _wrong_document,
}


def _first_half(payload: bytes) -> bytes:
    return payload[: len(payload) // 2]


def _length(payload: bytes) -> tuple[str, str]:
    return "Content-Length", str(len(payload))


def _head(response: Response, now: float, *headers: tuple[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {_REASONS[response.status]}", f"Content-Type: {response.content_type}"]
    lines += [f"{name}: {value}" for name, value in (*response.headers, *headers)]
    lines += [f"Date: {formatdate(now, usegmt=True)}", "", ""]
    return "\r\n".join(lines).encode("latin-1")
