"""Watches what the whole suite logs for secrets, in every worker: a test during which one appears fails.

Searches every record of every logger, formatted and with its traceback, whatever handlers there are, and all that
programs print that the tests run. Other text, such as a log file, goes to `watch.look(text, where)`.
"""

import contextlib
import logging
import re
import subprocess
import threading
import traceback

import pytest
from click.testing import CliRunner

from productagg.settings import DEVELOPMENT_JWT_SECRET, DEVELOPMENT_REFRESH_TOKEN

PASSWORD = "correct horse"
REFRESH_TOKEN = "refresh-token-of-the-tests"
JWT_SECRET = "a secret of the tests, long enough for HS256"
KNOWN = (PASSWORD, REFRESH_TOKEN, JWT_SECRET, DEVELOPMENT_JWT_SECRET, DEVELOPMENT_REFRESH_TOKEN)
SHAPES = {
    "a JWT": r"\beyJ[\w-]{8,}\.[\w-]+",
    "a bearer token": r"\b[Bb]earer (?!realm=|token\b)[\w.~+/=-]{8,}",
    "an argon2 hash": r"\$argon2",
    "a database URL's password": r"\b(?:postgres|postgresql|mysql)(?:\+\w+)?://[^\s:/@]*:(?!\*\*\*@|password@)[^\s@]+@",
}
_SECRET = re.compile("|".join([*(f"(?:{re.escape(secret)})" for secret in KNOWN), *SHAPES.values()]))


class Watch:
    """Collects a line for every secret that was logged since the last call of `take`."""

    def __init__(self):
        self._found = []
        self._lock = threading.Lock()

    def look(self, text, where):
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        for match in _SECRET.finditer(text or ""):
            with self._lock:
                self._found.append(f"{where}: {text[max(0, match.start() - 100) : match.end() + 20]!r}")

    def take(self):
        with self._lock:
            found, self._found = self._found, []
        return found


watch = Watch()


def _record_factory(make):
    def looked_at(*args, **kwargs):
        record = make(*args, **kwargs)
        # logging itself reports a record that cannot be formatted.
        with contextlib.suppress(Exception):
            parts = [record.getMessage(), repr(record.args), record.stack_info or ""]
            if record.exc_info and record.exc_info[1] is not None:
                parts.extend(traceback.format_exception(record.exc_info[1]))
            watch.look("\n".join(parts), f"logged by {record.name}")
        return record

    return looked_at


@pytest.fixture(autouse=True, scope="session")
def _watch_everything():
    """From before the first test to after the last."""
    factory = logging.getLogRecordFactory()
    communicate, invoke = subprocess.Popen.communicate, CliRunner.invoke

    def communicate_watched(process, *args, **kwargs):
        outputs = communicate(process, *args, **kwargs)
        for output in outputs:
            watch.look(output, f"printed by {process.args}")
        return outputs

    def invoke_watched(runner, *args, **kwargs):
        result = invoke(runner, *args, **kwargs)
        # The sandbox's help names its default token, which is public.
        if "show this message and exit" not in result.output.lower():
            watch.look(result.output, f"printed by {args}")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "communicate", communicate_watched)
        patch.setattr(CliRunner, "invoke", invoke_watched)
        # As the ini files have it; by default, no record is made of less than a warning.
        patch.setattr(logging.getLogger(), "level", logging.INFO)
        logging.setLogRecordFactory(_record_factory(factory))
        yield
        logging.setLogRecordFactory(factory)
    # Threads may have logged after the last test.
    _fail_if_any()


@pytest.fixture(autouse=True)
def _no_secret_in_logs(_watch_everything):
    yield
    _fail_if_any()


def _fail_if_any():
    found = watch.take()
    assert not found, "secrets in what was logged:\n" + "\n".join(found)
