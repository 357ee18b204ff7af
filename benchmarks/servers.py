"""Web servers in processes of their own, as somebody would start them, and what they use."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import requests

from benchmarks.harness import ROOT, without_options

_START_SECONDS = 60


class WebServer:
    """From entering to leaving: a command in whose arguments `{port}` is replaced, answering at `url`.

    What it writes goes into a file, as a log does.
    """

    def __init__(self, command: Iterable[str | Path], environ: Mapping[str, str], path: str = "/health/live") -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [str(part).format(port=self.port) for part in command]
        self._environ = without_options(environ)
        self._path = path

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile("w+")
        started = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            env=self._environ,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
        )
        self._wait()
        self.start_seconds = time.perf_counter() - started
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._output.close()

    @property
    def cpu_seconds(self) -> float:
        """What all processes have used so far."""
        return sum(sum(each.cpu_times()[:2]) for each in self._processes())

    @property
    def memory(self) -> list[float]:
        """What each process has of its own in memory, in MB; what they share is counted in each by its part."""
        return [each.memory_full_info().pss / 1e6 for each in self._processes()]

    def _processes(self) -> list[Any]:
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def _wait(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            try:
                if requests.get(self.url + self._path, timeout=10).status_code < 500:
                    return
            except requests.ConnectionError:
                pass
            if self._process.poll() is not None:
                break
            time.sleep(0.002)
        self._process.kill()
        self._output.seek(0)
        raise RuntimeError(f"{' '.join(self._command)} does not answer:\n{self._output.read()}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
