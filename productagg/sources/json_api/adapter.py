"""The adapters of JSON over HTTP: `JsonApi` reads one product's document, `JsonList` one list of all products."""

from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import quote

import colander

from productagg.sources.base import Failure, NotModified, Outcome, Request
from productagg.sources.json_api.configuration import LOCATOR, ManyProducts, OneProduct
from productagg.sources.json_api.expressions import EvaluationError
from productagg.sources.json_api.pages import PageError, Pages, Unchanged
from productagg.sources.json_api.reading import Reading
from productagg.sources.json_api.values import read_id
from productagg.sources.web import WebError


class JsonApi:
    """A JSON document for each product."""

    title: ClassVar[str] = "JSON of one product"
    whole_document: ClassVar[bool] = False
    configuration_schema: ClassVar[type[colander.MappingSchema]] = OneProduct
    locator: ClassVar[str] = "what stands for {locator} in the source's address"

    def check_locator(self, locator: str) -> str:
        """The locator, trimmed. Raises ValueError."""
        locator = read_id(locator)
        if locator in (".", ".."):
            raise ValueError("it would be another path of the source's address")
        return locator

    def fetch(self, request: Request) -> Iterator[Outcome]:
        """See base.Adapter."""
        [locator] = request.locators
        url = request.configuration["url"].replace(LOCATOR, quote(locator, safe=""))
        return _fetch(request, url, locator)


class JsonList:
    """One list of all products, in JSON."""

    title: ClassVar[str] = "JSON list of all products"
    whole_document: ClassVar[bool] = True
    configuration_schema: ClassVar[type[colander.MappingSchema]] = ManyProducts
    locator: ClassVar[str] = "what fields.locator says of the product's items"

    def check_locator(self, locator: str) -> str:
        """The locator, trimmed. Raises ValueError."""
        return read_id(locator)

    def fetch(self, request: Request) -> Iterator[Outcome]:
        """See base.Adapter."""
        return _fetch(request, request.configuration["url"], None)


def _fetch(request: Request, url: str, locator: str | None) -> Iterator[Outcome]:
    reading = Reading(request, locator)
    try:
        for page in Pages(request, url).read():
            yield reading.read(page)
    except Unchanged:
        yield NotModified()
    except WebError as error:
        yield Failure(_without(request.secret, error.reason), error.code, error.retry_at)
    except PageError as error:
        yield Failure(_without(request.secret, str(error)), error.code)
    except EvaluationError as error:
        yield Failure(_without(request.secret, str(error)), "expression")


def _without(secret: str | None, reason: str) -> str:
    """The reason; some sources repeat the secret in what they send."""
    return reason.replace(secret, "…") if secret else reason
