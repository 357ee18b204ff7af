"""Every error, from whatever layer, as RFC 9457 problem details with a stable machine-readable code.

Views and validators raise Problem; the domain rooms' exceptions and Pyramid's own are translated here, in one view.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from pyramid.exceptions import URLDecodeError
from pyramid.httpexceptions import HTTPException, HTTPForbidden
from pyramid.response import Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from productagg.accounts.login_throttle import TooManyLogins
from productagg.accounts.policy import bearer_token
from productagg.catalog import listing
from productagg.catalog import products as catalog
from productagg.db.engines import is_out_of_reach, reason
from productagg.db.session import needs_transaction
from productagg.history import UnknownProduct
from productagg.history.offers_at import OffersNotKept
from productagg.history.series import MAX_POINTS, NotKept, TooManyPoints

log = logging.getLogger(__name__)

# When to come back to a database that cannot be used.
RETRY_AFTER_SECONDS = "5"

# Every code that this service answers with: status, title, and what a client can do about it.
PROBLEMS: dict[str, tuple[int, str, str]] = {
    "malformed-request": (400, "Malformed request", "Send a path and headers that HTTP allows."),
    "invalid-cursor": (400, "Invalid cursor", "Begin again with the first page: send the request without a cursor."),
    "malformed-json": (400, "Malformed JSON", "Send one JSON value in UTF-8, as RFC 8259 has it."),
    "malformed-idempotency-key": (
        400,
        "Malformed Idempotency-Key",
        "Send 1 to 255 printable ASCII characters, such as a UUID, in quotes or without.",
    ),
    "authentication-required": (401, "Authentication required", "Log in at POST /login and send the token."),
    "invalid-token": (401, "Invalid token", "The token is wrong, expired or was ended: log in again."),
    "wrong-credentials": (401, "Wrong credentials", "The username or the password is wrong."),
    "forbidden": (403, "Forbidden", "This user may not do this; ask an admin."),
    "not-found": (404, "Not found", "There is nothing at this path."),
    "product-not-found": (404, "Product not found", "There is no product with this id."),
    "method-not-allowed": (405, "Method not allowed", "The Allow header names the methods that work here."),
    "request-timeout": (408, "Request timeout", "Send the whole request within half a minute."),
    "duplicate-name": (409, "Duplicate name", "Another product has this name: choose another one."),
    "sequence-unknown": (
        409,
        "Sequence unknown",
        "The feed is not the one that gave this number out: read the catalogue again and follow from Last-Sequence.",
    ),
    "request-in-progress": (409, "Request in progress", "Send it again, under the same key, in a moment."),
    "precondition-failed": (412, "Precondition failed", "Read what is there, then decide about the conditions again."),
    "stale-version": (412, "Stale version", "The product has changed since: read it again, then decide again."),
    "body-too-large": (413, "Body too large", "Send less."),
    "unsupported-media-type": (415, "Unsupported media type", "Send a media type that the Accept header names."),
    "invalid-data": (422, "Invalid data", "Mend what 'errors' names and send it again."),
    "idempotency-key-reused": (
        422,
        "Idempotency-Key reused",
        "The key stands for another request: make a new key for a new request.",
    ),
    "too-many-logins": (429, "Too many logins", "Too many have failed: wait for as long as Retry-After says."),
    "headers-too-large": (431, "Request header fields too large", "Send fewer or shorter headers."),
    "internal-error": (500, "Internal error", "A fault of ours. Quote the request id when you report it."),
    "not-implemented": (501, "Not implemented", "Send the body with Content-Length or chunked."),
    "unavailable": (503, "Unavailable", "The database cannot be reached or is overloaded: try again shortly."),
}


class Problem(Exception):
    """An answer that is an error. `errors` are the faults of the fields, `headers` go into the response."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}

    @property
    def status(self) -> int:
        return PROBLEMS[self.code][0]

    def body(self) -> dict[str, Any]:
        """The problem details."""
        body: dict[str, Any] = {
            "type": f"/problems/{self.code}",
            "title": PROBLEMS[self.code][1],
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        return {**body, "errors": self.errors} if self.errors else body

    def response(self) -> Response:
        response = Response(
            orjson.dumps(self.body(), option=orjson.OPT_APPEND_NEWLINE),
            status=self.status,
            content_type="application/problem+json",
            charset=None,
        )
        response.headers.update(self.headers)
        return response


def problem_view(error: Exception, request: Any) -> Response:
    """The exception view: it turns whatever was raised into the answer. The transaction is already rolled back."""
    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, catalog.NotFound | UnknownProduct):
        problem = Problem("product-not-found", f"There is no product {error}.")
    elif isinstance(error, catalog.DuplicateName):
        problem = Problem("duplicate-name", f"There is a product named {str(error)!r} already.")
    elif isinstance(error, catalog.StaleVersion):
        problem = Problem("stale-version", "The product has changed since what the conditions name: read it again.")
    elif isinstance(error, catalog.UnwantedVersion):
        problem = Problem("precondition-failed", "The product is at a version that If-None-Match names.")
    elif isinstance(error, TooManyLogins):
        problem = Problem(
            "too-many-logins",
            "Too many logins have failed: no password is looked at for a while.",
            headers={"Retry-After": str(error.retry_after)},
        )
    elif isinstance(error, listing.Outdated):
        problem = Problem("invalid-cursor", "Too much has changed since the first page: begin again with it.")
    elif isinstance(error, OffersNotKept):
        problem = _not_kept(error)
    elif isinstance(error, TooManyPoints | NotKept):
        problem = _wrong_resolution(error)
    elif isinstance(error, URLDecodeError):
        problem = Problem("malformed-request", "The path is not UTF-8.")
    elif isinstance(error, HTTPForbidden):
        problem = _denied(request)
    elif isinstance(error, HTTPException) and error.status_int < 500:
        problem = _from_pyramid(error, request)
    elif isinstance(error, PoolTimeout) or is_out_of_reach(error):
        log.error("the database cannot be used: %s", reason(error) if isinstance(error, DBAPIError) else error)
        # Whether it takes any, /health/ready finds out.
        request.registry["writes_fail"] |= needs_transaction(request)
        detail = "The database cannot be used right now."
        problem = Problem("unavailable", detail, headers={"Retry-After": RETRY_AFTER_SECONDS})
    else:
        log.error("unexpected error", exc_info=error)
        problem = Problem("internal-error", "Something unexpected happened; it has been logged with the request id.")
    return problem.response()


