"""Where a pass spends its time: measures it by part, and draws the parts as bars, as text and as SVG.

For the benchmark of the sync. The threads' parts are CPU time, since one Python runs one thread at a time and waiting
for the network costs nobody anything; the database's parts are from a transaction's first statement to its commit.
Where the two run side by side, the parts add up to more than the pass.
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


def parts_of_a_pass(run: Callable[[], object], recorder: Recorder) -> dict[str, float]:
    """Run it; seconds by part."""
    with _cpu_time(OffersClient, "offers") as asking, _cpu_time(OffersClient, "_exchange") as exchanging:
        whole = timed(run)
    claims = [each for each in recorder.transactions if each.mentions("SKIP LOCKED")]
    settles = [each for each in recorder.transactions if each.mentions("product_sync") and each not in claims]
    parts = {
        "fetch: HTTP": sum(exchanging),
        "fetch: read and check the answer": sum(asking) - sum(exchanging),
        "claim": sum(each.seconds for each in claims),
        "settle: wait for PostgreSQL": sum(each.waited for each in settles),
        "settle: Python between statements": sum(each.seconds - each.waited for each in settles),
    }
    return {"the pass": whole, **parts, "everything else": max(0.0, whole - sum(parts.values()))}


@contextmanager
def _cpu_time(owner: type, name: str) -> Iterator[list[float]]:
    """The CPU seconds of every call of a method meanwhile, of the thread that calls it."""
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
