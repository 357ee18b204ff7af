"""What the document at /openapi.json says that belongs to no single view: headers, tags, the token, the conventions."""

from typing import Any

INTRODUCTION = """\
A catalogue of products whose prices keep themselves up to date from the Offers service.

JSON in UTF-8. Ids are UUIDs, times are RFC 3339 in UTC, prices and stocks are integers as the Offers service gives
them. Unknown members and query parameters are refused, not ignored. `HEAD` works wherever `GET` does, `OPTIONS`
everywhere: its `Allow` names the methods. Answers may be compressed (`Accept-Encoding: gzip`). Every `GET` that has an
`ETag` answers 304 without a body to an `If-None-Match` that names it (RFC 9110, 13): no operation lists that status.

Lists come in pages. `Next-Cursor` and `Prev-Cursor` are the values to send as `cursor` for the next and the previous
page, with all other parameters as before.

Log in at `POST /login` and send the token as `Authorization: Bearer <access_token>`. Errors are problem details (RFC
9457); their `code` is stable, and `type` leads to an explanation. Any other path is 404 `not-found`, any other method
405 `method-not-allowed`.
"""

TAGS = {
    "Catalogue": "The products.",
    "Change feed": "What happened to products, in order, for whoever keeps a copy of the catalogue.",
    "Offers": "What is offered for a product, now or at a time.",
    "Price history": "What a product, or one of its offers, cost over time.",
    "Sync": "What the passes did that ask the Offers service. For admins.",
    "Login": "A username and a password for an access token.",
    "Health": "For load balancers and container engines.",
    "About": "This document, and what the error codes mean.",
}

BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The `access_token` that `POST /login` answers with.",
}

_TEXT = {"type": "string"}


def _header(description: str, example: Any, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": schema or _TEXT, "example": example}


HEADERS = {
    "X-Request-ID": _header("The id that the request has in our logs.", "8c5f1f0e6f0f4f0c9d2b6a7f0c1e2d3b"),
    "ETag": _header("For `If-None-Match`; of a product also for `If-Match`.", '"1-9b2f0c4a7d1e3f5a6b"'),
    "Last-Modified": _header("When it last changed; not just after that.", "Mon, 23 Nov 2026 09:41:08 GMT"),
    "Cache-Control": _header("Who may keep it, and for how long.", "public, max-age=60"),
    "Vary": _header("On which request headers the answer depends.", "Authorization, Accept-Encoding"),
    "Location": _header("Where it is.", "http://localhost:6543/products/019aa3f2-6c1e-7d43-9a51-0c6f2d9b7e10"),
    "Next-Cursor": _header(
        "Leads to the next page: send the same request with this `cursor` (to `/changes`, with this `since`). It is "
        "missing on the last page.",
        "WzE3NjM4OTEyMDAsIjlmM2QiXQ.5mYk2u7V",
    ),
    "Prev-Cursor": _header(
        "Leads to the previous page, as `Next-Cursor` to the next.", "WzE3NjM4OTEyMDAsIjFhMmIiXQ.Qd81xw0K"
    ),
    "Link": _header(
        "The other pages as links (RFC 8288): `next`, `prev`, `first`. It is missing if the request is so long that "
        "the links would be too long for a header.",
        '<http://localhost:6543/products?limit=2&cursor=WzE3…>; rel="next", <http://localhost:6543/products?limit=2>; '
        'rel="first"',
    ),
    "Total-Count": _header("How many there are in all.", 250, {"type": "integer", "minimum": 0}),
    "Last-Sequence": _header(
        "The newest change's number; 0 before the first.", 4711, {"type": "integer", "minimum": 0}
    ),
    "Content-Disposition": _header("A name for the file.", 'attachment; filename="prices.csv"'),
    "WWW-Authenticate": _header("What is wanted (RFC 6750).", 'Bearer realm="productagg"'),
    "Accept": _header("The media types that are taken.", "application/json"),
    "Accept-Patch": _header("The media types that `PATCH` takes.", "application/json, application/merge-patch+json"),
    "Idempotency-Replayed": _header("The answer is that to an earlier request.", "true", {"const": "true"}),
    "Retry-After": _header("In how many seconds to try again.", 5, {"type": "integer", "minimum": 1}),
}

# Of every answer.
COMMON_HEADERS = ("X-Request-ID", "Cache-Control")

# By status. A question mark: not always.
PROBLEM_HEADERS = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    415: ("Accept", "Accept-Patch?"),
    429: ("Retry-After",),
    503: ("Retry-After?",),
}

# By code, where others of the status do not have it. These three go with all POSTs that may be replayed, and only them.
CODE_HEADERS = {
    "malformed-idempotency-key": ("Idempotency-Replayed?",),
    "request-in-progress": ("Idempotency-Replayed?", "Retry-After?"),
    "idempotency-key-reused": ("Idempotency-Replayed?",),
}

PARAMETERS = {
    "X-Request-ID": {
        "description": "An id for the request in our logs; one is made if there is none or it is unfit.",
        "schema": _TEXT,
        "example": "checkout-4711",
    },
    "Idempotency-Key": {
        "description": "A new one for each new request, such as a UUID, in quotes or without. The same request under "
        "the same key, within 24 hours, is not done again: it gets the first answer and `Idempotency-Replayed: true`.",
        # No example: Swagger UI would send it, with one request after another.
        "schema": {
            **_TEXT,
            "minLength": 1,
            "maxLength": 512,
            "pattern": r"""^("([ !#-\[\]-~]|\\["\\])+"|[!#-+\--:<-\[\]-~]+)$""",
        },
    },
    "If-Match": {
        "description": "Only if it has this `ETag`; to write a product: its version, whatever became of its offers.",
        "schema": _TEXT,
        # Swagger UI sends it unless told otherwise.
        "example": "*",
    },
    "If-None-Match": {
        "description": "The `ETag` of what you have: 304 without a body if it still is so; of a product that is "
        "written, 412.",
        "schema": _TEXT,
        # Swagger UI sends it, so it had better not be a version that there is.
        "example": '"0-9b2f0c4a7d1e3f5a6b"',
    },
    "If-Modified-Since": {
        "description": "The `Last-Modified` of what you have, if you have no `ETag`: 304 if it still is so.",
        "schema": _TEXT,
        "example": "Mon, 23 Nov 2026 09:41:08 GMT",
    },
    "If-Unmodified-Since": {
        "description": "Only if it was not modified since; to write a product: itself. Not looked at with `If-Match`.",
        "schema": _TEXT,
        "example": "Thu, 31 Dec 2099 23:59:59 GMT",
    },
}

FAULTS = [{"pointer": "/name", "detail": "must not be empty"}]
