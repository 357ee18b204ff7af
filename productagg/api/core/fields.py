"""Field types of query and path parameters: strict colander nodes with their OpenAPI text.

Each view module declares its schema with these. The members of a product's JSON are in catalog/product_schema.py.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import colander

from productagg.catalog.product_members import OFFER_ORDERS
from productagg.schema_types import NO_CONTROL_CHARACTERS, Text, TextCheck, at_most, mapping, uuid
from productagg.text_rules import has_control
from productagg.times import TIME, parse_time

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
_MAX_CREDENTIAL_LENGTH = 1000
# How many texts a parameter that may be repeated has at most.
_MAX_TEXTS = 20


class QueryText(colander.SchemaType):
    """A value written as text in a URL. `read` parses it or raises ValueError; `schema` is its JSON Schema."""

    # Whether the parameter has one of several values, and stands in the URL once for each: `read` takes all of them.
    repeated = False

    def __init__(self, read: Callable[[Any], Any], expected: str, schema: Mapping[str, Any]) -> None:
        self._read = read
        self._expected = expected
        self.schema = schema

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null:
            return colander.null
        try:
            return self._read(cstruct)
        except ValueError:
            raise colander.Invalid(node, f"must be {self._expected}") from None


class RepeatedText(QueryText):
    """Texts that may contain commas, so that only parameters of the same name can separate them."""

    repeated = True


def parameter(
    name: str, read: Callable[[str], Any], expected: str, schema: Mapping[str, Any], description: str, **options: Any
) -> colander.SchemaNode:
    """A parameter. `expected` completes the error message 'must be …'; without `missing` it is required."""
    return colander.SchemaNode(
        QueryText(read, expected, schema), name=name, description=description, missing_msg="is required", **options
    )


def texts(name: str, read: Callable[[str], Any], max_length: int, description: str) -> colander.SchemaNode:
    """A parameter that may be repeated, to name several texts. Its value is the list of what `read` returns."""

    def read_all(values: Sequence[str]) -> list[Any]:
        if len(values) > _MAX_TEXTS or not all(
            0 < len(text) <= max_length and not has_control(text) for text in values
        ):
            raise ValueError(name)
        return [read(text) for text in values]

    item = {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": NO_CONTROL_CHARACTERS}
    return colander.SchemaNode(
        RepeatedText(
            read_all,
            f"1 to {_MAX_TEXTS} texts of 1 to {max_length} characters, none of which is a control character",
            {"type": "array", "items": item, "minItems": 1, "maxItems": _MAX_TEXTS},
        ),
        name=name,
        description=description,
        missing=None,
    )


def number(name: str, maximum: int, description: str, minimum: int = 1, **options: Any) -> colander.SchemaNode:
    longest = len(str(maximum))

    def read(text: str) -> int:
        # isdecimal alone would accept digits of other scripts, int alone ' 5', '+5' and '1_0'.
        if not (text.isascii() and text.isdecimal() and len(text) <= longest and minimum <= int(text) <= maximum):
            raise ValueError(text)
        return int(text)

    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return parameter(name, read, f"a whole number from {minimum} to {maximum}", schema, description, **options)


def limit() -> colander.SchemaNode:
    return number("limit", MAX_LIMIT, "The maximum number of items.", missing=DEFAULT_LIMIT, example=2)


def choice(name: str, choices: Sequence[str], description: str, **options: Any) -> colander.SchemaNode:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    *others, last = (f"'{choice}'" for choice in choices)
    schema = {"type": "string", "enum": list(choices)}
    return parameter(name, read, f"{', '.join(others)} or {last}", schema, description, **options)


def flag(name: str, description: str, missing: bool | None = None, **options: Any) -> colander.SchemaNode:
    def read(text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"

    return parameter(name, read, "'true' or 'false'", {"type": "boolean"}, description, missing=missing, **options)


def offer_order(missing: str | None = "price") -> colander.SchemaNode:
    return choice(
        "by",
        OFFER_ORDERS,
        "The order of the offers: by `price`, or by the `total` of price and shipping, where offers with unknown "
        "shipping come after the others.",
        missing=missing,
    )


def uuid_parameter(name: str, whose: str, description: str, **options: Any) -> colander.SchemaNode:
    schema = {"type": "string", "format": "uuid"}
    return parameter(name, uuid, f"{whose} id, a UUID", schema, description, **options)


def time_parameter(name: str, description: str) -> colander.SchemaNode:
    # No `example`: Swagger UI would send it, and it does not go with all other parameters.
    schema = {"type": "string", "format": "date-time"}
    description = f"{description} For example `2026-11-23T10:00:00Z`."
    return parameter(name, parse_time, TIME, schema, description, missing=None)


def cursor(lifetime: str) -> colander.SchemaNode:
    description = f"`Next-Cursor` or `Prev-Cursor` of another page; all other parameters stay the same. {lifetime}"
    return parameter("cursor", str, "a cursor", {"type": "string"}, description, missing=None)


def credential(name: str, *checks: TextCheck, schema: Mapping[str, Any], example: str) -> colander.SchemaNode:
    """A member of the login's body."""
    return colander.SchemaNode(
        Text(maxLength=_MAX_CREDENTIAL_LENGTH, **schema),
        name=name,
        description=f"The user's {name}.",
        validator=colander.All(at_most(_MAX_CREDENTIAL_LENGTH), *checks),
        missing_msg="is required",
        example=example,
    )


PRODUCT_ID = uuid_parameter("id", "a product's", "The product's id.", example="019aa3f2-6c1e-7d43-9a51-0c6f2d9b7e10")
NO_PARAMETERS = mapping()
