"""Every option of productagg, once: environment variable, ini key, type, default, check.

The composition root and the command line call `Settings.load` at start-up; everybody else receives the values. The
environment wins over the ini file. A wrong value stops the start with one line that names the variable, and a secret's
value appears in no message and no repr.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from productagg import text_rules

# What development.ini ships. Public, therefore refused in production.
DEVELOPMENT_JWT_SECRET = "development-jwt-secret-that-everybody-knows"  # noqa: S105
DEVELOPMENT_REFRESH_TOKEN = "development-refresh-token"  # noqa: S105
DEVELOPMENT_ADMIN_PASSWORD = "admin"  # noqa: S105
# What docker-compose.yml gives its database unless told otherwise.
DEVELOPMENT_DATABASE_PASSWORD = "productagg"  # noqa: S105

_ORIGIN = re.compile(r"(?P<scheme>https?)://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?")
# The characters of a URL (RFC 3986) but for those of a query.
_OF_URLS = re.compile(r"[A-Za-z0-9._~:/\[\]@!$&'()*+,;=%-]+")
_LONGEST_PUBLIC_URL = 500
# PostgreSQL takes `-c name=value` and `--name=value`, and hyphens for underscores in names.
_SETTING_IN_OPTIONS = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")

# What is said of the last 30 days is always exact.
LEAST_RAW_DAYS = 31


class SettingsError(Exception):
    """The configuration cannot be used. The message has one line per fault and never a secret."""


class Secret:
    """A string that does not show itself: neither in repr nor in str, only by `reveal()`."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"is not {'a whole number' if kind is int else 'a number'}") from None
        if not low <= value <= high:  # also refuses NaN
            raise ValueError("is out of range")
        return value

    return parse


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError("is not one of the allowed values")
        return text

    return parse


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # such bytes of the environment arrive as lone surrogates
        raise ValueError("is not UTF-8") from None
    return text


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("is not one of the allowed values")
    return text.lower() == "true"


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text.strip()


def _without_line_end(text: str) -> str:
    """A file that a secret was read from usually ends with one."""
    return text.removesuffix("\n").removesuffix("\r")


def _admin_password(text: str) -> Secret:
    text = _without_line_end(text)
    # It is refused in production, but not because of its length.
    return Secret(text if text == DEVELOPMENT_ADMIN_PASSWORD else text_rules.password(text))


def _jwt_secret(text: str) -> Secret:
    text = _without_line_end(text)
    if len(text.encode()) < 32:
        raise ValueError("is too short")
    return Secret(text)


def _header_secret(text: str) -> Secret:
    text = _text(text)
    if not (text.isascii() and text.isprintable()):
        raise ValueError("has characters that cannot go into a header")
    return Secret(text)


def _http_url(text: str) -> str:
    text = text.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isprintable() or any(character in text for character in " ?#"):
        raise ValueError("is not a base URL")
    if "@" in parts.netloc:
        raise ValueError("holds a user name, which has no use")
    return text


def _public_url(text: str) -> str:
    text = _http_url(text)
    # It goes into headers as it is, which together stay below 4 KB.
    if len(text) > _LONGEST_PUBLIC_URL:
        raise ValueError(f"has more than {_LONGEST_PUBLIC_URL} characters")
    if not _OF_URLS.fullmatch(text):
        raise ValueError("has characters that a URL does not have")
    return text


def _origins(text: str) -> frozenset[str]:
    """As browsers write them (RFC 6454, 6.2): in lower case, without a path, and without the port of the scheme."""
    found = frozenset(text.replace(",", " ").split())
    if not found:
        raise ValueError("is empty")
    if found == {"*"}:
        return found
    for each in found:
        match = _ORIGIN.fullmatch(each)
        if not match or (match["port"] and not 0 < int(match["port"]) < 1 << 16):
            raise ValueError("holds what is not an origin")
        if (match["scheme"], match["port"]) in (("http", "80"), ("https", "443")):
            raise ValueError("holds an origin with the port that browsers leave out")
    return found


