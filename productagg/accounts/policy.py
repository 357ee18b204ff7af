"""Who is asking, and what they may do: a Pyramid security policy over pyramid-jwt.

Public views never come through here: they declare NO_PERMISSION_REQUIRED, and no identity is looked up for them. A view
that declares nothing stops the start.
"""

import time
import warnings
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from pyramid.exceptions import ConfigurationError
from pyramid.request import RequestLocalCache
from pyramid.security import Allowed, Denied
from pyramid_jwt import create_jwt_authentication_policy

from productagg.accounts import users
from productagg.settings import Settings

# Ours are about 250 bytes; nothing larger is worth verifying.
_LONGEST_TOKEN = 4096
# How far the clock of the host that issued a token may be ahead of ours. It does not lengthen a token's life.
_CLOCK_LEEWAY_SECONDS = 30


class Permission(StrEnum):
    """What a view may ask for."""

    # Create, change and delete products. Admins only.
    EDIT_CATALOGUE = "catalogue:edit"
    # See what the passes did, and when and why each product is asked. Admins only.
    SEE_SYNC = "sync:see"


_GRANTED: dict[users.Role, frozenset[Permission]] = {
    "admin": frozenset(Permission),
    "reader": frozenset(),
}


class SecurityPolicy:
    """Identity: the account that a bearer token (RFC 6750) speaks for; permissions: by the account's role."""

    def __init__(self, jwt_policy: Any) -> None:
        self._jwt = jwt_policy
        self._identities = RequestLocalCache(self._identify)

    def identity(self, request: Any) -> users.Account | None:
        found: users.Account | None = self._identities.get_or_create(request)
        return found

    def authenticated_userid(self, request: Any) -> str | None:
        identity = self.identity(request)
        return None if identity is None else str(identity.id)

    def permits(self, request: Any, _context: object, permission: str) -> Allowed | Denied:
        identity = self.identity(request)
        if identity is not None and permission in _GRANTED[identity.role]:
            return Allowed("role %s", identity.role)
        return Denied("needs %s", permission)

    def remember(self, _request: Any, _userid: str, **_options: Any) -> list[tuple[str, str]]:
        return []  # clients keep their token themselves

    def forget(self, _request: Any, **_options: Any) -> list[tuple[str, str]]:
        return []

    def issue(self, account: users.Account) -> str:
        """A token for the account. Its generation ends it when the password changes or the user is disabled."""
        with warnings.catch_warnings():
            # pyramid-jwt 1.6.1 calls datetime.utcnow(), deprecated since Python 3.12; its result is right.
            warnings.filterwarnings("ignore", "datetime.datetime.utcnow", DeprecationWarning)
            token: str = self._jwt.create_token(str(account.id), generation=account.token_generation)
        return token

    def _identify(self, request: Any) -> users.Account | None:
        token = bearer_token(request)
        if token is None or len(token) > _LONGEST_TOKEN:
            return None
        claims = self._jwt.jwt_decode(request, token)
        subject, generation = claims.get("sub"), claims.get("generation")
        # pyramid-jwt does not insist on exp; a token that never ends is not one of ours.
        if "exp" not in claims or not isinstance(subject, str) or type(generation) is not int:
            return None
        # The leeway is for `iat` alone.
        if int(claims["exp"]) <= time.time():
            return None
        try:
            user_id = UUID(subject)
        except ValueError:
            return None
        return users.account_of_token(request.reader, user_id, generation)


def bearer_token(request: Any) -> str | None:
    """The token of an `Authorization: Bearer` header (the scheme in any case, RFC 9110), None if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _require_permission(view: Any, info: Any) -> Any:
    if info.options.get("permission") is None and not info.exception_only:
        raise ConfigurationError(f"{info.original_view!r} declares no permission (NO_PERMISSION_REQUIRED if public)")
    return view


_require_permission.options = ("permission",)  # type: ignore[attr-defined]  # Pyramid's way to declare it


def includeme(config: Any) -> None:
    settings: Settings = config.registry["settings"]
    policy = SecurityPolicy(
        create_jwt_authentication_policy(
            config,
            private_key=settings.jwt_secret.reveal(),
            algorithm="HS256",
            expiration=timedelta(seconds=settings.jwt_lifetime_seconds),
            leeway=_CLOCK_LEEWAY_SECONDS,
            auth_type="Bearer",
        )
    )
    config.set_security_policy(policy)
    config.registry["issue_token"] = policy.issue
    config.add_view_deriver(_require_permission)
