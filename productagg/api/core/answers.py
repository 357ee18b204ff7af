"""How views declare their successful responses: status, headers, media type and JSON, with `answers=`.

The document at /openapi.json is made of these declarations, and the functional tests check every response against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The headers of a page of a list: cursors if there is a next or previous page, and a Link unless it would be too long.
PAGE_HEADERS = ("Next-Cursor?", "Prev-Cursor?", "Link?")


@dataclass(frozen=True)
class Answer:
    """A successful response. `body` is the type of its JSON, or None; `csv` is an example of its CSV, or empty.

    A header name that ends in a question mark is not in every response. `links` leads to other operations: it maps
    their path parameter to the place in this response that holds its value.
    """

    description: str
    body: Any
    status: int = 200
    headers: tuple[str, ...] = ()
    csv: str = ""
    links: Mapping[Any, str] = field(default_factory=dict)


def tagged(description: str, body: Any, *headers: str, **options: Any) -> tuple[Answer, ...]:
    """Declare a success with an ETag, so that `If-None-Match` can turn it into a 304."""
    return (Answer(description, body, headers=("ETag", *headers), **options),)


def public(description: str, body: Any, *headers: str, **options: Any) -> tuple[Answer, ...]:
    """Declare a success with an ETag that shared caches may keep for a while."""
    return tagged(description, body, "Cache-Control", *headers, **options)
