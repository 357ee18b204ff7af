"""Every option of productagg, declared once. The README's table repeats these declarations (a test compares them)."""
# ruff: noqa: RUF009 - these calls make dataclass fields

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

from sqlalchemy.engine import URL

from productagg.settings.option_type import declared_options, option, optional, read, required
from productagg.settings.parsers import (
    ADMIN_PASSWORD,
    BOOLEAN,
    CURRENCY,
    DATABASE_URL,
    HEADER_SECRET,
    HTTP_URL,
    JWT_SECRET,
    ORIGINS,
    PUBLIC_URL,
    QUARANTINE_FACTOR,
    USERNAME,
    integer,
    number,
    one_of,
)
from productagg.settings.secrets import Secret, published_secrets

# Statements about the last 30 days are always exact.
_LEAST_RAW_DAYS = 31

_DAY_SECONDS = 86_400


class SettingsError(Exception):
    """The configuration cannot be used. The message has one line per fault and never shows a secret."""


@dataclass(frozen=True)
class Settings:
    """The values of all options."""

    mode: Literal["production", "development"] = option(
        one_of("production", "development"),
        default="production",
        meaning="`production` refuses the published development secrets",
        variable="PRODUCTAGG_MODE",
        key="productagg.mode",
    )
    database_url: URL = required(DATABASE_URL, meaning="the database", key="sqlalchemy.url", secret=True)
    database_prepared: bool = option(
        BOOLEAN,
        default="true",
        meaning="`false` if a pooler in transaction mode is in front of PostgreSQL: no prepared statements and no "
        "session settings",
    )
    currency: str = option(
        CURRENCY,
        default="EUR",
        meaning="the catalogue's currency: all summaries and histories of products are of the offers in it; set it "
        "before the first migration, after which it cannot change",
        key="catalogue.currency",
    )
    offers_base_url: str = required(
        HTTP_URL,
        meaning="the Offers service; the paths of its API are appended to it, e.g. `http://localhost:6544/api/v1`",
    )
    offers_refresh_token: Secret = required(
        HEADER_SECRET, meaning="the credential of our account at the Offers service", secret=True
    )
    offers_timeout_seconds: float = option(
        number(0.1, 300), default="10", meaning="the deadline of one whole exchange with the Offers service"
    )
    offers_currency: str | None = optional(
        CURRENCY,
        meaning="the currency of the Offers service's prices, which are whole numbers of its minor unit; without it "
        "`CURRENCY`; do not change it later, because what is stored stays as it is",
    )
    jwt_secret: Secret = required(JWT_SECRET, meaning="signs the access tokens that `POST /login` issues", secret=True)
    jwt_lifetime_seconds: int = option(
        integer(1, _DAY_SECONDS), default="300", meaning="the lifetime of an access token"
    )
    login_attempts: int = option(
        integer(1, 100_000),
        default="10",
        meaning="how many logins to one account may fail from one address within a window",
    )
    login_attempts_per_address: int = option(
        integer(1, 100_000),
        default="50",
        meaning="how many logins to all accounts may fail from one address (IPv6: one /64) within a window",
    )
    login_attempts_per_account: int = option(
        integer(1, 100_000, allowed="twice `LOGIN_ATTEMPTS` to 100000"),
        default="200",
        meaning="how many logins to one account may fail within a window from all addresses together, except addresses "
        "that logged in to it in the last 30 days",
    )
    login_window_seconds: int = option(
        integer(1, _DAY_SECONDS),
        default="900",
        meaning="the length of these windows; a window begins with its first failure",
    )
    admin_username: str = option(
        USERNAME, default="admin", meaning="the first admin, created at start-up if there is no user yet"
    )
    admin_password: Secret | None = optional(
        ADMIN_PASSWORD,
        meaning="the first admin's password; without it no admin is created (use `productagg user add`)",
        secret=True,
    )
    public_url: str | None = optional(
        PUBLIC_URL,
        meaning="the beginning of `Location` and `Link`, e.g. `https://shop.example/catalogue`; without it they begin "
        "with the request's scheme and `Host`; it also tells the owners of sources, in `User-Agent`, who asks",
    )
    cors_origins: frozenset[str] | None = optional(
        ORIGINS, meaning="the origins whose pages may read this API in a browser; without it only our own"
    )
    sync_interval_seconds: int = option(
        integer(1, _DAY_SECONDS), default="60", meaning="how often the offers of each product are fetched"
    )
    sync_max_interval_seconds: int | None = optional(
        integer(1, 7 * _DAY_SECONDS, allowed=f"`SYNC_INTERVAL_SECONDS` to {7 * _DAY_SECONDS}"),
        meaning="the longest interval for a product whose offers rarely change: they are fetched again after a tenth "
        "of the time since their last change; without it, all offers are fetched every `SYNC_INTERVAL_SECONDS`",
    )
    sync_budget_seconds: int = option(
        integer(1, _DAY_SECONDS),
        default="55",
        meaning="how long one sync run may take; products that it does not reach stay due",
    )
    sync_max_requests_per_second: float | None = optional(
        number(0.01, 100_000),
        meaning="the most requests per second that one sync run sends to the Offers service, evenly spaced; without it "
        "there is no limit",
    )
    sync_workers: int = option(
        integer(1, 64), default="8", meaning="how many requests one sync run sends to the Offers service concurrently"
    )
    sources_allow_private_networks: bool = option(
        BOOLEAN,
        default="false",
        meaning="`true` if sources may be at addresses of private networks, of this host or of a cloud's metadata; "
        "whoever configures a source can then reach what only this host can",
    )
    quarantine_factor: float = option(
        QUARANTINE_FACTOR,
        default="10",
        meaning="a price of an offer that rises or falls by more than this factor at once, or is 0, is held back until "
        "its source has listed it three times in a row, or an admin accepts it; `0` takes every price at once",
    )
    history_raw_days: int = option(
        integer(_LEAST_RAW_DAYS, 3660),
        default="90",
        meaning="how long every price change is kept, in whole months; older history is kept in less detail",
    )
    offers_closed_days: int = option(
        integer(_LEAST_RAW_DAYS, 3660),
        default="366",
        meaning="how long closed offers and their prices are kept; at least `HISTORY_RAW_DAYS`",
    )
    changes_raw_days: int = option(
        # Cursors of `GET /products` are valid for a day, and need the changes of transactions that began before.
        integer(2, 3660),
        default="7",
        meaning="how long `GET /changes` has every change; of older ones, it has the newest of each kind per product",
    )
    shutdown_seconds: float = option(
        number(0, 300),
        default="15",
        meaning="how long the web service may take after SIGTERM to answer the requests that it has accepted; send "
        "SIGKILL no sooner",
    )
    shutdown_delay_seconds: float = option(
        number(0, 300),
        default="0",
        meaning="for how many of these seconds it still accepts requests but answers 503 at `/health/ready`, so that a "
        "load balancer notices and stops sending",
    )
    log_format: Literal["text", "json"] = option(one_of("text", "json"), default="text", meaning="format of log lines")

    @classmethod
    def load(cls, ini: Mapping[str, str], environ: Mapping[str, str] | None = None) -> Self:
        """Read every option from the environment, else from the ini file's app section, else take its default.

        Raises SettingsError with a line per fault: the variable, what is wrong, what is allowed.
        """
        values, faults = read(OPTIONS, ini, os.environ if environ is None else environ)
        if values.get("mode") == "production":
            faults += published_secrets(values)
        faults += _contradictions(values)
        if faults:
            raise SettingsError("\n".join(faults))
        return cls(**values)


