"""The sandbox's shops without a socket: which address shows what, and the conditional requests.

The server passes every request to it that is not for the Offers service or for the control endpoint. It always behaves
correctly (the server adds the faults), never waits, and stores nothing: `quotes.py` says what a product costs when.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs

from productagg.sandbox.assortment import SHOPS, Article, Shop, articles, carried_by, find
from productagg.sandbox.drawings import drawing
from productagg.sandbox.quotes import Quote, quote_at
from productagg.sandbox.service import Clock, Endpoint, Request, Response
from productagg.sandbox.shop_api import product, product_list
from productagg.sandbox.shop_feeds import heureka_feed, merchant_feed
from productagg.sandbox.shop_pages import product_page, shop_page

HTML, XML, SVG = "text/html; charset=utf-8", "application/xml", "image/svg+xml"
_ROBOTS = "User-agent: *\nDisallow: /control\nDisallow: /shop-api/\nAllow: /\n"
_NOT_FOUND = Response(404, {"detail": "Not Found"})
_ENDPOINTS: tuple[tuple[str, Endpoint], ...] = (("/shops/", "pages"), ("/feeds/", "feeds"), ("/shop-api/", "shop_api"))
_A_DAY = ("Cache-Control", "public, max-age=86400")

Quoted = Sequence[tuple[Article, Quote]]


def shop_endpoint_of(path: str) -> Endpoint | None:
    """Return the shops' endpoint that faults may affect at this path, None if there is none."""
    return next((endpoint for prefix, endpoint in _ENDPOINTS if path.startswith(prefix)), None)


class Shops:
    """Answers requests to all shops. `secret` is the bearer token that their JSON wants; None: it wants none."""

    def __init__(self, clock: Clock, secret: str | None = None) -> None:
        self._clock = clock
        self._secret = secret
        self._routes: list[tuple[re.Pattern[str], Callable[..., Response]]] = [
            (re.compile(pattern), handler)
            for pattern, handler in (
                (r"/robots\.txt", self._robots),
                (r"/images/([^/]+)\.svg", self._image),
                (r"/shops/([^/]+)", self._shop_page),
                (r"/shops/([^/]+)/products/([^/]+)", self._product_page),
                (r"/feeds/([^/]+)-heureka\.xml", self._heureka_feed),
                (r"/feeds/([^/]+)\.xml", self._merchant_feed),
                (r"/shop-api/([^/]+)/products", self._product_list),
                (r"/shop-api/([^/]+)/products/([^/]+)", self._product),
            )
        ]

    def answer(self, request: Request) -> Response:
        """Answer a request: 404 for an unknown path, 405 for another method than GET and HEAD."""
        for pattern, handler in self._routes:
            if match := pattern.fullmatch(request.path):
                if request.method not in ("GET", "HEAD"):
                    return Response(405, {"detail": "Method Not Allowed"}, (("Allow", "GET, HEAD"),))
                return handler(request, *match.groups())
        return _NOT_FOUND

    def _robots(self, request: Request) -> Response:
        return _document(request, _ROBOTS, "text/plain", None)

    def _image(self, request: Request, slug: str) -> Response:
        article = articles().get(slug)
        return _NOT_FOUND if article is None else _document(request, drawing(article), SVG, None, _A_DAY)

    def _shop_page(self, request: Request, shop_key: str) -> Response:
        shop = SHOPS.get(shop_key)
        if shop is None:
            return _NOT_FOUND
        quoted = self._quoted(shop)
        return _document(request, shop_page(_site(request), shop, quoted), HTML, quoted)

    def _product_page(self, request: Request, shop_key: str, slug: str) -> Response:
        shop = SHOPS.get(shop_key)
        article = shop and find(shop, slug)
        if shop is None or article is None or article.slug != slug:
            return _NOT_FOUND
        quote = self._quote(shop, article)
        return _document(request, product_page(_site(request), shop, article, quote), HTML, [(article, quote)])

    def _merchant_feed(self, request: Request, shop_key: str) -> Response:
        return self._feed(request, shop_key, merchant_feed)

    def _heureka_feed(self, request: Request, shop_key: str) -> Response:
        return self._feed(request, shop_key, heureka_feed)

    def _feed(self, request: Request, shop_key: str, write: Callable[[str, Shop, Quoted], str]) -> Response:
        shop = SHOPS.get(shop_key)
        if shop is None:
            return _NOT_FOUND
        quoted = self._quoted(shop)
        return _document(request, write(_site(request), shop, quoted), XML, quoted)

    def _product_list(self, request: Request, shop_key: str) -> Response:
        shop = SHOPS.get(shop_key)
        if shop is None:
            return _NOT_FOUND
        if not self._is_authorized(request):
            return _unauthorized()
        page = parse_qs(request.query).get("page", ["1"])[0]
        if not (page.isascii() and page.isdecimal() and 0 < int(page) < 10**6):
            return Response(422, {"detail": "page must be a number from 1 on"})
        quoted = self._quoted(shop)
        return _document(request, product_list(_site(request), shop, quoted, int(page)), None, quoted)

    def _product(self, request: Request, shop_key: str, key: str) -> Response:
        shop = SHOPS.get(shop_key)
        if shop is None:
            return _NOT_FOUND
        if not self._is_authorized(request):
            return _unauthorized()
        article = find(shop, key)
        if article is None:
            return _NOT_FOUND
        quote = self._quote(shop, article)
        return _document(request, product(_site(request), shop, article, quote), None, [(article, quote)])

    def _is_authorized(self, request: Request) -> bool:
        return self._secret is None or request.headers.get("authorization") == f"Bearer {self._secret}"

    def _quoted(self, shop: Shop) -> Quoted:
        return [(article, self._quote(shop, article)) for article in carried_by(shop)]

    def _quote(self, shop: Shop, article: Article) -> Quote:
        return quote_at(article, shop, self._clock())


def _unauthorized() -> Response:
    return Response(401, {"detail": "Bad authentication"}, (("WWW-Authenticate", "Bearer"),))


def _site(request: Request) -> str:
    """The root of all addresses, as the client named it."""
    return f"http://{request.headers.get('host', 'localhost')}"


def _document(
    request: Request, body: Any, content_type: str | None, quoted: Quoted | None, *headers: tuple[str, str]
) -> Response:
    """The body (a text; JSON if `content_type` is None) with its validators, or 304 if the client has it already."""
    payload = (json.dumps(body, ensure_ascii=False) if content_type is None else body).encode()
    # Weak: compressed or not, it has the same one.
    etag = f'W/"{hashlib.sha256(payload).hexdigest()[:20]}"'
    headers += (("ETag", etag), ("Vary", "Accept-Encoding"))
    changed_at = max(quote.changed_at for _, quote in quoted) if quoted else None
    if changed_at is not None:
        headers += (("Last-Modified", formatdate(changed_at, usegmt=True)),)
    content_type = content_type or "application/json"
    if _is_known(request, etag, changed_at):
        return Response(304, b"", headers, content_type)
    if "gzip" in request.headers.get("accept-encoding", ""):
        payload = gzip.compress(payload, mtime=0)
        headers += (("Content-Encoding", "gzip"),)
    return Response(200, payload, headers, content_type)


def _is_known(request: Request, etag: str, changed_at: int | None) -> bool:
    """Whether the request's conditions say that the client has this version (RFC 9110, 13.1)."""
    if known := request.headers.get("if-none-match"):
        return etag in (text.strip() for text in known.split(","))
    since = request.headers.get("if-modified-since")
    if since is None or changed_at is None:
        return False
    try:
        return changed_at <= parsedate_to_datetime(since).timestamp()
    except ValueError:
        return False
