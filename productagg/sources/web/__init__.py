"""HTTP requests to addresses that a user configured: bounded in time and size, and to permitted addresses only.

This is what an adapter sees of them; `client` implements it.
"""

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Protocol, Self


class Validators(NamedTuple):
    """What a source said about the version of what it sent, to ask only for changes (RFC 9110, 8.8)."""

    etag: str | None = None
    last_modified: str | None = None
    digest: str | None = None
    """Of the body, for sources that send neither."""


NO_VALIDATORS = Validators()


class WebError(Exception):
    """A request without a usable response. `code` is a word for statistics; `retry_at` is when to come back.

    The codes: `status_404` and the like; `timeout`, `no_answer`, `unknown_host`, `invalid_certificate`; `too_large`,
    `bad_encoding`; `bad_address`, `bad_header`, `address_refused`, `redirect`; `robots` (not permitted), `paced` (too
    soon). A robots.txt that cannot be read has the code of the reason.
    """

    def __init__(self, reason: str, code: str, retry_at: datetime | None = None) -> None:
        super().__init__(reason)
        self.reason, self.code, self.retry_at = reason, code, retry_at


class WebResponse(Protocol):
    """The response to a GET: status 200, or 304 if validators were sent."""

    url: str
    """The address after redirects."""
    not_modified: bool
    headers: Mapping[str, str]
    """Names in lower case."""
    validators: Validators
    """ETag and Last-Modified of the response, without a digest."""

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the body, decompressed as Content-Encoding says; nothing at its end. Raises WebError.

        At most `size` bytes, perhaps fewer; everything if it is negative.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class Web(Protocol):
    """Makes the requests of one fetch."""

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        validators: Validators = NO_VALIDATORS,
        max_bytes: int,
        is_page: bool = False,
    ) -> WebResponse:
        """Send a GET and follow redirects. An `is_page` is asked for only if robots.txt permits it.

        A redirect to another origin is sent none of the `headers`, which may be secret, but Accept and Accept-Language.
        A body of more than `max_bytes`, decompressed, is a WebError where it is read. Raises WebError.
        """