def database_url(text: str) -> URL:
    """Read a database URL, with the driver that productagg uses.

    `postgres://` (Heroku and others) and a plain `postgresql://` (psycopg 3 since SQLAlchemy 2.1) both mean psycopg2
    here. Raises ValueError, without the URL in the message because it may hold a password.
    """
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        raise ValueError("is not a database URL") from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg2"):
        url = url.set(drivername="postgresql+psycopg2")
        _refuse_what_is_not_the_urls_to_say(url)
    elif url.drivername != "sqlite":
        raise ValueError("names a database that productagg does not support")
    elif not url.database or ":memory:" in url.database or url.query.get("mode") == "memory":
        raise ValueError("names an SQLite database in memory, which several processes cannot share")
    return url


def names_in_options(options: str) -> set[str]:
    """The names of the PostgreSQL settings in the connection parameter `options`."""
    return {name.lower().replace("-", "_") for name in _SETTING_IN_OPTIONS.findall(options)}


def _refuse_what_is_not_the_urls_to_say(url: URL) -> None:
    query = url.normalized_query
    names = names_in_options(" ".join(query.get("options", ())))
    if "search_path" in names:
        raise ValueError("sets 'search_path' in its options, but the tables are always in the schema 'public'")
    if "client_encoding" in names | query.keys():
        raise ValueError("sets 'client_encoding', which is always UTF8")


@dataclass(frozen=True)
class Option:
    """One option. `parse` turns the text into the value or raises ValueError saying what is wrong with it."""

    variable: str
    key: str
    parse: Callable[[str], Any]
    allowed: str
    meaning: str
    default: str | None = None
    required: bool = False
    secret: bool = False

    @property
    def name(self) -> str:
        return self.variable.removeprefix("PRODUCTAGG_").lower()


