"""Colander types and checks as strict as they look, for the API and for `productagg import`.

colander's own String takes 3 and true for text, and its Mapping drops unknown keys. They know no web framework, so that
the command line loads none.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import colander

TextCheck = Callable[[colander.SchemaNode, str], None]

# The part of the rule on control characters that JSON Schema can state: a pattern cannot name surrogates.
NO_CONTROL_CHARACTERS = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

NOT_TEXT = "must be a string"
_NOT_TEXT_OR_NULL = "must be a string or null"


class Text(colander.SchemaType):  # type: ignore[misc]  # colander is untyped
    """A JSON string. `schema` is its JSON Schema, `null_message` the error message for null."""

    def __init__(self, null_message: str = NOT_TEXT, **schema: Any) -> None:
        self._null_message = null_message
        self.schema: dict[str, Any] = {"type": "string", **schema}

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null or isinstance(cstruct, str):
            return cstruct
        raise colander.Invalid(node, NOT_TEXT if cstruct is not None else self._null_message)


class OptionalText(colander.SchemaType):  # type: ignore[misc]  # colander is untyped
    """A JSON string or null, which is None. `schema` is its JSON Schema."""

    def __init__(self, **schema: Any) -> None:
        self.schema: dict[str, Any] = {"type": ["string", "null"], **schema}

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null or cstruct is None or isinstance(cstruct, str):
            return cstruct
        raise colander.Invalid(node, _NOT_TEXT_OR_NULL)


class WholeNumber(colander.SchemaType):  # type: ignore[misc]  # colander is untyped
    """A JSON integer from `minimum` to `maximum`; if `nullable`, also null. `schema` is its JSON Schema."""

    def __init__(self, minimum: int, maximum: int, *, nullable: bool = False) -> None:
        self._minimum, self._maximum, self._nullable = minimum, maximum, nullable
        type_ = ["integer", "null"] if nullable else "integer"
        self.schema: dict[str, Any] = {"type": type_, "format": "int64", "minimum": minimum, "maximum": maximum}

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null or (cstruct is None and self._nullable):
            return cstruct
        is_integer = isinstance(cstruct, int) and not isinstance(cstruct, bool)
        if not is_integer or not self._minimum <= cstruct <= self._maximum:
            or_null = " or null" if self._nullable else ""
            raise colander.Invalid(node, f"must be an integer from {self._minimum} to {self._maximum}{or_null}")
        return cstruct


def at_most(length: int) -> TextCheck:
    """Check that a text has at most `length` characters."""
    return colander.Length(max=length, max_err=f"must have at most {length} characters")  # type: ignore[no-any-return]


def no_control_characters(*, except_lines: bool = False) -> TextCheck:
    """Check that a text has no control characters; `except_lines` allows line breaks and tabs.

    PostgreSQL cannot store NUL, and UTF-8 has no lone surrogates.
    """
    lines = "" if except_lines else r"\t\n\r"
    refused = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{lines}]")

    def check(node: colander.SchemaNode, value: str) -> None:
        if refused.search(value):
            raise colander.Invalid(node, "must not contain control characters")

    return check


def mapping(*nodes: colander.SchemaNode) -> colander.SchemaNode:
    """A schema for an object with these members."""
    return colander.SchemaNode(colander.Mapping(), *nodes)


def validate(schema: colander.SchemaNode, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values and the faults, by key, including unknown keys. Without faults the data is valid."""
    values = dict(data)
    known = {node.name: values.pop(node.name) for node in schema if node.name in values}
    faults = dict.fromkeys(values, "is not known")
    try:
        return schema.deserialize(known), faults
    except colander.Invalid as invalid:
        return {}, faults | {child.node.name: "; ".join(filter(None, child.messages())) for child in invalid.children}


def uuid(text: str) -> UUID:
    """Read a UUID in its usual form only: UUID() also takes braces, 'urn:uuid:' and misplaced hyphens."""
    if not _UUID.fullmatch(text):
        raise ValueError("not a UUID")
    return UUID(text)
