"""What surrounds every request: its id, and one line in the log."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from pyramid.tweens import INGRESS

from productagg.logs import request_id

log = logging.getLogger("productagg.access")

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def sane_request_id(given: str) -> str:
    """The client's X-Request-ID if it is fit for a log line and a header, else a new one."""
    return given if _SANE_ID.fullmatch(given) else uuid4().hex


def request_id_tween_factory(handler: Callable[[Any], Any], _registry: Any) -> Callable[[Any], Any]:
    """Take the client's X-Request-ID if it is sane, else make one; return it and put it on every log line."""

    def tween(request: Any) -> Any:
        token = request_id.set(sane_request_id(request.headers.get("X-Request-ID", "")))
        started = time.perf_counter()
        try:
            response = handler(request)
            response.headers["X-Request-ID"] = request_id.get()
            milliseconds = (time.perf_counter() - started) * 1000
            # As it was sent: decoded, it could hold a terminal's escape sequences or not be UTF-8.
            path = quote(request.environ.get("PATH_INFO", ""), safe="/:@!$&'()*+,;=~", encoding="latin-1")
            log.info("%s %s %d %.1f ms", request.method, path, response.status_int, milliseconds)
            return response
        finally:
            request_id.reset(token)

    return tween


def includeme(config: Any) -> None:
    config.add_tween("productagg.api.tweens.request_id_tween_factory", under=INGRESS)
