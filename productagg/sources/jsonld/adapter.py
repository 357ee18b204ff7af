"""The adapter of product pages: one page, one product."""

from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import urldefrag

import colander

from productagg.sources.base import Failure, NotModified, Outcome, Request
from productagg.sources.jsonld.addresses import normalize_locator
from productagg.sources.jsonld.reader import Options, Page, read_page
from productagg.sources.options import check_currency
from productagg.sources.web import WebError

MAX_BYTES = 5_000_000
_ACCEPT = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1"}
_PAGE_TYPES = ("html", "xml", "text/plain")


class Configuration(colander.MappingSchema):  # type: ignore[misc]
    """All of it is optional: a page usually says all that is needed."""

    seller = colander.SchemaNode(
        colander.String(),
        missing=None,
        preparer=lambda text: text and text.strip(),
        validator=colander.Length(min=1, max=200),
        description="The seller of offers that name none; else the site's name, else its host.",
    )
    currency = colander.SchemaNode(
        colander.String(),
        missing=None,
        preparer=lambda text: text and text.strip().upper(),
        validator=check_currency,
        description="The currency (ISO 4217) of prices that have none. Without it, such prices are refused.",
    )
    country = colander.SchemaNode(
        colander.String(),
        missing=None,
        preparer=lambda text: text and text.strip().upper(),
        validator=colander.Regex(r"\A[A-Z]{2}\Z", "is not a country code of two letters (ISO 3166-1)"),
        description="The country that goods are shipped to. Without it, shipping is not told.",
    )


class ProductPage:
    """A shop's product page with data of schema.org."""

    title: ClassVar[str] = "Product page with schema.org data"
    whole_document: ClassVar[bool] = False
    configuration_schema: ClassVar[type[colander.MappingSchema]] = Configuration
    locator: ClassVar[str] = "URL of the product's page"

    def check_locator(self, locator: str) -> str:
        """The page's address in its normal form. Raises ValueError, with the reason for people."""
        return normalize_locator(locator)

    def fetch(self, request: Request) -> Iterator[Outcome]:
        """Fetch the page and yield its product's offers, NotModified, or why there are none."""
        [locator] = request.locators
        yield _fetch(request, locator)


def _fetch(request: Request, locator: str) -> Outcome:
    try:
        with request.web.get(
            urldefrag(locator).url,
            headers=_ACCEPT,
            validators=request.validators,
            max_bytes=MAX_BYTES,
            is_page=True,
        ) as response:
            if response.not_modified:
                return NotModified()
            content_type = response.headers.get("content-type", "")
            if content_type and not any(type_ in content_type.lower() for type_ in _PAGE_TYPES):
                return Failure(f"it is not a page but {content_type[:60]}", "not_a_page")
            page = Page(response.read(), content_type, response.url, response.validators)
    except WebError as error:
        return Failure(error.reason, error.code, error.retry_at)
    configuration = request.configuration
    options = Options(configuration.get("seller"), configuration.get("currency"), configuration.get("country"))
    return read_page(page, locator, options)
