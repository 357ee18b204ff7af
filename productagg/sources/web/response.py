"""The body of a response: decompressed, bounded in size, and read to its end or an error."""

import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Self

from urllib3.exceptions import HTTPError

from productagg.sources.transport import DirectExchange
from productagg.sources.web import Validators, WebError, WebResponse

# What an exchange raises: urllib3, http.client, the system.
NETWORK_ERRORS = (HTTPError, HTTPException, OSError)

_CHUNK = 65_536
# Validators are stored, and sent again.
_LONGEST_VALIDATOR = 1_000


class Response(WebResponse):
    """`network_error` makes a WebError of one of NETWORK_ERRORS. Reading takes memory for what it returns only."""

    def __init__(
        self,
        url: str,
        exchange: DirectExchange,
        max_bytes: int,
        network_error: Callable[[Exception], WebError],
    ) -> None:
        self.url = url
        self.not_modified = exchange.status == 304
        self.headers = {name.lower(): value for name, value in exchange.headers.items()}
        self.validators = Validators(_validator(self.headers, "etag"), _validator(self.headers, "last-modified"))
        self._exchange = exchange
        self._network_error = network_error
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._failure: WebError | None = None
        self._decode = self._decoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._failure = WebError("the response is closed", "closed")
        self._exchange.close()

    def read(self, size: int = -1) -> bytes:
        """At least one byte and at most `size`, unless the body is at its end; the whole rest if `size` is negative.

        After an error, every call raises it again: an end that is none must not look like one.
        """
        if self._failure:
            raise self._failure
        try:
            return self._read_some(size) if size >= 0 else self._read_all()
        except WebError as error:
            self._failure = error
            raise

    def _read_all(self) -> bytes:
        body = bytearray()
        while piece := self._read_some(_CHUNK):
            body += piece
        return bytes(body)

    def _read_some(self, size: int) -> bytes:
        # One byte more than permitted tells a body that is too large from one that has just that size.
        size = min(size, self._left + 1)
        data = self._decode(size) if size else b""
        self._left -= len(data)
        if self._left < 0:
            raise WebError(f"the body has more than {self._max_bytes} bytes", "too_large")
        return data

    def _decoder(self) -> Callable[[int], bytes]:
        """The function that reads the decoded body. Raises WebError for an encoding that we did not ask for."""
        encoding = "" if self.not_modified else self.headers.get("content-encoding", "").strip().lower()
        if encoding in ("gzip", "x-gzip"):
            return _Gunzip(self._receive).read
        if encoding in ("", "identity"):
            return lambda size: self._receive(min(size, _CHUNK))
        raise WebError("the body has a Content-Encoding that was not asked for", "bad_encoding")

    def _receive(self, size: int) -> bytes:
        try:
            return self._exchange.read(size)
        except NETWORK_ERRORS as error:
            raise self._network_error(error) from error


class _Gunzip:
    """Decompresses a stream of gzip members (RFC 1952), no more at once than is asked for.

    A stream that breaks off or that something else follows is an error. urllib3's decoder accepts both.
    """

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._input = b""
        self._member: zlib._Decompress | None = None

    def read(self, size: int) -> bytes:
        output = b""
        while not output:
            received = self._input or self._receive(_CHUNK)
            if not received and self._member is None:
                return b""
            output = self._decompress(received, size)
            if not received and not output and self._member:
                raise WebError("the compressed body breaks off", "no_answer")
        return output

    def _decompress(self, received: bytes, size: int) -> bytes:
        self._member = self._member or zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            output = self._member.decompress(received, size)
        except zlib.error:
            raise WebError("the body is not compressed as its Content-Encoding says", "bad_encoding") from None
        self._input = self._member.unconsumed_tail
        if self._member.eof:
            self._input, self._member = self._member.unused_data, None
        return output


def network_error(error: Exception, host: str, deadline: float, seconds: float) -> WebError:
    """What went wrong with an exchange. It quotes nothing that the server sent: that may repeat a secret of ours."""
    if time.monotonic() >= deadline:
        return WebError(f"no complete response from {host} within {seconds:g} s", "timeout")
    cause = error.__cause__ if isinstance(error, HTTPError) and error.__cause__ else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return WebError(f"the certificate of {host} is not valid: {cause.verify_message}", "invalid_certificate")
    if isinstance(cause, OSError):
        return WebError(f"no complete response from {host}: {cause.strerror or cause}", "no_answer")
    return WebError(f"no complete response from {host}: it breaks off, or is not HTTP", "no_answer")


def _validator(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name, "").strip()
    return value if value and value.isprintable() and len(value) <= _LONGEST_VALIDATOR else None