OPTIONS = (
    Option(
        "PRODUCTAGG_MODE",
        "productagg.mode",
        _one_of("production", "development"),
        "`production` or `development`",
        "`production` refuses the secrets that everybody knows",
        default="production",
    ),
    Option(
        "DATABASE_URL",
        "sqlalchemy.url",
        database_url,
        "`sqlite:///file` or `postgresql://user:password@host/name`",
        "where the data is",
        required=True,
        secret=True,
    ),
    Option(
        "DATABASE_PREPARED",
        "database.prepared",
        _flag,
        "`true` or `false`",
        "`false` where a pooler in transaction mode is in front of PostgreSQL: nothing is prepared or set per session",
        default="true",
    ),
    Option(
        "OFFERS_BASE_URL",
        "offers.base_url",
        _http_url,
        "an http or https URL",
        "the Offers service; its paths come after it, e.g. `http://localhost:6544/api/v1`",
        required=True,
    ),
    Option(
        "OFFERS_REFRESH_TOKEN",
        "offers.refresh_token",
        _header_secret,
        "printable ASCII",
        "the credential of our account at the Offers service",
        required=True,
        secret=True,
    ),
    Option(
        "OFFERS_TIMEOUT_SECONDS",
        "offers.timeout_seconds",
        _number(float, 0.1, 300),
        "0.1 to 300",
        "the deadline of one whole exchange with the Offers service",
        default="10",
    ),
    Option(
        "JWT_SECRET",
        "jwt.secret",
        _jwt_secret,
        "at least 32 bytes",
        "signs the access tokens that `POST /login` gives out",
        required=True,
        secret=True,
    ),
    Option(
        "JWT_LIFETIME_SECONDS",
        "jwt.lifetime_seconds",
        _number(int, 1, 86400),
        "1 to 86400",
        "how long such a token is good for",
        default="300",
    ),
    Option(
        "LOGIN_ATTEMPTS",
        "login.attempts",
        _number(int, 1, 100_000),
        "1 to 100000",
        "how many logins to one account may fail from one address within a window",
        default="10",
    ),
    Option(
        "LOGIN_ATTEMPTS_PER_ADDRESS",
        "login.attempts_per_address",
        _number(int, 1, 100_000),
        "1 to 100000",
        "the same from one address (IPv6: /64), to all accounts",
        default="50",
    ),
    Option(
        "LOGIN_ATTEMPTS_PER_ACCOUNT",
        "login.attempts_per_account",
        _number(int, 1, 100_000),
        "twice `LOGIN_ATTEMPTS` to 100000",
        "the same to one account, from all addresses without a successful login to it in the last 30 days",
        default="200",
    ),
    Option(
        "LOGIN_WINDOW_SECONDS",
        "login.window_seconds",
        _number(int, 1, 86400),
        "1 to 86400",
        "how long such a window is; it begins with its first failure",
        default="900",
    ),
    Option(
        "ADMIN_USERNAME",
        "admin.username",
        text_rules.username,
        f"1 to {text_rules.USERNAME_MAX_LENGTH} characters, all of which show",
        "the first admin, made at start-up while there is no user yet",
        default="admin",
    ),
    Option(
        "ADMIN_PASSWORD",
        "admin.password",
        _admin_password,
        f"{text_rules.PASSWORD_MIN_LENGTH} to {text_rules.PASSWORD_MAX_LENGTH} characters without control characters; "
        "`admin` in development only",
        "the first admin's password; without it no admin is made (`productagg user add` does it)",
        secret=True,
    ),
    Option(
        "PUBLIC_URL",
        "public.url",
        _public_url,
        f"an http or https URL of up to {_LONGEST_PUBLIC_URL} characters",
        "what `Location` and `Link` begin with, e.g. `https://shop.example/catalogue`; without it as `Host` says",
    ),
    Option(
        "CORS_ORIGINS",
        "cors.origins",
        _origins,
        "`*`, or origins like `https://shop.example`, with commas or spaces between them",
        "whose pages a browser lets read this API; without it only our own",
    ),
    Option(
        "SYNC_INTERVAL_SECONDS",
        "sync.interval_seconds",
        _number(int, 1, 86400),
        "1 to 86400",
        "how often each product's offers are asked for",
        default="60",
    ),
    Option(
        "SYNC_MAX_INTERVAL_SECONDS",
        "sync.max_interval_seconds",
        _number(int, 1, 7 * 86400),
        "`SYNC_INTERVAL_SECONDS` to 604800",
        "a product whose offers have not changed for a time is asked about after a tenth of that time, and at least "
        "this often; without it, every product is asked about every `SYNC_INTERVAL_SECONDS`",
    ),
    Option(
        "SYNC_BUDGET_SECONDS",
        "sync.budget_seconds",
        _number(int, 1, 86400),
        "1 to 86400",
        "how long one pass may take; what it does not get to stays due",
        default="55",
    ),
    Option(
        "SYNC_MAX_REQUESTS_PER_SECOND",
        "sync.max_requests_per_second",
        _number(float, 0.01, 100_000),
        "0.01 to 100000",
        "the most requests that one pass sends to the Offers service in a second, evenly spaced; without it no limit",
    ),
    Option(
        "SYNC_WORKERS",
        "sync.workers",
        _number(int, 1, 64),
        "1 to 64",
        "how many requests to the Offers service one pass has under way at once",
        default="8",
    ),
    Option(
        "HISTORY_RAW_DAYS",
        "history.raw_days",
        _number(int, LEAST_RAW_DAYS, 3660),
        f"{LEAST_RAW_DAYS} to 3660",
        "how long every step of the price histories is kept, in whole months; hours, days and weeks are kept for good",
        default="90",
    ),
    Option(
        "OFFERS_CLOSED_DAYS",
        "offers.closed_days",
        _number(int, LEAST_RAW_DAYS, 3660),
        f"{LEAST_RAW_DAYS} to 3660",
        "how long closed offers are kept, with their prices; at least as long as every step is (`HISTORY_RAW_DAYS`)",
        default="366",
    ),
    Option(
        "CHANGES_RAW_DAYS",
        "changes.raw_days",
        # Cursors of `GET /products` need those of a day, which began some time before they were committed.
        _number(int, 2, 3660),
        "2 to 3660",
        "how long `GET /changes` has every change; of older ones, it has the newest of each kind of a product",
        default="7",
    ),
    Option(
        "SHUTDOWN_SECONDS",
        "shutdown.seconds",
        _number(float, 0, 300),
        "0 to 300",
        "how long the web service may take to answer what it has accepted after SIGTERM; send no SIGKILL sooner",
        default="15",
    ),
    Option(
        "SHUTDOWN_DELAY_SECONDS",
        "shutdown.delay_seconds",
        _number(float, 0, 300),
        "0 to 300",
        "for how many of these seconds it serves as before, but says 503 at `/health/ready`, so that a load balancer "
        "that asks now and then stops sending",
        default="0",
    ),
    Option(
        "LOG_FORMAT",
        "log.format",
        _one_of("text", "json"),
        "`text` or `json`",
        "how log lines are written",
        default="text",
    ),
)


