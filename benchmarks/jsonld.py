"""What reading a product page costs beside its floor: `python -m benchmarks.jsonld`, in less than a minute.

The floor finds the script elements with the adapter's own scan of the page, and parses their JSON: what no reader of
JSON-LD can leave out. Both get pages of 500 kB from memory, in turn, in 8 threads as the sync does; CPU time counts, of
all threads. A tree of the page by lxml is measured for comparison. `--strict` exits with 1 if a target is missed;
`--quick` only shows that the benchmark works.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import orjson
from lxml import html

from benchmarks.harness import Targets, in_turn, say
from productagg.sources.base import Snapshot
from productagg.sources.jsonld.page import scan
from productagg.sources.jsonld.reader import Options, Page, read_page

WORKERS = 8
SIZE = 500_000
URL = "https://shop.example/products/lamp"
# Variants on a page, and the limit of the ratio. Most pages have a few. A hundred was long the most at Shopify.
VARIANTS = {1: 2.0, 20: 2.0, 100: None}


def gtin(first_twelve_digits: int) -> str:
    """A GTIN-13 with its check digit. The argument's last digit is 0."""
    digits = f"{first_twelve_digits:013}"
    total = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(digits))
    return str(first_twelve_digits + -total % 10)


def variant(number: int) -> dict[str, object]:
    """A variant as Shopify's `structured_data` filter prints it."""
    url = f"{URL}?variant={4_000_000_000 + number}"
    return {
        "@id": f"{url}#variant",
        "@type": "Product",
        "gtin": gtin(4_006_381_000_000 + number * 10),
        "image": f"https://shop.example/cdn/lamp-{number}.jpg",
        "name": f"Lamp - {number}",
        "sku": f"L-{number}",
        "offers": {
            "@id": f"{url}#offer",
            "@type": "Offer",
            "availability": "http://schema.org/InStock",
            "price": f"{number + 19}.99",
            "priceCurrency": "EUR",
            "url": url,
        },
    }


def page(variants: int, drawn: random.Random) -> bytes:
    """A page of a shop: markup, inline scripts and styles, and three blocks of JSON-LD."""
    product = {
        "@context": "http://schema.org/",
        "@id": "/products/lamp#product",
        "@type": "ProductGroup",
        "name": "Lamp",
        "description": "A lamp. " * 100,
        "brand": {"@type": "Brand", "name": "Lumen"},
        "productGroupID": "77",
        "url": URL,
        "hasVariant": [variant(number) for number in range(variants)],
    }
    shop = {"@context": "http://schema.org/", "@type": "Organization", "name": "Shop", "url": "https://shop.example"}
    crumbs = {"@type": "BreadcrumbList", "itemListElement": [{"@type": "ListItem", "name": f"L{n}"} for n in range(5)]}
    blocks = [f'<script type="application/ld+json">{json.dumps(block)}</script>' for block in (shop, crumbs, product)]
    head = [f'<meta name="x-{number}" content="some content">' for number in range(40)]
    head += [f'<link rel="preload" href="/a/{number}.css" as="style">' for number in range(20)]
    head += [f'<link rel="canonical" href="{URL}">', '<meta property="og:site_name" content="Shop">', *blocks]
    body: list[str] = []
    size = sum(map(len, head))
    while size < SIZE:
        body.append(
            f"<script>window.data={json.dumps([drawn.random() for _ in range(200)])};</script>"
            if drawn.random() < 0.04
            else f'<div class="card c-{drawn.randrange(999)}"><a href="/p/{drawn.randrange(9999)}" title="A product">'
            f"<span>Some words of a product</span><b>{drawn.randrange(99)} EUR</b></a></div>\n"
        )
        size += len(body[-1])
    return f"<!doctype html><html><head>{''.join(head)}</head><body>{''.join(body)}</body></html>".encode()


def read(body: bytes) -> None:
    """What the adapter does with a page. Raises RuntimeError if it found no offer."""
    outcome = read_page(Page(body, "text/html; charset=utf-8", URL), URL, Options(country="CZ"))
    if not (isinstance(outcome, Snapshot) and outcome.complete and outcome.offers):
        raise RuntimeError(f"no offers: {outcome}")


def floor(body: bytes) -> None:
    """Find the script elements and parse them."""
    for block in scan(body).blocks:
        orjson.loads(block)


def tree(body: bytes) -> None:
    """The same with a tree of the document."""
    for block in html.document_fromstring(body).xpath("//script[@type='application/ld+json']/text()"):
        orjson.loads(str(block))


def cpu(run: Callable[[bytes], None], pages: Sequence[bytes]) -> Callable[[], float]:
    """Measure the CPU time of a page, in ms, in all threads."""

    def measure() -> float:
        with ThreadPoolExecutor(WORKERS) as threads:
            start = time.process_time()
            list(threads.map(run, pages))
            return (time.process_time() - start) * 1000 / len(pages)

    return measure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few pages, to see that it works")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    targets = Targets()
    rounds, count = (3, 8) if options.quick else (15, 80)
    drawn = random.Random(18)
    for variants, limit in VARIANTS.items():
        say(f"{variants} variants")
        pages = [page(variants, drawn) for _ in range(count)]
        pairs = in_turn(rounds, cpu(read, pages), cpu(floor, pages))
        ratio = pairs.ratio()
        print(f"{variants} variants: {pairs.first} ms of CPU per page, floor {pairs.second} ms, ratio {ratio}")
        if limit is not None:
            targets.at_most(f"jsonld-cpu-{variants}-variants", ratio.median, limit)
    trees = in_turn(3, cpu(tree, pages), cpu(floor, pages))
    print(f"a tree instead of the scan: {trees.first} ms")
    return targets.end(options.strict)


if __name__ == "__main__":
    sys.exit(main())
