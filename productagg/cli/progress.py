"""The bar that shows on a terminal how far a command is. Without a terminal there is none."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int], None] | None]:
    """What to tell the progress: (units done, units in all). None where there is no terminal to show it on."""
    if not sys.stderr.isatty():
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

        for each in handlers:
            each.setStream(DummyTqdmFile(sys.stderr))  # log lines go above the bar
        try:
            yield show
        finally:
            for each in handlers:
                each.setStream(sys.stderr)
