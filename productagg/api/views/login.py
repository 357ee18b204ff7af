"""/login: a username and a password for an access token."""

from typing import Any

from productagg.accounts import users
from productagg.api.core.errors import Problem
from productagg.api.core.schemas import LOGIN
from productagg.api.core.service import PUBLIC, json_body, no_query, service
from productagg.api.openapi.answers import TOKEN, Answer
from productagg.text_rules import nfc

login = service("login", "/login", "Login")


@login.post(
    permission=PUBLIC,
    validators=(no_query, json_body(LOGIN)),
    answers=(Answer("An access token.", TOKEN, headers=("Cache-Control",)),),
    errors=("wrong-credentials", "too-many-logins"),
)
def log_in(request: Any) -> dict[str, Any]:
    """An access token (RFC 6749, 5.1). An unknown user and a wrong password get the same answer after the same time.

    After too many failures no password is looked at for a while; `Retry-After` says for how long.
    """
    throttle = request.registry["login_throttle"]
    # Not request.client_addr: that believes whatever X-Forwarded-For says. The server knows which proxy to believe.
    attempt = throttle.count_attempt(
        request.reader, nfc(request.validated["username"]), request.environ.get("REMOTE_ADDR", "")
    )
    account = users.authenticate(request.reader, **request.validated)
    if account is None:
        raise Problem(
            "wrong-credentials",
            "The username or the password is wrong.",
            headers={"WWW-Authenticate": 'Bearer realm="productagg"'},
        )
    # Before the request's own transaction writes: on SQLite there is one writer at a time.
    throttle.record_success(attempt)
    if account.hash_is_outdated:
        users.renew_hash(request.dbsession, account, request.validated["password"])
    request.response.cache_control = "no-store"
    return {
        "access_token": request.registry["issue_token"](account),
        "token_type": "Bearer",
        "expires_in": request.registry["settings"].jwt_lifetime_seconds,
    }
