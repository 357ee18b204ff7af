"""`python -m productagg.sandbox.past`: what the sample products cost in the year until now, for `productagg sample`.

It writes a line of JSON for each offer: the product's slug and GTIN, the shop's key, the product's id in that shop, and
the states of the past, each as its time (Unix seconds), price (cents of EUR) and items in stock. The shops go on from
there. Without a shop, it is an offer that the Offers service had; its offers of now have other ids.
"""

import json
import signal
import sys
import time
from collections.abc import Iterator

from productagg.sandbox.assortment import SHOPS, Article, Shop, article_id, articles
from productagg.sandbox.quotes import quote_at

_DAY = 24 * 3600
YEAR = 365 * _DAY
# Every change of a year would make the first start take half a minute.
_RECENT = 30 * _DAY
_LONG_GAP = 4 * _DAY
# Whose past offers the Offers service had. They cost about what the cheapest offers there cost now.
_SELLER = Shop("", "", -90_000, 0, 0, (0, 50, 90))

State = tuple[int, int, int]


def states(article: Article, shop: Shop, begin: int, end: int, gap: int = 1) -> list[State]:
    """States of the shop's offer from `begin` to `end`, in order.

    There are at least `gap` seconds between those of the last 30 days (1: none is missing), and four days before.
    """
    found: list[State] = []
    at = end
    while at >= begin:
        quote = quote_at(article, shop, at)
        at = quote.changed_at
        found.append((at, quote.price, quote.items))
        at -= gap if at > end - _RECENT else _LONG_GAP
    return found[::-1]


def _offers() -> Iterator[tuple[Article, Shop, str | None, str]]:
    """Each offer: the product, the seller, the shop's key unless it is the Offers service's, and its id."""
    for article in articles().values():
        for key in article.shops:
            yield article, SHOPS[key], key, article_id(SHOPS[key], article)
        yield article, _SELLER, None, f"past {article.gtin}"


def main() -> None:
    end = int(time.time())
    for article, seller, shop, id_ in _offers():
        past = states(article, seller, end - YEAR, end, 1 if shop else _DAY)
        offer = {"product": article.slug, "gtin": article.gtin, "shop": shop, "id": id_, "states": past}
        sys.stdout.write(f"{json.dumps(offer)}\n")


if __name__ == "__main__":
    # A reader that needs no past closes the pipe.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
