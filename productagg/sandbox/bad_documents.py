"""Pages, feeds and JSON of shops that are wrong on purpose: a fault sends one instead of the correct response.

`faults.py` checks the names of forms against the tables here, and `responses.py` looks them up. Each form takes the
correct response, which is not compressed, and returns the wrong one. Bodies that are wrong for any endpoint, such as an
empty one, are in `bad_bodies.py`.
"""

import gzip
import json
import re
from collections.abc import Callable
from typing import Any

from productagg.sandbox.service import Response

Form = Callable[[Response], Response]

_NO_CURRENCY = "ZZZ"
_ON_REQUEST = "on request"
_COOKIE_WALL = """<!DOCTYPE html>
<html lang="en"><head><title>Before you continue</title></head>
<body><h1>Before you continue</h1><p>We and our 842 partners value your privacy.</p>
<form method="post" action="/consent"><button>Accept all</button></form></body></html>
"""
_DATA = re.compile(r'(<script type="application/ld\+json">)(.*?)(</script>)', re.DOTALL)
_META = re.compile(r'<meta property="[^>]*>\n')
_ITEM = re.compile(r"<(item|SHOPITEM)>.*?</\1>\n", re.DOTALL)
_PRICE = re.compile(r"<(g:price|g:sale_price|PRICE_VAT)>[^<]*</\1>\n")
_PRICE_TEXT = re.compile(r"(<(?:g:price|g:sale_price|PRICE_VAT)>)[^<]*")
_ID = re.compile(r"(<(?:g:id|ITEM_ID)>)([^<]*)")
_ROOT = re.compile(r"(</?)(?:rss|SHOP)\b")
_ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'


def _text(change: Callable[[str], str]) -> Form:
    """A form that changes the body's text."""
    return lambda response: response._replace(body=change(response.body.decode()).encode())


def _body(change: Callable[[bytes], bytes]) -> Form:
    return lambda response: response._replace(body=change(response.body))


# Pages


def _data(change: Callable[[dict[str, Any]], Any]) -> Form:
    """A form that changes the page's JSON-LD. Data in OpenGraph is left out: it would still be right."""

    def write(page: str) -> str:
        def replaced(match: re.Match[str]) -> str:
            return f"{match[1]}{json.dumps(change(json.loads(match[2])))}{match[3]}"

        return _DATA.sub(replaced, _META.sub("", page))

    return _text(write)


def _offer(**members: Any) -> Form:
    """A form that sets members of the page's offer, or removes them if they are None."""

    def change(product: dict[str, Any]) -> dict[str, Any]:
        offer = {name: value for name, value in product["offers"].items() if name != "priceSpecification"}
        offer = {name: value for name, value in (offer | members).items() if value is not None}
        return {**product, "offers": offer}

    return _data(change)


def _two_products(product: dict[str, Any]) -> list[dict[str, Any]]:
    """Two products at the page's address."""
    return [product, {**product, "name": "Another product", "sku": "another", "gtin13": ""}]


WRONG_PAGES: dict[str, Form] = {
    "cookie_wall": _text(lambda page: _COOKIE_WALL),
    "no_data": _text(lambda page: _DATA.sub("", _META.sub("", page))),
    "damaged_data": _text(
        lambda page: _DATA.sub(lambda match: f"{match[1]}{match[2][:-40]}{match[3]}", _META.sub("", page))
    ),
    "ends_in_data": _text(lambda page: _META.sub("", page[: page.index('"offers"') + 20])),
    "price_missing": _offer(price=None),
    "price_on_request": _offer(price=_ON_REQUEST),
    "price_range": _offer(price=None, lowPrice="10.00", highPrice="99.00"),
    "two_prices": _offer(price=["10.00", "99.00"]),
    "currency_unknown": _offer(priceCurrency=_NO_CURRENCY),
    "currency_missing": _offer(priceCurrency=None),
    "currency_contradicts": _text(lambda page: page.replace('currency" content="EUR"', 'currency" content="USD"')),
    "two_products": _data(_two_products),
    "another_product": _data(lambda product: {**product, "url": "/shops/elsewhere/products/another"}),
    "not_a_page": lambda response: response._replace(content_type="image/png"),
}

# Feeds


