"""A server that sends exactly the bytes of a test's script, for misbehaviour that the sandbox does not offer."""

import fcntl
import itertools
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# For the name localhost, signed by itself: its key and its certificate are in one file.
CERTIFICATE = Path(__file__).with_name("localhost.pem")


# For a script: end the connection with a reset (RST), where None ends it politely (FIN).
RESET = "reset"


class Request(NamedTuple):
    """`connection` and `position` say on which connection it came (1, 2, …), and as which request there (1, 2, …)."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int = 0
    position: int = 0

    def header(self, name):
        return [value for header, value in self.headers if header.lower() == name.lower()]


# What to do about a request: send these bytes, wait for so many seconds or for the test to set an event, or close the
# connection (None, RESET).
Piece = bytes | float | threading.Event | str | None
Script = Callable[[Request], Iterable[Piece]]


class ScriptedServer:
    """Listens on a free port for the length of a `with` block and answers every request with what `script` yields.

    `requests` holds the complete requests, `played` counts the requests whose script was followed to its end and whose
    last byte has reached the client's machine;
    `connections` counts the accepted connections, `open` those that neither the client nor a script has closed. `greet`
    is sent before anything is read.
    """

    def __init__(self, script: Script, *, tls: bool = False, greet: Iterable[Piece] = ()) -> None:
        self.script = script
        self.greet = greet
        self.requests: list[Request] = []
        self.played = 0
        self.connections = 0
        self.open = 0
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._tls = None
        if tls:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(CERTIFICATE)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.base_url = f"{'https://localhost' if tls else 'http://127.0.0.1'}:{self.port}/api/v1"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        with suppress(OSError):
            # Wakes the thread that accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def wait_until(self, holds, seconds=5.0):
        """Whether `holds(self)` comes true within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: holds(self), seconds)

    def _accept(self):
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self._count(connections=1, open=1)
                threading.Thread(target=self._serve, args=[connection, self.connections], daemon=True).start()

    def _serve(self, connection, number):
        # In many tests, the client goes away in the middle of a handshake or of a response.
        with suppress(OSError), connection:
            connection.settimeout(10)
            self._converse(connection, number)
        self._count(open=-1)

    def _converse(self, connection, number):
        if not self._play(connection, self.greet):
            return
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with connection, connection.makefile("rb") as reader:
            position = 0
            while (request := read_request(reader)) is not None:
                position += 1
                request = request._replace(connection=number, position=position)
                self.requests.append(request)
                goes_on = self._play(connection, self.script(request))
                wait_until_delivered(connection)
                self._count(played=1)
                if not goes_on:
                    return

    def _play(self, connection, pieces):
        for piece in pieces:
            if piece is None or self._stopping.is_set():
                return False
            if piece == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            if isinstance(piece, threading.Event):
                piece.wait(10)
            elif isinstance(piece, bytes):
                connection.sendall(piece)
            elif self._stopping.wait(piece):
                return False
        return True

    def _count(self, played=0, connections=0, open=0):  # noqa: A002
        with self._changed:
            self.played += played
            self.connections += connections
            self.open += open
            self._changed.notify_all()


def wait_until_delivered(connection, seconds=1.0):
    """Wait until the other side's kernel has acknowledged all that was sent, for so many seconds at most."""
    deadline = time.monotonic() + seconds
    unsent = bytearray(4)
    while connection.fileno() >= 0 and time.monotonic() < deadline:
        fcntl.ioctl(connection, termios.TIOCOUTQ, unsent)  # SIOCOUTQ, of tcp(7), has the same number
        if not any(unsent):
            return
        time.sleep(0.001)


def read_request(reader) -> Request | None:
    """The next request of a connection, None at its end."""
    line = reader.readline().decode("latin-1")
    if not line:
        return None
    method, target, _ = line.split()
    headers = []
    while line := reader.readline().strip().decode("latin-1"):
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Request(method, target, headers, reader.read(length))


def answer(body=b"[]", status="200 OK", *headers):
    """A whole answer as it should be."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def priced(price):
    """A whole answer with one offer at this price."""
    return answer(b'[{"id": "6fa459ea-ee8a-4ca4-894e-db77e160355e", "price": %d, "items_in_stock": 1}]' % price)


def price(offers):
    """The price of that one offer."""
    [(price, _)] = offers.values()
    return price


def always(*pieces) -> Script:
    """A script that is the same for every request."""
    return lambda _request: pieces


def drip(head, piece, seconds=0.02):
    """Send the head, and then the piece again and again, without an end."""
    return itertools.chain([head], itertools.chain.from_iterable(itertools.repeat([seconds, piece])))
