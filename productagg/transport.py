"""HTTP exchanges with a deadline for the whole of each, from connecting to the last byte of the body.

For `upstream` only. A time-out of requests bounds each wait for the network, so a server that drips bytes could hold a
worker for ever; here every operation of the socket gets no more than the time that is left. No redirect is followed, no
cookie is kept and no credential is added.
"""

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context


class Deadline(threading.local):
    """When the exchange of this thread has to be over, by time.monotonic()."""

    ends_at = 0.0

    def left(self) -> float:
        """Seconds. Raises TimeoutError when there are none."""
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the exchange has taken too long")
        return seconds


deadline = Deadline()


class _Socket(socket.socket):
    """No operation outlasts the exchange, and none begins after its end, however many the HTTP library makes of it."""

    def recv_into(self, *args: Any) -> int:
        self.settimeout(deadline.left())
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        self.settimeout(deadline.left())
        return super().send(*args)

    def sendall(self, *args: Any) -> None:
        self.settimeout(deadline.left())
        super().sendall(*args)


class _TLSSocket(_Socket, ssl.SSLSocket):
    def do_handshake(self, *args: Any) -> None:
        self.settimeout(deadline.left())
        super().do_handshake(*args)


class _HTTPConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        """Connect to the first address of the host that answers; each may take its share of the time that is left."""
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
                connection.settimeout(deadline.left() / (len(addresses) - position))
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
        if isinstance(manager, ProxyManager):  # not a SOCKS one, which has connections of its own kind
            manager.pool_classes_by_scheme = _POOLS
        return manager


class Exchanges:
    """One thread's connection to `base_url`. `deadline.ends_at` is to be set before each exchange.

    What a requests session looks up for every single request (proxies and certificates in the environment, default
    headers, the connection pool) is looked up once here: that is more than half of what a request costs it.
    """

    def __init__(self, base_url: str) -> None:
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
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> BaseHTTPResponse:
        """Send a request and return the answer's head; its body is still to be read. Redirects are not followed.

        Raises urllib3's HTTPError, requests' RequestException, OSError.
        """
        response: BaseHTTPResponse = self._pool.urlopen(
            method,
            self._target + path,
            body=body,
            headers={**self._headers, **headers},
            timeout=timeout,
            retries=self._adapter.max_retries,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
        )
        return response

    def close(self) -> None:
        self._pool.close()


def _no_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
