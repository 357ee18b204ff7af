"""Standard output and standard error of a command, which may be full or closed, or lack characters of a name.

If standard output cannot be written, the command ends with one line and exit code 2. If standard error cannot be
written, its lines are lost, but the exit code still says how the command ended. Characters that the locale lacks
are escaped.
"""

import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any, TextIO


class _Output(FileIO):
    """The file of standard output or standard error. After an error it accepts everything and writes nothing."""

    def __init__(self, stream: TextIOWrapper, is_error: bool) -> None:
        super().__init__(stream.fileno(), "wb", closefd=False)
        self._is_error = is_error
        self._failed = False

    def write(self, data: Any) -> int:
        if not self._failed:
            try:
                return super().write(data)
            except OSError as error:
                self._failed = True
                if not self._is_error:
                    # Imported here because it takes time.
                    from productagg.cli.bootstrap import CannotRun

                    raise CannotRun(f"standard output: {error.strerror}") from None
        return len(data)


def printable(text: str) -> str:
    """The text in one line, without characters that could control a terminal: it may quote what a source sent."""
    return "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def guard_output() -> None:
    """Replace both streams by guarded ones."""
    sys.stdout = _guarded(sys.stdout, is_error=False)
    sys.stderr = _guarded(sys.stderr, is_error=True)


def _guarded(stream: TextIO, *, is_error: bool) -> TextIO:
    # A closed stream is None, and a test's stream has no file.
    if not isinstance(stream, TextIOWrapper) or not isinstance(getattr(stream.buffer, "raw", stream.buffer), FileIO):
        return stream
    stream.flush()
    return TextIOWrapper(
        BufferedWriter(_Output(stream, is_error)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
