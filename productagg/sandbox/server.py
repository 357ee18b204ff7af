"""The sandbox on a port: accepts connections, reads requests, sends the service's responses, and carries out faults.

Tests use `SandboxServer` for the length of a `with` block, the command line for as long as the process runs. It decides
nothing about offers and tokens. All its threads are daemons, so it never delays the end of a process, and closing it
never waits for a client.
"""

import contextlib
import logging
import selectors
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from productagg.sandbox import responses
from productagg.sandbox.control import CONTROL_PATH, Control
from productagg.sandbox.faults import Fault, Faults
from productagg.sandbox.offers import OffersSource, offers_at
from productagg.sandbox.service import (
    BASE_PATH,
    DEVELOPMENT_REFRESH_TOKEN,
    TOKEN_LIFETIME,
    Clock,
    Endpoint,
    OffersService,
    Request,
    Response,
    endpoint_of,
)
from productagg.sandbox.shops import Shops, shop_endpoint_of

# The status under which requests without a response are counted.
NO_RESPONSE = 0

_MAX_REQUEST_BODY = 1_000_000
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

log = logging.getLogger(__name__)
request_log = logging.getLogger("productagg.sandbox.requests")


class SandboxServer:
    """A stand-in Offers service, and shops, that listen from `start` to `close`, or for the length of a `with` block.

    `port` 0 takes any free port; `base_url` contains it. `service` holds the state, `faults` the faults in force; both
    may be read and changed while it runs. `clock` returns Unix seconds, for tokens and offers. Faults wait in real
    time. `shop_secret` is the bearer token that the shops' JSON wants, None if it wants none.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        refresh_token: str = DEVELOPMENT_REFRESH_TOKEN,
        token_lifetime: int = TOKEN_LIFETIME,
        clock: Clock = time.time,
        offers: OffersSource = offers_at,
        faults: Iterable[Fault] = (),
        shop_secret: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.service = OffersService(refresh_token, token_lifetime=token_lifetime, clock=clock, offers=offers)
        self.shops = Shops(clock, shop_secret)
        self.faults = Faults(faults)
        self.connections: set[socket.socket] = set()
        self.control = Control(self.service, self.faults, self.refuse, lambda: len(self.connections))
        self.current = _CurrentConnection()
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._reopening: threading.Timer | None = None

    @property
    def url(self) -> str:
        """The root, without the base path. `/control` and the shops are below it."""
        return f"http://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """The root with the base path, below which the paths of the contract are."""
        return f"{self.url}{BASE_PATH}"

    def answer(self, request: Request) -> Response:
        """The correct answer to a request."""
        if request.path.startswith("/api/"):
            return self.service.answer(request)
        return self.shops.answer(request)

    def start(self) -> None:
        """Listen, and answer in other threads. Raises `OSError` if the port is taken or the host is not local."""
        self._listener = _Listener(self)
        self.port = self._listener.server_port
        self._open(self._listener)

    def close(self) -> None:
        """Stop listening and cut every connection, even in the middle of a response."""
        self.closing.set()
        with self._lock:
            self._shut()
        self._cut_connections()

    def refuse(self, seconds: float) -> None:
        """Cut all connections and refuse new ones for some seconds, then listen on the same port again.

        The port is closed when this returns. If a request triggers it, that request still gets its response.
        """
        with self._lock:
            if self.closing.is_set():
                return
            self._shut()
            # A port that is bound but not listening refuses connections, and no other process can take it meanwhile.
            self._listener = _Listener(self)
            self._reopening = threading.Timer(seconds, self._open, [self._listener])
            self._reopening.daemon = True
            self._reopening.start()
        self._cut_connections()

    def reopen(self) -> None:
        """Listen again at once, if connections are being refused."""
        self._open(self._listener)

    def _open(self, listener: "_Listener") -> None:
        with self._lock:
            # A timer may have waited for the lock, and its listener may have been replaced meanwhile.
            if listener is self._listener and not listener.is_open and not self.closing.is_set():
                listener.open()

    def _shut(self) -> None:
        if self._reopening:
            self._reopening.cancel()
        self._listener.shut()

    def _cut_connections(self) -> None:
        for connection in self.connections.copy():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD if connection is self.current.connection else socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _CurrentConnection(threading.local):
    """The connection that the current thread serves, None if it serves none."""

    connection: socket.socket | None = None


class _Listener(ThreadingHTTPServer):
    """A bound port that is opened once and shut once, without delay: unlike the inherited loop it never polls."""

    # Some versions of Python let two HTTP servers share a port; here a taken port must be an error.
    allow_reuse_port = False
    block_on_close = False
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, sandbox: SandboxServer) -> None:
        super().__init__((sandbox.host, sandbox.port), _Exchange, bind_and_activate=False)
        self.sandbox = sandbox
        self._waker, self._woken = socket.socketpair()
        self._accepting = threading.Thread(target=self._accept, name="sandbox", daemon=True)
        try:
            self.server_bind()
        except OSError:
            self.shut()
            raise

    def server_bind(self) -> None:
        # HTTPServer would look up its own name in the DNS, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    @property
    def is_open(self) -> bool:
        return self._accepting.is_alive()

    def open(self) -> None:
        self.server_activate()
        self._accepting.start()

    def shut(self) -> None:
        self._waker.close()
        if self.is_open:
            self._accepting.join()
        self._woken.close()
        self.server_close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while all(key.fileobj is not self._woken for key, _ in selector.select()):
                self.handle_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.sandbox.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.sandbox.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that disconnect and connections that are cut are normal here.
        if not isinstance(sys.exception(), OSError):
            log.exception("the sandbox failed to answer a request")


class _Exchange(BaseHTTPRequestHandler):
    """One connection. Its requests are answered one after another until either side closes it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.server.sandbox.current.connection = self.connection

    def handle_one_request(self) -> None:
        # The inherited method answers 501 unless there is a do_... method; here an unknown method gets 405.
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline:
            self.close_connection = True
        elif self.parse_request():
            self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the inherited name
        log.debug(format, *args)

    def _answer(self) -> None:
        body = self._read_body()
        if isinstance(body, Response):
            self.close_connection = True
            self._send(body)
            return
        path, _, query = self.path.partition("?")
        headers = {name.lower(): text for name, text in self.headers.items()}
        content_type = headers.get("content-type", "")
        self._dispatch(Request(self.command, path, headers.get("bearer"), content_type, body, query, headers))

    def _dispatch(self, request: Request) -> None:
        endpoint = endpoint_of(request.path) or shop_endpoint_of(request.path)
        if endpoint is not None:
            self._answer_or_misbehave(endpoint, request)
        elif f"{request.path}/".startswith(f"{CONTROL_PATH}/"):
            self._send(self.server.sandbox.control.answer(request))
        else:
            self._send(self.server.sandbox.answer(request))

    def _read_body(self) -> bytes | Response:
        """Return the request's body, or the response to send if the end of the body is unknown."""
        length = self._body_length()
        if isinstance(length, Response):
            return length
        body = self.rfile.read(length)
        return body if len(body) == length else Response(400, {"detail": "The body ends early"})

    def _body_length(self) -> int | Response:
        if "Transfer-Encoding" in self.headers:
            return Response(411, {"detail": "Length Required"})
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdecimal()):
            return Response(400, {"detail": "Content-Length is not a number"})
        if int(length) > _MAX_REQUEST_BODY:
            return Response(413, {"detail": "Content Too Large"})
        return int(length)

    def _answer_or_misbehave(self, endpoint: Endpoint, request: Request) -> None:
        sandbox = self.server.sandbox
        delay, fault = sandbox.faults.next_effect(endpoint)
        if delay:
            self._pause(delay)
        if fault is None:
            self._send(sandbox.answer(request), endpoint)
        else:
            self._misbehave(fault, endpoint, request)

    def _misbehave(self, fault: Fault, endpoint: Endpoint, request: Request) -> None:
        sandbox = self.server.sandbox
        if fault.kind == "refuse":
            sandbox.refuse(fault.params["seconds"])
            self._reset(endpoint)
        elif fault.kind == "reset":
            if fault.params["processed"]:
                sandbox.answer(request)
            self._reset(endpoint)
        elif (response := responses.replacement(fault, sandbox.service.clock())) is not None:
            self._send(response, endpoint)
        else:
            self._send_spoiled(fault, sandbox.answer(_unconditional(request)), endpoint)

    def _send(self, response: Response, endpoint: Endpoint | None = None) -> None:
        self._record(endpoint, response.status)
        # One call for head and body: two calls would send two packets, and be half as fast.
        self.connection.sendall(
            responses.correct(
                response,
                self.server.sandbox.service.clock(),
                close=self.close_connection,
                with_body=self.command != "HEAD",
            )
        )

    def _send_spoiled(self, fault: Fault, response: Response, endpoint: Endpoint) -> None:
        self._record(endpoint, response.status)
        self.close_connection = True
        for piece in responses.spoiled(fault, response, self.server.sandbox.service.clock()):
            self.connection.sendall(piece)
            if fault.kind == "dripping":
                self._pause(fault.params["drip_seconds"])

    def _reset(self, endpoint: Endpoint) -> None:
        self._record(endpoint, NO_RESPONSE)
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # An open reader would keep the socket open, and a later close would end the connection in order.
        self.rfile.close()
        self.connection.close()

    def _record(self, endpoint: Endpoint | None, status: int) -> None:
        if endpoint is not None:
            self.server.sandbox.service.count(endpoint, status)
        request_log.info("%s %s %d", self.command, self.path, status)

    def _pause(self, seconds: float) -> None:
        if self.server.sandbox.closing.wait(seconds):
            raise ConnectionAbortedError("the sandbox is closing")


def _unconditional(request: Request) -> Request:
    """The same request for the whole body, uncompressed: there is nothing to spoil in a 304."""
    return request._replace(
        headers={name: text for name, text in request.headers.items() if name in ("host", "authorization")}
    )
