"""The bar that shows on a terminal how far a command is. Without a terminal there is none."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def progress_bar(unit: str, *, wanted: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """What to tell the progress: (units done, units in all, or 0 if nobody knows). None where there is no terminal.

    What is written to sys.stderr meanwhile, and log lines, go above the bar.
    """
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    # Imported here: cron has no use for them, and would wait for them.
    from tqdm import tqdm
    from tqdm.contrib import DummyTqdmFile

    root = logging.getLogger()
    handlers = [each for each in root.handlers if isinstance(each, logging.StreamHandler) and each.stream is sys.stderr]
    with tqdm(total=0, unit=unit, file=sys.stderr, dynamic_ncols=True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        terminal = sys.stderr
        for each in handlers:
            each.setStream(DummyTqdmFile(terminal))
        try:
            with redirect_stderr(DummyTqdmFile(terminal)):
                yield show
        finally:
            for each in handlers:
                each.setStream(terminal)
