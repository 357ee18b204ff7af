"""The parts of the document at /openapi.json that belong to no single view: introduction, tags, headers, parameters."""

from typing import Any

INTRODUCTION = """\
A catalogue of products whose prices are kept up to date from the Offers service.

Bodies are JSON in UTF-8. Ids are UUIDs. Times are RFC 3339 in UTC. Prices and stocks are integers, as the Offers
service sends them. Unknown members and query parameters are refused, not ignored. Responses may be compressed
(`Accept-Encoding: gzip`).

Every path that has `GET` also has `HEAD`. Every path has `OPTIONS`; its `Allow` header lists the methods. A `GET`
response with an `ETag` can be revalidated: if `If-None-Match` names that `ETag`, the response is 304 without a body
(RFC 9110, 13). The operations below do not list that status.

Lists come in pages. `Next-Cursor` and `Prev-Cursor` lead to the next and the previous page: send the same request with
that value as `cursor`.

Log in at `POST /login`, and send the token as `Authorization: Bearer <access_token>`.

Errors are problem details (RFC 9457): `code` is stable, and `type` links to an explanation. An unknown path gives 404
`not-found`, and a method that a path does not have gives 405 `method-not-allowed`.
"""

TAGS = {
    "Catalogue": "The products.",
    "Change feed": "What happened to products, in order, for clients that keep a copy of the catalogue.",
    "Offers": "A product's offers, now or at a given time.",
    "Price history": "The prices of a product, or of one of its offers, over time.",
    "Sources": "Where offers come from, and which products have which source. For admins.",
    "Sync": "The runs that fetch offers from the Offers service. For admins.",
    "Login": "Exchanges a username and a password for an access token.",
    "Health": "For load balancers and container engines.",
    "About": "This document, and explanations of the error codes.",
}

BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The `access_token` from `POST /login`.",
}

_TEXT = {"type": "string"}


def _header(description: str, example: Any, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": schema or _TEXT, "example": example}


HEADERS = {
    "X-Request-ID": _header("The id of the request in our logs.", "8c5f1f0e6f0f4f0c9d2b6a7f0c1e2d3b"),
    "ETag": _header("For `If-None-Match`; for a product or a source also for `If-Match`.", '"1-9b2f0c4a7d1e3f5a6b"'),
    "Last-Modified": _header(
        "When the content last changed. Missing just after a change.", "Mon, 23 Nov 2026 09:41:08 GMT"
    ),
    "Cache-Control": _header("Who may cache the response, and for how long.", "public, max-age=60"),
    "Vary": _header("The request headers on which the response depends.", "Authorization, Accept-Encoding"),
    "Location": _header(
        "The URL of the created resource.", "http://localhost:6543/products/019aa3f2-6c1e-7d43-9a51-0c6f2d9b7e10"
    ),
    "Next-Cursor": _header(
        "Leads to the next page: send the same request with this `cursor` (to `/changes`, with this `since`). Missing "
        "on the last page.",
        "WzE3NjM4OTEyMDAsIjlmM2QiXQ.5mYk2u7V",
    ),
    "Prev-Cursor": _header(
        "Leads to the previous page: send the same request with this `cursor`. Missing on the first page.",
        "WzE3NjM4OTEyMDAsIjFhMmIiXQ.Qd81xw0K",
    ),
    "Link": _header(
        "Links to the other pages (RFC 8288): `next`, `prev`, `first`. Missing if the request is so long that the "
        "links would not fit into a header.",
        '<http://localhost:6543/products?limit=2&cursor=WzE3…>; rel="next", <http://localhost:6543/products?limit=2>; '
        'rel="first"',
    ),
    "Total-Count": _header("Number of items on all pages.", 250, {"type": "integer", "minimum": 0}),
    "Last-Sequence": _header(
        "The number of the newest change; 0 before the first.", 4711, {"type": "integer", "minimum": 0}
    ),
    "Content-Disposition": _header("A name for the file.", 'attachment; filename="prices.csv"'),
    "WWW-Authenticate": _header("How to authenticate (RFC 6750).", 'Bearer realm="productagg"'),
    "Accept": _header("The media types that are accepted.", "application/json"),
    "Accept-Patch": _header("The media types that `PATCH` accepts.", "application/json, application/merge-patch+json"),
    "Idempotency-Replayed": _header(
        "This is the stored response to an earlier request with the same key.", "true", {"const": "true"}
    ),
    "Retry-After": _header("Seconds to wait before the next try.", 5, {"type": "integer", "minimum": 1}),
}

# The headers of every response.
COMMON_HEADERS = ("X-Request-ID", "Cache-Control")

# The headers of problems, by status. A question mark: not in every response.
PROBLEM_HEADERS = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    415: ("Accept", "Accept-Patch?"),
    429: ("Retry-After",),
    503: ("Retry-After?",),
}

# Further headers of problems, by code. Every POST that may be replayed has these three codes, and no other operation.
CODE_HEADERS = {
    "malformed-idempotency-key": ("Idempotency-Replayed?",),
    "request-in-progress": ("Idempotency-Replayed?", "Retry-After?"),
    "idempotency-key-reused": ("Idempotency-Replayed?",),
}

PARAMETERS = {
    "X-Request-ID": {
        "description": "An id for the request in our logs. If it is missing or unsuitable, the service makes one.",
        "schema": _TEXT,
        "example": "checkout-4711",
    },
    "Idempotency-Key": {
        "description": "A new value for each new request, such as a UUID, with or without quotes. If the same request "
        "comes again with the same key within 24 hours, it is not executed again: the response is the stored one, with "
        "`Idempotency-Replayed: true`.",
        # No example: Swagger UI would send this same key with every request.
        "schema": {
            **_TEXT,
            "minLength": 1,
            "maxLength": 512,
            "pattern": r"""^("([ !#-\[\]-~]|\\["\\])+"|[!#-+\--:<-\[\]-~]+)$""",
        },
    },
    "If-Match": {
        "description": "Proceed only if the `ETag` is this one. For a write to a product only the product's version "
        "counts, not its offers.",
        "schema": _TEXT,
        # Swagger UI sends the example unless told otherwise.
        "example": "*",
    },
    "If-None-Match": {
        "description": "The `ETag` of your copy. If it is still current, the response is 304 without a body; for a "
        "write to a product, 412.",
        "schema": _TEXT,
        # Swagger UI sends the example, so it must not be the version of a product.
        "example": '"0-9b2f0c4a7d1e3f5a6b"',
    },
    "If-Modified-Since": {
        "description": "The `Last-Modified` of your copy, if you have no `ETag`. If it is still current, the response "
        "is 304.",
        "schema": _TEXT,
        "example": "Mon, 23 Nov 2026 09:41:08 GMT",
    },
    "If-Unmodified-Since": {
        "description": "Proceed only if the content has not changed since; for a write to a product, only if the "
        "product itself has not. Ignored with `If-Match`.",
        "schema": _TEXT,
        "example": "Thu, 31 Dec 2099 23:59:59 GMT",
    },
}

FAULTS_EXAMPLE = [{"pointer": "/name", "detail": "must not be empty"}]
