"""The addresses of a host, checked before anything connects to them (server-side request forgery).

A user who may configure a source must not reach what only this machine can reach: its own services, its network, the
metadata service of its cloud. The check is of addresses, not of names, because anybody's name server can name any
address; and the caller connects to the addresses that were checked, because a second look-up may answer differently.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from productagg.sources.transport import ResolvedAddress, look_up
from productagg.sources.web import WebError

# IANA's registry of special-purpose addresses, those that are not globally reachable; with multicast and the reserved
# class E. Not ipaddress.is_global: what it says differs between versions of Python.
_REFUSED_IPV4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host: Linux connects to itself
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; the metadata service of Alibaba Cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's WireServer, a public address that only its virtual machines reach
        "169.254.0.0/16",  # link-local; the metadata services of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; the metadata service of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
# Everything outside of it is loopback, link-local, unique local (with metadata services), multicast or reserved.
_GLOBAL_UNICAST_IPV6 = IPv6Network("2000::/3")
_REFUSED_IPV6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, with Teredo
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")


def checked_addresses(
    host: str, port: int, *, seconds: float, allow_private_networks: bool
) -> Sequence[ResolvedAddress]:
    """The addresses to connect to. One that is refused refuses the host: an honest host does not mix them.

    The look-up may take so many `seconds`. Raises WebError.
    """
    addresses = _look_up(host, port, seconds)
    if not allow_private_networks:
        for *_, (address, *_) in addresses:
            if not is_public(ip_address(address)):
                reason = f"{host} has the address {address}, which is not in the public internet"
                raise WebError(reason, "address_refused")
    return addresses


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is globally reachable unicast, and no translator leads from it to an address that is not."""
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or _nat64(address)
        if embedded is None:
            return address in _GLOBAL_UNICAST_IPV6 and not any(address in network for network in _REFUSED_IPV6)
        address = embedded
    return not any(address in network for network in _REFUSED_IPV4)


def _nat64(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a NAT64 translates the well-known prefix to (RFC 6052)."""
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _look_up(host: str, port: int, seconds: float) -> Sequence[ResolvedAddress]:
    """Look up in a thread, because the system's resolver cannot be told to stop. It gives up by itself, some time."""
    answer: Future[Sequence[ResolvedAddress]] = Future()

    def run() -> None:
        try:
            answer.set_result(look_up(host, port))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, name=f"look-up of {host}", daemon=True).start()
    try:
        return answer.result(max(0.0, seconds))
    except TimeoutError:
        raise WebError(f"the name server did not answer in time for {host}", "timeout") from None
    except OSError as error:
        raise WebError(f"{host} has no address: {error.strerror or error}", "unknown_host") from error
