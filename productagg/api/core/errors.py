"""Errors as clients see them: RFC 9457 problem details, each with a stable code.

Views and validators raise Problem. `exception_views` turns other exceptions into Problems.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Self

import orjson
from pyramid.response import Response


class ErrorCode(StrEnum):
    """Every code that this service answers with, and its HTTP status, its title and advice for the client."""

    status: int
    problem_title: str  # not `title`, which is a method of str
    advice: str

    def __new__(cls, code: str, status: int, problem_title: str, advice: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.status, member.problem_title, member.advice = status, problem_title, advice
        return member

    MALFORMED_REQUEST = "malformed-request", 400, "Malformed request", "Send a path and headers that HTTP allows."
    INVALID_CURSOR = (
        "invalid-cursor",
        400,
        "Invalid cursor",
        "Start again with the first page: send the request without a cursor.",
    )
    MALFORMED_JSON = "malformed-json", 400, "Malformed JSON", "Send one JSON value in UTF-8 (RFC 8259)."
    MALFORMED_IDEMPOTENCY_KEY = (
        "malformed-idempotency-key",
        400,
        "Malformed Idempotency-Key",
        "Send 1 to 255 printable ASCII characters, such as a UUID, with or without quotes.",
    )
    AUTHENTICATION_REQUIRED = (
        "authentication-required",
        401,
        "Authentication required",
        "Log in at POST /login and send the token.",
    )
    INVALID_TOKEN = (
        "invalid-token",
        401,
        "Invalid token",
        "The token is wrong, has expired or was revoked: log in again.",
    )
    WRONG_CREDENTIALS = "wrong-credentials", 401, "Wrong credentials", "The username or the password is wrong."
    FORBIDDEN = "forbidden", 403, "Forbidden", "This user is not allowed to do this; ask an admin."
    NOT_FOUND = "not-found", 404, "Not found", "There is nothing at this path."
    PRODUCT_NOT_FOUND = "product-not-found", 404, "Product not found", "There is no product with this id."
    SOURCE_NOT_FOUND = (
        "source-not-found",
        404,
        "Source not found",
        "There is no source with this id, or the product does not have it.",
    )
    METHOD_NOT_ALLOWED = (
        "method-not-allowed",
        405,
        "Method not allowed",
        "Use one of the methods that the Allow header lists.",
    )
    REQUEST_TIMEOUT = "request-timeout", 408, "Request timeout", "Send the whole request within half a minute."
    DUPLICATE_NAME = "duplicate-name", 409, "Duplicate name", "The name is taken: choose another one."
    SOURCE_HAS_OFFERS = (
        "source-has-offers",
        409,
        "Source has offers",
        "Offers and their histories belong to their source for ever: disable it (PATCH with `enabled: false`).",
    )
    SOURCE_FROM_SETTINGS = (
        "source-from-settings",
        409,
        "Source from the settings",
        "The Offers service is configured by settings and belongs to every product: only `enabled` can be changed.",
    )
    NOT_QUARANTINED = (
        "not-quarantined",
        409,
        "Not quarantined",
        "The offer does not hold this price back, or no longer: read it again, then decide again.",
    )
    CANNOT_CORRECT = (
        "cannot-correct",
        409,
        "Cannot correct",
        "Read the offer's prices with resolution=raw: only recorded steps can be corrected, while all are kept.",
    )
    SEQUENCE_UNKNOWN = (
        "sequence-unknown",
        409,
        "Sequence unknown",
        "This feed did not issue that number: read the catalogue again and continue from Last-Sequence.",
    )
    REQUEST_IN_PROGRESS = (
        "request-in-progress",
        409,
        "Request in progress",
        "Send the request again with the same key in a moment.",
    )
    PRECONDITION_FAILED = (
        "precondition-failed",
        412,
        "Precondition failed",
        "Read the current state, then decide about the conditions again.",
    )
    STALE_VERSION = (
        "stale-version",
        412,
        "Stale version",
        "The product or source has changed in the meantime: read it again, then decide again.",
    )
    BODY_TOO_LARGE = "body-too-large", 413, "Body too large", "Send a smaller body."
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported-media-type",
        415,
        "Unsupported media type",
        "Send one of the media types that the Accept header lists.",
    )
    INVALID_DATA = "invalid-data", 422, "Invalid data", "Fix the fields listed in 'errors' and send the request again."
    IDEMPOTENCY_KEY_REUSED = (
        "idempotency-key-reused",
        422,
        "Idempotency-Key reused",
        "The key belongs to another request: make a new key for each new request.",
    )
    TOO_MANY_LOGINS = (
        "too-many-logins",
        429,
        "Too many logins",
        "Too many logins have failed: wait as long as Retry-After says.",
    )
    HEADERS_TOO_LARGE = "headers-too-large", 431, "Request header fields too large", "Send fewer or shorter headers."
    INTERNAL_ERROR = (
        "internal-error",
        500,
        "Internal error",
        "This is a fault of the service. Quote the request id when you report it.",
    )
    NOT_IMPLEMENTED = "not-implemented", 501, "Not implemented", "Send the body with Content-Length or chunked."
    TEST_IN_PROGRESS = (
        "test-in-progress",
        503,
        "Test in progress",
        "Another source is being tested: try again when Retry-After says.",
    )
    UNAVAILABLE = (
        "unavailable",
        503,
        "Unavailable",
        "The database cannot be reached or is overloaded: try again shortly.",
    )


class Problem(Exception):
    """An error answer. `errors` lists the faults of fields; `headers` are added to the response."""

    def __init__(
        self,
        code: ErrorCode,
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

    def body(self) -> dict[str, Any]:
        """The problem details."""
        body: dict[str, Any] = {
            "type": f"/problems/{self.code}",
            "title": self.code.problem_title,
            "status": self.code.status,
            "detail": self.detail,
            "code": self.code,
        }
        return {**body, "errors": self.errors} if self.errors else body

    def response(self) -> Response:
        response = Response(
            orjson.dumps(self.body(), option=orjson.OPT_APPEND_NEWLINE),
            status=self.code.status,
            content_type="application/problem+json",
            charset=None,
        )
        response.headers.update(self.headers)
        return response
