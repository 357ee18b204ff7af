"""For the tests of adapters: a `Web` whose responses are in memory. The application does not use it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from productagg.sources.web import NO_VALIDATORS, Validators, WebError


@dataclass
class MemoryResponse:
    """A response that is given before it is asked for."""

    body: bytes = b""
    url: str = ""
    """The address after redirects; by default the one that is asked for."""
    not_modified: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    validators: Validators = NO_VALIDATORS
    error: WebError | None = None
    """What reading the body raises."""

    def read(self, size: int = -1) -> bytes:
        if self.error:
            raise self.error
        part, self.body = (self.body, b"") if size < 0 else (self.body[:size], self.body[size:])
        return part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass


@dataclass(frozen=True)
class SentRequest:
    """A request that an adapter sent."""

    url: str
    headers: Mapping[str, str]
    validators: Validators
    max_bytes: int
    is_page: bool


class MemoryWeb:
    """Responds with what stands for the address, raises it if it is a WebError, and with 404 to other addresses."""

    def __init__(self, responses: Mapping[str, bytes | MemoryResponse | WebError]) -> None:
        self._responses = responses
        self.requests: list[SentRequest] = []

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        validators: Validators = NO_VALIDATORS,
        max_bytes: int,
        is_page: bool = False,
    ) -> MemoryResponse:
        """See web.Web."""
        self.requests.append(SentRequest(url, headers or {}, validators, max_bytes, is_page))
        response = self._responses.get(url, WebError("the host answered 404", "status_404"))
        if isinstance(response, WebError):
            raise response
        if isinstance(response, bytes):
            response = MemoryResponse(response)
        response.url = response.url or url
        return response