@dataclass(frozen=True)
class Settings:
    """The options' values. The fields are the variables' names in lower case."""

    mode: Literal["production", "development"]
    # A URL hides its password from repr, but not one in its query.
    database_url: URL = field(repr=False)
    database_prepared: bool
    offers_base_url: str
    offers_refresh_token: Secret
    offers_timeout_seconds: float
    jwt_secret: Secret
    jwt_lifetime_seconds: int
    login_attempts: int
    login_attempts_per_address: int
    login_attempts_per_account: int
    login_window_seconds: int
    admin_username: str
    admin_password: Secret | None
    public_url: str | None
    cors_origins: frozenset[str] | None
    sync_interval_seconds: int
    sync_max_interval_seconds: int | None
    sync_budget_seconds: int
    sync_max_requests_per_second: float | None
    sync_workers: int
    history_raw_days: int
    offers_closed_days: int
    changes_raw_days: int
    shutdown_seconds: float
    shutdown_delay_seconds: float
    log_format: Literal["text", "json"]

    @classmethod
    def load(cls, ini: Mapping[str, str], environ: Mapping[str, str] | None = None) -> Self:
        """Read every option from the environment, else from the ini file's app section, else its default.

        Raises SettingsError with a line per fault: the variable, what is wrong, what is allowed.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        faults = []
        for option in OPTIONS:
            # An empty variable counts as not set: that is what `${VARIABLE:-}` in a compose file gives.
            text = environ.get(option.variable) or ini.get(option.key) or option.default
            if text is None:
                values[option.name] = None
                if option.required:
                    faults.append(f"{option.variable} (ini: {option.key}) is not set; allowed: {option.allowed}")
                continue
            try:
                values[option.name] = option.parse(_utf8(text))
            except ValueError as error:
                # What has an @ may be a URL with a password.
                shown = "" if option.secret or "@" in text else f" {text!r}"
                faults.append(f"{option.variable} (ini: {option.key}){shown} {error}; allowed: {option.allowed}")
        if values.get("mode") == "production":
            faults += _public_secrets(values)
        shortest, longest = values.get("sync_interval_seconds"), values.get("sync_max_interval_seconds")
        if shortest is not None and longest is not None and longest < shortest:
            faults.append("SYNC_MAX_INTERVAL_SECONDS is below SYNC_INTERVAL_SECONDS; allowed: the same or more")
        of_one, of_all = values.get("login_attempts"), values.get("login_attempts_per_account")
        if of_one is not None and of_all is not None and of_all < 2 * of_one:
            # Or one address could use up what all others have.
            faults.append("LOGIN_ATTEMPTS_PER_ACCOUNT is below twice LOGIN_ATTEMPTS; allowed: the same or more")
        seconds, delay = values.get("shutdown_seconds"), values.get("shutdown_delay_seconds")
        if seconds is not None and delay and delay >= seconds:
            # Nothing would be left to answer what was accepted.
            faults.append("SHUTDOWN_DELAY_SECONDS is not below SHUTDOWN_SECONDS; allowed: less, or 0")
        if faults:
            raise SettingsError("\n".join(faults))
        return cls(**values)


def _public_secrets(values: Mapping[str, Any]) -> list[str]:
    known = {
        "JWT_SECRET": DEVELOPMENT_JWT_SECRET,
        "OFFERS_REFRESH_TOKEN": DEVELOPMENT_REFRESH_TOKEN,
        "ADMIN_PASSWORD": DEVELOPMENT_ADMIN_PASSWORD,
    }
    faults = [
        f"{variable} has the value that everybody knows; allowed in production: one of your own"
        for variable, public in known.items()
        if values.get(variable.lower()) == Secret(public)
    ]
    url = values.get("database_url")
    if url is not None and DEVELOPMENT_DATABASE_PASSWORD in (url.password, url.query.get("password")):
        faults.append("DATABASE_URL has the password that everybody knows; allowed in production: one of your own")
    return faults
