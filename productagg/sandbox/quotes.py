"""What a shop asks for a product at a given time: a pure function, as `offers.py` is for the Offers service.

A price holds for 8 to 40 hours. It follows the shop's level, the season, and now and then an offer of the week; in the
sales of January, July and November (Black Friday) many prices are lower. A stock is sold piece by piece, is sold out
for a while, and is filled again. It never draws a random number or holds a price in a float.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from productagg.sandbox.assortment import Article, Shop
from productagg.sandbox.offers import MILLION, draw, wave

CURRENCY = "EUR"
_HOUR = 3600
_DAY = 24 * _HOUR
_DAYS_OF_YEAR = 365


class _Sale(NamedTuple):
    """First and last day (month, day), how many of ten products take part, and the discount's limits in per cent."""

    first: tuple[int, int]
    last: tuple[int, int]
    of_ten: int
    least: int
    most: int


_SALES = (
    _Sale((1, 2), (1, 20), 4, 10, 20),
    _Sale((7, 1), (7, 21), 4, 10, 20),
    _Sale((11, 21), (11, 30), 6, 15, 30),
)


class Quote(NamedTuple):
    """A shop's offer. Money is in cents of EUR; `changed_at` is in Unix seconds.

    `list_price` is the price before a reduction, None without one. `items` is 0 if the product is sold out.
    """

    price: int
    list_price: int | None
    items: int
    shipping: int
    changed_at: int


def quote_at(article: Article, shop: Shop, when: float) -> Quote:
    """Return the shop's offer at `when`, in Unix seconds (0 or later). The same arguments give the same quote."""
    key = f"{shop.key}/{article.gtin}"
    now = int(when)
    regular, reduction, price_changed_at = _pricing(key, article, shop, now)
    items, stock_changed_at = _stock(key, now)
    price = _rounded(regular * (MILLION - reduction) // MILLION, shop)
    list_price = _rounded(regular, shop)
    return Quote(
        price=price,
        list_price=list_price if list_price > price else None,
        items=items,
        shipping=0 if price >= shop.free_shipping_from else shop.shipping,
        changed_at=max(price_changed_at, stock_changed_at),
    )


def _pricing(key: str, article: Article, shop: Shop, now: int) -> tuple[int, int, int]:
    """The regular price, the reduction in millionths of it, and since when both hold."""
    length, shift, phase, *_ = draw(key)
    length = 8 * _HOUR + length % (32 * _HOUR)
    period, age = divmod(now + shift % length, length)
    began_at = now - age
    level, weekly, *_ = draw(f"{key}/{period}")
    season = wave(began_at // _DAY + phase % _DAYS_OF_YEAR, _DAYS_OF_YEAR, 40_000)
    regular = article.price * (MILLION + shop.markup + season + level % 60_001 - 30_000) // MILLION
    reduction, sale_changed_at = _sale(key, now)
    # One period in nine is an offer of the week.
    reduction = max(reduction, 120_000 if weekly % 9 == 0 else 0)
    return regular, reduction, max(began_at, sale_changed_at)


def _sale(key: str, now: int) -> tuple[int, int]:
    """The reduction of the sale that is on, 0 without one, and when a sale last began or ended."""
    changed_at, reduction = 0, 0
    for name, sale, begins_at, ends_at in _sales_around(datetime.fromtimestamp(now, UTC).year):
        takes_part, discount, *_ = draw(f"{key}/{name}")
        if begins_at <= now and takes_part % 10 < sale.of_ten:
            is_on = now < ends_at
            changed_at = max(changed_at, begins_at if is_on else ends_at)
            if is_on:
                reduction = (sale.least + discount % (sale.most - sale.least + 1)) * MILLION // 100
    return reduction, changed_at


def _sales_around(year: int) -> Iterator[tuple[str, _Sale, int, int]]:
    """The sales of a year and the year before, with their begins and ends."""
    for each in (year - 1, year):
        for sale in _SALES:
            begins_at = datetime(each, *sale.first, tzinfo=UTC)
            ends_at = datetime(each, *sale.last, tzinfo=UTC)
            yield f"{each}-{sale.first[0]}", sale, int(begins_at.timestamp()), int(ends_at.timestamp()) + _DAY


def _stock(key: str, now: int) -> tuple[int, int]:
    """The pieces in stock, and since when there are so many."""
    length, shift, *_ = draw(f"{key}/stock")
    length = 10 * _DAY + length % (20 * _DAY)
    delivery, age = divmod(now + shift % length, length)
    delivered, selling, *_ = draw(f"{key}/stock/{delivery}")
    delivered = 3 + delivered % 38
    # Selling takes 85 to 99 % of the time until the next delivery; then nothing is left.
    life = length * (85 + selling % 15) // 100
    sold = min(delivered, delivered * age // life)
    last_sale = -(-sold * life // delivered)
    return delivered - sold, now - age + last_sale


def _rounded(price: int, shop: Shop) -> int:
    """The highest price not above this one that ends as the shop's prices do."""
    euros = price // 100 * 100
    prices = (hundred + digits for hundred in (euros, euros - 100) for digits in shop.last_digits)
    return max((each for each in prices if 0 < each <= price), default=price)
