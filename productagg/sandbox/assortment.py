"""What the sandbox's shops are and what they carry: the sample products, read from `sample_catalogue.json`.

The sample catalogue of `make serve` comes from the same file, so names and GTINs agree. This module does no more than
read; `quotes.py` says what a product costs.
"""

import json
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Article(NamedTuple):
    """A product that a shop may carry. `price` is what it usually costs, in cents of EUR, a positive integer."""

    slug: str
    name: str
    description: str
    brand: str | None
    category: str
    gtin: str
    price: int
    shops: tuple[str, ...]


class Shop(NamedTuple):
    """A shop: `key` in addresses, `name` for people. Money is in cents of EUR, `markup` in millionths of a price."""

    key: str
    name: str
    markup: int
    shipping: int
    free_shipping_from: int
    last_digits: tuple[int, ...]
    """What prices end in, in cents: of 100, the highest below the price is taken."""


SHOPS = {
    shop.key: shop
    for shop in (
        Shop("kellermann", "Kellermann", 25_000, 590, 15_000, (90,)),
        Shop("nordkiste", "Nordkiste", 0, 495, 10_000, (0, 50, 95)),
        Shop("bazar24", "Bazar 24", -20_000, 399, 40_000, (9, 29, 49, 79, 99)),
    )
}


@cache
def articles() -> dict[str, Article]:
    """All products by slug, in the order of the file. Some are in no shop; every product has an image."""
    listed = json.loads(files("productagg").joinpath("sample_catalogue.json").read_text("utf-8"))
    return {article.slug: article for article in map(_article, listed)}


@cache
def carried_by(shop: Shop) -> tuple[Article, ...]:
    """The shop's products, in the order of the file."""
    return tuple(article for article in articles().values() if shop.key in article.shops)


def find(shop: Shop, key: str) -> Article | None:
    """The shop's product with this slug, GTIN or id, None if the shop does not carry it."""
    return next((each for each in carried_by(shop) if key in (each.slug, each.gtin, article_id(shop, each))), None)


def article_id(shop: Shop, article: Article) -> str:
    """The shop's own number of the product, which never changes."""
    return f"{shop.key[:2].upper()}-{article.gtin[-7:-1]}"


def _article(product: dict[str, object]) -> Article:
    sandbox = product["sandbox"]
    assert isinstance(sandbox, dict)
    return Article(
        slug=sandbox["slug"],
        name=str(product["name"]),
        description=str(product["description"]),
        brand=str(product["brand"]) if "brand" in product else None,
        category=str(product["category"]),
        gtin=str(product["gtin"]),
        price=sandbox["price"],
        shops=tuple(sandbox["shops"]),
    )
