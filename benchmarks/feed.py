"""What reading a feed costs, beside the XML parser alone: `python -m benchmarks.feed`, in about two minutes.

A Merchant XML with 20 elements an item, in a file. The adapter reads it as it reads a response, to its last offer. The
floor is the same parser, expat, with handlers that do nothing, fed from the same file. Both are measured in CPU time,
in turn. `--strict` ends with exit code 1 if a target is missed; `--quick` takes few items, to see that it works.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.parsers import expat

from benchmarks.harness import Targets, fresh_process, in_turn, peak_memory, say
from productagg.sources.base import Request, Snapshot
from productagg.sources.feed.adapter import FeedAdapter
from productagg.sources.testing import MemoryResponse, MemoryWeb

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">
  <channel>
    <title>Northpath</title>
    <link>https://shop.example/</link>
"""
_ITEM = """    <item>
      <g:id>NP-{number:07d}</g:id>
      <g:title>Trail running shoe {number} &amp; laces, blue, size {size}</g:title>
      <g:description><![CDATA[A light shoe for long runs on wet ground, with a sole that grips & a mesh that dries \
fast. Made of recycled polyester, in our own workshop, number {number}.]]></g:description>
      <g:link>https://shop.example/products/trail-running-shoe-{number}?variant={number}&amp;from=feed</g:link>
      <g:image_link>https://cdn.shop.example/images/{number}/front-1200.jpg</g:image_link>
      <g:price>{price}.{cents:02d} EUR</g:price>
      <g:availability>{availability}</g:availability>
      <g:condition>new</g:condition>
      <g:brand>Northpath</g:brand>
      <g:gtin>{gtin}</g:gtin>
      <g:mpn>NP-{number}</g:mpn>
      <g:google_product_category>Apparel &amp; Accessories &gt; Shoes</g:google_product_category>
      <g:product_type>Shoes &gt; Running &gt; Trail</g:product_type>
      <g:item_group_id>{group}</g:item_group_id>
      <g:color>blue</g:color>
      <g:size>{size}</g:size>
      <g:shipping><g:country>DE</g:country><g:service>Standard</g:service><g:price>4.90 EUR</g:price></g:shipping>
    </item>
"""
_TAIL = "  </channel>\n</rss>\n"
_BLOCK = 2**16
_URL = "https://shop.example/feed.xml"


def write_feed(path: Path, items: int, *, raised: int = 0) -> None:
    """Write a feed with so many items, all of them valid. `raised` is added, in euros, to each hundredth price."""
    with path.open("w") as file:
        file.write(_HEAD)
        for number in range(items):
            file.write(
                _ITEM.format(
                    number=number,
                    size=36 + number % 12,
                    price=20 + number % 397 + (raised if number % 100 == 0 else 0),
                    cents=number % 89 + 10,
                    availability="out_of_stock" if number % 7 == 0 else "in_stock",
                    gtin=_gtin(number),
                    group=number // 5,
                )
            )
        file.write(_TAIL)


def _gtin(number: int) -> str:
    digits = f"4{number:011d}"
    total = sum(int(digit) * (1, 3)[at % 2] for at, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


class FileResponse(MemoryResponse):
    """A response whose body is a file, so that it takes no memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(headers={"content-type": "application/xml"})
        self._file = path.open("rb")

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read(path: Path) -> int:
    """Read the feed with the adapter, one snapshot after the other; returns the number of offers."""
    configuration = FeedAdapter.configuration_schema().deserialize({"url": _URL})
    request = Request(configuration, "shop", (), MemoryWeb({_URL: FileResponse(path)}))
    return sum(_offers(FeedAdapter().fetch(request)))


def _offers(outcomes: Iterable[object]) -> Iterator[int]:
    last = None
    for last in outcomes:
        if isinstance(last, Snapshot):
            yield len(last.offers)
    if not (isinstance(last, Snapshot) and last.complete):
        raise RuntimeError(f"the feed was not read to its end: {last}")


def parse(path: Path) -> None:
    """Parse the feed, and do nothing with it."""
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.StartElementHandler = lambda name, attributes: None
    parser.EndElementHandler = lambda name: None
    parser.CharacterDataHandler = lambda text: None
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            parser.Parse(block, False)
    parser.Parse(b"", True)


def memory(path: Path) -> float:
    """The peak memory, in MB, of a process that reads the feed. Call it in a process of its own."""
    read(path)
    return peak_memory()


def _cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--quick", action="store_true", help="few items; the figures mean nothing")
    options = parser.parse_args()
    items, rounds = (2_000, 2) if options.quick else (200_000, 5)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "feed.xml"
        write_feed(path, items)
        if read(path) != items:
            raise RuntimeError("an item is missing")
        say(f"{items} items, CPU seconds of the adapter and the parser alone:")
        ours, floor = partial(read, path), partial(parse, path)
        pairs = in_turn(rounds, partial(_cpu_seconds, ours), partial(_cpu_seconds, floor))
        with fresh_process() as pool:
            peak = pool.submit(memory, path).result()
    print(f"adapter {pairs.first} s, parser {pairs.second} s, {pairs.first.median / items * 1e6:.3g} µs an item")
    print(f"by the parser: {pairs.ratio()}; peak memory {peak:.3g} MB")
    targets = Targets()
    targets.at_most("feed-parse", pairs.ratio().median, 1.3)
    targets.at_most("feed-memory", peak, 120)
    return targets.end(options.strict)


if __name__ == "__main__":
    sys.exit(main())
