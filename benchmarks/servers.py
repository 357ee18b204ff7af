"""Web servers, started as on the command line, and the CPU time and memory that they use."""

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
    """A server that runs while the context is open, at `url`. `{port}` in its command is replaced by a free port.

    Its output goes to a file, as a log does.
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
        """The CPU time that all of its processes have used so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    @property
    def memory(self) -> list[float]:
        """The memory of each process in MB. Memory that processes share is divided among them."""
        return [process.memory_full_info().pss / 1e6 for process in self._processes()]

    def _processes(self) -> list[Any]:
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
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