def _shrunk(feed: str) -> str:
    """Only the first third of the items."""
    items = list(_ITEM.finditer(feed))
    return feed[: items[len(items) // 3].start()] + feed[items[-1].end() :]


def _breaks_off(feed: str) -> str:
    """Good items, then half of one."""
    items = list(_ITEM.finditer(feed))
    return feed[: (items[-1].start() + items[-1].end()) // 2]


def _same_ids(feed: str) -> str:
    first = _ID.search(feed)
    return _ID.sub(rf"\g<1>{first[2]}", feed) if first else feed


def _broken_gzip(response: Response) -> Response:
    """Compressed, and damaged in the middle."""
    body = gzip.compress(response.body, mtime=0)
    middle = len(body) // 2
    body = body[:middle] + bytes(byte ^ 0xFF for byte in body[middle : middle + 20]) + body[middle + 20 :]
    return response._replace(body=body, headers=(*response.headers, ("Content-Encoding", "gzip")))


def _with_prolog(text: str) -> Callable[[str], str]:
    """Puts a text between the XML declaration and the root."""
    return lambda feed: feed.replace("?>\n", f"?>\n{text}\n", 1)


WRONG_FEEDS: dict[str, Form] = {
    "empty_root": _text(lambda feed: _ITEM.sub("", feed)),
    "shrunk": _text(_shrunk),
    "breaks_off": _text(_breaks_off),
    "wrong_root": _text(lambda feed: _ROOT.sub(r"\1urlset", feed)),
    "entities": _text(_with_prolog(_ENTITIES)),
    "broken_gzip": _broken_gzip,
    "cut_gzip": _body(lambda feed: gzip.compress(feed, mtime=0)[:-100]),
    "wrong_encoding": lambda response: response._replace(
        body=_with_prolog("<!-- Preise für Händler -->")(response.body.decode()).encode("cp1252", "xmlcharrefreplace")
    ),
    "unknown_encoding": _text(lambda feed: feed.replace('encoding="UTF-8"', 'encoding="x-shop"')),
    "price_missing": _text(lambda feed: _PRICE.sub("", feed)),
    "price_on_request": _text(lambda feed: _PRICE_TEXT.sub(rf"\g<1>{_ON_REQUEST}", feed)),
    "price_zero": _text(lambda feed: _PRICE_TEXT.sub(r"\g<1>0.00 EUR", feed)),
    "currency_unknown": _text(lambda feed: _PRICE_TEXT.sub(rf"\g<1>10.00 {_NO_CURRENCY}", feed)),
    "ids_missing": _text(lambda feed: _ID.sub(r"\1", feed)),
    "same_ids": _text(_same_ids),
}

# JSON


def _json(change: Callable[[Any], Any]) -> Form:
    """A form that changes the JSON."""
    return _body(lambda body: json.dumps(change(json.loads(body))).encode())


def _products(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Form:
    """A form that changes the product, or each product of a list."""

    def apply(document: dict[str, Any]) -> dict[str, Any]:
        if "products" in document:
            return {**document, "products": [change(each) for each in document["products"]]}
        return change(document)

    return _json(apply)


def _member(name: str, value: Any) -> Form:
    return _products(lambda product: {**product, name: value})


def _without(name: str) -> Form:
    return _products(lambda product: {key: value for key, value in product.items() if key != name})


def _twice(document: dict[str, Any]) -> Any:
    """Each product twice, with two prices."""
    products = document.get("products", [document])
    doubled = [*products, *({**product, "price": 1} for product in products)]
    return {**document, "products": doubled} if "products" in document else doubled


WRONG_JSON: dict[str, Form] = {
    "error_object": _json(lambda document: {"error": {"code": 17, "message": "Try again later"}}),
    "null": _json(lambda document: None),
    "text": _json(lambda document: "maintenance"),
    "no_products": _json(lambda document: {**document, "products": []}),
    "fewer_products": _json(lambda document: {**document, "products": document.get("products", [])[:1]}),
    "next_is_first": _json(lambda document: {**document, "next": "?page=1"}),
    "twice": _json(_twice),
    "id_missing": _without("id"),
    "price_missing": _without("price"),
    "price_null": _member("price", None),
    "price_on_request": _member("price", _ON_REQUEST),
    "price_fraction": _member("price", 44.9),
    "price_negative": _member("price", -1),
    "currency_unknown": _member("currency", _NO_CURRENCY),
    "currency_missing": _without("currency"),
    "stock_not_told": _member("stock", None),
    "not_utf8": _body(lambda body: body.replace(b'"name": "', b'"name": "\xff\xfe', 1)),
    "broken_gzip": _broken_gzip,
}

FORMS: dict[str, dict[str, Form]] = {
    "wrong_page": WRONG_PAGES,
    "wrong_feed": WRONG_FEEDS,
    "wrong_json": WRONG_JSON,
}
