"""What a feed's source is configured with."""

from collections.abc import Mapping
from typing import Any

import colander

from productagg.sources.feed import documents, formats, table
from productagg.sources.feed.documents import DocumentError
from productagg.sources.options import check_currency


def _check_url(node: colander.SchemaNode, value: str) -> None:
    if not value.startswith(("https://", "http://")):
        raise colander.Invalid(node, "must begin with https:// or http://")


def _check_encoding(node: colander.SchemaNode, value: str) -> None:
    try:
        documents.known_encoding(value)
    except DocumentError as error:
        raise colander.Invalid(node, error.reason) from None


def _check_mapping(node: colander.SchemaNode, value: Mapping[str, Any]) -> None:
    fields = list(value.values())
    if not all(isinstance(field, str) and field in table.MAPPED_FIELDS for field in fields):
        raise colander.Invalid(node, f"must map columns to fields, which are {', '.join(table.MAPPED_FIELDS)}")
    if len(set(fields)) < len(fields) or not {"id", "price"} <= set(fields):
        raise colander.Invalid(node, "must map one column to 'id', one to 'price', and at most one to each other field")


def _optional(kind: Any, *, missing: Any = None, **options: Any) -> Any:
    return colander.SchemaNode(kind, missing=missing, **options)


class Configuration(colander.MappingSchema):  # type: ignore[misc]  # colander is untyped
    """The configuration. Without a value, an option is None, or what its title says."""

    url = colander.SchemaNode(
        colander.String(),
        title="Address of the document",
        validator=colander.All(_check_url, colander.Length(max=2000)),
    )
    format = _optional(
        colander.String(),
        missing="auto",
        title="Format; auto tells it by the document's start",
        validator=colander.OneOf(list(formats.EXPECTED)),
    )
    currency = _optional(
        colander.String(),
        title="Currency of prices that state none (ISO 4217); Heureka's and Zboží's never do",
        preparer=lambda value: value and value.strip().upper(),
        validator=check_currency,
    )
    seller = _optional(
        colander.String(),
        title="Seller; by default what the feed says, else the source",
        validator=colander.Length(1, 200),
    )
    country = _optional(
        colander.String(),
        title="Country that shipping costs are read for (ISO 3166, two letters)",
        preparer=lambda value: value and value.strip().upper(),
        validator=colander.Regex(r"[A-Z]{2}\Z", "must be two letters"),
    )
    encoding = _optional(
        colander.String(), title="Encoding, if the document declares a wrong one or none", validator=_check_encoding
    )
    delimiter = _optional(
        colander.String(),
        title="Delimiter of a table's columns; by default the most frequent one in its header",
        validator=colander.Length(1, 1),
    )
    mapping = _optional(
        colander.Mapping(unknown="preserve"),
        title="A table's columns, and the field that each one is; by default Google Merchant's",
        validator=_check_mapping,
    )
    in_stock_days = _optional(
        colander.Integer(strict=True),
        missing=0,
        title="Heureka, Zboží: a DELIVERY_DATE of up to so many days means in stock",
        validator=colander.Range(0, 999),
    )
    beyond = _optional(
        colander.String(),
        missing="backorder",
        title="Heureka, Zboží: what a longer DELIVERY_DATE means",
        validator=colander.OneOf(["backorder", "out_of_stock"]),
    )
