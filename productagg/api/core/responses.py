"""How views answer: `respond` makes every answer, `json_response` for JSON with an ETag.

A `Cache-Control` that a view does not set becomes `no-store`: see security_headers.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from wsgiref.handlers import format_date_time

import orjson
from pyramid.response import Response

from productagg.api.core.compression import Unchanging
from productagg.api.core.request import Request

JSON = "application/json"
# Values of Cache-Control: only the reader may keep the answer, or everyone may, but must ask each time whether it is
# still current; or it must not be kept.
PRIVATE = "private, no-cache"
NO_CACHE = "no-cache"
NO_STORE = "no-store"

_MIN_AGE_SECONDS, _MAX_AGE_SECONDS = 1, 60
# How long Last-Modified waits for further changes in the same second, and for commits.
_SETTLED = timedelta(seconds=2)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def respond(
    body: bytes | None,
    content_type: str = JSON,
    *,
    status: int = 200,
    etag: str | None = None,
    headers: Mapping[str, str] = _NO_HEADERS,
    cache_control: str | None = None,
    unchanging: bool = False,
) -> Response:
    """An answer; `body` is None for one without content. `etag` is a strong entity tag without its quotes.

    `unchanging`: this version of the service always answers the same, so the body is compressed only once.
    """
    headerlist = [] if body is None else [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    if etag is not None:
        headerlist.append(("ETag", f'"{etag}"'))
    headerlist += headers.items()
    if cache_control is not None:
        headerlist.append(("Cache-Control", cache_control))
    # With body and headers complete, WebOb does not search the headers for each argument.
    response = (Unchanging if unchanging else Response)(app_iter=() if body is None else [body], headerlist=headerlist)
    if status != 200:
        response.status_int = status
    return response


def json_response(
    value: object,
    *,
    version: int | None = None,
    tagged_by: Iterable[str] = (),
    status: int = 200,
    headers: Mapping[str, str] = _NO_HEADERS,
    cache_control: str | None = None,
) -> Response:
    """A JSON answer with a strong ETag: a digest of the body and of `tagged_by`, the parts of headers that matter.

    With a `version`, the tag is `"<version>-<digest>"`, and `preconditions` read the version back.
    """
    body = dumps(value)
    tag = digest(body, *tagged_by)
    etag = tag if version is None else f"{version}-{tag}"
    return respond(body, status=status, etag=etag, headers=headers, cache_control=cache_control)


def public_cache_control(request: Request, fresh_for: timedelta | None = None) -> str:
    """A Cache-Control that lets anyone keep the answer for `fresh_for`, at most for a sync interval, or a minute.

    At most a minute, because an edit must become visible where it does not invalidate a cache (RFC 9111, 4.4).
    """
    seconds = min(request.services.settings.sync_interval_seconds, _MAX_AGE_SECONDS)
    if fresh_for is not None:
        seconds = max(_MIN_AGE_SECONDS, min(int(fresh_for.total_seconds()), seconds))
    return f"public, max-age={seconds}"


def last_modified(newest: datetime, now: datetime) -> dict[str, str]:
    """The header Last-Modified: the full second after the newest change; none until that second is well over.

    Otherwise a 304 would hide a second change in that second, or a change that is still being committed.
    """
    second = newest.replace(microsecond=0)
    second += timedelta(seconds=1) if second < newest else timedelta(0)
    return {"Last-Modified": _http_date(second.timestamp())} if now - second >= _SETTLED else {}


def dumps(value: object) -> bytes:
    """JSON as this service writes it: UTF-8, times in RFC 3339 with Z, UUIDs as text, and a line end at the end."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def digest(body: bytes, *others: str) -> str:
    """A digest of a body and of further texts, for an ETag."""
    blake = hashlib.blake2b(body, digest_size=9)
    for other in others:
        blake.update(b"\0" + other.encode())
    return blake.hexdigest()


# For unchanging bodies, which may be large.
digest_once = lru_cache(maxsize=16)(digest)
# Many products change in the same sync.
_http_date = lru_cache(maxsize=256)(format_date_time)
