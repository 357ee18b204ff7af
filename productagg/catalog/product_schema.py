"""The rules for a product's name and description, as colander schemas: for the API and for `productagg import`.

colander's own String takes 3 and true for text, and its Mapping drops unknown keys. The types here are as strict as
they look. They know no web framework, so that the command line loads none.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import colander

from productagg import text_rules
from productagg.db.models import DESCRIPTION_MAX_LENGTH, NAME_MAX_LENGTH

TextCheck = Callable[[colander.SchemaNode, str], None]

# The part of the rule on control characters that JSON Schema can state: a pattern cannot name surrogates.
NO_CONTROL_CHARACTERS = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_NO_CONTROL_CHARACTERS_BUT_LINES = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
# The part of `text_rules.has_invisible` that JSON Schema can state: the characters of the basic plane that are refused
# wherever they stand (a test compares the two). Not every validator knows Unicode's properties.
_NO_INVISIBLE_CHARACTERS = (
    r"^[^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb]*$"
)
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_NOT_TEXT = "must be a string"
# In a JSON Merge Patch (RFC 7396), null removes a member.
_NOT_REMOVABLE = "must be a string: null would remove it, which cannot be"


class Text(colander.SchemaType):  # type: ignore[misc]  # colander is untyped
    """A JSON string. `schema` is its JSON Schema, `null_message` the error message for null."""

    def __init__(self, null_message: str = _NOT_TEXT, **schema: Any) -> None:
        self._null_message = null_message
        self.schema: dict[str, Any] = {"type": "string", **schema}

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null or isinstance(cstruct, str):
            return cstruct
        raise colander.Invalid(node, _NOT_TEXT if cstruct is not None else self._null_message)


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


def _not_blank(node: colander.SchemaNode, value: str) -> None:
    if text_rules.is_blank(value):
        raise colander.Invalid(node, "must not be empty")


def _no_invisible_characters(node: colander.SchemaNode, value: str) -> None:
    if text_rules.has_invisible(value):
        raise colander.Invalid(node, "must not contain invisible characters")


def _tidy_name(value: Any) -> Any:
    return text_rules.normalize_name(value) if isinstance(value, str) else value


def _name(null_message: str = _NOT_TEXT, **options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(null_message, minLength=1, maxLength=NAME_MAX_LENGTH, pattern=_NO_INVISIBLE_CHARACTERS),
        name="name",
        description="Must be unique. Surrounding white space is removed. The name is normalized to the Unicode form "
        "NFC, and emoji selectors (U+FE0E, U+FE0F) that change nothing are removed. Invisible characters are refused, "
        "except in emoji sequences, as joiners, and in variants of ideographs and of Mongolian letters.",
        example="Brass desk lamp",
        preparer=_tidy_name,
        validator=colander.All(_not_blank, at_most(NAME_MAX_LENGTH), no_control_characters(), _no_invisible_characters),
        missing_msg="is required",
        **options,
    )


def _description(null_message: str = _NOT_TEXT, **options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(null_message, maxLength=DESCRIPTION_MAX_LENGTH, pattern=_NO_CONTROL_CHARACTERS_BUT_LINES),
        name="description",
        description="May be empty, and may contain line breaks and tabs.",
        example="Shines on the desk, not in the eyes.",
        validator=colander.All(at_most(DESCRIPTION_MAX_LENGTH), no_control_characters(except_lines=True)),
        missing_msg="is required",
        **options,
    )


def mapping(*nodes: colander.SchemaNode) -> colander.SchemaNode:
    """A schema for an object with these members."""
    return colander.SchemaNode(colander.Mapping(), *nodes)


NEW_PRODUCT = mapping(_name(), _description())
PRODUCT_CHANGE = mapping(
    _name(_NOT_REMOVABLE, missing=colander.drop), _description(_NOT_REMOVABLE, missing=colander.drop)
)


def validate(schema: colander.SchemaNode, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values and the faults, both by key. All faults are listed, unknown keys too; without any, `data` is valid."""
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
