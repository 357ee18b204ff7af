"""Secrets: a type that does not show its value, and the published development secrets, which production refuses."""

from collections.abc import Iterator, Mapping

from sqlalchemy.engine import URL

# The values in development.ini.
DEVELOPMENT_JWT_SECRET = "development-jwt-secret-that-everybody-knows"  # noqa: S105
DEVELOPMENT_REFRESH_TOKEN = "development-refresh-token"  # noqa: S105
DEVELOPMENT_ADMIN_PASSWORD = "admin"  # noqa: S105
# The default password of the database in docker-compose.yml.
DEVELOPMENT_DATABASE_PASSWORD = "productagg"  # noqa: S105

_PUBLISHED = {
    "JWT_SECRET": DEVELOPMENT_JWT_SECRET,
    "OFFERS_REFRESH_TOKEN": DEVELOPMENT_REFRESH_TOKEN,
    "ADMIN_PASSWORD": DEVELOPMENT_ADMIN_PASSWORD,
}


class Secret:
    """A string that neither repr nor str shows, only `reveal()`."""

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


def published_secrets(values: Mapping[str, object]) -> Iterator[str]:
    """Yield a fault for every setting that has its published development value."""
    for variable, published in _PUBLISHED.items():
        if values.get(variable.lower()) == Secret(published):
            yield f"{variable} has its published development value; allowed in production: a secret of your own"
    if _has_development_password(values.get("database_url")):
        yield "DATABASE_URL has the published development password; allowed in production: a password of your own"


def _has_development_password(url: object) -> bool:
    return isinstance(url, URL) and DEVELOPMENT_DATABASE_PASSWORD in (url.password, url.query.get("password"))
