"""The body of a request, whatever its size, as it is in memory.

WebOb's `request.body` alone copies what is larger than 10 KB through a temporary file, as the server may have already.
"""

from typing import Any


def read(request: Any) -> bytes:
    """The body; it may be read again."""
    if not request.is_body_seekable:
        request.body = request.body_file.read()
    body: bytes = request.body
    return body
