"""OpenGraph as a node of schema.org: what a page says of its product to social networks (ogp.me, and Facebook's product
objects). It states one price, whichever variant that is of.
"""

from collections.abc import Mapping, Sequence

from productagg.sources.jsonld.graph import Node

Properties = Mapping[str, Sequence[str]]

_AVAILABILITIES = {"oos": "OutOfStock"}


def amounts(properties: Properties) -> list[str]:
    """The price to pay, in the shop's words: the sale price where there is one."""
    return _first(properties, "product:sale_price:amount", "product:price:amount", "og:price:amount")


def currencies(properties: Properties) -> list[str]:
    """The currency of the price."""
    return _first(properties, "product:sale_price:currency", "product:price:currency", "og:price:currency")


def product(properties: Properties) -> Node | None:
    """The page's product and its offer. None: the page states no price."""
    price = amounts(properties)
    if not price:
        return None
    availability = _first(properties, "product:availability", "og:availability")
    offer = {
        "@type": "Offer",
        "sku": _first(properties, "product:retailer_item_id"),
        "price": price,
        "priceCurrency": currencies(properties),
        "availability": [_AVAILABILITIES.get(text.strip().lower(), text) for text in availability],
        "itemCondition": _first(properties, "product:condition", "og:condition"),
    }
    return {
        "@type": "Product",
        "name": _first(properties, "og:title"),
        "description": _first(properties, "og:description"),
        "url": _first(properties, "og:url"),
        "image": _first(properties, "og:image:secure_url", "og:image"),
        "brand": _first(properties, "product:brand", "og:brand"),
        "category": _first(properties, "product:category"),
        "gtin": _first(properties, "product:gtin", "product:ean", "product:upc"),
        "offers": offer,
    }


def _first(properties: Properties, *names: str) -> list[str]:
    return next((list(values) for name in names if (values := properties.get(name))), [])
