"""How the web service listens: waitress, with our error format, and an end in good order on SIGTERM.

The ini files' `[server:main] use = egg:productagg` leads here. `pserve development.ini http_port=8000` moves the port:
PasteDeploy lets a variable of the command line only add to an ini file, not override it, so the defaults are here.
"""

import gc
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NoReturn

from waitress.adjustments import Adjustments
from waitress.server import BaseWSGIServer, create_server

from productagg.logs import write_in_batches
from productagg.server.connections import Channel
from productagg.server.dispatcher import Dispatcher
from productagg.server.processes import keep_to_one_processor, serve_with
from productagg.server.proxies import TrustedProxy
from productagg.server.shutdown import Loop

log = logging.getLogger(__name__)

# What is received of any body but a batch's; the application takes 256 KiB of it.
_USUAL_BODY_BYTES = 1024 * 1024
_MOST_PROCESSES = 256
_LAST_PORT = 65535


def serve(
    app: Any,
    variables: Mapping[str, str],
    *,
    host: str,
    port: str,
    request_timeout: str = "30",
    processes: str = "1",
    own_processor: str = "false",
    trusted_proxy: str | None = None,
    **options: Any,
) -> int:
    """Serve until SIGTERM or SIGINT, and answer what has been accepted by then.

    `variables` may hold http_host, http_port, request_timeout (in how many seconds a request must have arrived),
    processes (how many serve at the port), own_processor (whether each keeps to one processor), and trusted_proxy: the
    address or network of the proxies in front (`*`: any), whose X-Forwarded-For and X-Forwarded-Proto are believed. A
    value that cannot be used ends the process with one line and exit code 1.
    """
    host = variables.get("http_host", host)
    try:
        port = _port(variables, port)
        count = _count(variables.get("processes", processes))
        seconds = _seconds(variables.get("request_timeout", request_timeout))
        pinned = _flag(variables.get("own_processor", own_processor))
        proxy = _proxy(variables.get("trusted_proxy", trusted_proxy))
        # waitress would believe and clear headers in ways of its own, and refuse some in plain text.
        options["clear_untrusted_proxy_headers"] = "false"
        wanted = _adjustments(options)
    except ValueError as error:
        _end_with(str(error))
    try:
        sockets = [
            socket.create_server(address, family=family, backlog=wanted.backlog)
            for family, _, _, address in Adjustments(host=host, port=port, **options).listen
        ]
    except (OSError, ValueError) as error:
        _end_with(f"cannot listen on {host}:{port}: {error}")
    # What has been made until now stays: looking for garbage in it again and again costs each answer up to a tenth.
    gc.collect()
    gc.freeze()

    def run(number: int | None, first: int | None) -> int:
        if pinned:
            keep_to_one_processor(number)
        return _run(app, sockets, first, options, request_timeout=seconds, proxy=proxy)

    if count == 1:
        return run(None, None)
    for engine in app.registry.services.engines:
        engine.dispose()  # no two processes may use a connection
    return serve_with(count, sockets, run)


def _port(variables: Mapping[str, str], port: str) -> str:
    name = "http_port" if "http_port" in variables else "port"
    port = variables.get("http_port", port)
    # Other digits, signs, and numbers above that are taken for something else further down.
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > _LAST_PORT:
        raise ValueError(f"{name} is {port!r}, not a whole number from 0 to {_LAST_PORT}")
    return port


def _count(processes: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", processes) or not 1 <= int(processes) <= _MOST_PROCESSES:
        raise ValueError(f"processes is {processes!r}, not a whole number from 1 to {_MOST_PROCESSES}")
    return int(processes)


def _seconds(request_timeout: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", request_timeout) or not float(request_timeout):
        raise ValueError(f"request_timeout is {request_timeout!r}, not a number of seconds")
    return float(request_timeout)


def _flag(own_processor: str) -> bool:
    if own_processor.lower() not in ("true", "false"):
        raise ValueError(f"own_processor is {own_processor!r}, not 'true' or 'false'")
    return own_processor.lower() == "true"


def _proxy(trusted_proxy: str | None) -> TrustedProxy:
    try:
        return TrustedProxy(trusted_proxy)
    except ValueError:
        allowed = "an IP address, a network such as 10.0.0.0/8, or *"
        raise ValueError(f"trusted_proxy is {trusted_proxy!r}, not {allowed}") from None


def _adjustments(options: Mapping[str, Any]) -> Any:
    """waitress' own options."""
    try:
        wanted = Adjustments(**options)
    except ValueError as error:
        raise ValueError(f"an option of [server:main] is wrong: {error}") from None
    if wanted.threads < 1:
        raise ValueError(f"threads is '{wanted.threads}', not a whole number from 1 on")
    return wanted


def _end_with(why: str) -> NoReturn:
    sys.stderr.write(f"productagg: {why}\n")
    # pserve turns a SystemExit into exit code 0, and anything else into a traceback.
    os._exit(1)


def _run(
    app: Any, sockets: Sequence[socket.socket], first: int | None, options: Mapping[str, Any], **adjusted: Any
) -> int:
    watched: dict[int, Any] = {}
    dispatcher = Dispatcher(_adjustments(options).threads)
    # ident: not who we are made with, which helps nobody but an attacker.
    server = create_server(app, map=watched, _dispatcher=dispatcher, sockets=sockets, ident=None, **options)
    for name, value in adjusted.items():
        setattr(server.adj, name, value)
    server.adj.usual = copy(server.adj)
    server.adj.usual.max_request_body_size = min(server.adj.max_request_body_size, _USUAL_BODY_BYTES)
    for listener in watched.values():
        if isinstance(listener, BaseWSGIServer):
            listener.channel_class = Channel
            listener.cors_origins = app.registry.services.settings.cors_origins
    loop = Loop(watched, dispatcher, app.registry, first)
    # Python ends at once on SIGTERM; as a container's first process it would even ignore it.
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, loop.end)
    write_in_batches()
    server.print_listen("productagg serves on http://{}:{}")
    loop.run()
    return 0
