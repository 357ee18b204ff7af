"""A public internet of this machine's own: names, public addresses, and the local servers behind them."""

import errno
import socket

# Addresses of the public internet, for the hosts of tests. Nothing ever connects to them.
SHOP, OTHER, CLOUD = "93.184.216.34", "151.101.1.69", "104.16.132.229"


class Internet:
    """While it is there, these are the only names and addresses, and no packet leaves the machine."""

    def __init__(self, monkeypatch):
        self.look_ups: list[str] = []
        self.connected: list[str] = []
        """Addresses that something tried to connect to."""
        self._names: dict[str, list[list[str]]] = {}
        self._ports: dict[str, int] = {}
        self._getaddrinfo, self._connect = socket.getaddrinfo, socket.socket.connect
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)
        monkeypatch.setattr(socket.socket, "connect", lambda *args: self._open(*args))

    def name(self, host, *answers):
        """What the name server answers for `host`: addresses each time, the last answer from then on."""
        self._names[host] = [[answer] if isinstance(answer, str) else answer for answer in answers]

    def serve(self, address, server):
        """Have connections to an address, at any port, arrive at a local server."""
        self._ports[address] = server.port

    def shop(self, server, host="shop.test", address=SHOP):
        """A host with one address, and its server. Returns its address in the web."""
        self.name(host, address)
        self.serve(address, server)
        return f"http://{host}"

    def _look_up(self, host, port, **options):
        self.look_ups.append(host)
        if answers := self._names.get(host):
            addresses = answers.pop(0) if len(answers) > 1 else answers[0]
            return [found for address in addresses for found in self._numeric(address, port, **options)]
        return self._numeric(host, port, **options)

    def _numeric(self, host, port, **options):
        return self._getaddrinfo(host, port, flags=socket.AI_NUMERICHOST, **options)

    def _open(self, connection, address):
        self.connected.append(address[0])
        if address[0] not in self._ports:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        self._connect(connection, ("127.0.0.1", self._ports[address[0]]))
