"""The shops' pages for people: a product with its data in schema.org's JSON-LD, and a shop's list of products.

Pure functions from quotes to HTML. `site` is the root of all addresses, such as `http://localhost:6544`.
"""

import json
from collections.abc import Iterable
from html import escape
from string import Template
from typing import Any

from productagg.sandbox.assortment import Article, Shop
from productagg.sandbox.quotes import CURRENCY, Quote

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title · $shop</title>
$head
<style>
body { margin: 0 auto; max-width: 56rem; padding: 1rem 1.5rem 3rem; font: 1rem/1.5 system-ui, sans-serif; color: #222 }
header { border-bottom: 1px solid #ccc; margin-bottom: 1.5rem; padding: .5rem 0; font-weight: 600 }
a { color: inherit } main { display: grid; gap: 2rem; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)) }
img { width: 100%; border-radius: .5rem } .price { font-size: 1.75rem; font-weight: 600 } s { color: #666 }
ul { list-style: none; padding: 0; grid-column: 1 / -1 } li { padding: .25rem 0 }
footer { color: #666; margin-top: 2rem }
</style>
</head>
<body>
<header><a href="$home">$shop</a></header>
<main>
$main
</main>
<footer>$shop is a shop of the sandbox. It exists for development only, and sells nothing.</footer>
</body>
</html>
""")

_PRODUCT = Template("""<img src="$image" alt="" width="480" height="360">
<div>
<h1>$name</h1>
<p>$brand</p>
<p class="price">$price $list_price</p>
<p>$availability · $shipping</p>
<p>$description</p>
<p>GTIN $gtin</p>
</div>""")

_HEAD = Template("""<link rel="canonical" href="$url">
<meta name="description" content="$description">
<meta property="og:type" content="product">
<meta property="og:site_name" content="$shop">
<meta property="og:title" content="$name">
<meta property="og:url" content="$url">
<meta property="og:image" content="$image">
<meta property="product:price:amount" content="$amount">
<meta property="product:price:currency" content="$currency">
<script type="application/ld+json">
$data
</script>""")


def product_url(site: str, shop: Shop, article: Article) -> str:
    """The address of the product's page."""
    return f"{site}/shops/{shop.key}/products/{article.slug}"


def image_url(site: str, article: Article) -> str:
    """The address of the product's drawing."""
    return f"{site}/images/{article.slug}.svg"


def decimal(cents: int) -> str:
    """The amount in euros, as formats for programs write it: 1234.50."""
    return f"{cents // 100}.{cents % 100:02}"


def product_page(site: str, shop: Shop, article: Article, quote: Quote) -> str:
    """Return the product's page."""
    texts = {
        "name": escape(article.name),
        "description": escape(article.description),
        "brand": escape(article.brand or ""),
        "gtin": article.gtin,
        "shop": escape(shop.name),
        "url": escape(product_url(site, shop, article)),
        "image": escape(image_url(site, article)),
        "amount": decimal(quote.price),
        "currency": CURRENCY,
        "price": _euros(quote.price),
        "list_price": f"<s>{_euros(quote.list_price)}</s>" if quote.list_price else "",
        "availability": "In stock" if quote.items else "Sold out",
        "shipping": f"plus {_euros(quote.shipping)} shipping" if quote.shipping else "free shipping",
        # JSON in HTML must not hold the end of its element.
        "data": json.dumps(_data(site, shop, article, quote), ensure_ascii=False, indent=2).replace("</", "<\\/"),
    }
    return _page(site, shop, texts["name"], _PRODUCT.substitute(texts), _HEAD.substitute(texts))


def shop_page(site: str, shop: Shop, quoted: Iterable[tuple[Article, Quote]]) -> str:
    """Return the shop's list of its products."""
    lines = (
        f'<li><a href="{escape(product_url(site, shop, article))}">{escape(article.name)}</a>'
        f" · {_euros(quote.price)}</li>"
        for article, quote in quoted
    )
    return _page(site, shop, "Products", "<ul>\n{}\n</ul>".format("\n".join(lines)))


def _page(site: str, shop: Shop, title: str, main: str, head: str = "") -> str:
    home = escape(f"{site}/shops/{shop.key}")
    return _PAGE.substitute(title=title, shop=escape(shop.name), home=home, head=head, main=main)


def _euros(cents: int) -> str:
    return f"€{cents // 100:,}.{cents % 100:02}"


def _data(site: str, shop: Shop, article: Article, quote: Quote) -> dict[str, Any]:
    data: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Product",
        "name": article.name,
        "description": article.description,
        "sku": article.gtin[-7:-1],
        "gtin13": article.gtin,
        "category": article.category,
        "image": image_url(site, article),
        "url": product_url(site, shop, article),
        "offers": _offer(site, shop, article, quote),
    }
    if article.brand:
        data["brand"] = {"@type": "Brand", "name": article.brand}
    return data


def _offer(site: str, shop: Shop, article: Article, quote: Quote) -> dict[str, Any]:
    offer: dict[str, Any] = {
        "@type": "Offer",
        "url": product_url(site, shop, article),
        "price": decimal(quote.price),
        "priceCurrency": CURRENCY,
        "availability": f"https://schema.org/{'InStock' if quote.items else 'OutOfStock'}",
        "itemCondition": "https://schema.org/NewCondition",
        "seller": {"@type": "Organization", "name": shop.name},
        "shippingDetails": {
            "@type": "OfferShippingDetails",
            "shippingRate": {"@type": "MonetaryAmount", "value": decimal(quote.shipping), "currency": CURRENCY},
            "shippingDestination": {"@type": "DefinedRegion", "addressCountry": "DE"},
        },
    }
    if quote.list_price:
        offer["priceSpecification"] = {
            "@type": "UnitPriceSpecification",
            "priceType": "https://schema.org/StrikethroughPrice",
            "price": decimal(quote.list_price),
            "priceCurrency": CURRENCY,
        }
    return offer
