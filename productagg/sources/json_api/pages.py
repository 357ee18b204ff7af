"""The pages of one fetch: each a JSON document with its items, until the page rule finds no further one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus, unquote_plus, urljoin, urlsplit, urlunsplit

import orjson
from requests.utils import parse_header_links

from productagg.sources.base import Request
from productagg.sources.json_api.configuration import SECRET
from productagg.sources.json_api.expressions import Expression, json_type
from productagg.sources.web import NO_VALIDATORS, Validators, WebResponse
from productagg.sources.web.urls import parse

MAX_PAGES = 1000
MAX_PAGE_BYTES = 20_000_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class PageError(Exception):
    """A page that cannot be used. `code` is a word for statistics."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.code = code


class Unchanged(Exception):
    """The document is the one that the validators stand for."""


@dataclass(frozen=True, slots=True)
class Page:
    """One document."""

    number: int
    document: Any
    items: list[Any]
    url: str
    """Its address after redirects."""
    is_last: bool
    validators: Validators


class Pages:
    """Requests one page after another."""

    def __init__(self, request: Request, url: str) -> None:
        configuration = request.configuration
        rule: Mapping[str, Any] = configuration["pages"] or {"rule": None}
        self._request = request
        self._rule: str | None = rule["rule"]
        self._parameter: str | None = rule.get("parameter")
        self._number: int = rule.get("first") or 0
        self._items = Expression("items", configuration["items"])
        text = rule.get("expression")
        self._next = None if text is None else Expression("pages.expression", text)
        self._first = _with_parameter(url, self._parameter, str(self._number)) if self._rule == "number" else url
        self._headers = {"Accept": "application/json"}
        self._secret_headers = {}
        if request.secret is not None:
            value = configuration["secret_template"].replace(SECRET, request.secret)
            self._secret_headers = {configuration["secret_header"]: value}

    def read(self) -> Iterator[Page]:
        """Raises WebError, PageError, EvaluationError; Unchanged instead of the first page."""
        url: str | None = self._first
        visited: set[str] = set()
        before: list[Any] = []
        while url is not None:
            if url in visited:
                raise PageError(f"page {len(visited) + 1} is one that was read before", "loop")
            if len(visited) == MAX_PAGES:
                raise PageError(f"it has more than {MAX_PAGES} pages", "too_many_pages")
            visited.add(url)
            page, url = self._get(url, len(visited))
            if page.items and page.items == before:
                raise PageError(f"page {page.number} has the same items as the page before", "loop")
            before = page.items
            yield page

    def _get(self, url: str, number: int) -> tuple[Page, str | None]:
        """A page, and the address of the next."""
        # By the parser that the requests are sent with: others see another host where a backslash stands before '@'.
        is_at_home = parse(url).origin == parse(self._first).origin
        headers = self._headers | (self._secret_headers if is_at_home else {})
        # The version of the first of many pages says nothing about the others.
        known = self._request.validators if self._rule is None else NO_VALIDATORS
        with self._request.web.get(url, headers=headers, validators=known, max_bytes=MAX_PAGE_BYTES) as response:
            if response.not_modified:
                raise Unchanged
            body = response.read()
        digest = sha256(body).hexdigest()
        if known.digest == digest:
            raise Unchanged
        document = _parse(body, response.headers.get("content-type", ""))
        items = self._items.evaluate(document)
        if not isinstance(items, list):
            raise PageError(f"items: it is {json_type(items)}, not a list", "no_list")
        next_url = self._next_url(document, items, response)
        validators = response.validators._replace(digest=digest) if self._rule is None else NO_VALIDATORS
        return Page(number, document, items, response.url, next_url is None, validators), next_url

    def _next_url(self, document: Any, items: list[Any], response: WebResponse) -> str | None:
        if self._rule == "number":
            return self._following_number(document, items)
        if self._rule == "link_header":
            return _resolve(response.url, _next_link(response.headers.get("link", "")))
        if self._next is None:
            return None
        following = self._next.evaluate(document)
        if following in (None, "", False):
            return None
        if isinstance(following, bool) or not isinstance(following, str | int):
            raise PageError(f"pages.expression: it is {json_type(following)}", "bad_next_page")
        if self._rule == "cursor":
            return _with_parameter(self._first, self._parameter, str(following))
        return _resolve(response.url, str(following))

    def _following_number(self, document: Any, items: list[Any]) -> str | None:
        listed = items if self._next is None else self._next.evaluate(document)
        if not isinstance(listed, list):
            raise PageError(f"pages.expression: it is {json_type(listed)}, not a list", "bad_next_page")
        self._number += 1
        return _with_parameter(self._first, self._parameter, str(self._number)) if listed else None


def _parse(body: bytes, content_type: str) -> Any:
    try:
        return orjson.loads(body.removeprefix(_BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        declared = f" but {content_type[:60]}" if content_type and "json" not in content_type.lower() else ""
        raise PageError(f"it is not JSON{declared}: {error}", "not_json") from None


def _next_link(header: str) -> str | None:
    """The address with the relation 'next' in a header Link (RFC 8288)."""
    if not header.strip():
        return None
    links = parse_header_links(header)
    return next((link["url"] for link in links if "next" in link.get("rel", "").lower().split()), None)


def _resolve(base: str, link: str | None) -> str | None:
    if link is None:
        return None
    # The link is not repeated: some APIs put the caller's key into it.
    try:
        url = urljoin(base, link.strip())
    except ValueError:
        raise PageError("the link to the next page is not an address", "bad_next_page") from None
    if not url.startswith(("https://", "http://")):
        raise PageError("the link to the next page is not an address of the web", "bad_next_page")
    return url


def _with_parameter(url: str, name: str | None, value: str) -> str:
    """The address with this parameter, in place of one of the same name."""
    parts = urlsplit(url)
    others = [pair for pair in parts.query.split("&") if pair and unquote_plus(pair.partition("=")[0]) != name]
    query = "&".join([*others, f"{quote_plus(name or '')}={quote_plus(value)}"])
    return urlunsplit(parts._replace(query=query, fragment=""))
