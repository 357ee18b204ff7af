"""Parsers turn the text of an option into its value, or raise ValueError with the reason why they cannot.

No message shows the text, which may be a secret.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from productagg import text_rules
from productagg.currencies import EXPONENTS
from productagg.settings.secrets import DEVELOPMENT_ADMIN_PASSWORD, Secret

_T = TypeVar("_T")
_Choice = TypeVar("_Choice", bound=str)
_Number = TypeVar("_Number", int, float)

_PUBLIC_URL_MAX_LENGTH = 500
_JWT_SECRET_MIN_BYTES = 32
_ORIGIN = re.compile(r"(?P<scheme>https?)://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?")
# The characters of a URL (RFC 3986) without a query.
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/\[\]@!$&'()*+,;=%-]+")
# PostgreSQL takes `-c name=value` and `--name=value`, and hyphens for underscores in names.
_SETTING_IN_OPTIONS = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")


@dataclass(frozen=True)
class Parser(Generic[_T]):
    """A function from text to value, and the allowed texts in words."""

    parse: Callable[[str], _T]
    allowed: str


def integer(low: int, high: int, *, allowed: str = "") -> Parser[int]:
    """A whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("is not a whole number") from None
        return _in_range(value, low, high)

    return Parser(parse, allowed or f"{low} to {high}")


def number(low: float, high: float) -> Parser[float]:
    """A number from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("is not a number") from None
        return _in_range(value, low, high)

    return Parser(parse, f"{low} to {high}")


def _quarantine_factor(text: str) -> float:
    # A factor near 1 would hold back every change.
    return 0 if text.strip() == "0" else _FACTOR.parse(text)


def _in_range(value: _Number, low: float, high: float) -> _Number:
    if not low <= value <= high:  # also refuses NaN
        raise ValueError("is out of range")
    return value


def one_of(*choices: _Choice) -> Parser[_Choice]:
    """A choice, in exactly this spelling."""

    def parse(text: str) -> _Choice:
        for choice in choices:
            if text == choice:
                return choice
        raise ValueError("is not one of the allowed values")

    return Parser(parse, " or ".join(f"`{choice}`" for choice in choices))


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("is not one of the allowed values")
    return text.lower() == "true"


def _admin_password(text: str) -> Secret:
    text = _without_line_end(text)
    # Production refuses this password as a published secret, which says more than 'too short'.
    return Secret(text if text == DEVELOPMENT_ADMIN_PASSWORD else text_rules.valid_password(text))


def _jwt_secret(text: str) -> Secret:
    text = _without_line_end(text)
    if len(text.encode()) < _JWT_SECRET_MIN_BYTES:
        raise ValueError("is too short")
    return Secret(text)


def _without_line_end(text: str) -> str:
    """Remove the line end with which a file usually ends: it is not part of the secret."""
    return text.removesuffix("\n").removesuffix("\r")


def _header_secret(text: str) -> Secret:
    text = text.strip()
    if not text:
        raise ValueError("is empty")
    if not (text.isascii() and text.isprintable()):
        raise ValueError("has characters that cannot go into a header")
    return Secret(text)


def _http_url(text: str) -> str:
    text = text.strip().rstrip("/")
    if not _is_base_url(text):
        raise ValueError("is not a base URL")
    if "@" in urlsplit(text).netloc:
        raise ValueError("holds a user name, which would not be used")
    return text


def _is_base_url(text: str) -> bool:
    """Whether the text is an http or https URL to which a path can be appended."""
    if not text.isprintable() or not set(" ?#").isdisjoint(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # for example a port that is not a number
        return False


def _public_url(text: str) -> str:
    text = _http_url(text)
    # Headers that hold it stay below 4 KB together.
    if len(text) > _PUBLIC_URL_MAX_LENGTH:
        raise ValueError(f"has more than {_PUBLIC_URL_MAX_LENGTH} characters")
    if not _URL_CHARACTERS.fullmatch(text):
        raise ValueError("has characters that are not allowed in a URL")
    return text


def _origins(text: str) -> frozenset[str]:
    origins = frozenset(text.replace(",", " ").split())
    if not origins:
        raise ValueError("is empty")
    if origins != {"*"}:
        for origin in origins:
            _check_origin(origin)
    return origins


def _check_origin(origin: str) -> None:
    """Accept an origin as browsers write it (RFC 6454, 6.2): lower case, no path, no default port of the scheme."""
    match = _ORIGIN.fullmatch(origin)
    if not match or (match["port"] and not 0 < int(match["port"]) < 1 << 16):
        raise ValueError("holds a value that is not an origin")
    if (match["scheme"], match["port"]) in (("http", "80"), ("https", "443")):
        raise ValueError("holds an origin with a default port, which browsers leave out")


def database_url(text: str) -> URL:
    """Read a database URL and set the driver that productagg uses.

    `postgres://` (Heroku and others) and a plain `postgresql://` (psycopg 3 since SQLAlchemy 2.1) both mean psycopg2
    here.
    """
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        raise ValueError("is not a database URL") from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg2"):
        _check_postgresql_settings(url)
        return url.set(drivername="postgresql+psycopg2")
    if url.drivername != "sqlite":
        raise ValueError("names a database that productagg does not support")
    _check_sqlite_file(url)
    return url


def _check_sqlite_file(url: URL) -> None:
    if not url.database or ":memory:" in url.database or url.query.get("mode") == "memory":
        raise ValueError("names an SQLite database in memory, which several processes cannot share")


def _check_postgresql_settings(url: URL) -> None:
    """Refuse a URL that sets what productagg sets itself."""
    query = url.normalized_query
    names = names_in_options(" ".join(query.get("options", ())))
    if "search_path" in names:
        raise ValueError("sets 'search_path' in its options, but the tables are always in the schema 'public'")
    if "client_encoding" in names | query.keys():
        raise ValueError("sets 'client_encoding', which is always UTF8")


def _currency(text: str) -> str:
    if text not in EXPONENTS:
        raise ValueError("is not the code of a currency with a minor unit, in capital letters")
    return text


def names_in_options(options: str) -> set[str]:
    """Return the names of the PostgreSQL settings in the connection parameter `options`."""
    return {name.lower().replace("-", "_") for name in _SETTING_IN_OPTIONS.findall(options)}


_FACTOR = number(1.1, 1_000_000)
QUARANTINE_FACTOR = Parser(_quarantine_factor, f"0, or {_FACTOR.allowed}")
CURRENCY = Parser(_currency, "a code of ISO 4217, like `EUR`")
BOOLEAN = Parser(_boolean, "`true` or `false`")
DATABASE_URL = Parser(database_url, "`sqlite:///file` or `postgresql://user:password@host/name`")
HTTP_URL = Parser(_http_url, "an http or https URL")
PUBLIC_URL = Parser(_public_url, f"an http or https URL of up to {_PUBLIC_URL_MAX_LENGTH} characters")
ORIGINS = Parser(_origins, "`*`, or origins like `https://shop.example`, separated by commas or spaces")
HEADER_SECRET = Parser(_header_secret, "printable ASCII")
JWT_SECRET = Parser(_jwt_secret, f"at least {_JWT_SECRET_MIN_BYTES} bytes")
USERNAME = Parser(text_rules.valid_username, f"1 to {text_rules.USERNAME_MAX_LENGTH} characters, none invisible")
ADMIN_PASSWORD = Parser(
    _admin_password,
    f"{text_rules.PASSWORD_MIN_LENGTH} to {text_rules.PASSWORD_MAX_LENGTH} characters without control characters; "
    f"`{DEVELOPMENT_ADMIN_PASSWORD}` in development only",
)
