"""`make serve` runs everything on one machine: the web service, the sandbox Offers service and one sync run a minute.

For development only. Ctrl-C stops everything; the data stays in var/.
"""

import argparse
import errno
import os
import shlex
import socket
import subprocess
import sys

from honcho.manager import Manager

CONFIG = "development.ini"
# Pyramid 2.1 and Cornice 6.1 import pkg_resources, which warns at each start that setuptools 82 removes it. setup.cfg
# keeps setuptools below 82.
WARNINGS = "ignore:pkg_resources is deprecated:UserWarning"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--web-port", type=int, default=6543)
    parser.add_argument("--sandbox-port", type=int, default=6544)
    parser.add_argument("--every", type=int, default=60, metavar="SECONDS", help="pause between two sync runs")
    parser.add_argument("--reload", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()

    for port in (options.web_port, options.sandbox_port):
        if not is_free(port):
            print(f"port {port} is taken by another program, perhaps another 'make serve': stop it", file=sys.stderr)
            return 1
    web = f"http://localhost:{options.web_port}"
    sandbox = f"http://localhost:{options.sandbox_port}/api/v1"
    os.environ.update(OFFERS_BASE_URL=sandbox, PYTHONUNBUFFERED="1", PYTHONWARNINGS=WARNINGS)
    for command in (["alembic", "-c", CONFIG, "upgrade", "head"], ["productagg", "sample", CONFIG]):
        if exit_code := subprocess.run(command, check=False).returncode:
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
  the sandbox Offers service answers at {sandbox}
  README.md has a five-minute tour.
"""

if __name__ == "__main__":
    sys.exit(main())
