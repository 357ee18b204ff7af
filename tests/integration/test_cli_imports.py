"""What commands import: most of the time of a short command is imports, and cron starts one every minute."""

import json
import subprocess
import sys

import pytest

from productagg.cli import main

WEB_FRAMEWORK = {"pyramid", "cornice", "webob", "waitress", "zope.interface", "pyramid_tm", "productagg.api"}
# The most modules that a command may load besides Python's own: about a tenth more than today.
MAX_MODULES = 500
# These speak HTTP with the Offers service.
MAX_MODULES_OF_CLIENTS = {"sync": 670, "repair-clock": 670}

# Each command is loaded in a process of its own, forked off one that has loaded what all commands share.
LOAD = """
import json, os, sys
before = set(sys.modules)  # Python's own, and those that measure the coverage
from productagg.cli import bootstrap, main
for command in main.list_commands(None):
    if os.fork() == 0:
        main.get_command(None, command)
        print(json.dumps([command, list(set(sys.modules) - before)]))
        sys.exit()
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded():
    """The modules that each command loads."""
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, check=True, text=True)
    return {command: set(modules) for command, modules in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("command", main.list_commands(None))  # type: ignore[arg-type]
def test_no_command_loads_the_web_framework_or_many_modules(loaded, command):
    assert loaded[command] & WEB_FRAMEWORK == set()
    assert len(loaded[command]) <= MAX_MODULES_OF_CLIENTS.get(command, MAX_MODULES)


def test_an_export_does_not_load_the_price_history(loaded):
    assert "productagg.history" not in loaded["export"]


def test_commands_load_no_adapter_and_no_parser_of_its_documents(loaded):
    adapters = {f"productagg.sources.{kind}" for kind in ("feed", "json_api", "jsonld")} | {"lxml", "jmespath"}
    for modules in loaded.values():
        assert not modules & adapters


def test_sources_are_listed_without_what_asks_them(loaded):
    assert loaded["source"] & {"productagg.sources.web.client", "productagg.sync.run", "urllib3"} == set()


def test_cron_does_not_wait_for_modules_that_a_run_has_no_use_for(loaded):
    assert loaded["sync"] & {"tqdm", "argon2", "alembic", "pyramid", "productagg.sandbox"} == set()
