"""What surrounds every request: its id and one line in the log, and what HTTP itself wants of every answer."""

import logging
import re
import time
from collections.abc import Callable
from random import getrandbits
from typing import Any
from urllib.parse import quote

from pyramid.response import Response
from pyramid.tweens import INGRESS

from productagg.api.core import compression, preconditions
from productagg.api.core.errors import Problem
from productagg.api.core.security_headers import add_cors, add_security
from productagg.logs import request_id

log = logging.getLogger("productagg.access")

_POLICY = "Content-Security-Policy"
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def sane_request_id(given: str) -> str:
    """The client's X-Request-ID if it is fit for a log line and a header, else a new one."""
    return given if given and _SANE_ID.fullmatch(given) else f"{getrandbits(128):032x}"


def request_id_tween_factory(handler: Callable[[Any], Any], _registry: Any) -> Callable[[Any], Any]:
    """Take the client's X-Request-ID if it is sane, else make one; return it and put it on every log line."""

    def tween(request: Any) -> Any:
        token = request_id.set(sane_request_id(request.environ.get("HTTP_X_REQUEST_ID", "")))
        started = time.perf_counter()
        try:
            response = handler(request)
            response.headerlist.append(("X-Request-ID", request_id.get()))
            milliseconds = (time.perf_counter() - started) * 1000
            # As it was sent: decoded, it could hold a terminal's escape sequences or not be UTF-8.
            path = quote(request.environ.get("PATH_INFO", ""), safe="/:@!$&'()*+,;=~", encoding="latin-1")
            log.info("%s %s %d %.1f ms", request.method, path, response.status_int, milliseconds)
            return response
        finally:
            request_id.reset(token)

    return tween


def http_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """Conditional requests, compression, security headers and CORS."""
    origins = registry["settings"].cors_origins

    def tween(request: Any) -> Any:
        response = _represented(request, handler(request))
        add_security(response, origins, https=request.environ["wsgi.url_scheme"] == "https")
        add_cors(response, origins, request.environ)
        return response

    return tween


def _represented(request: Any, response: Any) -> Any:
    """The answer, compressed or not, to those conditions: it may become a 304 or a 412."""
    compressed = compression.is_wanted(request, response)
    if compressed:
        compression.mark(response)
    if request.method in ("GET", "HEAD") and response.status_int == 200 and preconditions.are_in(request.environ):
        tag = dict(response.headerlist).get("ETag")
        # To read it takes as long as all the rest.
        modified = response.last_modified if preconditions.name_a_time(request.environ) else None
        found = preconditions.outcome(request.environ, tag and tag[1:-1], modified)
        if found == 412:
            return Problem("precondition-failed", "What is there is not what the request's conditions name.").response()
        if found == 304:
            return _not_modified(response)
    if compressed:
        compression.compress(response)
    return response


def _not_modified(response: Any) -> Any:
    """Without what describes a body, and the weaker validator (RFC 9110, 15.4.5)."""
    headers = [
        (name, value)
        for name, value in response.headerlist
        if name != "Last-Modified" and (name == _POLICY or not name.startswith("Content-"))
    ]
    return Response(status="304 Not Modified", headerlist=headers, app_iter=())


def includeme(config: Any) -> None:
    config.add_tween("productagg.api.core.tweens.request_id_tween_factory", under=INGRESS)
    config.add_tween(
        "productagg.api.core.tweens.http_tween_factory", under="productagg.api.core.tweens.request_id_tween_factory"
    )
