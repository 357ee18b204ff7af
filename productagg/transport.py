"""A requests session whose exchanges have a deadline as a whole, from connecting to the last byte of the body.

For `upstream` only. A time-out of requests bounds each wait for the network, so a server that drips bytes could hold a
worker for ever; here every operation of the socket gets no more than the time that is left. Such a session also follows
no redirect and adds no credential of its own.
"""

import socket
import ssl
import threading
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import ProxyManager
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


class DeadlineSession(requests.Session):
    """Belongs to one thread. `deadline.ends_at` is to be set before each exchange."""

    def __init__(self) -> None:
        super().__init__()
        # With none, requests would add the Authorization that it finds in ~/.netrc.
        self.auth = _no_authorization
        for scheme in _POOLS:
            self.mount(f"{scheme}://", _Adapter())

    def get_redirect_target(self, _: requests.Response) -> None:
        """None: the token could go to another host, and to see where to requests would read the body without limit."""


def _no_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
