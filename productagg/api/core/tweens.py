"""What surrounds every request: its id and its access log line, and what HTTP itself requires of every answer."""

import logging
import re
import time
from random import getrandbits
from urllib.parse import quote

from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.tweens import INGRESS

from productagg.api.core import compression, preconditions
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.request import Handler, Request
from productagg.api.core.security_headers import add_cors, add_security
from productagg.api.core.services import Registry
from productagg.logs import request_id

log = logging.getLogger("productagg.access")

_CSP_HEADER = "Content-Security-Policy"
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def sane_request_id(header: str) -> str:
    """The client's X-Request-ID if it is fit for a log line and a header, otherwise a new one."""
    return header if header and _SANE_ID.fullmatch(header) else f"{getrandbits(128):032x}"


def request_id_tween_factory(handler: Handler, _registry: Registry) -> Handler:
    """Give the request an id, the client's X-Request-ID if it is sane; return it, and put it on every log line."""

    def tween(request: Request) -> Response:
        token = request_id.set(sane_request_id(request.environ.get("HTTP_X_REQUEST_ID", "")))
        started = time.perf_counter()
        try:
            response = handler(request)
            response.headerlist.append(("X-Request-ID", request_id.get()))
            milliseconds = (time.perf_counter() - started) * 1000
            # Percent-encoded: a decoded path could contain a terminal's escape sequences, or not be UTF-8.
            path = quote(request.environ.get("PATH_INFO", ""), safe="/:@!$&'()*+,;=~", encoding="latin-1")
            log.info("%s %s %d %.1f ms", request.method, path, response.status_int, milliseconds)
            return response
        finally:
            request_id.reset(token)

    return tween


def http_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Conditional requests, compression, security headers and CORS."""
    origins = registry.services.settings.cors_origins

    def tween(request: Request) -> Response:
        response = _negotiated(request, handler(request))
        add_security(response, origins, https=request.environ["wsgi.url_scheme"] == "https")
        add_cors(response, origins, request.environ)
        return response

    return tween


def _negotiated(request: Request, response: Response) -> Response:
    """Apply conditions and compression; may return a 304 or a 412."""
    is_compressed = compression.negotiate(request, response)
    if is_compressed:
        compression.mark(response)
    outcome = _outcome(request, response)
    if outcome == 412:
        detail = "The current state does not meet the request's conditions."
        return Problem(ErrorCode.PRECONDITION_FAILED, detail).response()
    if outcome == 304:
        return _not_modified(response)
    if is_compressed:
        compression.compress(response)
    return response


def _outcome(request: Request, response: Response) -> int | None:
    if not preconditions.has_preconditions(request.environ):
        return None
    if request.method not in ("GET", "HEAD") or response.status_int != 200:
        return None
    tag = dict(response.headerlist).get("ETag")
    # WebOb takes as long to parse Last-Modified as everything else here takes.
    modified = response.last_modified if preconditions.needs_last_modified(request.environ) else None
    return preconditions.outcome(request.environ, tag and tag[1:-1], modified)


def _not_modified(response: Response) -> Response:
    """Without the headers that describe a body, and without the weaker validator (RFC 9110, 15.4.5)."""
    headers = [
        (name, value)
        for name, value in response.headerlist
        if name != "Last-Modified" and (name == _CSP_HEADER or not name.startswith("Content-"))
    ]
    return Response(status="304 Not Modified", headerlist=headers, app_iter=())


def includeme(config: Configurator) -> None:
    config.add_tween("productagg.api.core.tweens.request_id_tween_factory", under=INGRESS)
    config.add_tween(
        "productagg.api.core.tweens.http_tween_factory", under="productagg.api.core.tweens.request_id_tween_factory"
    )
