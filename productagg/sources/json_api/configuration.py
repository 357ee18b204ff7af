"""What a source of JSON is configured with. Plain JSON before and after: expressions are checked, and stay texts."""

import re
from collections.abc import Mapping
from typing import Any, get_args
from urllib.parse import urlsplit

import colander

from productagg.sources.json_api.expressions import Expression, InvalidExpression
from productagg.sources.options import check_currency
from productagg.sources.vocabulary import Availability

LOCATOR = "{locator}"
SECRET = "{secret}"  # noqa: S105  # where the secret goes in the header's value
PRICE_FORMATS = ("decimal", "minor", "scaled")
# What each page rule needs to know, and what it may be told.
_NEEDS: dict[str, set[str]] = {
    "next_link": {"expression"},
    "number": {"parameter"},
    "cursor": {"expression", "parameter"},
    "link_header": set(),
}
_OPTIONAL = {"number": {"expression"}}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")


class _Text(colander.SchemaType):  # type: ignore[misc]  # colander is untyped
    """A text without white space around it. colander's own String takes numbers and booleans for texts."""

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is None or cstruct is colander.null:
            return colander.null
        if not isinstance(cstruct, str):
            raise colander.Invalid(node, "must be a text")
        return cstruct.strip()


def _text(title: str, **options: Any) -> Any:
    return colander.SchemaNode(_Text(), title=title, missing_msg="is required", **options)


def _expression(title: str, **options: Any) -> Any:
    return _text(title, validator=_check_expression, **options)


def _optional(title: str) -> Any:
    return _expression(title, missing=None)


def _check_expression(node: colander.SchemaNode, value: str) -> None:
    try:
        Expression(node.name, value)
    except InvalidExpression as error:
        raise colander.Invalid(node, str(error)) from None


def _check_address(node: colander.SchemaNode, value: str) -> None:
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise colander.Invalid(node, "must be an address that begins with http:// or https://")
    if "@" in parts.netloc:
        raise colander.Invalid(node, "must not contain a user name or a password: configure a secret")
    if "{" in parts.netloc:
        raise colander.Invalid(node, f"must have {LOCATOR} in its path or query: a locator must not choose the host")


def _is_template(node: colander.SchemaNode, value: str) -> None:
    if LOCATOR not in value:
        raise colander.Invalid(
            node, f"must contain {LOCATOR}; a list of all products is a source of the kind json_list"
        )


def _is_no_template(node: colander.SchemaNode, value: str) -> None:
    if LOCATOR in value:
        raise colander.Invalid(node, f"must not contain {LOCATOR}; one document per product is the kind json_api")


def _check_availabilities(node: colander.SchemaNode, value: Mapping[str, Any]) -> None:
    allowed = get_args(Availability)
    if not all(isinstance(availability, str) and availability in allowed for availability in value.values()):
        raise colander.Invalid(node, f"must map the source's values to one of {', '.join(allowed)}")


def _check_secret_template(node: colander.SchemaNode, value: str) -> None:
    if value.count(SECRET) != 1 or not value.isprintable() or len(value) > 200:
        raise colander.Invalid(node, f"must contain {SECRET} once, and at most 200 printable characters")


_ADDRESS = colander.All(colander.Length(max=2000), _check_address)


class _Fields(colander.MappingSchema):  # type: ignore[misc]
    """Where an offer's fields are: each an expression, evaluated on the item (with variants, see `variants`)."""

    external_id = _expression("What identifies the offer among all offers of its product")
    price = _expression("Price to pay")
    price_scale = _optional("With price_format scaled: how many of the price's last digits are decimals")
    currency = _optional("Currency of the price (ISO 4217)")
    seller = _optional("Seller")
    url = _optional("Address of the offer's page")
    condition = _optional("Condition, in the words of schema.org or Google Merchant")
    availability = _optional("Availability: true or false for in stock or not, a word, or see availability_values")
    items_in_stock = _optional("Number of items in stock")
    shipping = _optional("Shipping costs, written like the price; 0 is free")
    name = _optional("Name of the product")
    description = _optional("Description of the product")
    gtin = _optional("GTIN: EAN, UPC, ISBN-13")
    brand = _optional("Brand")
    category = _optional("Category")
    image_url = _optional("Address of an image")


class _FieldsOfOne(_Fields):
    locator = _optional("Locator of the product; offers of other products are then left out")


