"""Connections: how requests are read and checked, and answered by the application or refused.

waitress does most of the work. We add limits for requests that never end, refuse ambiguous ones, and send refusals as
problem details.
"""

import logging
import re
import socket
import time
from copy import copy
from functools import partial
from typing import Any, NoReturn

from pyramid.response import Response
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, get_header_lines
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.security_headers import add_cors, add_security
from productagg.api.core.tweens import sane_request_id
from productagg.logs import request_id
from productagg.server.body_limits import ORDINARY_BYTES
from productagg.server.dispatcher import Kind
from productagg.server.proxies import Client

log = logging.getLogger(__name__)

_PROBLEM_CODES = {
    400: ErrorCode.MALFORMED_REQUEST,
    408: ErrorCode.REQUEST_TIMEOUT,
    413: ErrorCode.BODY_TOO_LARGE,
    431: ErrorCode.HEADERS_TOO_LARGE,
    501: ErrorCode.NOT_IMPLEMENTED,
    503: ErrorCode.UNAVAILABLE,
}
# The values of Host that are accepted: Host goes into Location and Link.
_HOST = re.compile(r"([A-Za-z0-9._-]{0,255}|\[[0-9A-Fa-f:.]{1,45}\])(:[0-9]{0,5})?")
# Sent with the 503 of a request for which no thread was free in time, in seconds.
_RETRY_AFTER = "5"
_READ_METHODS = ("GET", "HEAD", "OPTIONS")


class _TooSlow(Error):  # type: ignore[misc]  # waitress is untyped
    code, reason = 408, "Request Timeout"


class _Busy(Error):  # type: ignore[misc]  # waitress is untyped
    code, reason = 503, "Service Unavailable"


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress is untyped
    """Reads a request. It also refuses requests that waitress lets pass: endless and ambiguous ones."""

    adj: Any  # waitress' options, with ours beside them: see serve.py
    completed: bool

    def __init__(self, adj: Any, peer: str) -> None:
        """`peer` is the address from which the connection came."""
        super().__init__(adj)
        self.client = Client(peer, adj.url_scheme)
        self._deadline = time.monotonic() + adj.request_timeout

    def received(self, data: bytes) -> int:
        # waitress closes only idle connections, and a connection that receives a byte now and then is never idle.
        if self.completed or time.monotonic() < self._deadline:
            consumed: int = super().received(data)
            return consumed
        self.error = _TooSlow(f"the request was not complete after {self.adj.request_timeout:g} seconds")
        self.expect_continue, self.completed = False, True
        return len(data)

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError:  # for example a length of thousands of digits, or a target that is not a URI
            self._refuse("the request's head cannot be read")
        self._check_framing(header_plus)
        self._check_host()
        try:
            self.client = self.adj.proxy.client(self.headers, self.client.address, self.url_scheme)
        except ValueError as error:
            self._refuse(str(error))
        if self.body_rcv is not None:
            self._limit_body()

    def _check_framing(self, head: bytes) -> None:
        """Refuse a head in which a proxy in front may see other headers, or another end of the body, than we do."""
        # Some servers join such a line with the line before, others do not (RFC 9112, 5.2).
        if re.search(rb"\r\n[ \t]", head):
            self._refuse("a header spans several lines")
        codings = _transfer_codings(head)
        # A proxy may go by Content-Length instead, and take the rest for another request (RFC 9112, 6.1).
        if codings and not self._is_only_chunked(codings):
            self._refuse(
                "Transfer-Encoding may only be 'chunked', sent once, without Content-Length and not in HTTP/1.0"
            )

    def _is_only_chunked(self, codings: list[bytes]) -> bool:
        return codings == [b"chunked"] and self.chunked and "CONTENT_LENGTH" not in self.headers

    def _check_host(self) -> None:
        if self.version >= "1.1" and "HOST" not in self.headers:
            self._refuse("Host is missing")
        if not _HOST.fullmatch(self.headers.get("HOST", "")):
            self._refuse("Host is not a valid host name or address")

    def _limit_body(self) -> None:
        limit = self.adj.body_limits.at(self.path, has_credentials="AUTHORIZATION" in self.headers)
        self.adj = copy(self.adj)
        self.adj.max_request_body_size = limit

    def _refuse(self, reason: str) -> NoReturn:
        self.expect_continue = False  # or waitress would wait for the body
        raise ParsingError(reason)


