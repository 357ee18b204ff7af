"""Answers as bytes: the honest ones in one piece, the spoiled ones piece by piece.

The server sends what this returns and decides about sockets and time. It never sees either.
"""

import json
from collections.abc import Iterator
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from productagg.sandbox import bad_bodies
from productagg.sandbox.faults import Fault
from productagg.sandbox.service import Answer

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(body: Any) -> bytes:
    """Return the JSON text of a body."""
    return _ENCODER.encode(body).encode()


def whole(answer: Answer, now: float, *, close: bool, with_body: bool = True) -> bytes:
    """Return the answer as it should be; `close` announces that the connection ends with it."""
    payload = encode(answer.body)
    fields = [("Content-Length", str(len(payload)))]
    if close:
        fields.append(("Connection", "close"))
    return _head(answer, now, *fields) + (payload if with_body else b"")


def instead(fault: Fault, now: float) -> Answer | None:
    """Return what a fault answers without looking at the request, None for a fault that does look."""
    if fault.kind == "error":
        status = fault.params["status"]
        return Answer(status, {"detail": _REASONS[status]})
    if fault.kind == "rate_limit":
        seconds = fault.params["retry_after"]
        forms = {"seconds": str(seconds), "date": formatdate(now + seconds, usegmt=True), "nonsense": "soon"}
        status = fault.params["status"]
        return Answer(status, {"detail": _REASONS[status]}, (("Retry-After", forms[fault.params["form"]]),))
    if fault.kind == "redirect":
        return Answer(fault.params["status"], None, (("Location", fault.params["location"]),))
    return None


def spoiled(fault: Fault, answer: Answer, now: float) -> Iterator[bytes]:
    """Yield the pieces of an answer that a fault has spoiled; the connection is to be closed after the last.

    For `dripping` there is to be a pause after every piece.
    """
    params = fault.params
    payload = encode(answer.body)
    half = payload[: len(payload) // 2]
    closing = ("Connection", "close")
    if fault.kind == "truncated":
        yield _head(answer, now, ("Content-Length", str(len(payload))), closing) + half
    elif fault.kind == "truncated_chunked":
        yield _head(answer, now, ("Transfer-Encoding", "chunked"), closing) + b"%x\r\n%b\r\n" % (len(half), half)
    elif fault.kind == "dripping":
        head = _head(answer, now, ("Content-Length", str(len(payload))), closing)
        if params["part"] == "body":
            yield head
            head = b""
        for byte in head + payload:
            yield bytes([byte])
    elif fault.kind == "oversized":
        declared = [("Content-Length", str(params["bytes"]))] if params["declared"] else []
        yield _head(answer, now, *declared, closing)
        yield from bad_bodies.oversized(params["bytes"])
    elif fault.kind == "gzip_bomb":
        bomb = bad_bodies.gzip_bomb(params["bytes"])
        yield _head(answer, now, ("Content-Encoding", "gzip"), ("Content-Length", str(len(bomb))), closing) + bomb
    elif fault.kind == "malformed":
        payload = bad_bodies.MALFORMED[params["form"]](payload)
        yield _head(answer, now, ("Content-Length", str(len(payload))), closing) + payload
    else:
        wrong = bad_bodies.wrong_types(answer.body, params["form"]) if answer.status < 400 else answer.body
        yield whole(answer._replace(body=wrong), now, close=True)


def _head(answer: Answer, now: float, *fields: tuple[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (*answer.headers, *fields)]
    lines += [f"Date: {formatdate(now, usegmt=True)}", "", ""]
    return "\r\n".join(lines).encode("latin-1")
