"""How the web service listens: waitress, with our error format, and an end in good order on SIGTERM.

The ini files' `[server:main] use = egg:productagg` leads here. `pserve development.ini http_port=8000` moves the port:
PasteDeploy lets a variable of the command line only add to an ini file, not override it, so the defaults are here.
"""

import gc
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NoReturn

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, get_header_lines
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from productagg.api.errors import Problem
from productagg.api.headers import add_cors, add_security
from productagg.api.tweens import sane_request_id
from productagg.logs import request_id, write_in_batches
from productagg.processes import keep_to_one_processor, serve_with

log = logging.getLogger(__name__)

_PROBLEMS = {
    400: "malformed-request",
    408: "request-timeout",
    413: "body-too-large",
    431: "headers-too-large",
    501: "not-implemented",
}
# What is received of any body but a batch's; the application takes 256 KiB of it.
_USUAL_BODY_BYTES = 1024 * 1024
_MOST_PROCESSES = 256
# What may stand in Host and X-Forwarded-Host: it goes into Location and Link.
_HOST = re.compile(r"([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")


class _TooSlow(Error):  # type: ignore[misc]  # waitress is untyped
    code, reason = 408, "Request Timeout"


class _Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress is untyped
    """Reads a request, and refuses what waitress does not: one that takes for ever, and one with two meanings."""

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.adj: Any = adj
        self.completed: bool
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
        forwarded = self.headers.get("X_FORWARDED_HOST", "").split(",")
        if not all(_HOST.fullmatch(host.strip(" \t")) for host in [self.headers.get("HOST", ""), *forwarded]):
            self._refuse("Host or X-Forwarded-Host is not a host")
        # A body waits on the disk until it is whole: nobody shall fill that who need not send much.
        if not (self.path == "/products/batch" and "AUTHORIZATION" in self.headers):
            self.adj = self.adj.usual

    def _refuse(self, why: str) -> NoReturn:
        self.expect_continue = False  # or waitress would wait for the body
        raise ParsingError(why)


class _ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress is untyped
    """What waitress refuses before the application sees it is answered as problem details, too."""

    def execute(self) -> None:
        error = self.request.error
        # What waitress quotes, a header line for example, can hold a secret.
        why = error.body.partition(' "')[0]
        response = Problem(_PROBLEMS.get(error.code, "internal-error"), f"{error.reason}: {why}.").response()
        token = request_id.set(sane_request_id(self.request.headers.get("X_REQUEST_ID", "")))
        response.headers["X-Request-ID"] = request_id.get()
        origins = self.channel.server.cors_origins
        add_security(response, origins)
        add_cors(response, origins, {"REQUEST_METHOD": "", "HTTP_ORIGIN": self.request.headers.get("ORIGIN")})
        log.info("refused before the application saw it: %d %s", error.code, why)
        request_id.reset(token)
        self.status = response.status
        self.response_headers.extend(response.headerlist)
        self.set_close_on_finish()
        self.content_length = len(response.body)
        self.write(response.body)


class _Task(WSGITask):  # type: ignore[misc]  # waitress is untyped
    """Waitress takes an answer without a length for one that only the connection's end ends: 304 and 204 as well."""

    def set_close_on_finish(self) -> None:
        asked = self.version == "1.0" or self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or asked:
            super().set_close_on_finish()


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress is untyped
    parser_class = _Parser
    task_class = _Task
    error_task_class = _ProblemTask


def serve(
    app: Any,
    variables: Mapping[str, str],
    *,
    host: str,
    port: str,
    request_timeout: str = "30",
    processes: str = "1",
    own_processor: str = "false",
    **options: Any,
) -> int:
    """Serve until SIGTERM or SIGINT; requests under way are finished.

    `variables` may hold http_host, http_port, request_timeout (in how many seconds a request must have arrived),
    processes (how many serve at the port), own_processor (whether each keeps to one processor), and trusted_proxy: the
    address of a proxy in front (`*`: any), whose X-Forwarded-For, -Proto and -Host are believed.
    """
    host, port = variables.get("http_host", host), variables.get("http_port", port)
    if "trusted_proxy" in variables:
        options |= {
            "trusted_proxy": variables["trusted_proxy"],
            "trusted_proxy_headers": "x-forwarded-for x-forwarded-proto x-forwarded-host",
            "clear_untrusted_proxy_headers": "true",
        }
    try:
        count = _count(variables.get("processes", processes))
        seconds = _seconds(variables.get("request_timeout", request_timeout))
        pinned = _flag(variables.get("own_processor", own_processor))
    except ValueError as error:
        _end_with(str(error))
    try:
        wanted = Adjustments(host=host, port=port, **options)
        sockets = [
            socket.create_server(address, family=family, backlog=wanted.backlog)
            for family, _, _, address in wanted.listen
        ]
    except (OSError, ValueError) as error:
        _end_with(f"cannot listen on {host}:{port}: {error}")
    # What has been made until now stays: looking for garbage in it again and again costs each answer up to a tenth.
    gc.collect()
    gc.freeze()

    def run(number: int | None) -> int:
        if pinned:
            keep_to_one_processor(number)
        return _run(app, sockets, seconds, options)

    if count == 1:
        return run(None)
    for engine in app.registry["engines"]:
        engine.dispose()  # no two processes may use a connection
    return serve_with(count, run)


def _count(processes: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", processes) or not 1 <= int(processes) <= _MOST_PROCESSES:
        raise ValueError(f"processes is {processes!r}, not a whole number from 1 to {_MOST_PROCESSES}")
    return int(processes)


def _seconds(request_timeout: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", request_timeout) or not float(request_timeout):
        raise ValueError(f"request_timeout is {request_timeout!r}, not a number of seconds")
    return float(request_timeout)


def _flag(own_processor: str) -> bool:
    if own_processor.lower() not in ("true", "false"):
        raise ValueError(f"own_processor is {own_processor!r}, not 'true' or 'false'")
    return own_processor.lower() == "true"


def _end_with(why: str) -> NoReturn:
    sys.stderr.write(f"productagg: {why}\n")
    # pserve turns a SystemExit into exit code 0, and anything else into a traceback.
    os._exit(1)


def _end(*_: object) -> NoReturn:
    # Told again, by a terminal and then by the first process, it would not finish the requests under way.
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, lambda *_: None)
    sys.exit(0)


def _run(app: Any, sockets: Sequence[socket.socket], request_timeout: float, options: Mapping[str, Any]) -> int:
    listeners: dict[int, Any] = {}
    # ident: not who we are made with, which helps nobody but an attacker.
    server = create_server(app, map=listeners, sockets=sockets, ident=None, **options)
    server.adj.request_timeout = request_timeout
    server.adj.usual = copy(server.adj)
    server.adj.usual.max_request_body_size = min(server.adj.max_request_body_size, _USUAL_BODY_BYTES)
    for listener in listeners.values():
        if isinstance(listener, BaseWSGIServer):
            listener.channel_class = _Channel
            listener.cors_origins = app.registry["settings"].cors_origins
    # Python ends at once on SIGTERM; as a container's first process it would even ignore it.
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, _end)
    write_in_batches()
    server.print_listen("productagg serves on http://{}:{}")
    server.run()
    return 0
