"""Addresses of product pages: in normal form, and compared although shops write the same address in many ways."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, unquote_plus, urljoin, urlsplit, urlunsplit

_MAX_LENGTH = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Parameters that tell the shop where a visitor comes from, and nothing about the product.
_TRACKING = re.compile(r"utm_.*|gclid|fbclid|msclkid|srsltid|_pos|_sid|_ss|ref|currency")
# Parameters of common shops that choose a variant of the page's product.
_CHOICE = re.compile(r"[?&](variant|variation_id|id_product_attribute|attribute_[^=&#]+)=([^&#]*)|#(/.*)", re.DOTALL)
# An address that needs no resolving.
_PLAIN = re.compile(r"https?://[A-Za-z0-9.-]+(?:/[!#-\[\]-~]{0,1900})?")
_FORBIDDEN = re.compile(r"[\s\x00-\x1f\x7f\\]")
# What stays as it is in a path or query that may have been encoded already.
_SAFE = "/%:@!$&'()*+,;=-._~?[]"


Choice = frozenset[tuple[str, str]]
"""How an address chooses a variant: parameters, and a fragment that begins with '/' under the name '#'."""
_NO_CHOICE: Choice = frozenset()


class Address(NamedTuple):
    """An address, in the parts that matter when two are compared. The host does not: shops print many of their own."""

    path: str
    query: frozenset[tuple[str, str]]
    """Without tracking and without the choice of a variant."""
    variant: Choice

    @property
    def page(self) -> tuple[str, frozenset[tuple[str, str]]]:
        """What identifies the page, whichever variant it shows."""
        return self.path, self.query

    @property
    def slug(self) -> str:
        """The last part of the path: the product's name in an address, wherever in the shop's tree it stands."""
        return self.path.rpartition("/")[2]


def normalize_locator(text: str) -> str:
    """The address of a product's page: http(s), no credentials, no fragment but one that names a variant (`#/…`).

    Raises ValueError, with the reason for people.
    """
    text = text.strip()
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"the address is longer than {_MAX_LENGTH} characters")
    if _FORBIDDEN.search(text):
        raise ValueError("the address contains a space, a backslash or a control character")
    try:
        parts = urlsplit(text)
        network_location = _network_location(parts)
    except ValueError as error:
        raise ValueError(f"it is not an address: {error}") from None
    fragment = parts.fragment if parts.fragment.startswith("/") else ""
    path, query = quote(parts.path or "/", safe=_SAFE), quote(parts.query, safe=_SAFE)
    return urlunsplit((parts.scheme, network_location, path, query, quote(fragment, safe=_SAFE)))


def _network_location(parts: SplitResult) -> str:
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("it does not begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("it contains a user name or password")
    host = parts.hostname
    if not host:
        raise ValueError("it has no host")
    if not host.isascii():
        host = host.encode("idna").decode()
    if ":" in host:
        host = f"[{host}]"
    return host if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{parts.port}"


def resolve(url: str, base: str) -> str | None:
    """The absolute address, for a link. None if it is not one of http(s) that a locator could be."""
    if _PLAIN.fullmatch(url):
        return url
    try:
        url = urljoin(base, url.strip().replace(" ", "%20"))
        normalize_locator(url)
    except ValueError:
        return None
    return url


@lru_cache(maxsize=4096)
def address(url: str) -> Address:
    """The parts of an absolute or relative address. Never raises: what is no address equals no other."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return Address(url, frozenset(), frozenset())
    query = parse_qsl(parts.query) if parts.query else []
    variant = choice_of(url)
    rest = frozenset(pair for pair in query if pair not in variant and not _TRACKING.fullmatch(pair[0]))
    return Address(unquote(parts.path).rstrip("/"), rest, variant)


def choice_of(url: str) -> Choice:
    """How the address chooses a variant. Empty if it chooses none."""
    if "?" not in url and "#/" not in url:
        return _NO_CHOICE
    return frozenset(
        (name, unquote_plus(value)) if name else ("#", unquote(fragment).casefold())
        for name, value, fragment in _CHOICE.findall(url.strip())
    )


def host_of(url: str) -> str:
    """The host, without 'www.', as people name a shop."""
    return (urlsplit(url).hostname or "").removeprefix("www.")


def is_page(candidate: Address, pages: Iterable[Address]) -> bool:
    """Whether it is the address of one of the pages, whichever variant both name."""
    return any(candidate.page == page.page for page in pages)


def resembles_page(candidate: Address, pages: Iterable[Address]) -> bool:
    """Whether it may be one of the pages' addresses: with other parameters, or from elsewhere in the shop's tree."""
    return any(_resembles(candidate, page) for page in pages)


def _resembles(candidate: Address, page: Address) -> bool:
    if candidate.path == page.path:
        return candidate.query <= page.query or page.query <= candidate.query
    # Not every last part is a product's name: 'index.php' is none.
    is_name = any(map(str.isalnum, page.slug)) and not page.slug.startswith("index.")
    return is_name and candidate.slug == page.slug and candidate.query <= page.query
