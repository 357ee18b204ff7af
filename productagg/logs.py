"""How log lines look: text or JSON, each with the id of the request that caused it.

The composition root and the command line call `configure` once. Nothing else here is needed to log: the rooms use the
standard library's loggers.
"""

import logging
import re
import time
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

# The request being answered in this thread; "-" outside of any.
request_id: ContextVar[str] = ContextVar("request_id", default="-")

_TEXT = "%(asctime)s %(levelname)-5s [%(name)s] [%(request_id)s] %(message)s"
_JSON = "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s"
# What ends a line or steers a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _Text(logging.Formatter):
    """Text lines in which neither a message nor an exception can start a line that looks like one of ours."""

    def format(self, record: logging.LogRecord) -> str:
        line, *traceback = super().format(record).split("\n")
        return "\n".join([line, *(f"    {_escaped(each)}" for each in traceback)])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        return _escaped(super().formatMessage(record))


def _escaped(line: str) -> str:
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), line)


def configure(log_format: Literal["text", "json"]) -> None:
    """Give every handler of the root logger our format; add one (stderr, INFO) where the ini file set none up."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
        root.setLevel(logging.INFO)
    formatter: logging.Formatter
    if log_format == "json":
        formatter = JsonFormatter(_JSON, rename_fields={"asctime": "time", "levelname": "level", "name": "logger"})
    else:
        formatter = _Text(_TEXT)
    formatter.converter = time.gmtime
    formatter.default_time_format, formatter.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    for handler in root.handlers:
        handler.setFormatter(formatter)
        if not any(isinstance(each, _RequestId) for each in handler.filters):
            handler.addFilter(_RequestId())
