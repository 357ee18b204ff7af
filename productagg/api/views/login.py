"""/login: a username and a password for an access token."""

from typing import TypedDict

from pyramid.response import Response

from productagg.accounts import users
from productagg.api.core.answers import Answer
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import credential
from productagg.api.core.request import Request
from productagg.api.core.responses import NO_STORE, dumps, respond
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import json_body, no_query
from productagg.api.openapi.schemas import TOKEN
from productagg.schema_types import NO_CONTROL_CHARACTERS, mapping, no_control_characters
from productagg.text_rules import nfc


class Login(TypedDict):
    username: str
    password: str


login_body = json_body(
    mapping(
        credential("username", no_control_characters(), schema={"pattern": NO_CONTROL_CHARACTERS}, example="admin"),
        credential("password", schema={"format": "password"}, example="admin"),
    ),
    Login,
)

login = service("login", "/login", "Login")


@login.post(
    permission=PUBLIC,
    validators=(no_query, login_body),
    answers=(Answer("An access token.", TOKEN, headers=("Cache-Control",)),),
    errors=(ErrorCode.WRONG_CREDENTIALS, ErrorCode.TOO_MANY_LOGINS),
)
def log_in(request: Request) -> Response:
    """An access token (RFC 6749, 5.1). An unknown user and a wrong password get the same answer after the same time.

    After too many failures, no password is checked for a while; `Retry-After` says for how long.
    """
    credentials = login_body.value(request)
    username, password = credentials["username"], credentials["password"]
    services = request.services
    # Not request.client_addr: that believes any X-Forwarded-For. The server knows which proxy to believe.
    address = request.environ.get("REMOTE_ADDR", "")
    attempt = services.login_throttle.count_attempt(request.reader, nfc(username), address)
    account = users.authenticate(request.reader, username=username, password=password)
    if account is None:
        raise Problem(
            ErrorCode.WRONG_CREDENTIALS,
            "The username or the password is wrong.",
            headers={"WWW-Authenticate": 'Bearer realm="productagg"'},
        )
    # Before the request's own transaction writes: SQLite has one writer at a time.
    services.login_throttle.record_success(attempt)
    if account.hash_is_outdated:
        users.renew_hash(request.dbsession, account, password)
    token = {
        "access_token": services.access_tokens.issue(account),
        "token_type": "Bearer",
        "expires_in": services.settings.jwt_lifetime_seconds,
    }
    return respond(dumps(token), cache_control=NO_STORE)
