"""The progress bar of a command on a terminal. Without a terminal there is none."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TextIO


@contextmanager
def progress_bar(unit: str, *, shown: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """A function that takes the progress: (units done, units in all, or 0 if unknown). None without a terminal.

    While the bar is shown, log lines and everything that is written to sys.stderr appear above it.
    """
    if not (shown and sys.stderr.isatty()):
        yield None
        return
    # Imported here because cron, which has no terminal, would wait for it.
    from tqdm import tqdm
    from tqdm.contrib import DummyTqdmFile

    terminal = sys.stderr
    with tqdm(total=0, unit=unit, file=terminal, dynamic_ncols=True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        above = DummyTqdmFile(terminal)
        with _logging_to(above), redirect_stderr(above):
            yield show


@contextmanager
def _logging_to(stream: TextIO) -> Iterator[None]:
    """Log to this stream instead of standard error."""
    terminal = sys.stderr
    _redirect_logs(terminal, stream)
    try:
        yield
    finally:
        _redirect_logs(stream, terminal)


def _redirect_logs(old: TextIO, new: TextIO) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)
