"""What becomes of a connection: requests are read and checked, and answered by the application or refused.

waitress does most of it. What it would read in two ways, wait for without end or refuse in plain text is treated here.
"""

import logging
import re
import socket
import time
from functools import partial
from typing import Any, NoReturn

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, get_header_lines
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.security_headers import add_cors, add_security
from productagg.api.core.tweens import sane_request_id
from productagg.logs import request_id
from productagg.server.dispatcher import LARGE_BYTES, Kind
from productagg.server.proxies import Client

log = logging.getLogger(__name__)

_PROBLEMS = {
    400: ErrorCode.MALFORMED_REQUEST,
    408: ErrorCode.REQUEST_TIMEOUT,
    413: ErrorCode.BODY_TOO_LARGE,
    431: ErrorCode.HEADERS_TOO_LARGE,
    501: ErrorCode.NOT_IMPLEMENTED,
    503: ErrorCode.UNAVAILABLE,
}
# What may stand in Host: it goes into Location and Link.
_HOST = re.compile(r"([A-Za-z0-9._-]{0,255}|\[[0-9A-Fa-f:.]{1,45}\])(:[0-9]{0,5})?")
# For a request that waited for a thread in vain, in seconds.
_RETRY_AFTER = "5"
_READS = ("GET", "HEAD", "OPTIONS")


class _TooSlow(Error):  # type: ignore[misc]  # waitress is untyped
    code, reason = 408, "Request Timeout"


class _Busy(Error):  # type: ignore[misc]  # waitress is untyped
    code, reason = 503, "Service Unavailable"


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress is untyped
    """Reads a request, and refuses what waitress does not: one that takes for ever, and one with two meanings."""

    def __init__(self, adj: Any, peer: str) -> None:
        """`peer` is the address from which the connection came."""
        super().__init__(adj)
        self.adj: Any = adj
        self.completed: bool
        self.client = Client(peer, adj.url_scheme)
        self._too_late = time.monotonic() + adj.request_timeout

    def received(self, data: bytes) -> int:
        # waitress ends connections on which nothing happens; on one that gets a byte now and then something does.
        if self.completed or time.monotonic() < self._too_late:
            consumed: int = super().received(data)
            return consumed
        self.error = _TooSlow(f"the request was not there after {self.adj.request_timeout:g} seconds")
        self.expect_continue, self.completed = False, True
        return len(data)

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError:  # a length of thousands of digits, a target that is no URI
            self._refuse("the request's head cannot be read")
        # Some join such a line with the one before, others do not (RFC 9112, 5.2).
        if re.search(rb"\r\n[ \t]", header_plus):
            self._refuse("a header spans several lines")
        lines = [line.partition(b":") for line in get_header_lines(header_plus.partition(b"\r\n")[2])]
        codings = [value.strip(b" \t").lower() for name, _, value in lines if name.lower() == b"transfer-encoding"]
        # A proxy in front may go by the other length, and take the rest for a request of its own (RFC 9112, 6.1).
        if codings and (codings != [b"chunked"] or not self.chunked or "CONTENT_LENGTH" in self.headers):
            self._refuse("Transfer-Encoding is chunked, once, and goes neither with Content-Length nor with HTTP/1.0")
        if self.version >= "1.1" and "HOST" not in self.headers:
            self._refuse("Host is missing")
        if not _HOST.fullmatch(self.headers.get("HOST", "")):
            self._refuse("Host is not a host")
        try:
            self.client = self.adj.proxy.client(self.headers, self.client.address, self.url_scheme)
        except ValueError as error:
            self._refuse(str(error))
        # A body waits on the disk until it is whole: nobody shall fill that who need not send much.
        if not (self.path == "/products/batch" and "AUTHORIZATION" in self.headers):
            self.adj = self.adj.usual

    def _refuse(self, why: str) -> NoReturn:
        self.expect_continue = False  # or waitress would wait for the body
        raise ParsingError(why)


class ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress is untyped
    """What waitress refuses before the application sees it is answered as problem details, too."""

    def execute(self) -> None:
        error = self.request.error
        # What waitress quotes, a header line for example, can hold a secret.
        why = error.body.partition(' "')[0]
        headers = {"Retry-After": _RETRY_AFTER} if error.code == _Busy.code else {}
        code = _PROBLEMS.get(error.code, ErrorCode.INTERNAL_ERROR)
        response = Problem(code, f"{error.reason}: {why}.", headers=headers).response()
        token = request_id.set(sane_request_id(self.request.headers.get("X_REQUEST_ID", "")))
        response.headers["X-Request-ID"] = request_id.get()
        origins = self.channel.server.cors_origins
        add_security(response, origins)
        add_cors(response, origins, {"REQUEST_METHOD": "", "HTTP_ORIGIN": self.request.headers.get("ORIGIN")})
        log.info("refused before the application saw it: %d %s", error.code, why)
        request_id.reset(token)
        self.status = response.status
        self.response_headers.extend(response.headerlist)
        if error.code != _Busy.code or self.channel.is_ending:  # of all others, something may not have been read
            self.set_close_on_finish()
        self.content_length = len(response.body)
        self.write(response.body)


class Task(WSGITask):  # type: ignore[misc]  # waitress is untyped
    """An answer of the application, which learns who the client is."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        client = self.request.client
        environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = client.address
        environ["wsgi.url_scheme"] = client.scheme
        return environ

    def build_response_header(self) -> bytes:
        if self.channel.is_ending and self.channel.has_no_more():
            super().set_close_on_finish()
        header: bytes = super().build_response_header()
        return header

    def set_close_on_finish(self) -> None:
        """waitress takes every answer without a length for one that the connection's end ends: 304 and 204 as well."""
        asked = self.version == "1.0" or self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or asked:
            super().set_close_on_finish()


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress is untyped
    """A connection."""

    task_class = Task
    error_task_class = ProblemTask

    adj: Any
    request: Parser | None
    requests: list[Parser]
    is_ending = False  # the server ends: no further request is wanted
    waiting_since: float  # the dispatcher's

    def __init__(self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:  # noqa: A002
        super().__init__(server, sock, addr, adj, map=map)
        self.parser_class = partial(Parser, peer=addr[0])

    @property
    def is_unused(self) -> bool:
        """Whether no request has begun to arrive, and no answer is still to be sent."""
        return not (self.requests or self.request or self.total_outbufs_len or self.close_when_flushed)

    def has_no_more(self) -> bool:
        """Whether nothing has arrived after the request that is being answered."""
        if len(self.requests) > 1 or self.request is not None:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:  # BlockingIOError: nothing
            return True

    @property
    def kind(self) -> Kind:
        """What its first request is to the dispatcher."""
        request = self.requests[0]
        if request.error or request.command in _READS:
            return "read"
        return "large" if int(request.headers.get("CONTENT_LENGTH", 0)) > LARGE_BYTES else "write"

    def refuse(self) -> None:
        """Have the first request, which waits, answered with 503."""
        self.requests[0].error = _Busy("others that write take too long, and this one was not begun")
