"""Listens at the port and serves the application, in one process or several, until SIGTERM or SIGINT."""

import gc
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from waitress.adjustments import Adjustments
from waitress.server import BaseWSGIServer, create_server

from productagg.api import SERVICES
from productagg.logs import write_in_batches
from productagg.server.body_limits import BodyLimits
from productagg.server.connections import Channel
from productagg.server.dispatcher import Dispatcher
from productagg.server.options import ServerOptions, read_options
from productagg.server.processes import handle_stop_signals, pin_to_processor, serve_in_processes
from productagg.server.shutdown import Loop


def serve(app: Any, variables: Mapping[str, str], **ini: str) -> int:
    """Serve until SIGTERM or SIGINT, and answer the requests that were accepted by then. Returns the exit code.

    `ini` holds the options of `[server:main]`. These `variables` of the command line win over them: http_host,
    http_port, request_timeout (seconds within which a whole request must arrive), processes (how many serve at the
    port), own_processor (whether a process keeps to one processor) and trusted_proxy (the address or network of the
    proxies in front, `*` for any, whose X-Forwarded-For and X-Forwarded-Proto are trusted). An unusable value ends the
    process with one line and exit code 1.
    """
    options, sockets = _listen(variables, ini)
    # All objects made so far live as long as the process: searching them for garbage would cost up to a tenth.
    gc.collect()
    gc.freeze()

    def run(number: int | None, parent_pipe: int | None) -> int:
        if options.own_processor:
            pin_to_processor(number)
        return _run(app, sockets, options, parent_pipe)

    if options.processes == 1:
        return run(None, None)
    for engine in app.registry.services.engines:
        engine.dispose()  # processes must not share a database connection
    return serve_in_processes(options.processes, sockets, run)


def _listen(variables: Mapping[str, str], ini: Mapping[str, str]) -> tuple[ServerOptions, list[socket.socket]]:
    """Read the options and open the sockets, or end the process with one line."""
    try:
        options = read_options(variables, ini)
    except ValueError as error:
        _exit_with(str(error))
    try:
        return options, _open_sockets(options)
    except (OSError, ValueError) as error:
        _exit_with(f"cannot listen on {options.host}:{options.port}: {error}")


def _open_sockets(options: ServerOptions) -> list[socket.socket]:
    adjustments = Adjustments(host=options.host, port=options.port, **options.waitress)
    return [
        socket.create_server(address, family=family, backlog=adjustments.backlog)
        for family, _, _, address in adjustments.listen
    ]


def _exit_with(message: str) -> NoReturn:
    sys.stderr.write(f"productagg: {message}\n")
    # pserve turns a SystemExit into exit code 0, and any other exception into a traceback.
    os._exit(1)


def _run(app: Any, sockets: Sequence[socket.socket], options: ServerOptions, parent_pipe: int | None) -> int:
    watched: dict[int, Any] = {}
    dispatcher = Dispatcher(options.adjustments().threads)
    # ident=None: no Server header, which would only help an attacker.
    server = create_server(app, map=watched, _dispatcher=dispatcher, sockets=sockets, ident=None, **options.waitress)
    server.adj.request_timeout = options.request_timeout
    server.adj.proxy = options.proxy
    server.adj.body_limits = BodyLimits(SERVICES, ceiling=server.adj.max_request_body_size)
    for listener in watched.values():
        if isinstance(listener, BaseWSGIServer):
            listener.channel_class = Channel
            listener.cors_origins = app.registry.services.settings.cors_origins
    loop = Loop(watched, dispatcher, app.registry, parent_pipe)
    handle_stop_signals(loop.begin_shutdown)
    write_in_batches()
    server.print_listen("productagg serves on http://{}:{}")
    loop.run()
    return 0
