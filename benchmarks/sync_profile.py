"""Where a sync run spends its time: measures its parts, and draws them as bars, in text and as SVG.

The parts of the threads are CPU time: Python runs one thread at a time, and waiting for the network does not delay the
other threads. The parts of the database are from a transaction's first statement to its commit. The two overlap, so the
parts add up to more than the whole run.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import Any

from benchmarks.harness import Recorder, timed
from productagg.sources.offers_service.client import OffersClient

_TEXT_WIDTH = 40
_LINE, _LABEL, _BAR, _FIGURE = 26, 250, 420, 90


def parts_of_a_run(run: Callable[[], object], recorder: Recorder) -> dict[str, float]:
    """Run, and return the seconds of each part."""
    with _cpu_time(OffersClient, "offers") as fetching, _cpu_time(OffersClient, "_exchange") as exchanging:
        whole = timed(run)
    leases = [transaction for transaction in recorder.transactions if transaction.mentions("SKIP LOCKED")]
    others = [transaction for transaction in recorder.transactions if transaction not in leases]
    applied = [transaction for transaction in others if transaction.mentions("product_sources")]
    parts = {
        "fetch: HTTP": sum(exchanging),
        "fetch: parse and check the response": sum(fetching) - sum(exchanging),
        "take leases": sum(transaction.seconds for transaction in leases),
        "apply: wait for PostgreSQL": sum(transaction.waited for transaction in applied),
        "apply: Python between statements": sum(transaction.seconds - transaction.waited for transaction in applied),
    }
    return {"the whole run": whole, **parts, "everything else": max(0.0, whole - sum(parts.values()))}


@contextmanager
def _cpu_time(owner: type, name: str) -> Iterator[list[float]]:
    """Measure the CPU seconds of each call of a method, in the thread that calls it."""
    method: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    def measured(*arguments: Any, **options: Any) -> Any:
        start = time.thread_time()
        try:
            return method(*arguments, **options)
        finally:
            seconds.append(time.thread_time() - start)

    setattr(owner, name, measured)
    try:
        yield seconds
    finally:
        setattr(owner, name, method)


def as_text(parts: Mapping[str, float], unit: str) -> str:
    longest = max(parts.values())
    return "\n".join(
        f"  {name:34} {value:8.1f} {unit} {'#' * round(value / longest * _TEXT_WIDTH)}" for name, value in parts.items()
    )


def as_svg(parts: Mapping[str, float], unit: str, title: str) -> str:
    longest = max(parts.values())
    lines = [f'<text x="0" y="16" font-weight="bold">{escape(title)}</text>']
    for number, (name, value) in enumerate(parts.items(), start=1):
        y, width = number * _LINE, value / longest * _BAR
        lines += [
            f'<text x="0" y="{y + 16}">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{y + 3}" width="{width:.1f}" height="{_LINE - 8}" fill="#4878a8"/>',
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 16}">{value:.1f} {escape(unit)}</text>',
        ]
    size = f'width="{_LABEL + _BAR + _FIGURE}" height="{(len(parts) + 1) * _LINE}"'
    background = '<rect width="100%" height="100%" fill="white"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">\n{background}\n'
        + "\n".join(lines)
        + "\n</svg>\n"
    )
