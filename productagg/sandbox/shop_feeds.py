"""The shops' feeds, in Google Merchant's RSS and in Heureka's XML. Pure functions from quotes to XML.

They say what such feeds usually do: availability, and not how many pieces there are. Heureka's states no currency.
"""

from collections.abc import Iterable
from html import escape

from productagg.sandbox.assortment import Article, Shop, article_id
from productagg.sandbox.quotes import CURRENCY, Quote
from productagg.sandbox.shop_pages import decimal, image_url, product_url

# What Heureka's availability says of a product that is sold out: it comes in so many days.
_DAYS_UNTIL_DELIVERY = 14


def merchant_feed(site: str, shop: Shop, quoted: Iterable[tuple[Article, Quote]]) -> str:
    """Return the shop's products in Google Merchant's RSS 2.0."""
    items = "\n".join(_merchant_item(site, shop, article, quote) for article, quote in quoted)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">\n<channel>\n'
        f"<title>{_text(shop.name)}</title>\n<link>{_text(site)}/shops/{shop.key}</link>\n"
        f"<description>All products of {_text(shop.name)}</description>\n{items}\n</channel>\n</rss>\n"
    )


def heureka_feed(site: str, shop: Shop, quoted: Iterable[tuple[Article, Quote]]) -> str:
    """Return the shop's products in Heureka's XML."""
    items = "\n".join(_heureka_item(site, shop, article, quote) for article, quote in quoted)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<SHOP>\n{items}\n</SHOP>\n'


def _merchant_item(site: str, shop: Shop, article: Article, quote: Quote) -> str:
    fields = {
        "g:id": article_id(shop, article),
        "title": article.name,
        "description": article.description,
        "link": product_url(site, shop, article),
        "g:image_link": image_url(site, article),
        "g:price": f"{decimal(quote.list_price or quote.price)} {CURRENCY}",
        "g:sale_price": f"{decimal(quote.price)} {CURRENCY}" if quote.list_price else None,
        "g:availability": "in_stock" if quote.items else "out_of_stock",
        "g:condition": "new",
        "g:gtin": article.gtin,
        "g:brand": article.brand,
        "g:product_type": article.category,
    }
    shipping = f"<g:country>DE</g:country><g:price>{decimal(quote.shipping)} {CURRENCY}</g:price>"
    return f"<item>\n{_elements(fields)}\n<g:shipping>{shipping}</g:shipping>\n</item>"


def _heureka_item(site: str, shop: Shop, article: Article, quote: Quote) -> str:
    fields = {
        "ITEM_ID": article_id(shop, article),
        "PRODUCTNAME": article.name,
        "DESCRIPTION": article.description,
        "URL": product_url(site, shop, article),
        "IMGURL": image_url(site, article),
        "PRICE_VAT": decimal(quote.price),
        "MANUFACTURER": article.brand,
        "CATEGORYTEXT": article.category.replace(">", "|"),
        "EAN": article.gtin,
        "DELIVERY_DATE": str(0 if quote.items else _DAYS_UNTIL_DELIVERY),
    }
    carrier = f"<DELIVERY_ID>DPD</DELIVERY_ID><DELIVERY_PRICE>{decimal(quote.shipping)}</DELIVERY_PRICE>"
    return f"<SHOPITEM>\n{_elements(fields)}\n<DELIVERY>{carrier}</DELIVERY>\n</SHOPITEM>"


def _elements(fields: dict[str, str | None]) -> str:
    return "\n".join(f"<{name}>{_text(value)}</{name}>" for name, value in fields.items() if value is not None)


def _text(value: str) -> str:
    return escape(value, quote=False)
