"""Authentication and authorization of requests: Pyramid's security policy, and the permissions.

Public views declare NO_PERMISSION_REQUIRED, and no identity is looked up for them. A view that declares nothing stops
the application from starting.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import RequestLocalCache
from pyramid.security import Allowed, Denied
from sqlalchemy import Connection

from productagg.accounts import users
from productagg.accounts.access_tokens import AccessTokens, bearer_token
from productagg.accounts.users import Account, Role


class Permission(StrEnum):
    """The permissions that views may require."""

    # Create, change and delete products. Admins only.
    EDIT_CATALOGUE = "catalogue:edit"
    # See sync runs, and each product's sync state. Admins only.
    SEE_SYNC = "sync:see"
    # See, change and test sources, and link them to products. Admins only: a configuration may name internal addresses.
    MANAGE_SOURCES = "sources:manage"


_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    "admin": frozenset(Permission),
    "reader": frozenset(),
}


class AuthenticatedRequest(Protocol):
    """What the policy needs of a request."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def reader(self) -> Connection: ...


class SecurityPolicy:
    """The identity is the account of the bearer token (RFC 6750); the account's role grants the permissions."""

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens
        self._identities = RequestLocalCache(self._identify)

    def identity(self, request: AuthenticatedRequest) -> Account | None:
        identity: Account | None = self._identities.get_or_create(request)
        return identity

    def authenticated_userid(self, request: AuthenticatedRequest) -> str | None:
        identity = self.identity(request)
        return None if identity is None else str(identity.id)

    def permits(self, request: AuthenticatedRequest, _context: object, permission: str) -> Allowed | Denied:
        identity = self.identity(request)
        if identity is not None and permission in _PERMISSIONS[identity.role]:
            return Allowed("role %s", identity.role)
        return Denied("needs %s", permission)

    def remember(self, _request: object, _userid: str, **_options: object) -> list[tuple[str, str]]:
        return []  # clients keep their token themselves

    def forget(self, _request: object, **_options: object) -> list[tuple[str, str]]:
        return []

    def _identify(self, request: AuthenticatedRequest) -> Account | None:
        token = bearer_token(request.headers)
        claims = None if token is None else self._tokens.verify(request, token)
        return None if claims is None else users.account_of_token(request.reader, claims.user_id, claims.generation)


def _require_permission(view: Any, info: Any) -> Any:
    if info.options.get("permission") is None and not info.exception_only:
        raise ConfigurationError(f"{info.original_view!r} declares no permission (NO_PERMISSION_REQUIRED if public)")
    return view


_require_permission.options = ("permission",)  # type: ignore[attr-defined]  # Pyramid's way to declare it


def includeme(config: Configurator) -> None:
    config.add_view_deriver(_require_permission)
