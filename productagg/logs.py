"""The format of log lines: text or JSON, with the id of the request, or the source of the sync, that caused the line.

The composition root and the command line call `configure` once. To log, use the standard library's loggers.
"""

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Literal, TextIO

from pythonjsonlogger.json import JsonEncoder, JsonFormatter

# The id of the request that this thread is handling; "-" if there is none.
request_id: ContextVar[str] = ContextVar("request_id", default="-")
# The name of the source that this thread syncs, if any.
_source: ContextVar[str | None] = ContextVar("source", default=None)

_TEXT_FORMAT = "%(asctime)s %(levelname)-5s [%(name)s] [%(request_id)s] %(message)s"
_JSON_FORMAT = "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s"
# Characters that end a line or control a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


# Without this, the formatter would make an encoder for every line.
_encoder = JsonEncoder()


def _dumps(record: object, **_options: object) -> str:
    return _encoder.encode(record)


@contextmanager
def of_source(name: str) -> Iterator[None]:
    """Within it, log lines name this source; also those of threads that run in a copy of the context."""
    token = _source.set(name)
    try:
        yield
    finally:
        _source.reset(token)


def _add_context(record: logging.LogRecord) -> bool:
    record.request_id = request_id.get()
    source = _source.get()
    if source is not None:
        record.source = source
    return True


class _UtcFormatter(logging.Formatter):
    """Writes times in UTC (RFC 3339)."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the standard library's name
        return f"{_format_second(int(record.created))}.{int(record.msecs):03}Z"


@lru_cache(maxsize=4)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class _JsonLines(_UtcFormatter, JsonFormatter):
    """JSON in ASCII, one object per line."""


class _TextLines(_UtcFormatter):
    """Text in which neither a message nor an exception can forge a log line: all other lines are indented."""

    def format(self, record: logging.LogRecord) -> str:
        first, *traceback = super().format(record).split("\n")
        return "\n".join([first, *(f"    {_escaped(line)}" for line in traceback)])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        source = getattr(record, "source", None)
        if source is not None:
            record.message = f"source={_quoted(source)} {record.message}"
        return _escaped(super().formatMessage(record))


def _quoted(value: str) -> str:
    return _encoder.encode(value) if " " in value or '"' in value else value


def _escaped(line: str) -> str:
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), line)


def configure(log_format: Literal["text", "json"]) -> None:
    """Give all handlers of the root logger our format. Without handlers, add one for stderr at the level INFO."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
        root.setLevel(logging.INFO)
    # Our format uses none of these, and the standard library spends time to find them out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    formatter = _formatter(log_format)
    for handler in root.handlers:
        handler.setFormatter(formatter)
        handler.addFilter(_add_context)  # a second time, this has no effect


def _formatter(log_format: Literal["text", "json"]) -> logging.Formatter:
    if log_format == "text":
        return _TextLines(_TEXT_FORMAT)
    names = {"asctime": "time", "levelname": "level", "name": "logger"}
    return _JsonLines(_JSON_FORMAT, rename_fields=names, json_serializer=_dumps)


# A line waits at most this long, so that it can be written together with later lines.
_FLUSH_INTERVAL_SECONDS = 0.1
_MAX_WAITING_RECORDS = 10_000
# A write of at most PIPE_BUF bytes to a pipe is atomic: the lines of other processes cannot come between.
_MAX_WRITE_BYTES = 4096


class BatchHandler(logging.StreamHandler[TextIO]):
    """Writes log lines in batches, from a thread of its own; warnings and errors at once, after all earlier lines.

    A thread that writes releases the interpreter's lock and must wait for it again. With many busy threads, writing a
    line would take half as long as answering a request.
    """

    def __init__(
        self,
        handler: logging.StreamHandler[TextIO],
        *,
        flush_interval_seconds: float = _FLUSH_INTERVAL_SECONDS,
        max_waiting_records: int = _MAX_WAITING_RECORDS,
    ) -> None:
        super().__init__(handler.stream)
        self.setFormatter(handler.formatter)
        self.setLevel(handler.level)
        self.filters = handler.filters
        self._flush_interval_seconds = flush_interval_seconds
        self._max_waiting_records = max_waiting_records
        self._waiting: deque[logging.LogRecord] = deque()
        self._write_lock = threading.Lock()
        threading.Thread(target=self._flush_regularly, name="log", daemon=True).start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Like the standard library's method, but without its lock: appending to the deque needs none."""
        filtered = self.filter(record)
        if filtered:
            self.emit(filtered if isinstance(filtered, logging.LogRecord) else record)
        return bool(filtered)

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(record)
        # Back-pressure: if the stream is not read, block instead of buffering without limit.
        if record.levelno >= logging.WARNING or len(self._waiting) >= self._max_waiting_records:
            self.flush()

    def flush(self) -> None:
        """Write the waiting lines. The standard library calls this at the end of the process."""
        with self._write_lock:
            records = [self._waiting.popleft() for _ in range(len(self._waiting))]
            lines = self._format_all(records)
            try:
                self._write(lines)
            except Exception:
                self.handleError(records[-1])

    def _write(self, lines: Iterable[str]) -> None:
        for batch in _batches(lines):
            self.stream.write(batch)
            self.stream.flush()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Report on stderr, as the standard library does. Writing to stderr may fail, too."""
        with suppress(Exception):
            super().handleError(record)

    def _format_all(self, records: Iterable[logging.LogRecord]) -> list[str]:
        lines = []
        for record in records:
            try:
                lines.append(self.format(record) + self.terminator)
            except Exception:  # the other records must not be lost with a bad record
                self.handleError(record)
        return lines

    def _flush_regularly(self) -> None:
        while True:
            time.sleep(self._flush_interval_seconds)
            self.flush()


def _batches(lines: Iterable[str]) -> Iterator[str]:
    """Join lines up to the size of an atomic write. A longer line is a batch of its own."""
    batch: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode(errors="replace"))
        if batch and size + length > _MAX_WRITE_BYTES:
            yield "".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += length
    if batch:
        yield "".join(batch)


def write_in_batches() -> None:
    """Write log lines in batches from now on. For a process that handles many requests."""
    root = logging.getLogger()
    root.handlers = [
        BatchHandler(handler) if type(handler) is logging.StreamHandler else handler for handler in root.handlers
    ]
