"""Who a client is and how it came: its connection says so or, for that connection, the proxy that is trusted.

The parser of requests comes here. The application sees none of these headers: it reads REMOTE_ADDR and wsgi.url_scheme.
"""

import re
from collections.abc import MutableMapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

ANY_PROXY = "*"

# As waitress writes the names. X-Forwarded-Host and Forwarded are believed of nobody: links begin with PUBLIC_URL, or
# as Host says.
_HEADERS = (
    "X_FORWARDED_FOR",
    "X_FORWARDED_PROTO",
    "X_FORWARDED_HOST",
    "X_FORWARDED_PORT",
    "X_FORWARDED_BY",
    "FORWARDED",
)
# RFC 7239, 6: an IPv6 address in brackets or an IPv4 address, each with a port or without. Many write neither brackets.
_NODE = re.compile(r"\[(?P<ipv6>[^\]]*)\](:[\w.-]+)?|(?P<ipv4>[^:]*)(:[\w.-]+)?|(?P<bare>.*)", re.ASCII)


class Client(NamedTuple):
    """A client's IP address, and `http` or `https`."""

    address: str
    scheme: str


class TrustedProxy:
    """The proxies whose headers are believed: an address, a network (`10.0.0.0/8`), `*` for all, None for nobody."""

    def __init__(self, trusted: str | None) -> None:
        """Raises ValueError for anything else."""
        self._any = trusted == ANY_PROXY
        self._network = None if trusted is None or self._any else ip_network(trusted)

    def client(self, headers: MutableMapping[str, str], peer: str, scheme: str) -> Client:
        """The client of a request that came from `peer` by `scheme`. Removes the headers that proxies set.

        A proxy adds to a list what it sees itself, at its end: the rest is the client's invention. What is no address
        (`unknown`, `_hidden`) leaves the proxy's own. Raises ValueError for a scheme that does not exist.
        """
        said = {name: headers.pop(name, "").rpartition(",")[2].strip(' \t"') for name in _HEADERS}
        peer = normalized(peer) or peer
        if not self._trusts(peer):
            return Client(peer, scheme)
        proto = said["X_FORWARDED_PROTO"].lower()
        if proto not in ("", "http", "https"):
            raise ValueError("X-Forwarded-Proto is neither http nor https")
        node = _NODE.fullmatch(said["X_FORWARDED_FOR"])
        address = node and normalized(node["ipv6"] or node["ipv4"] or node["bare"] or "")
        return Client(address or peer, proto or scheme)

    def _trusts(self, peer: str) -> bool:
        if self._network is None:
            return self._any
        try:
            return ip_address(peer) in self._network
        except ValueError:  # a Unix socket
            return False


def normalized(address: str) -> str | None:
    """The one spelling of an IP address: without a zone, IPv4 that came as IPv6 as IPv4. None: it is no address."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return str((ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip)
