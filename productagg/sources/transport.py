"""HTTP exchanges with a deadline for the whole of each, from connecting to the last byte of the body.

For `upstream` only. A time-out of requests bounds each wait for the network, so a server that drips bytes could hold a
worker for ever; here every operation of the socket gets no more than the time that is left. No redirect is followed, no
cookie is kept and no credential is added.

HTTP/1.1 has nothing that ties an answer to its request but the order on the connection. So a connection is used again
only if nothing has arrived on it that nobody asked for, and interim answers (1xx) are skipped
(docs/decisions/0016-connections.md).
"""

import errno
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context


class _Exchange(threading.local):
    """The exchange that this thread is at."""

    ends_at = 0.0
    """When it has to be over, by time.monotonic()."""
    repeatable = True
    """Whether the server may be sent the request twice."""
    connected = False
    """Whether a connection was opened for it; else it is on one that was kept."""
    heard = False
    """Whether any byte of an answer has come."""

    def left(self) -> float:
        """Seconds. Raises TimeoutError when there are none."""
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the exchange has taken too long")
        return seconds


_exchange = _Exchange()


class _Socket(socket.socket):
    """No operation outlasts the exchange, and none begins after its end, however many the HTTP library makes of it."""

    between_answers = False
    """Whether the last answer was read to its end, or given up."""
    holds_more = False
    """Whether more arrived than the answers that were asked for."""

    def recv_into(self, *args: Any) -> int:
        if self.between_answers:
            raise BlockingIOError(errno.EAGAIN, "nothing is awaited")
        self.settimeout(_exchange.left())
        received = super().recv_into(*args)
        _exchange.heard |= received > 0
        return received

    def send(self, *args: Any) -> int:
        self.settimeout(_exchange.left())
        return super().send(*args)

    def sendall(self, *args: Any) -> None:
        self.settimeout(_exchange.left())
        super().sendall(*args)

    def makefile(self, *_args: Any, **_options: Any) -> Any:
        """Where the HTTP library reads the next answer."""
        self.between_answers = False
        return _Reader(self, super().makefile("rb", buffering=0))

    def is_fit(self) -> bool:
        """Whether another request may be sent: the other side has neither closed the connection nor sent anything."""
        if self.holds_more:
            return False
        self.settimeout(0)
        with suppress(OSError):
            try:
                self.recv(1)
            except (BlockingIOError, ssl.SSLWantReadError):
                return True
        return False


class _Reader(io.BufferedReader):
    """Reads ahead, for one answer. What it has read beyond that answer's end is lost, so it takes note of that."""

    def __init__(self, connection: _Socket, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self._connection = connection

    def close(self) -> None:
        if not self.closed:
            self._connection.between_answers = True
            try:
                # As the connection gives nothing more now, this is what is in memory.
                self._connection.holds_more |= self.peek(1) != b""
            except OSError:
                self._connection.holds_more = True
        super().close()


class _TLSSocket(_Socket, ssl.SSLSocket):
    def do_handshake(self, *args: Any) -> None:
        self.settimeout(_exchange.left())
        super().do_handshake(*args)


class _Answer(http.client.HTTPResponse):
    def begin(self) -> None:
        """Read the head of the final answer: http.client skips no interim answer but 100."""
        super().begin()
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        if self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.will_close = True  # what follows is no HTTP


class _HTTPConnection(HTTPConnection):
    response_class = _Answer

    @property
    def is_connected(self) -> bool:
        """Whether the pool may send a request on this connection, which it has kept."""
        # A request that may be sent only once would be lost if the server is closing the connection right now.
        # TLS through a TLS proxy has sockets of another kind, which cannot be looked into.
        return _exchange.repeatable and isinstance(self.sock, _Socket) and self.sock.is_fit()

    def _new_conn(self) -> socket.socket:
        """Connect to the first address of the host that answers; each may take its share of the time that is left."""
        _exchange.connected = True
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise OSError(f"{self.host!r} is not a host name") from None
        failure = OSError("the host has no address")
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            connection = _Socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    connection.setsockopt(*option)
                connection.settimeout(_exchange.left() / (len(addresses) - position))
                connection.connect(address)
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure


class _HTTPSConnection(_HTTPConnection, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _Adapter(HTTPAdapter):
    """One connection, since a session belongs to one thread; no retries, since the sync decides about them."""

    def __init__(self) -> None:
        self._tls = create_urllib3_context()
        self._tls.sslsocket_class = _TLSSocket
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, ssl_context=self._tls, **options)
        if not isinstance(manager, ProxyManager):
            # Its connections are not ours: they know no deadline and take an interim answer for the final one.
            raise requests.exceptions.InvalidProxyURL("a SOCKS proxy cannot be used")
        manager.pool_classes_by_scheme = _POOLS
        return manager


class Exchanges:
    """One thread's connection to `base_url`. `sending` is called for each request that is sent.

    What a requests session looks up for every single request (proxies and certificates in the environment, default
    headers, the connection pool) is looked up once here: that is more than half of what a request costs it.
    """

    def __init__(self, base_url: str, sending: Callable[[], object]) -> None:
        self._sending = sending
        with requests.Session() as session:
            # With none, requests would add the Authorization that it finds in ~/.netrc.
            session.auth = _no_authorization
            prepared = session.prepare_request(requests.Request("GET", base_url))
            where = session.merge_environment_settings(base_url, {}, None, None, None)
        self._adapter = _Adapter()
        self._pool: Any = self._adapter.get_connection_with_tls_context(
            prepared, where["verify"], proxies=where["proxies"], cert=where["cert"]
        )
        self._adapter.cert_verify(self._pool, prepared.url, where["verify"], where["cert"])  # type: ignore[no-untyped-call]
        # All of the URL where a proxy is asked, else its path.
        self._target = self._adapter.request_url(prepared, where["proxies"]).rstrip("/")
        self._headers = dict(prepared.headers)

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        ends_at: float,
        repeatable: bool,
    ) -> BaseHTTPResponse:
        """Send a request and return the answer's head; its body is still to be read. Redirects are not followed.

        All of it, the body included, has to be over at `ends_at`, by time.monotonic(). A `repeatable` request is sent
        once more, on a new connection, if a kept connection turns out to be closed before any byte of the answer came,
        or if the answer there is 408: no request came in time. Any other request is sent on a new connection at once.

        Raises urllib3's HTTPError, requests' RequestException, OSError.
        """
        _exchange.ends_at, _exchange.repeatable = ends_at, repeatable
        _exchange.connected = _exchange.heard = False
        try:
            response = self._send(method, path, headers, body)
            if _exchange.connected or response.status != http.HTTPStatus.REQUEST_TIMEOUT:
                return response
            response.close()
        except (HTTPError, OSError):
            if _exchange.connected or _exchange.heard or time.monotonic() >= ends_at:
                raise
        return self._send(method, path, headers, body)

    def close(self) -> None:
        self._pool.close()

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> BaseHTTPResponse:
        self._sending()
        response: BaseHTTPResponse = self._pool.urlopen(
            method,
            self._target + path,
            body=body,
            headers={**self._headers, **headers},
            timeout=_exchange.left(),
            retries=self._adapter.max_retries,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
        )
        return response


def _no_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
