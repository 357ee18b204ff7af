"""How log lines look: text or JSON, each with the id of the request that caused it.

The composition root and the command line call `configure` once. Nothing else here is needed to log: the rooms use the
standard library's loggers.
"""

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Literal, TextIO

from pythonjsonlogger.json import JsonEncoder, JsonFormatter

# The request being answered in this thread; "-" outside of any.
request_id: ContextVar[str] = ContextVar("request_id", default="-")

_TEXT = "%(asctime)s %(levelname)-5s [%(name)s] [%(request_id)s] %(message)s"
_JSON = "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s"
# What ends a line or steers a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


# Made once; the formatter would make one for each line.
_encoder = JsonEncoder()


def _dumps(record: object, **_options: object) -> str:
    return _encoder.encode(record)


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _UtcTimes(logging.Formatter):
    """Times in UTC, RFC 3339."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the standard library's name
        return f"{_written(int(record.created))}.{int(record.msecs):03}Z"


@lru_cache(maxsize=4)
def _written(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class _Json(_UtcTimes, JsonFormatter):
    """JSON, in ASCII."""


class _Text(_UtcTimes):
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
    # What our lines do not say need not be found out for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    formatter: logging.Formatter
    if log_format == "json":
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        formatter = _Json(_JSON, rename_fields=names, json_serializer=_dumps)
    else:
        formatter = _Text(_TEXT)
    for handler in root.handlers:
        handler.setFormatter(formatter)
        if not any(isinstance(each, _RequestId) for each in handler.filters):
            handler.addFilter(_RequestId())


# How long a line may wait for others to be written with it, and how many may wait.
_BATCH_SECONDS = 0.1
_MOST_WAITING = 10_000
# What is written at once to a pipe stays together (PIPE_BUF), whoever else writes to it.
_PIECE_BYTES = 4096


class _Batches(logging.StreamHandler[TextIO]):
    """Writes lines some at a time, from a thread of its own; warnings and worse at once, with all that came before.

    A thread that writes lets others run meanwhile, and then has to wait for them: with many answering at the same time,
    a line would take half as long as an answer.
    """

    def __init__(self, handler: logging.StreamHandler[TextIO]) -> None:
        super().__init__(handler.stream)
        self.setFormatter(handler.formatter)
        self.setLevel(handler.level)
        self.filters = handler.filters
        self._waiting: deque[logging.LogRecord] = deque()
        self._writing = threading.Lock()
        threading.Thread(target=self._go_on, name="log", daemon=True).start()

    def handle(self, record: logging.LogRecord) -> bool:
        """As the standard library's, without its lock: to append needs none."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(record)
        # If nobody reads the lines, whoever logs waits, rather than that memory fills.
        if record.levelno >= logging.WARNING or len(self._waiting) >= _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits. The standard library does it at the end of the process."""
        with self._writing:
            records = [self._waiting.popleft() for _ in range(len(self._waiting))]
            lines = []
            for record in records:
                try:
                    lines.append(self.format(record) + self.terminator)
                except Exception:  # the others are written all the same
                    self.handleError(record)
            try:
                for piece in _pieces(lines):
                    self.stream.write(piece)
                    self.stream.flush()
            except Exception:
                self.handleError(records[-1])

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Say so on stderr, as the standard library does; that may be what cannot be written to."""
        with suppress(Exception):
            super().handleError(record)

    def _go_on(self) -> None:
        while True:
            time.sleep(_BATCH_SECONDS)
            self.flush()


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """The lines, as many together as may be."""
    piece: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode(errors="replace"))
        if piece and size + length > _PIECE_BYTES:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += length
    if piece:
        yield "".join(piece)


def write_in_batches() -> None:
    """For a process that answers many requests: whatever is logged from now on is written some lines at a time."""
    root = logging.getLogger()
    root.handlers = [_Batches(each) if type(each) is logging.StreamHandler else each for each in root.handlers]
