"""The invalid lines of an import and the reasons: all go to a file, or the first MAX_SHOWN to standard error."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import BufferedWriter
from pathlib import Path

import click

from productagg.cli.bootstrap import CannotRun
from productagg.cli.checkpoint import Progress

MAX_SHOWN = 50


class RejectedLines(AbstractContextManager["RejectedLines"]):
    """`path` is the file, `length` its length in bytes; None and 0 without a file."""

    def __init__(self, file: Path, rejects: Path | None, start: Progress) -> None:
        self.path = str(rejects.absolute()) if rejects else None
        self.length = 0
        self._name = rejects
        self._file = file
        self._left = MAX_SHOWN
        self._rejects: BufferedWriter | None = None
        self._is_regular = False
        if rejects:
            with self._readable_errors():
                self._rejects = self._open(rejects, start)

    def _open(self, rejects: Path, start: Progress) -> BufferedWriter:
        continued = start.line > 0 and start.rejects == self.path
        opened = rejects.open("ab" if continued else "wb")
        self._is_regular = rejects.is_file()
        if self._is_regular and continued:
            # The lines after the checkpoint are read again, and reported again.
            self.length = min(start.rejected, opened.tell())
            opened.truncate(self.length)
        return opened

    def add(self, number: int, reason: object) -> None:
        line = f"{self._file}:{number}: {reason}\n"
        if self._rejects:
            with self._readable_errors():
                self.length += self._rejects.write(line.encode(errors="replace"))
            return
        if self._left > 0:
            sys.stderr.write(line)
        self._left -= 1

    def flush(self) -> None:
        """Hand everything that was added to the operating system."""
        if self._rejects:
            with self._readable_errors():
                self._rejects.flush()

    def sync(self) -> None:
        """Force the file to disk, before a checkpoint records its length."""
        if self._rejects and self._is_regular:
            with self._readable_errors():
                os.fsync(self._rejects.fileno())

    def __exit__(self, *_: object) -> None:
        if self._rejects:
            with suppress(OSError):  # the error of an earlier write has been reported already
                self._rejects.close()
        if self._left < 0:
            click.echo(f"and {-self._left} more: --rejects writes all of them to a file", err=True)

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CannotRun(f"{self._name}: {error.strerror}") from None
