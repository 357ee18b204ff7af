"""The headers that protect browsers, and the headers that let pages of other origins read answers (CORS).

Every answer has the security headers, also answers that the server gives without the application (server/). CORS is
off unless CORS_ORIGINS allows origins. It is not Cornice's CORS, which is configured per service when modules are
imported, does not cover unknown paths and answers of tweens, and refuses requests of unknown origins, which protects
no user.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pyramid.response import Response

from productagg.api.core.compression import add_vary

_POLICY = "default-src 'none'; frame-ancestors 'none'"
# For the page at /docs, which loads its own files and sends requests to this service.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_YEAR_SECONDS = 365 * 24 * 3600
_ALWAYS = (
    # Unless the view has set another one.
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)

_EXPOSED = (
    "ETag, Location, Link, Next-Cursor, Prev-Cursor, Total-Count, Retry-After, X-Request-ID, Last-Modified, "
    "Last-Sequence, Idempotency-Replayed, WWW-Authenticate, Allow, Accept-Patch, Age, Content-Disposition"
)
# CORS-safelisted headers need not be listed. A list and not `*`, which never covers Authorization.
_ALLOWED = (
    "Authorization, Content-Type, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, Idempotency-Key, "
    "X-Request-ID, Cache-Control"
)
_PREFLIGHT_SECONDS = 600
ANY_ORIGIN = "*"


def add_security(response: Response, origins: Collection[str] | None, *, https: bool = False) -> None:
    """`https`: the client used it, and shall use nothing else for a year. Headers that a view has set stay."""
    present = dict(response.headerlist)
    response.headerlist.extend(header for header in _ALWAYS if header[0] not in present)
    # Pages that may read the answer by CORS do so; this header is about embedding it without CORS.
    embedding = "cross-origin" if origins and ANY_ORIGIN in origins else "same-origin"
    response.headerlist.append(("Cross-Origin-Resource-Policy", embedding))
    if https:
        response.headerlist.append(("Strict-Transport-Security", f"max-age={_YEAR_SECONDS}"))


def add_cors(response: Response, origins: Collection[str] | None, environ: Mapping[str, Any]) -> None:
    """Let pages of the allowed origins read any answer, and answer their preflight requests."""
    if not origins:
        return
    if ANY_ORIGIN in origins:
        origin = ANY_ORIGIN
    else:
        add_vary(response, "Origin")
        origin = environ.get("HTTP_ORIGIN", "")
        if origin not in origins:
            return
    response.headers["Access-Control-Allow-Origin"] = origin
    if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "GET")
        response.headers["Access-Control-Allow-Headers"] = _ALLOWED
        response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    else:
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
