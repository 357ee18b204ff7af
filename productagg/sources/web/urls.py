"""Addresses as users and redirects write them, in their normal form. Pure functions."""

from typing import NamedTuple
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from productagg.sources.web import WebError

# Far above any honest address. What matching it against robots.txt costs grows with its length.
_LONGEST = 8_000
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Url(NamedTuple):
    """An address without its fragment. `target` is its path and query; `host` has no brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port, as the header Host has them."""
        # Not with the dot that a full name may end in: servers do not know it.
        host = f"[{self.host}]" if ":" in self.host else self.host.rstrip(".")
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return self.origin + self.target


def parse(text: str) -> Url:
    """Raises WebError, which does not repeat the address: it may hold a password."""
    if len(text) > _LONGEST:
        raise WebError(f"the address has more than {_LONGEST} characters", "bad_address")
    try:
        url = parse_url(text)
    except LocationParseError:
        raise WebError("the address is not a URL", "bad_address") from None
    if url.scheme not in _DEFAULT_PORTS:
        raise WebError("the address does not begin with http:// or https://", "bad_address")
    if url.auth is not None:
        raise WebError("the address contains a user name or a password: send them in a header", "bad_address")
    if not url.host:
        raise WebError("the address has no host", "bad_address")
    port = _DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    return Url(url.scheme, url.host.strip("[]"), port, url.request_uri)


def resolve_redirect(base: Url, location: str) -> Url:
    """Where a header Location leads to, relative to the address that was asked for. Raises WebError."""
    try:
        # http.client takes the header's bytes for Latin-1; an address that is not ASCII is UTF-8.
        location = location.encode("latin-1").decode()
    except UnicodeError:
        raise WebError(f"{base.host} redirects to an address that is not a URL", "redirect") from None
    try:
        target = parse(urljoin(str(base), location))
    except (WebError, ValueError) as error:
        raise WebError(f"{base.host} redirects to where no request can be sent: {error}", "redirect") from None
    if base.scheme == "https" and target.scheme == "http":
        raise WebError(f"{base.host} redirects from https to http", "redirect")
    return target