class _FieldsOfMany(_Fields):
    locator = _expression("Locator of the product that it is an offer of")


class _Pages(colander.MappingSchema):  # type: ignore[misc]
    """How the next page is found."""

    rule = _text("next_link, number, cursor or link_header", validator=colander.OneOf(list(_NEEDS)))
    expression = _optional(
        "Evaluated on a page. next_link: the next page's address. cursor: the next page's cursor. number: the list "
        "that is empty after the last page, if `items` leaves some out"
    )
    parameter = _text(
        "number, cursor: the parameter of the address that takes it",
        missing=None,
        validator=colander.Length(1, 100),
    )
    first = colander.SchemaNode(
        colander.Integer(strict=True),
        title="number: the first page's number",
        missing=1,
        validator=colander.Range(0, 1),
    )

    def validator(self, node: colander.SchemaNode, value: Mapping[str, Any]) -> None:
        rule = value["rule"]
        for name in ("expression", "parameter"):
            if value[name] is None and name in _NEEDS[rule]:
                raise _fault(node, name, f"the rule {rule} needs it")
            if value[name] is not None and name not in _NEEDS[rule] | _OPTIONAL.get(rule, set()):
                raise _fault(node, name, f"the rule {rule} has no use for it")


class _Configuration(colander.MappingSchema):  # type: ignore[misc]
    """What both kinds have in common."""

    items = _expression("The list of items in a document")
    variants = _optional(
        "The list of variants in an item, each an offer of its own. The fields' expressions are then evaluated on an "
        "object of two members, `item` and `variant`"
    )
    price_format = _text(
        "decimal: a number or text in major units. minor: a whole number of minor units (cents). scaled: a whole "
        "number, of which price_scale digits are decimals whatever the currency",
        validator=colander.OneOf(list(PRICE_FORMATS)),
    )
    currency = _text("Currency of prices that state none (ISO 4217)", missing=None, validator=check_currency)
    seller = _text("Seller of offers that state none", missing=None, validator=colander.Length(1, 200))
    availability_values = colander.SchemaNode(
        colander.Mapping(unknown="preserve"),
        title="What the source's values of availability mean; numbers and booleans as texts",
        missing=None,
        validator=_check_availabilities,
    )
    pages = _Pages(title="Page rule. Without it, one document is everything", missing=None)
    total = _optional("The number of items that the source says it has, in all pages. If it has not, nothing is closed")
    secret_header = _text(
        "Header that the secret is sent in",
        missing="Authorization",
        validator=colander.Regex(_HEADER_NAME, "must be the name of a header"),
    )
    secret_template = _text("Value of that header", missing=f"Bearer {SECRET}", validator=_check_secret_template)

    def validator(self, node: colander.SchemaNode, value: Mapping[str, Any]) -> None:
        fields = value["fields"]
        if (value["price_format"] == "scaled") == (fields["price_scale"] is None):
            raise _fault(node["fields"], "price_scale", "is needed for the price_format scaled, and only for that")
        # Only a text can have its currency within it.
        if value["price_format"] != "decimal" and not value["currency"] and not fields["currency"]:
            raise _fault(
                node, "currency", "is needed: the price_format has no place for it, and fields.currency is not set"
            )
        pages = value["pages"]
        # A page of which nothing is selected would be taken for the one after the last.
        if pages and pages["rule"] == "number" and pages["expression"] is None and "[?" in value["items"]:
            raise _fault(
                node["pages"], "expression", "is needed: items has a filter, so a page without any may not be the last"
            )


class OneProduct(_Configuration):
    """Of a source with a document for each product."""

    url = _text("Address of a product's document, with {locator}", validator=colander.All(_ADDRESS, _is_template))
    fields = _FieldsOfOne(title="Where an offer's fields are", missing_msg="is required")


class ManyProducts(_Configuration):
    """Of a source with one list of all products."""

    url = _text("Address of the list, or of its first page", validator=colander.All(_ADDRESS, _is_no_template))
    fields = _FieldsOfMany(title="Where an offer's fields are", missing_msg="is required")


def _fault(node: colander.SchemaNode, child: str, reason: str) -> colander.Invalid:
    """An error about one member of a mapping."""
    error = colander.Invalid(node)
    error.add(colander.Invalid(node[child], reason))
    return error
