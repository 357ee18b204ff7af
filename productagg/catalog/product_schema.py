"""The rules for a product's name and description, as colander schemas: for the API and for `productagg import`."""

from typing import Any

import colander

from productagg import text_rules
from productagg.db.models import DESCRIPTION_MAX_LENGTH, NAME_MAX_LENGTH
from productagg.schema_types import NOT_TEXT, Text, at_most, mapping, no_control_characters

_NO_CONTROL_CHARACTERS_BUT_LINES = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
# The part of `text_rules.has_invisible` that JSON Schema can state: the characters of the basic plane that are refused
# wherever they stand (a test compares the two). Not every validator knows Unicode's properties.
_NO_INVISIBLE_CHARACTERS = (
    r"^[^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb]*$"
)
# In a JSON Merge Patch (RFC 7396), null removes a member.
_NOT_REMOVABLE = "must be a string: null would remove it, which cannot be"


def _not_blank(node: colander.SchemaNode, value: str) -> None:
    if text_rules.is_blank(value):
        raise colander.Invalid(node, "must not be empty")


def _no_invisible_characters(node: colander.SchemaNode, value: str) -> None:
    if text_rules.has_invisible(value):
        raise colander.Invalid(node, "must not contain invisible characters")


def _tidy_name(value: Any) -> Any:
    return text_rules.normalize_name(value) if isinstance(value, str) else value


def _name(null_message: str = NOT_TEXT, **options: Any) -> colander.SchemaNode:
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


def _description(null_message: str = NOT_TEXT, **options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(null_message, maxLength=DESCRIPTION_MAX_LENGTH, pattern=_NO_CONTROL_CHARACTERS_BUT_LINES),
        name="description",
        description="May be empty, and may contain line breaks and tabs.",
        example="Shines on the desk, not in the eyes.",
        validator=colander.All(at_most(DESCRIPTION_MAX_LENGTH), no_control_characters(except_lines=True)),
        missing_msg="is required",
        **options,
    )


NEW_PRODUCT = mapping(_name(), _description())
PRODUCT_CHANGE = mapping(
    _name(_NOT_REMOVABLE, missing=colander.drop), _description(_NOT_REMOVABLE, missing=colander.drop)
)
