"""A pooler in front of PostgreSQL, as far as the tests need one: it shares connections, and drops start-up parameters.

Speaks just enough of the protocol for psycopg2 (simple queries, no password). As PgBouncer does, it keeps for each
client the few settings that the protocol reports, and drops `options`. Nothing else is kept apart.
"""

import socket
import socketserver
import struct
import threading
from collections import deque
from contextlib import suppress

_TRACKED = ("client_encoding", "DateStyle", "standard_conforming_strings", "application_name")
_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102


class Pooler:
    """Listens while entered. `mode` is 'transaction' or 'session'; `sent` has the text of every query.

    Of the server connections that are free, the one that was used last serves next; `in_turn`: the one that waits the
    longest.
    """

    def __init__(self, server, database, *, mode="transaction", connections=2, in_turn=False):
        self.database = database
        self.mode = mode
        self.in_turn = in_turn
        self.sent: list[str] = []
        self._path = f"{server.home}/.s.PGSQL.5432"
        self._clients: list[_Connection] = []
        self._free: deque[_Connection] = deque()
        self._left = connections
        self._changed = threading.Condition()

    def __enter__(self):
        pooler = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client = _Connection(self.request)
                pooler._clients.append(client)
                with suppress(OSError):
                    pooler._serve(client)
                client.close()

        self._listener = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown()
        for client in self._clients:
            with suppress(OSError):
                client.socket.shutdown(socket.SHUT_RDWR)
        self._listener.server_close()  # when all threads have ended
        for server in self._free:
            server.close()

    @property
    def url(self):
        host, port = self._listener.socket.getsockname()
        return f"postgresql://postgres@{host}:{port}/{self.database}?sslmode=disable"

    def _serve(self, client):
        requested = client.start_up()
        if requested is None:
            return
        server = self._take()
        self._put_back(server)  # it has told its settings
        client.settings = {**server.settings, **requested}
        client.send(b"R", struct.pack("!i", 0))
        for name, value in client.settings.items():
            client.send(b"S", f"{name}\0{value}\0".encode())
        client.send(b"K", struct.pack("!ii", 4711, 4711))
        client.send(b"Z", b"I")
        server, status = None, b"I"
        try:
            while (message := client.receive())[0] != b"X":
                if server is None:
                    server = self._take()
                    server.adopt(client.settings)
                self.sent.append(message[1].rstrip(b"\0").decode())
                server.send(*message)
                while status := self._relay(server, client):
                    if status != b".":
                        break
                if status == b"I" and self.mode == "transaction":
                    server = self._put_back(server)
        finally:
            if server is not None:
                self._put_back(server, usable=status == b"I")

    def _relay(self, server, client):
        kind, body = server.receive()
        if kind == b"S":
            client.settings[body.split(b"\0")[0].decode()] = body.split(b"\0")[1].decode()
        client.send(kind, body)
        return body if kind == b"Z" else b"."

    def _take(self):
        with self._changed:
            while not self._free:
                if self._left:
                    self._left -= 1
                    return _Connection.to_server(self._path, self.database)
                assert self._changed.wait(20), "no server connection came free"
            return self._free.popleft() if self.in_turn else self._free.pop()

    def _put_back(self, server, *, usable=True):
        with self._changed:
            if usable:
                self._free.append(server)
            else:
                server.close()
                self._left += 1
            self._changed.notify()


class _Connection:
    def __init__(self, connected):
        self.socket = connected
        self.settings = {}
        self._input = connected.makefile("rb")

    @classmethod
    def to_server(cls, path, database):
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(path)
        server = cls(connected)
        parameters = f"user\0postgres\0database\0{database}\0\0".encode()
        connected.sendall(struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters)
        server.settle()
        return server

    def close(self):
        self._input.close()
        self.socket.close()

    def start_up(self):
        """Those of the start-up parameters that are kept; None if the client wants something else."""
        while True:
            length, version = struct.unpack("!ii", self._read(8))
            body = self._read(length - 8)
            if version == _CANCEL:
                return None
            if version not in (_SSL, _GSS):
                break
            self.socket.sendall(b"N")
        words = body.decode().split("\0")
        given = dict(zip(words[::2], words[1::2], strict=False))
        return {name: given[name] for name in _TRACKED if name in given}

    def adopt(self, settings):
        """Have a client's settings."""
        for name in _TRACKED:
            value = settings.get(name)
            if value is not None and value != self.settings.get(name):
                self.send(b"Q", f"SET {name} TO '{value}'\0".encode())
                self.settle()
                self.settings[name] = value

    def settle(self):
        while (message := self.receive())[0] != b"Z":
            assert message[0] != b"E", message
            if message[0] == b"S":
                name, value, _ = message[1].split(b"\0")
                self.settings[name.decode()] = value.decode()

    def send(self, kind, body):
        self.socket.sendall(kind + struct.pack("!i", 4 + len(body)) + body)

    def receive(self):
        kind, length = struct.unpack("!ci", self._read(5))
        return kind, self._read(length - 4)

    def _read(self, size):
        received = self._input.read(size)
        if len(received) < size:
            raise ConnectionError
        return received
