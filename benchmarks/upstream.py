"""The Offers service of the benchmarks: a process of its own that answers as fast as asyncio allows.

`Upstream` starts it and controls it. Every product has ten offers that a formula gives; a *round* is a state of all of
them, and from one round to the next three of ten change their price. It checks no token and knows every product.
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
# An offer's id is its product's, but for the last two digits, which number the offer.
_ID_LENGTH, _PREFIX_LENGTH = 36, 34
_PREFIX = b"@" * _PREFIX_LENGTH


def prices(round_: int) -> list[int]:
    """What the ten offers of every product cost in a round."""
    return [1000 + 100 * number + 10 * _changes(number, round_) for number in range(OFFERS_PER_PRODUCT)]


def _changes(number: int, round_: int) -> int:
    """How many rounds up to this one have changed an offer's price: each three, one after the other."""
    places = ((number - CHANGED_PER_ROUND * past) % OFFERS_PER_PRODUCT for past in range(1, round_ + 1))
    return sum(place < CHANGED_PER_ROUND for place in places)


class Upstream:
    """The service, from entering to leaving. `round` is the present one, `latency` what an answer waits, in seconds."""

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
        # The end of its input is the end of the service, even if we are killed.
        self._process.communicate()

    def advance(self) -> None:
        """Go on to the next round: 30 % of the offers change."""
        self.round += 1
        self._control()

    def wait(self, latency: float) -> None:
        """Let each answer wait so many seconds from now on."""
        self.latency = latency
        self._control()

    def _control(self) -> None:
        order = json.dumps({"round": self.round, "latency": self.latency}).encode()
        with urllib.request.urlopen(self._url + "/control", data=order):
            pass


class _State:
    def __init__(self) -> None:
        self.obey({"round": 0, "latency": 0.0})

    def obey(self, order: dict[str, Any]) -> None:
        self.latency: float = order["latency"]
        offers = [
            {"id": f"{_PREFIX.decode()}{number:02x}", "price": price, "items_in_stock": ITEMS_IN_STOCK}
            for number, price in enumerate(prices(order["round"]))
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


class _Exchanges(asyncio.Protocol):
    """One connection: HTTP/1.1, kept alive, with as much of it as the clients of the benchmarks use."""

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
            self._state.obey(json.loads(body))
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
    server = await loop.create_server(lambda: _Exchanges(state), "127.0.0.1", 0)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
