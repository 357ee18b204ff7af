"""The body of a request, which may be large: it stays where the server has put it, in memory or in a temporary file.

WebOb's `request.body` would keep it in memory until the request ends, and copy it more than once before.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from productagg.api.core.request import Request

_CHUNK_BYTES = 64 * 1024


def read(request: Request) -> bytes:
    """The whole body; it can be read again."""
    body: bytes = _rewound(request).read()
    return body


def chunks(request: Request) -> Iterator[bytes]:
    """The body in chunks; it can be read again."""
    stream = _rewound(request)
    return iter(lambda: stream.read(_CHUNK_BYTES), b"")


def _rewound(request: Request) -> Any:
    stream = request.environ["wsgi.input"]
    if not hasattr(stream, "seek"):
        stream = request.environ["wsgi.input"] = BytesIO(stream.read())
    stream.seek(0)
    return stream
