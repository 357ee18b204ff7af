"""The query parameters of /products and /products/partial: search, filters, sort and page."""

from datetime import datetime
from typing import TypedDict
from uuid import UUID

from productagg.api.core.fields import (
    MAX_LIMIT,
    choice,
    cursor,
    flag,
    limit,
    number,
    parameter,
    texts,
    time_parameter,
)
from productagg.api.core.validators import query
from productagg.catalog.listing import COUNT_LIMIT
from productagg.catalog.product_members import MEMBERS, PRICE_MEMBERS
from productagg.catalog.product_query import RELEVANCE, SORTS
from productagg.catalog.search_text import filter_key, search_words
from productagg.db.models import BRAND_MAX_LENGTH, CATEGORY_MAX_LENGTH, REGISTRATIONS
from productagg.schema_types import NO_CONTROL_CHARACTERS, mapping, uuid
from productagg.text_rules import has_control

_MAX_PRICE = 2**63 - 1
_MAX_SEARCH_LENGTH, _MAX_WORDS = 200, 10


class ListingQuery(TypedDict):
    q: tuple[str, ...] | None
    min_price: int | None
    max_price: int | None
    in_stock: bool | None
    registration: str | None
    updated_since: datetime | None
    ids: list[UUID] | None
    brand: list[str] | None
    category: list[str] | None
    sort: str | None
    limit: int
    total: bool | None
    cursor: str | None


class PartialQuery(ListingQuery):
    fields: tuple[str, ...]


def _read_words(text: str) -> tuple[str, ...]:
    words = search_words(text)
    if len(text) > _MAX_SEARCH_LENGTH or not 1 <= len(words) <= _MAX_WORDS or has_control(text):
        raise ValueError(text)
    return words


def _read_ids(text: str) -> list[UUID]:
    if text.count(",") >= MAX_LIMIT:
        raise ValueError(text)
    return [uuid(id_) for id_ in text.split(",")]


def _read_fields(text: str) -> tuple[str, ...]:
    """The members in the order of MEMBERS, always with the id, and prices always with their currency."""
    fields = set(text.split(","))
    if not fields <= set(MEMBERS):
        raise ValueError(text)
    fields.add("id")
    if not fields.isdisjoint(PRICE_MEMBERS):
        fields.add("currency")
    return tuple(name for name in MEMBERS if name in fields)


_PARAMETERS = (
    parameter(
        "q",
        _read_words,
        f"1 to {_MAX_WORDS} words in at most {_MAX_SEARCH_LENGTH} characters, none of which is a control character",
        {"type": "string", "minLength": 1, "maxLength": _MAX_SEARCH_LENGTH, "pattern": NO_CONTROL_CHARACTERS},
        "Words or parts of words. The name, the brand, the category, the GTIN or the description must contain each of "
        "them; case and accents do not matter. For example `desk lamp`.",
        missing=None,
    ),
    number("min_price", _MAX_PRICE, "With a lowest in-stock price of this much or more.", minimum=0, missing=None),
    number("max_price", _MAX_PRICE, "With a lowest in-stock price of this much or less.", minimum=0, missing=None),
    flag("in_stock", "Only products that are in stock, or only products that are not."),
    choice("registration", REGISTRATIONS, "Only products in this state.", missing=None),
    time_parameter(
        "updated_since",
        "Only products that were created, or whose values were edited, at this time or later.",
    ),
    texts(
        "brand",
        filter_key,
        BRAND_MAX_LENGTH,
        "Only products of this brand; given several times, of any of these. Case, accents and white space do not "
        "matter.",
    ),
    texts(
        "category",
        filter_key,
        CATEGORY_MAX_LENGTH,
        "Only products whose whole category is this text; given several times, any of these. Case, accents and white "
        "space do not matter.",
    ),
    parameter(
        "ids",
        _read_ids,
        f"1 to {MAX_LIMIT} UUIDs, comma separated",
        {
            "type": "array",
            "items": {"type": "string", "format": "uuid"},
            "minItems": 1,
            "maxItems": MAX_LIMIT,
        },
        f"Only products with one of these ids, {MAX_LIMIT} at most; ids without a product are ignored.",
        missing=None,
    ),
    choice(
        "sort",
        SORTS,
        f"The order; `-` reverses it. `{RELEVANCE}` needs `q`, and is the default with it: whole words come first, "
        "then beginnings of words, then other parts, each in names before brands, categories and GTINs before "
        "descriptions. Without `q` the default is "
        "`created_at`. By `lowest_price`, products without a price come last in both directions; `name` ignores case "
        "and accents.",
        missing=None,
    ),
    limit(),
    flag(
        "total",
        f"`true`: always send `Total-Count`, however slow; `false`: never; by default only up to {COUNT_LIMIT}.",
    ),
    cursor("It expires a day after the first page."),
)
_FIELDS = parameter(
    "fields",
    _read_fields,
    f"some of {', '.join(MEMBERS)}, comma separated",
    {"type": "array", "items": {"type": "string", "enum": list(MEMBERS)}, "minItems": 1},
    "The members of each product, besides `id`; with a price also its `currency`.",
    example=["name", "lowest_price"],
)

listing_query = query(mapping(*_PARAMETERS), ListingQuery)
partial_query = query(mapping(_FIELDS, *_PARAMETERS), PartialQuery)
