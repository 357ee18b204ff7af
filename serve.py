"""`make serve` runs everything on one machine: the web service, the sandbox and one sync run a minute.

For development only. Ctrl-C stops everything; the data stays in var/, until `make reset` removes it.
"""

import argparse
import contextlib
import errno
import fcntl
import os
import shlex
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

from honcho.manager import Manager

CONFIG = "development.ini"
DATABASE = Path(__file__).with_name("var") / "productagg.sqlite"
# Pyramid 2.1 and Cornice 6.1 import pkg_resources, which warns at each start that setuptools 82 removes it. setup.cfg
# keeps setuptools below 82.
WARNINGS = "ignore:pkg_resources is deprecated:UserWarning"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--web-port", type=int, default=6543)
    parser.add_argument("--sandbox-port", type=int, default=6544)
    parser.add_argument("--every", type=int, default=60, metavar="SECONDS", help="pause between two sync runs")
    parser.add_argument("--reload", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--reset", action="store_true", help=f"remove {DATABASE} and end; the next start begins anew")
    options = parser.parse_args()

    for port in (options.web_port, options.sandbox_port):
        if not is_free(port):
            print(f"port {port} is taken by another program, perhaps another 'make serve': stop it", file=sys.stderr)
            return 1
    if options.reset:
        return reset(DATABASE)
    if "DATABASE_URL" not in os.environ:
        lock_directory(DATABASE, fcntl.LOCK_SH)
    web = f"http://localhost:{options.web_port}"
    sandbox = f"http://localhost:{options.sandbox_port}"
    os.environ.update(
        OFFERS_BASE_URL=f"{sandbox}/api/v1",
        # The sandbox's shops are on this machine.
        SOURCES_ALLOW_PRIVATE_NETWORKS="true",
        PYTHONUNBUFFERED="1",
        PYTHONWARNINGS=WARNINGS,
    )
    if exit_code := prepare(sandbox):
        return exit_code

    print(WELCOME.format(web=web, sandbox=sandbox), flush=True)
    manager = Manager()
    processes = {
        # The reloader kills a server that takes longer than its interval to stop.
        "web": f"exec pserve {CONFIG} http_port={options.web_port}"
        + (" --reload --reload-interval 3" if options.reload else ""),
        "sandbox": f"exec {shlex.quote(sys.executable)} -m productagg.sandbox --quiet --port {options.sandbox_port}",
        # The first run waits a moment for the sandbox.
        "sync": f"sleep 2; while :; do productagg sync {CONFIG}; sleep {options.every}; done",
    }
    for name, command_line in processes.items():
        manager.add_process(name, command_line, env=dict(os.environ))
    manager.loop()
    # 130 and 143 are SIGINT and SIGTERM: Ctrl-C is the normal end.
    return 0 if manager.returncode in (130, 143) else manager.returncode


def prepare(sandbox: str) -> int:
    """Migrate the database and fill it, if it is empty; returns an exit code other than 0 if that fails."""
    migrate = ["alembic", "-c", CONFIG, "upgrade", "head"]
    if exit_code := subprocess.run(migrate, check=False).returncode:
        return exit_code
    with subprocess.Popen([sys.executable, "-m", "productagg.sandbox.past"], stdout=subprocess.PIPE) as past:
        sample = ["productagg", "sample", CONFIG, "--sandbox", sandbox, "--past", "-"]
        exit_code = subprocess.run(sample, stdin=past.stdout, check=False).returncode
        past.terminate()  # nobody reads it if the catalogue has products already
    return exit_code


def reset(database: Path) -> int:
    """Remove the SQLite database, unless a program uses it; returns the exit code."""
    if "DATABASE_URL" in os.environ:
        print(f"DATABASE_URL is set, and only {database} is removed: unset it", file=sys.stderr)
        return 1
    if not database.exists():
        print("there is no database: 'make serve' makes one")
        return 0
    try:
        lock = lock_directory(database, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("'make serve' is running: stop it", file=sys.stderr)
        return 1
    try:
        return remove(database)
    finally:
        os.close(lock)


def remove(database: Path) -> int:
    """Remove the database's files, unless a program has it open; returns the exit code."""
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=0)) as connection:
            # Another journal needs the database for itself alone. It also removes the files of the write-ahead log.
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        print(f"a program uses {database}: stop it ({error})", file=sys.stderr)
        return 1
    except sqlite3.DatabaseError:
        pass  # it is damaged, so that no program can use it
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    print("removed; the next 'make serve' begins anew")
    return 0


def lock_directory(database: Path, operation: int) -> int:
    """Lock the database's directory until the returned file descriptor is closed. Raises BlockingIOError.

    Whoever serves the database holds a shared lock: while it starts, no port is taken and no connection is open.
    """
    database.parent.mkdir(exist_ok=True)
    directory = os.open(database.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, operation)
    except BlockingIOError:
        os.close(directory)
        raise
    return directory


def is_free(port: int) -> bool:
    """Whether no program listens at the port on this machine."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
    return True


WELCOME = """
productagg runs at {web} (Ctrl-C stops it; the data stays in var/).

  the catalogue:        curl {web}/products
  log in (admin/admin): curl {web}/login -H 'Content-Type: application/json' \\
                             -d '{{"username": "admin", "password": "admin"}}'
  the sandbox: the Offers service and three shops, such as {sandbox}/shops/kellermann
  README.md has a five-minute tour.
"""

if __name__ == "__main__":
    sys.exit(main())
