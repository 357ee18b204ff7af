"""Finds out who the client is and whether it came by HTTPS: from the connection, or from the trusted proxy's headers.

The parser of requests calls this. The application sees none of these headers: it reads REMOTE_ADDR and wsgi.url_scheme.
"""

import re
from collections.abc import MutableMapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

ANY_PROXY = "*"

# The names in waitress' spelling. X-Forwarded-Host and Forwarded are never trusted: links begin with PUBLIC_URL or
# with the value of Host.
_PROXY_HEADERS = (
    "X_FORWARDED_FOR",
    "X_FORWARDED_PROTO",
    "X_FORWARDED_HOST",
    "X_FORWARDED_PORT",
    "X_FORWARDED_BY",
    "FORWARDED",
)
# RFC 7239, 6: an IPv6 address in brackets or an IPv4 address, with or without a port. Many proxies omit the brackets.
_NODE = re.compile(r"\[(?P<ipv6>[^\]]*)\](?::[\w.-]+)?|(?P<ipv4>[^:]*)(?::[\w.-]+)?|(?P<bare>.*)", re.ASCII)


class Client(NamedTuple):
    """A client's IP address, and `http` or `https`."""

    address: str
    scheme: str


class TrustedProxy:
    """The proxies whose headers are trusted: an address, a network (`10.0.0.0/8`), `*` for all, None for none."""

    def __init__(self, trusted: str | None) -> None:
        """Raises ValueError for anything else."""
        self._any = trusted == ANY_PROXY
        self._network = None if trusted is None or self._any else ip_network(trusted)

    def client(self, headers: MutableMapping[str, str], peer: str, scheme: str) -> Client:
        """Return the client of a request that came from `peer` by `scheme`. Removes the headers that proxies set.

        A proxy appends the address that it sees to a list. Only the last entry counts: the client may have invented
        the others. If that entry is not an address (`unknown`, `_hidden`), the proxy's own address counts. Raises
        ValueError for a scheme other than http and https.
        """
        forwarded = {name: headers.pop(name, "").rpartition(",")[2].strip(' \t"') for name in _PROXY_HEADERS}
        peer = normalized(peer) or peer
        if not self._trusts(peer):
            return Client(peer, scheme)
        forwarded_scheme = _checked_scheme(forwarded["X_FORWARDED_PROTO"].lower())
        return Client(_node_address(forwarded["X_FORWARDED_FOR"]) or peer, forwarded_scheme or scheme)

    def _trusts(self, peer: str) -> bool:
        if self._network is None:
            return self._any
        try:
            return ip_address(peer) in self._network
        except ValueError:  # a Unix socket
            return False


def _node_address(node: str) -> str | None:
    match = _NODE.fullmatch(node)
    return match and normalized("".join(match.groups("")))


def _checked_scheme(scheme: str) -> str:
    if scheme not in ("", "http", "https"):
        raise ValueError("X-Forwarded-Proto is neither http nor https")
    return scheme


def normalized(address: str) -> str | None:
    """Return the canonical spelling of an IP address, or None if the text is not an IP address.

    A zone is removed, and an IPv4 address that was mapped into IPv6 becomes IPv4 again.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return str((ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip)