OPTIONS = declared_options(Settings)


class _Rule(NamedTuple):
    """A condition on two options. It applies if both are set and valid."""

    options: tuple[str, str]
    holds: Callable[[Any, Any], bool]
    fault: str

    def is_broken(self, values: Mapping[str, Any]) -> bool:
        pair = [values.get(name) for name in self.options]
        return None not in pair and not self.holds(*pair)


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    return [rule.fault for rule in _RULES if rule.is_broken(values)]


_RULES = (
    _Rule(
        ("sync_interval_seconds", "sync_max_interval_seconds"),
        lambda usual, longest: usual <= longest,
        "SYNC_MAX_INTERVAL_SECONDS is below SYNC_INTERVAL_SECONDS; allowed: the same or more",
    ),
    _Rule(
        ("login_attempts", "login_attempts_per_account"),
        # Otherwise a single address could use up the attempts of all others.
        lambda per_pair, per_account: 2 * per_pair <= per_account,
        "LOGIN_ATTEMPTS_PER_ACCOUNT is below twice LOGIN_ATTEMPTS; allowed: twice LOGIN_ATTEMPTS or more",
    ),
    _Rule(
        ("shutdown_seconds", "shutdown_delay_seconds"),
        # Otherwise no time is left to answer the accepted requests.
        lambda seconds, delay: delay == 0 or delay < seconds,
        "SHUTDOWN_DELAY_SECONDS is not below SHUTDOWN_SECONDS; allowed: less, or 0",
    ),
)
