"""The project's commands as processes of their own, without the second that each takes to import what it needs.

A server imports that once and forks a process off for each command. This has the same file descriptors, environment,
signals and end as a started one. What is about the start itself, starts the installed command: `factories.start`.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path

from tests.leaks import watch

PROJECT = Path(__file__).parents[1]


class Server:
    """Starts on entering; ends on leaving."""

    def __enter__(self):
        self._channel, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(its.fileno())],
                cwd=PROJECT,
                env={name: value for name, value in os.environ.items() if name.startswith(("PATH", "COVERAGE_"))},
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )
        return self

    def __exit__(self, *_):
        self._channel.close()
        self._process.wait(10)

    def start(self, *command, env, stdin=None, stdout=None, stderr=None, constants=None):
        """Start `productagg …` or `alembic …`; a stream that is not given is empty, or a file that `communicate` reads.

        `constants` are values for constants of modules: `{"productagg.cli.import_run.RECORDS_PER_BATCH": 10}`.
        """
        return Program(self._channel, command, env, [stdin, stdout, stderr], constants or {})


class Program:
    """A process, with what the tests use of `subprocess.Popen`."""

    def __init__(self, channel, command, env, streams, constants):
        self.args = command
        self.returncode = None
        with ExitStack() as files:
            made = [files.enter_context(tempfile.TemporaryFile()) for _ in streams]
            self._files = files.pop_all()
        given = [new.fileno() if stream is None else stream for stream, new in zip(streams, made, strict=True)]
        self._output, self._error = (
            new if stream is None else None for stream, new in zip(streams[1:], made[1:], strict=True)
        )
        self._ended, its = socket.socketpair()
        request = json.dumps([command, env, constants]).encode() + b"\n"
        with its:
            socket.send_fds(channel, [request], [*given, its.fileno()])
        self._lines = self._ended.makefile()
        self.pid = int(self._lines.readline())

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        """Kill it, if it is still there."""
        with suppress(ProcessLookupError):
            self.send_signal(signal.SIGKILL)

    def is_alive(self):
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self.wait()
        return self.returncode is None

    def wait(self, timeout=60):
        if self.returncode is None:
            self._ended.settimeout(timeout)
            self.returncode = int(self._lines.readline())
        return self.returncode

    def communicate(self, timeout=60):
        """Wait for its end: what it wrote to standard output and to standard error."""
        self.wait(timeout)
        return self._read(self._output), self._read(self._error)

    def close(self):
        self._lines.close()
        self._ended.close()
        self._files.close()

    def _read(self, file):
        if not file:
            return None
        file.seek(0)
        text = file.read().decode()
        watch.look(text, f"printed by {self.args}")
        return text


def _serve(channel):
    """Fork a process off for every request. Returns in that process, with the command as sys.argv."""
    # Nobody waits for the watchers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, *_ = socket.recv_fds(channel, 1 << 16, 4)
        if not request:
            raise SystemExit
        while not request.endswith(b"\n"):
            request += channel.recv(1 << 16)
        if os.fork() == 0:
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *streams, report = descriptors
            return _watched(streams, report) or _become(streams, *json.loads(request))
        for descriptor in descriptors:
            os.close(descriptor)


def _watched(streams, report):
    """Fork once more, tell the new process's id and how it ends, and end. Returns in the new process."""
    if (child := os.fork()) == 0:
        os.close(report)
        return
    for descriptor in streams:
        os.close(descriptor)
    os.write(report, b"%d\n" % child)
    # Ctrl-C is for the program alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(report, b"%d\n" % code)
    os._exit(0)


def _become(streams, command, env, constants):
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", errors="backslashreplace", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(env)
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        setattr(import_module(module), constant, value)
    sys.argv = command


def _import_all():
    from alembic.config import main as alembic

    from productagg.cli import main

    for command in main.list_commands(None):  # type: ignore[arg-type]
        main.get_command(None, command)  # type: ignore[arg-type]
    for name in (
        "alembic.runtime.migration",
        "psycopg2",
        "sqlalchemy.dialects.postgresql",
        "sqlalchemy.dialects.sqlite",
    ):
        import_module(name)
    return {"productagg": main, "alembic": alembic}


if __name__ == "__main__":
    programs = _import_all()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    # As the console scripts do
    sys.exit(programs[Path(sys.argv[0]).name]())