def _wrong_resolution(error: TooManyPoints | NotKept) -> Problem:
    if isinstance(error, NotKept):
        since = error.raw_from.isoformat().replace("+00:00", "Z")
        detail = f"'{error.resolution}' is kept from {since} on: ask from then on, or for 'day', 'week' or 'auto'"
    else:
        advice = f"'{error.coarser}', or for a shorter window" if error.coarser else "a shorter window"
        detail = f"'{error.resolution}' has more than {MAX_POINTS} points in this window: ask for {advice}"
    return Problem("invalid-data", "Not valid: 'resolution'.", errors=[{"parameter": "resolution", "detail": detail}])


def _not_kept(error: OffersNotKept) -> Problem:
    since = error.offers_from.isoformat().replace("+00:00", "Z")
    detail = f"must not be before {since}: offers that were closed earlier are no longer kept"
    return Problem("invalid-data", "Not valid: 'at'.", errors=[{"parameter": "at", "detail": detail}])


def _denied(request: Any) -> Problem:
    """401 for somebody unknown, with the challenge of RFC 6750; 403 only for somebody known who may not."""
    challenge = 'Bearer realm="productagg"'
    if request.identity is not None:
        return Problem(
            "forbidden",
            f"The role '{request.identity.role}' may not do this.",
            headers={"WWW-Authenticate": f'{challenge}, error="insufficient_scope"'},
        )
    if bearer_token(request) is None:
        return Problem(
            "authentication-required",
            "This needs an access token, in the header 'Authorization: Bearer <token>'.",
            headers={"WWW-Authenticate": challenge},
        )
    detail = "The access token is wrong, has expired or was ended. Log in again."
    return Problem(
        "invalid-token",
        detail,
        headers={"WWW-Authenticate": f'{challenge}, error="invalid_token", error_description="{detail}"'},
    )


def _from_pyramid(error: HTTPException, request: Any) -> Problem:
    if error.status_int == 404:
        return Problem("not-found", "There is nothing at this path.")
    if error.status_int == 405:
        allowed = error.headers["Allow"]
        return Problem("method-not-allowed", f"{request.method} does not work here.", headers={"Allow": allowed})
    return Problem("malformed-request", HTTPStatus(error.status_int).phrase)


def includeme(config: Any) -> None:
    for context in (Exception, HTTPException):
        config.add_exception_view(problem_view, context=context)
