"""The body of a request, which may be large: it stays where the server has put it, in memory or in a temporary file.

WebOb's `request.body` would keep it in memory for as long as the request lasts, and copy it more than once until then.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

_PIECE_BYTES = 64 * 1024


def read(request: Any) -> bytes:
    """The body; it may be read again."""
    body: bytes = _from_the_beginning(request).read()
    return body


def pieces(request: Any) -> Iterator[bytes]:
    """The body, some of it at a time; it may be read again."""
    stream = _from_the_beginning(request)
    return iter(lambda: stream.read(_PIECE_BYTES), b"")


def _from_the_beginning(request: Any) -> Any:
    stream = request.environ["wsgi.input"]
    if not hasattr(stream, "seek"):
        stream = request.environ["wsgi.input"] = BytesIO(stream.read())
    stream.seek(0)
    return stream
