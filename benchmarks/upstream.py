"""The Offers service of the benchmarks: a process of its own that responds as fast as asyncio allows.

`Upstream` starts and controls it. A formula gives the ten offers of each product. A *round* is a state of all offers;
from one round to the next, three of ten offers change their price. The service checks no token and accepts every
product id.
"""

import asyncio
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self, cast

OFFERS_PER_PRODUCT = 10
CHANGED_PER_ROUND = 3
ITEMS_IN_STOCK = 100
BASE_PATH = "/api/v1"
_ROOT = Path(__file__).resolve().parents[1]
# An offer's id is its product's id, except for the last two digits, which are the offer's number.
_ID_LENGTH, _PREFIX_LENGTH = 36, 34
_PREFIX = b"@" * _PREFIX_LENGTH


def prices(round_: int) -> list[int]:
    """Return the prices of the ten offers of every product in a round."""
    return [1000 + 100 * number + 10 * _changes(number, round_) for number in range(OFFERS_PER_PRODUCT)]


def _changes(number: int, round_: int) -> int:
    """Return how many rounds, up to this one, changed an offer's price. Each round changes the next three offers."""
    positions = ((number - CHANGED_PER_ROUND * past) % OFFERS_PER_PRODUCT for past in range(1, round_ + 1))
    return sum(position < CHANGED_PER_ROUND for position in positions)


class Upstream:
    """The service, running while the context is open, with its current `round` and `latency` in seconds."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.upstream"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        assert self._process.stdout is not None
        self._url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.base_url = self._url + BASE_PATH
        self.round, self.latency = 0, 0.0
        return self

    def __exit__(self, *_: object) -> None:
        # The service ends when its input ends, even if this process is killed.
        self._process.communicate()

    def advance(self) -> None:
        """Advance to the next round: 30 % of the offers change."""
        self.round += 1
        self._control()

    def set_latency(self, latency: float) -> None:
        """Delay each response by so many seconds from now on."""
        self.latency = latency
        self._control()

    def _control(self) -> None:
        command = json.dumps({"round": self.round, "latency": self.latency}).encode()
        with urllib.request.urlopen(self._url + "/control", data=command):
            pass


class _State:
    def __init__(self) -> None:
        self.apply({"round": 0, "latency": 0.0})

    def apply(self, command: dict[str, Any]) -> None:
        self.latency: float = command["latency"]
        offers = [
            {"id": f"{_PREFIX.decode()}{number:02x}", "price": price, "items_in_stock": ITEMS_IN_STOCK}
            for number, price in enumerate(prices(command["round"]))
        ]
        self.offers = _answer("200 OK", json.dumps(offers).encode())


def _answer(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_TOKEN = _answer("201 Created", b'{"access_token": "benchmark"}')
_REGISTERED = _answer("201 Created", b'{"id": "registered"}')
_DONE = _answer("200 OK", b"{}")
_UNKNOWN = _answer("404 Not Found", b"{}")
_GET_OFFERS = f"GET {BASE_PATH}/products/".encode()


class _HttpProtocol(asyncio.Protocol):
    """A connection, kept alive: as much of HTTP/1.1 as the clients of the benchmarks need."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            end += 4
            if not head.startswith(b"GET "):
                end += _content_length(head)
                if len(self._received) < end:
                    return
            answer = self._answer(head, self._received[len(head) + 4 : end])
            self._received = self._received[end:]
            if self._state.latency:
                self._loop.call_later(self._state.latency, self._transport.write, answer)
            else:
                self._transport.write(answer)

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(_GET_OFFERS):
            start = len(_GET_OFFERS)
            return self._state.offers.replace(_PREFIX, head[start : start + _PREFIX_LENGTH])
        path = head.split(b" ", 2)[1].decode()
        if path == "/control":
            self._state.apply(json.loads(body))
            return _DONE
        return {f"{BASE_PATH}/auth": _TOKEN, f"{BASE_PATH}/products/register": _REGISTERED}.get(path, _UNKNOWN)


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    state = _State()
    server = await loop.create_server(lambda: _HttpProtocol(state), "127.0.0.1", 0)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
