"""The shops' JSON: one product, or a page of all. Pure functions from quotes to JSON. Money is in cents."""

from collections.abc import Sequence
from typing import Any

from productagg.sandbox.assortment import Article, Shop, article_id
from productagg.sandbox.quotes import CURRENCY, Quote
from productagg.sandbox.shop_pages import image_url, product_url

PAGE_SIZE = 10


def product(site: str, shop: Shop, article: Article, quote: Quote) -> dict[str, Any]:
    """Return what the shop says of one product."""
    return {
        "id": article_id(shop, article),
        "gtin": article.gtin,
        "name": article.name,
        "description": article.description,
        "brand": article.brand,
        "category": article.category,
        "url": product_url(site, shop, article),
        "image": image_url(site, article),
        "condition": "new",
        "availability": "in_stock" if quote.items else "out_of_stock",
        "stock": quote.items,
        "price": quote.price,
        "list_price": quote.list_price,
        "shipping": quote.shipping,
        "currency": CURRENCY,
    }


def product_list(site: str, shop: Shop, quoted: Sequence[tuple[Article, Quote]], page: int) -> dict[str, Any]:
    """Return a page of all products, from 1 on; one after the last page is empty."""
    start = (page - 1) * PAGE_SIZE
    has_more = start + PAGE_SIZE < len(quoted)
    return {
        "total": len(quoted),
        "page": page,
        "next": f"{site}/shop-api/{shop.key}/products?page={page + 1}" if has_more else None,
        "products": [product(site, shop, article, quote) for article, quote in quoted[start : start + PAGE_SIZE]],
    }
