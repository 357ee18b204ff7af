"""What surrounds every request: its id, and one line in the log."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from pyramid.tweens import INGRESS

from productagg.logs import request_id

log = logging.getLogger("productagg.access")

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id_tween_factory(handler: Callable[[Any], Any], _registry: Any) -> Callable[[Any], Any]:
    """Take the client's X-Request-ID if it is sane, else make one; return it and put it on every log line."""

    def tween(request: Any) -> Any:
        given = request.headers.get("X-Request-ID", "")
        token = request_id.set(given if _SANE_ID.fullmatch(given) else uuid4().hex)
        started = time.perf_counter()
        try:
            response = handler(request)
            response.headers["X-Request-ID"] = request_id.get()
            milliseconds = (time.perf_counter() - started) * 1000
            path = request.environ.get("PATH_INFO", "")
            log.info("%s %s %d %.1f ms", request.method, path, response.status_int, milliseconds)
            return response
        finally:
            request_id.reset(token)

    return tween


def includeme(config: Any) -> None:
    config.add_tween("productagg.api.tweens.request_id_tween_factory", under=INGRESS)
