"""How the web service listens: waitress, with our error format, and an end in good order on SIGTERM.

The ini files' `[server:main] use = egg:productagg` leads here. `pserve development.ini http_port=8000` moves the port:
PasteDeploy lets a variable of the command line only add to an ini file, not override it, so the defaults are here.
"""

import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask, WSGITask

from productagg.api.errors import Problem
from productagg.api.headers import add_cors, add_security
from productagg.api.tweens import sane_request_id
from productagg.logs import request_id

log = logging.getLogger(__name__)

_PROBLEMS = {400: "malformed-request", 413: "body-too-large", 431: "headers-too-large", 501: "not-implemented"}


class _ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress is untyped
    """What waitress refuses before the application sees it is answered as problem details, too."""

    def execute(self) -> None:
        error = self.request.error
        response = Problem(_PROBLEMS.get(error.code, "internal-error"), f"{error.reason}: {error.body}.").response()
        token = request_id.set(sane_request_id(self.request.headers.get("X_REQUEST_ID", "")))
        response.headers.update({"X-Request-ID": request_id.get(), "Cache-Control": "no-store"})
        origins = self.channel.server.cors_origins
        add_security(response, origins)
        add_cors(response, origins, {"REQUEST_METHOD": "", "HTTP_ORIGIN": self.request.headers.get("ORIGIN")})
        log.info("refused before the application saw it: %d %s", error.code, error.body)
        request_id.reset(token)
        self.status = response.status
        self.response_headers.extend(response.headerlist)
        self.set_close_on_finish()
        self.content_length = len(response.body)
        self.write(response.body)


class _Task(WSGITask):  # type: ignore[misc]  # waitress is untyped
    """Waitress takes an answer without a length for one that only the connection's end ends: 304 and 204 as well."""

    def set_close_on_finish(self) -> None:
        asked = self.version == "1.0" or self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or asked:
            super().set_close_on_finish()


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress is untyped
    task_class = _Task
    error_task_class = _ProblemTask


def serve(app: Any, variables: Mapping[str, str], *, host: str, port: str, **options: Any) -> int:
    """Serve until SIGTERM or SIGINT; requests under way are finished.

    `variables` may hold http_host, http_port, and trusted_proxy: the address of a proxy in front (`*`: any), whose
    X-Forwarded-For, -Proto and -Host are believed.
    """
    host, port = variables.get("http_host", host), variables.get("http_port", port)
    if "trusted_proxy" in variables:
        options |= {
            "trusted_proxy": variables["trusted_proxy"],
            "trusted_proxy_headers": "x-forwarded-for x-forwarded-proto x-forwarded-host",
            "clear_untrusted_proxy_headers": "true",
        }
    listeners: dict[int, Any] = {}
    try:
        # ident: not who we are made with, which helps nobody but an attacker.
        server = create_server(app, map=listeners, host=host, port=port, ident=None, **options)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"productagg: cannot listen on {host}:{port}: {error}\n")
        # pserve turns a SystemExit into exit code 0, and anything else into a traceback.
        os._exit(1)
    for listener in listeners.values():
        if isinstance(listener, BaseWSGIServer):
            listener.channel_class = _Channel
            listener.cors_origins = app.registry["settings"].cors_origins
    # Python ends at once on SIGTERM; as a container's first process it would even ignore it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # What has been made until now stays: looking for garbage in it again and again costs each answer up to a tenth.
    gc.collect()
    gc.freeze()
    server.print_listen("productagg serves on http://{}:{}")
    server.run()
    return 0
