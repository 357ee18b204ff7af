"""Pyramid's exception views: each family of exceptions becomes a Problem.

The transaction of the request is already rolled back, so these views must not use the database.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import URLDecodeError
from pyramid.httpexceptions import HTTPException, HTTPForbidden, HTTPMethodNotAllowed, HTTPNotFound, HTTPServerError
from pyramid.response import Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from productagg.accounts.access_tokens import bearer_token
from productagg.accounts.login_throttle import TooManyLogins
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.request import Request
from productagg.api.core.transactions import needs_transaction
from productagg.catalog import listing
from productagg.catalog import products as catalog
from productagg.db.errors import driver_message, is_unavailable
from productagg.history import UnknownProduct
from productagg.history.corrections import CannotCorrect
from productagg.history.offers_at import OffersNotKept
from productagg.history.series import MAX_POINTS, NotKept, TooManyPoints
from productagg.sync import source_admin
from productagg.sync.quarantine_decisions import NotQuarantined
from productagg.sync.source_test import TEST_SECONDS, TesterBusy
from productagg.times import format_time

log = logging.getLogger(__name__)

# When clients should retry while the database is unusable.
RETRY_AFTER_SECONDS = "5"


# The catalogue.
def _product_not_found(error: catalog.NotFound | UnknownProduct, _request: Request) -> Problem:
    return Problem(ErrorCode.PRODUCT_NOT_FOUND, f"There is no product {error}.")


def _duplicate_name(error: catalog.DuplicateName, _request: Request) -> Problem:
    return Problem(ErrorCode.DUPLICATE_NAME, f"There is already a product named {str(error)!r}.")


def _stale_version(_error: catalog.StaleVersion, _request: Request) -> Problem:
    return Problem(ErrorCode.STALE_VERSION, "The product has changed since the version in the conditions.")


def _unwanted_version(_error: catalog.UnwantedVersion, _request: Request) -> Problem:
    return Problem(ErrorCode.PRECONDITION_FAILED, "The product is at a version that If-None-Match lists.")


def _outdated_cursor(_error: listing.OutdatedCursor, _request: Request) -> Problem:
    detail = "Too much has changed since the first page: start again with the first page."
    return Problem(ErrorCode.INVALID_CURSOR, detail)


# Sources.
def _source_not_found(error: source_admin.SourceNotFound, _request: Request) -> Problem:
    return Problem(ErrorCode.SOURCE_NOT_FOUND, f"There is no source {error}.")


def _not_linked(_error: source_admin.NotLinked, _request: Request) -> Problem:
    return Problem(ErrorCode.SOURCE_NOT_FOUND, "The product does not have this source.")


def _name_taken(error: source_admin.NameTaken, _request: Request) -> Problem:
    return Problem(ErrorCode.DUPLICATE_NAME, f"There is already a source named {str(error)!r}.")


def _stale_source(_error: source_admin.StaleSource, _request: Request) -> Problem:
    return Problem(ErrorCode.STALE_VERSION, "The source has changed since the version in the conditions.")


def _unwanted_source(_error: source_admin.UnwantedSource, _request: Request) -> Problem:
    return Problem(ErrorCode.PRECONDITION_FAILED, "The source is at a version that If-None-Match lists.")


def _source_has_offers(_error: source_admin.HasOffers, _request: Request) -> Problem:
    detail = "The source has had offers, which belong to it for ever. It can be disabled: PATCH with 'enabled': false."
    return Problem(ErrorCode.SOURCE_HAS_OFFERS, detail)


def _source_from_settings(_error: source_admin.FromSettings, _request: Request) -> Problem:
    detail = "The Offers service comes from the settings, and every product has it: only 'enabled' can be changed."
    return Problem(ErrorCode.SOURCE_FROM_SETTINGS, detail)


def _tester_busy(_error: TesterBusy, _request: Request) -> Problem:
    headers = {"Retry-After": f"{TEST_SECONDS:.0f}"}
    return Problem(ErrorCode.TEST_IN_PROGRESS, "Another source is being tested.", headers=headers)


# The price history.
def _offers_not_kept(error: OffersNotKept, _request: Request) -> Problem:
    detail = f"must not be before {format_time(error.offers_from)}: offers that were closed earlier are no longer kept"
    return _invalid_parameter("at", detail)


def _resolution_not_kept(error: NotKept, _request: Request) -> Problem:
    since = format_time(error.raw_from)
    detail = f"'{error.resolution}' is available from {since} on: use a later 'from', or 'day', 'week' or 'auto'"
    return _invalid_parameter("resolution", detail)


def _too_many_points(error: TooManyPoints, _request: Request) -> Problem:
    advice = f"'{error.coarser}', or for a shorter window" if error.coarser else "a shorter window"
    detail = f"'{error.resolution}' has more than {MAX_POINTS} points in this window: ask for {advice}"
    return _invalid_parameter("resolution", detail)


# Doubtful prices.
def _not_quarantined(error: NotQuarantined, _request: Request) -> Problem:
    return Problem(ErrorCode.NOT_QUARANTINED, f"The offer does not hold back the price {error}.")


def _cannot_correct(error: CannotCorrect, _request: Request) -> Problem:
    return Problem(ErrorCode.CANNOT_CORRECT, str(error))


# Authentication and authorization.
def _too_many_logins(error: TooManyLogins, _request: Request) -> Problem:
    return Problem(
        ErrorCode.TOO_MANY_LOGINS,
        "Too many logins have failed: for a while, no password is checked.",
        headers={"Retry-After": str(error.retry_after)},
    )


def _forbidden(_error: HTTPForbidden, request: Request) -> Problem:
    """401 with the challenge of RFC 6750 for an unknown user; 403 only for a known user without the permission."""
    challenge = 'Bearer realm="productagg"'
    if request.identity is not None:
        return Problem(
            ErrorCode.FORBIDDEN,
            f"The role '{request.identity.role}' may not do this.",
            headers={"WWW-Authenticate": f'{challenge}, error="insufficient_scope"'},
        )
    if bearer_token(request.headers) is None:
        return Problem(
            ErrorCode.AUTHENTICATION_REQUIRED,
            "This needs an access token, in the header 'Authorization: Bearer <token>'.",
            headers={"WWW-Authenticate": challenge},
        )
    detail = "The access token is wrong, has expired or was revoked. Log in again."
    return Problem(
        ErrorCode.INVALID_TOKEN,
        detail,
        headers={"WWW-Authenticate": f'{challenge}, error="invalid_token", error_description="{detail}"'},
    )


# HTTP, as Pyramid raises it.
def _not_found(_error: HTTPNotFound, _request: Request) -> Problem:
    return Problem(ErrorCode.NOT_FOUND, "There is nothing at this path.")


def _method_not_allowed(error: HTTPMethodNotAllowed, request: Request) -> Problem:
    return Problem(
        ErrorCode.METHOD_NOT_ALLOWED,
        f"{request.method} does not work here.",
        headers={"Allow": error.headers["Allow"]},
    )


def _path_not_utf8(_error: URLDecodeError, _request: Request) -> Problem:
    return Problem(ErrorCode.MALFORMED_REQUEST, "The path is not UTF-8.")


def _malformed_request(error: HTTPException, _request: Request) -> Problem:
    return Problem(ErrorCode.MALFORMED_REQUEST, HTTPStatus(error.status_int).phrase)


# The database.
def _pool_exhausted(error: PoolTimeout, request: Request) -> Problem:
    return _unavailable(str(error), request)


def _database_error(error: DBAPIError, request: Request) -> Problem:
    return _unavailable(driver_message(error), request) if is_unavailable(error) else _unexpected(error, request)


def _unavailable(why: str, request: Request) -> Problem:
    log.error("the database cannot be used: %s", why)
    # From now on, /health/ready checks whether the database takes writes.
    request.services.readiness.writes_fail |= needs_transaction(request)
    detail = "The database cannot be used right now."
    return Problem(ErrorCode.UNAVAILABLE, detail, headers={"Retry-After": RETRY_AFTER_SECONDS})


def _unexpected(error: Exception, _request: Request) -> Problem:
    log.error("unexpected error", exc_info=error)
    detail = "Something unexpected happened; it has been logged with the request id."
    return Problem(ErrorCode.INTERNAL_ERROR, detail)


def _invalid_parameter(name: str, detail: str) -> Problem:
    errors = [{"parameter": name, "detail": detail}]
    return Problem(ErrorCode.INVALID_DATA, f"Not valid: '{name}'.", errors=errors)


_PROBLEMS: dict[type[Exception], Callable[[Any, Request], Problem]] = {
    Problem: lambda problem, _request: problem,
    catalog.NotFound: _product_not_found,
    UnknownProduct: _product_not_found,
    catalog.DuplicateName: _duplicate_name,
    catalog.StaleVersion: _stale_version,
    catalog.UnwantedVersion: _unwanted_version,
    listing.OutdatedCursor: _outdated_cursor,
    source_admin.SourceNotFound: _source_not_found,
    source_admin.NotLinked: _not_linked,
    source_admin.NameTaken: _name_taken,
    source_admin.StaleSource: _stale_source,
    source_admin.UnwantedSource: _unwanted_source,
    source_admin.HasOffers: _source_has_offers,
    source_admin.FromSettings: _source_from_settings,
    TesterBusy: _tester_busy,
    OffersNotKept: _offers_not_kept,
    NotKept: _resolution_not_kept,
    TooManyPoints: _too_many_points,
    NotQuarantined: _not_quarantined,
    CannotCorrect: _cannot_correct,
    TooManyLogins: _too_many_logins,
    HTTPForbidden: _forbidden,
    HTTPNotFound: _not_found,
    HTTPMethodNotAllowed: _method_not_allowed,
    URLDecodeError: _path_not_utf8,
    HTTPException: _malformed_request,
    HTTPServerError: _unexpected,
    PoolTimeout: _pool_exhausted,
    DBAPIError: _database_error,
    Exception: _unexpected,
}


def _view(to_problem: Callable[[Any, Request], Problem]) -> Callable[[Any, Request], Response]:
    def view(error: Any, request: Request) -> Response:
        return to_problem(error, request).response()

    return view


def includeme(config: Configurator) -> None:
    for exception, to_problem in _PROBLEMS.items():
        config.add_exception_view(_view(to_problem), context=exception)
