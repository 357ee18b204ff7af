"""What commands import: most of the time of a short command is imports, and cron starts one every minute."""

import json
import subprocess
import sys

import pytest

from productagg.cli import main

WEB_FRAMEWORK = {"pyramid", "cornice", "webob", "waitress", "zope.interface", "pyramid_tm", "productagg.api"}
# The most modules that a command may load, with Python's own: about a tenth more than today.
MAX_MODULES = 500
# These speak HTTP with the Offers service.
MAX_MODULES_OF_CLIENTS = {"sync": 670, "repair-clock": 670}

LOAD = """
import json, sys
from productagg.cli import main
main.get_command(None, sys.argv[1])
print(json.dumps(list(sys.modules)))
"""


@pytest.mark.parametrize("command", main.list_commands(None))  # type: ignore[arg-type]
def test_no_command_loads_the_web_framework_or_many_modules(command):
    done = subprocess.run([sys.executable, "-c", LOAD, command], capture_output=True, check=True, text=True)

    modules = set(json.loads(done.stdout))
    assert modules & WEB_FRAMEWORK == set()
    assert len(modules) <= MAX_MODULES_OF_CLIENTS.get(command, MAX_MODULES)


def test_an_export_does_not_load_the_price_history():
    done = subprocess.run([sys.executable, "-c", LOAD, "export"], capture_output=True, check=True, text=True)

    assert "productagg.history" not in json.loads(done.stdout)
