"""HTTP exchanges with one deadline for the whole exchange, from connecting to the last byte of the body.

The adapters in `productagg.sources` use it, through `offers_service.client` (`ServerConnection`) and `web.client`
(`DirectExchange`); it knows nothing of offers. A time-out of requests bounds a single wait for
the network, so a server that drips bytes could hold a worker forever. Here no socket operation gets more than the time
that is left. Redirects are not followed, cookies are not kept and credentials are not added.

In HTTP/1.1 only the order on the connection ties a response to its request. So a connection is reused only if no
unrequested byte has arrived on it, and interim responses (1xx) are skipped (docs/decisions/0016-connections.md).
"""

import errno
import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.errors import MissingHeaderBodySeparatorDefect
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import BaseHTTPResponse, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

# What socket.getaddrinfo returns: family, kind, protocol, canonical name, and the address as the family writes it.
ResolvedAddress = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


def look_up(host: str, port: int) -> Sequence[ResolvedAddress]:
    """The addresses of a host, by the system's resolver, which takes its own time. Raises OSError."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{host!r} is not a host name") from None


class _Exchange(threading.local):
    """The state of the current thread's exchange."""

    # When it must be over, by time.monotonic().
    deadline = 0.0
    # Whether the request may be sent twice.
    repeatable = True
    # Whether a connection was opened for it; otherwise it uses a kept connection.
    connected = False
    # Whether any byte of a response has arrived.
    received_any = False

    def seconds_left(self) -> float:
        """Raises TimeoutError when the time is up."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the exchange has taken too long")
        return seconds


_exchange = _Exchange()


class _Socket(socket.socket):
    """A socket whose operations end with the exchange, however many of them the HTTP library makes."""

    # Whether the last response was read to its end, or given up.
    between_responses = False
    # Whether more arrived than the requested responses.
    has_surplus = False

    def recv_into(self, *args: Any) -> int:
        if self.between_responses:
            raise BlockingIOError(errno.EAGAIN, "no response is expected")
        self.settimeout(_exchange.seconds_left())
        received = super().recv_into(*args)
        _exchange.received_any |= received > 0
        return received

    def send(self, *args: Any) -> int:
        self.settimeout(_exchange.seconds_left())
        return super().send(*args)

    def sendall(self, *args: Any) -> None:
        self.settimeout(_exchange.seconds_left())
        super().sendall(*args)

    def makefile(self, *_args: Any, **_options: Any) -> Any:
        """The HTTP library reads the next response from this file."""
        self.between_responses = False
        return _Reader(self, super().makefile("rb", buffering=0))

    def is_reusable(self) -> bool:
        """Whether another request may be sent: the server has neither closed the connection nor sent anything."""
        if self.has_surplus:
            return False
        self.settimeout(0)
        with suppress(OSError):
            try:
                self.recv(1)
            except (BlockingIOError, ssl.SSLWantReadError):
                return True
        return False


class _Reader(io.BufferedReader):
    """Buffers one response, and notes whether it has read bytes beyond the response's end, which would get lost."""

    in_head = False
    """Whether the head is being read. To http.client, the end of the connection is the end of the head as well."""

    def __init__(self, connection: _Socket, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self._connection = connection

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            # http.client passes on the length of a chunk that is negative: that would read, and keep, all that comes.
            raise http.client.HTTPException("the response has a chunk of a negative length")
        return super().read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if self.in_head and not line:
            raise http.client.RemoteDisconnected("Remote end closed connection without response")
        return line

    def close(self) -> None:
        if not self.closed:
            self._connection.between_responses = True
            try:
                # The socket returns nothing more now, so this looks into the buffer only.
                self._connection.has_surplus |= self.peek(1) != b""
            except OSError:
                self._connection.has_surplus = True
        super().close()


class _TLSSocket(_Socket, ssl.SSLSocket):
    def do_handshake(self, *args: Any) -> None:
        self.settimeout(_exchange.seconds_left())
        super().do_handshake(*args)


class _Response(http.client.HTTPResponse):
    fp: _Reader

    def begin(self) -> None:
        """Read the head of the final response: http.client skips no interim response but 100."""
        self.fp.in_head = True
        super().begin()
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        if any(isinstance(defect, MissingHeaderBodySeparatorDefect) for defect in self.headers.defects):
            # The headers that follow such a line are lost, those among them that say where the body ends. And urllib3
            # would log the line.
            raise http.client.HTTPException("a line in the head of the response is not a header")
        lengths = ",".join(self.headers.get_all("Content-Length", [])).split(",")
        if len({length.strip() for length in lengths}) > 1:
            # urllib3 would refuse it as well, but leave the socket to the garbage collector.
            raise http.client.HTTPException("the response has more than one Content-Length")
        self.fp.in_head = False
        if self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.will_close = True  # the bytes that follow are not HTTP


class _HTTPConnection(HTTPConnection):
    response_class = _Response
    addresses: Sequence[ResolvedAddress] | None = None
    """Where to connect. None: look up the host's name."""

    @property
    def is_connected(self) -> bool:
        """Whether the pool may send a request on this kept connection."""
        # A request that may be sent only once would be lost if the server is closing the connection at this moment.
        # TLS through a TLS proxy uses a different kind of socket, which has no is_reusable.
        return _exchange.repeatable and isinstance(self.sock, _Socket) and self.sock.is_reusable()

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that accepts. Every address may take an equal share of the time that is left."""
        _exchange.connected = True
        addresses = look_up(self._dns_host, self.port) if self.addresses is None else self.addresses
        failure = OSError("the host has no address")
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            connection = _Socket(family, kind, protocol)
            try:
                self._connect(connection, address, _exchange.seconds_left() / (len(addresses) - position))
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure

    def _connect(self, connection: _Socket, address: Any, timeout: float) -> None:
        for option in self.socket_options or ():
            connection.setsockopt(*option)
        connection.settimeout(timeout)
        connection.connect(address)


class _HTTPSConnection(_HTTPConnection, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _Adapter(HTTPAdapter):
    """One connection, because it serves one thread; no retries, because the sync decides about them."""

    def __init__(self) -> None:
        self._tls = _tls_context()
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, ssl_context=self._tls, **options)
        if not isinstance(manager, ProxyManager):
            # A SOCKS proxy makes connections of its own: without our deadline, and taking an interim response for the
            # final one.
            raise requests.exceptions.InvalidProxyURL("a SOCKS proxy cannot be used")
        manager.pool_classes_by_scheme = _POOLS
        return manager


class ServerConnection:
    """One thread's connection to `base_url`. `on_send` is called for every request sent.

    For every request, a requests session looks up proxies and certificates in the environment, default headers and the
    connection pool. Here that is looked up once: it is more than half of a request's cost.
    """

    def __init__(self, base_url: str, on_send: Callable[[], object]) -> None:
        self._on_send = on_send
        with requests.Session() as session:
            # Without an `auth` of its own, requests would add an Authorization header from ~/.netrc.
            session.auth = _no_authorization
            prepared = session.prepare_request(requests.Request("GET", base_url))
            environment = session.merge_environment_settings(base_url, {}, None, None, None)
        proxies, verify, cert = environment["proxies"], environment["verify"], environment["cert"]
        self._adapter = _Adapter()
        self._pool: Any = self._adapter.get_connection_with_tls_context(prepared, verify, proxies=proxies, cert=cert)
        self._adapter.cert_verify(self._pool, prepared.url, verify, cert)  # type: ignore[no-untyped-call]
        # A proxy is sent the whole URL, a server only the path.
        self._target = self._adapter.request_url(prepared, proxies).rstrip("/")
        self._headers = dict(prepared.headers)

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        deadline: float,
        repeatable: bool,
    ) -> BaseHTTPResponse:
        """Send a request and return the response's head; the caller reads its body. Redirects are not followed.

        The whole exchange, including the body, must be over at `deadline`, by time.monotonic(). A `repeatable` request
        is sent a second time, on a new connection, if a kept connection turns out to be closed before any byte of the
        response came, or if the response there is 408 (the server waited for a request for too long). A request that
        is not repeatable always gets a new connection.

        Raises urllib3's HTTPError, requests' RequestException, OSError.
        """
        _exchange.deadline, _exchange.repeatable = deadline, repeatable
        _exchange.connected = _exchange.received_any = False
        try:
            response = self._send(method, path, headers, body)
            if _exchange.connected or response.status != http.HTTPStatus.REQUEST_TIMEOUT:
                return response
            response.close()
        except (HTTPError, OSError):
            if _exchange.connected or _exchange.received_any or time.monotonic() >= deadline:
                raise
        return self._send(method, path, headers, body)

    def close(self) -> None:
        self._pool.close()

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> BaseHTTPResponse:
        self._on_send()
        response: BaseHTTPResponse = self._pool.urlopen(
            method,
            self._target + path,
            body=body,
            headers={**self._headers, **headers},
            timeout=_exchange.seconds_left(),
            retries=self._adapter.max_retries,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
        )
        return response


class DirectExchange:
    """One GET, on a connection of its own, to `addresses`: no name is looked up, no proxy of the environment is used.

    It must be over at `deadline`, by time.monotonic(), and the caller closes it. `host` is the name that the server's
    certificate must have, or an address without brackets. `status` and `headers` are those of the response.

    Making it and reading from it raises urllib3's HTTPError, http.client's HTTPException, OSError.
    """

    def __init__(
        self,
        host: str,
        port: int,
        addresses: Sequence[ResolvedAddress],
        tls: ssl.SSLContext | None,
        target: str,
        headers: Mapping[str, str],
        deadline: float,
    ) -> None:
        self._deadline = _exchange.deadline = deadline
        self._connection = _HTTPSConnection(host, port, ssl_context=tls) if tls else _HTTPConnection(host, port)
        self._connection.addresses = addresses
        try:
            self._connection.request("GET", target, headers=headers, preload_content=False)
            self._response = self._connection.getresponse()
        except BaseException:
            self._connection.close()
            raise
        self.status, self.headers = self._response.status, self._response.headers

    def read(self, size: int) -> bytes:
        """The next bytes of the body as they were sent, `size` at most; nothing at its end, which is where it ended."""
        # The thread may have begun another exchange since.
        _exchange.deadline = self._deadline
        return self._response.read(size, decode_content=False)

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def verifying_tls_context() -> ssl.SSLContext:
    """For `DirectExchange`. It trusts the authorities that requests trusts. Raises OSError if it cannot read them."""
    path = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    is_folder = Path(path).is_dir()
    context = _tls_context()
    context.load_verify_locations(cafile=None if is_folder else path, capath=path if is_folder else None)
    return context


def _tls_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.sslsocket_class = _TLSSocket
    return context


def _no_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
