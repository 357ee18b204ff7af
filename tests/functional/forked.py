"""Programs that start fast: forks of one process that has imported the application, which takes a second.

A program is Python code. It gets arguments, an environment and a file for its output, and runs as the main program of
a process of its own, to the very end of its interpreter.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from importlib import import_module
from pathlib import Path

POLL_SECONDS = 0.005


class Program:
    """A running program, as `subprocess.Popen` has it."""

    def __init__(self, origin, pid):
        self.pid = pid
        self.returncode = None
        self._origin = origin

    def poll(self):
        if self.returncode is None:
            self.returncode = self._origin.order("poll", self.pid)
        return self.returncode

    def wait(self, timeout=60):
        give_up_at = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > give_up_at:
                raise subprocess.TimeoutExpired("a forked program", timeout)
            time.sleep(POLL_SECONDS)
        return self.returncode

    def send_signal(self, how):
        if self.poll() is None:
            os.kill(self.pid, how)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class _Origin:
    """The process from which the programs are forked. It ends, and its programs with it, when this process does."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        atexit.register(self._end)

    def order(self, *what):
        with self._lock:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def _end(self):
        with self._process:
            pass


@cache
def _origin():
    return _Origin()


def start(code, *arguments, environ, output):
    """Start a program; `output` is the path of the file to which it writes."""
    given = [str(argument) for argument in arguments]
    return Program(_origin(), _origin().order("start", code, given, environ, str(output)))


def _run_origin():
    """Carry the orders out. Returns the code of the program in its own process, and None in this one at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: this process ends with the tests
    running: set[int] = set()
    gc.collect()
    gc.freeze()  # the forks share memory
    for line in sys.stdin.buffer:
        what, *given = json.loads(line)
        if what == "poll":
            answer = _exit_code(*given)
            if answer is not None:
                running.discard(*given)
        else:
            answer = os.fork()
            if answer == 0:
                return _become(*given)
            running.add(answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    return None


def _exit_code(pid):
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(code, arguments, environ, output):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing, written = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for used, stream in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(used, stream)
    os.close(nothing)
    os.close(written)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = arguments
    return code


def _import_everything():
    """What the programs need: also what is imported only once an application is made, or a database is opened."""
    for name in (
        "plaster_pastedeploy",
        "productagg.app",
        "productagg.server.factory",
        "psycopg2.extras",
        "pyramid.scripts.pserve",
        "pyramid_tm",
        "sqlalchemy.dialects.postgresql.psycopg2",
        "sqlalchemy.dialects.sqlite.pysqlite",
        "webtest",
    ):
        import_module(name)


if __name__ == "__main__":
    _import_everything()
    program = _run_origin()
    if program is not None:
        exec(program, {"__name__": "__main__"})