def _transfer_codings(head: bytes) -> list[bytes]:
    """Return the value of every Transfer-Encoding line: waitress joins them, and drops empty ones."""
    lines = [line.partition(b":") for line in get_header_lines(head.partition(b"\r\n")[2])]
    return [value.strip(b" \t").lower() for name, _, value in lines if name.lower() == b"transfer-encoding"]


class ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress is untyped
    """Answers a request that the server refuses with problem details, as the application would."""

    def execute(self) -> None:
        error = self.request.error
        # Leave out the quotation with which waitress ends some messages: a header line can hold a secret.
        reason = error.body.partition(' "')[0]
        token = request_id.set(sane_request_id(self.request.headers.get("X_REQUEST_ID", "")))
        response = self._response(error, reason)
        log.info("refused by the server: %d %s", error.code, reason)
        request_id.reset(token)
        self.status = response.status
        self.response_headers.extend(response.headerlist)
        # A refused request may not have been read to its end, unless it waited for a thread.
        if error.code != _Busy.code or self.channel.is_ending:
            self.set_close_on_finish()
        self.content_length = len(response.body)
        self.write(response.body)

    def _response(self, error: Error, reason: str) -> Response:
        response = Problem(
            _PROBLEM_CODES.get(error.code, ErrorCode.INTERNAL_ERROR),
            f"{error.reason}: {reason}.",
            headers={"Retry-After": _RETRY_AFTER} if error.code == _Busy.code else {},
        ).response()
        response.headers["X-Request-ID"] = request_id.get()
        origins = self.channel.server.cors_origins
        add_security(response, origins)
        add_cors(response, origins, {"REQUEST_METHOD": "", "HTTP_ORIGIN": self.request.headers.get("ORIGIN")})
        return response


class Task(WSGITask):  # type: ignore[misc]  # waitress is untyped
    """Calls the application to answer a request, and tells it who the client is."""

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
        """Close the connection only if the client asked for it, or if closing marks the end of the body.

        waitress would close after every response without a length, and so after each 304 and 204.
        """
        was_asked = self.version == "1.0" or self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or was_asked:
            super().set_close_on_finish()


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress is untyped
    """A connection."""

    task_class = Task
    error_task_class = ProblemTask

    adj: Any
    request: Parser | None
    requests: list[Parser]
    is_ending = False  # set during shutdown: the connection closes after the request that is being answered
    waiting_since: float  # set by the dispatcher

    def __init__(self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:  # noqa: A002
        super().__init__(server, sock, addr, adj, map=map)
        self.parser_class = partial(Parser, peer=addr[0])

    @property
    def is_unused(self) -> bool:
        """Whether no request has begun to arrive, and no response remains to be sent."""
        return not (self.requests or self.request or self.total_outbufs_len or self.close_when_flushed)

    def has_no_more(self) -> bool:
        """Whether nothing has arrived after the request that is being answered."""
        if len(self.requests) > 1 or self.request is not None:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:  # BlockingIOError: nothing to read
            return True

    @property
    def kind(self) -> Kind:
        """How the dispatcher treats the first request."""
        request = self.requests[0]
        if request.error or request.command in _READ_METHODS:
            return "read"
        return "large" if int(request.headers.get("CONTENT_LENGTH", 0)) > ORDINARY_BYTES else "write"

    def refuse(self) -> None:
        """Have the first request, which waits for a thread, answered with 503."""
        self.requests[0].error = _Busy("too many other writes are running, and this request was not begun")
