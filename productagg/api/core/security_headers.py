"""The headers that have a browser keep out of trouble, and those that let pages of other origins in (CORS).

Every answer has the former, also those that the server gives without the application (server/). CORS is closed unless
CORS_ORIGINS opens it. It is not Cornice's: that one is set up per service when modules are imported, knows nothing of
paths that lead nowhere and of what a tween answers, and refuses requests of unknown origins, which protects nobody.
"""

from collections.abc import Collection, Mapping
from typing import Any

from productagg.api.core.compression import vary

_POLICY = "default-src 'none'; frame-ancestors 'none'"
# For the page at /docs, which lives on its own files and on what it asks this service for.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_YEAR_SECONDS = 365 * 24 * 3600
_ALWAYS = (
    # What does not say otherwise is not to be kept.
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)

_EXPOSED = (
    "ETag, Location, Link, Next-Cursor, Prev-Cursor, Total-Count, Retry-After, X-Request-ID, Last-Modified, "
    "Last-Sequence, Idempotency-Replayed, WWW-Authenticate, Allow, Accept-Patch, Age, Content-Disposition"
)
# Simple ones need not be named; of these, Authorization is never meant by a `*`.
_ALLOWED = (
    "Authorization, Content-Type, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, Idempotency-Key, "
    "X-Request-ID, Cache-Control"
)
_PREFLIGHT_SECONDS = 600
ANY_ORIGIN = "*"


def add_security(response: Any, origins: Collection[str] | None, *, https: bool = False) -> None:
    """`https`: the client came by it, and is to come by nothing else for a year. What a view has set itself stays."""
    given = dict(response.headerlist)
    response.headerlist.extend(header for header in _ALWAYS if header[0] not in given)
    # Who may read it by CORS reads it with CORS; this one is about embedding it without.
    embedding = "cross-origin" if origins and ANY_ORIGIN in origins else "same-origin"
    response.headerlist.append(("Cross-Origin-Resource-Policy", embedding))
    if https:
        response.headerlist.append(("Strict-Transport-Security", f"max-age={_YEAR_SECONDS}"))


def add_cors(response: Any, origins: Collection[str] | None, environ: Mapping[str, Any]) -> None:
    """Let a page of an allowed origin read the answer, whatever it is, and find out what it may send (a preflight)."""
    if not origins:
        return
    origin: str | None = ANY_ORIGIN
    if ANY_ORIGIN not in origins:
        vary(response, "Origin")
        origin = environ.get("HTTP_ORIGIN")
        if origin not in origins:
            return
    response.headers["Access-Control-Allow-Origin"] = origin
    if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "GET")
        response.headers["Access-Control-Allow-Headers"] = _ALLOWED
        response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    else:
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
