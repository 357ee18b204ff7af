"""Runs `pserve` in a process of its own, for the tests that want a server and not only an application."""

import io
import os
import re
import signal
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from webob import Response

from tests.functional import forked
from tests.integration.conftest import wait_until
from tests.leaks import watch

_SERVER_ALONE = """
import sys, plaster
_, ini, *variables = sys.argv
load = plaster.get_loader(ini, protocols=["wsgi"]).get_wsgi_server
load("main", dict(variable.split("=", 1) for variable in variables))(None)
"""
# What the program `pserve` does. tests/e2e starts the program itself.
_PSERVE = "import sys; from pyramid.scripts.pserve import main; sys.exit(main(sys.argv))"


def refusal(database, directory, *variables, ini="development.ini"):
    """The last line that `pserve` prints when it refuses to start, with exit code 1 and without a traceback."""
    log = directory / "refusal"
    environ = {**os.environ, "DATABASE_URL": database.url}
    process = forked.start(_PSERVE, "pserve", ini, "http_host=127.0.0.1", *variables, environ=environ, output=log)
    assert process.wait() == 1
    said = log.read_text()
    watch.look(said, "the server's log")
    assert "Traceback" not in said
    return said.splitlines()[-1]


def request(method, path, body=b"", *headers):
    lines = (
        b"%s %s HTTP/1.1" % (method, path.encode()),
        b"Host: localhost",
        b"Content-Length: %d" % len(body),
        *headers,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def refused_options(*variables, ini="development.ini"):
    """The line with which the server refuses what the ini file and the command line say about it.

    As `refusal`, but without the application.
    """
    with TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        process = forked.start(_SERVER_ALONE, "server", ini, *variables, environ=dict(os.environ), output=log)
        try:
            code = process.wait()  # a server that takes the options would serve for ever
        finally:
            process.kill()
            process.wait()
        said = log.read_text()
    assert code == 1, said
    return said.splitlines()[-1]


class Requests:
    """Requests that are sent at the same time."""

    def __init__(self, server, *requests):
        self.answers = []
        self._threads = [threading.Thread(target=self._send, args=(server, request)) for request in requests]
        for thread in self._threads:
            thread.start()

    def _send(self, server, request):
        self.answers.append(server.send(request))

    def join(self):
        for thread in self._threads:
            thread.join()
        return self.answers


class Server:
    """A running `pserve`. Its log goes to a file; `port` is where it listens."""

    def __init__(self, process, log):
        self.process = process
        self._log = log
        deadline = time.monotonic() + 120
        while (match := re.search(r"productagg serves on http://127\.0\.0\.1:(\d+)", log.read_text())) is None:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        self.port = int(match[1])

    def wait_for_starts(self, count):
        """Wait until so many processes have begun to serve, since the server was started."""
        wait_until(lambda: self._log.read_text().count("productagg serves on") >= count)

    def log(self):
        """The log until now. Lines are written in their order, so a request with a mark of its own shows the end."""
        if self.process.poll() is None:
            mark = f"look-{uuid4()}"
            self.send(f"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {mark}\r\n\r\n".encode())
            wait_until(lambda: mark in self._log.read_text())
        return re.sub(r".*\[look-.*\n", "", self._log.read_text())

    def logged(self, text):
        """Wait until any of its processes has logged this text."""
        wait_until(lambda: text in self._log.read_text())

    def send(self, *parts):
        """Send bytes as they are; returns the first answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            for part in parts:
                connection.sendall(part)
            received = connection.makefile("rb")
            lines = []
            while (line := received.readline()).strip():
                lines.append(line)
            head = b"".join(lines)
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = received.read(int(length[1])) if length else b""
        return Response.from_file(io.BytesIO(head + b"\r\n" + body))

    def stop(self, how=signal.SIGTERM):
        """Ask it to end; returns its exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout=20)


@contextmanager
def serving(database, directory, *variables, before="", **environ):
    """A server, after the Python code `before` has run in its process."""
    log = directory / "log"
    log.touch()
    process = forked.start(
        before + _PSERVE,
        *("pserve", "development.ini", "http_host=127.0.0.1", "http_port=0", *variables),
        # Not the ini file's Offers service: `make serve` may run beside the tests.
        environ={
            **os.environ,
            "DATABASE_URL": database.url,
            "OFFERS_BASE_URL": "http://127.0.0.1:9/api/v1",
            **environ,
        },
        output=log,
    )
    try:
        server = Server(process, log)
        database.empty()  # of the admin that the first start makes
        yield server
    finally:
        process.kill()
        process.wait()
        watch.look(log.read_text(), "the server's log")
