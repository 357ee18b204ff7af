"""Access tokens: JSON Web Tokens (HS256) that `POST /login` issues and the security policy verifies."""

import time
import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from pyramid_jwt.policy import JWTAuthenticationPolicy

from productagg.accounts.users import Account
from productagg.settings import Secret

# Ours are about 250 bytes; a longer token is not worth verifying.
_MAX_LENGTH = 4096
# How far the clock of the host that issued a token may be ahead of ours. It does not lengthen a token's life.
_CLOCK_LEEWAY_SECONDS = 30


class Claims(NamedTuple):
    """What a valid token says: the user, and the generation of tokens that was current when it was issued."""

    user_id: UUID
    generation: int


class AccessTokens:
    """Issues and verifies access tokens."""

    def __init__(self, secret: Secret, lifetime_seconds: int) -> None:
        self._jwt = JWTAuthenticationPolicy(
            private_key=secret.reveal(),
            algorithm="HS256",
            expiration=timedelta(seconds=lifetime_seconds),
            leeway=_CLOCK_LEEWAY_SECONDS,
        )

    def issue(self, account: Account) -> str:
        """A token for the account. A change of the account's generation revokes it: see `users.account_of_token`."""
        with warnings.catch_warnings():
            # pyramid-jwt 1.6.1 calls datetime.utcnow(), deprecated since Python 3.12; its result is right.
            warnings.filterwarnings("ignore", "datetime.datetime.utcnow", DeprecationWarning)
            token: str = self._jwt.create_token(str(account.id), generation=account.token_generation)
        return token

    def verify(self, request: object, token: str) -> Claims | None:
        """The claims of a valid token, or None. `request` is for pyramid-jwt's log of invalid tokens."""
        if len(token) > _MAX_LENGTH:
            return None
        claims = self._jwt.jwt_decode(request, token)
        # pyramid-jwt does not require exp; a token without it is not one of ours.
        if "exp" not in claims or int(claims["exp"]) <= time.time():  # the leeway is for `iat` alone
            return None
        return _claims(claims.get("sub"), claims.get("generation"))


def _claims(subject: object, generation: object) -> Claims | None:
    if not isinstance(subject, str) or type(generation) is not int:
        return None
    try:
        return Claims(UUID(subject), generation)
    except ValueError:
        return None


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The token of an `Authorization: Bearer` header (RFC 9110 ignores the scheme's case), None without one."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
