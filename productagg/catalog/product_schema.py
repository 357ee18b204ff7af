"""The rules for a product's values, as colander schemas: for the API and for `productagg import`."""

from collections.abc import Callable
from typing import Any

import colander

from productagg import text_rules
from productagg.db.models import (
    BRAND_MAX_LENGTH,
    CATEGORY_MAX_LENGTH,
    DESCRIPTION_MAX_LENGTH,
    IMAGE_URL_MAX_LENGTH,
    NAME_MAX_LENGTH,
)
from productagg.gtin import normalize_gtin
from productagg.schema_types import NOT_TEXT, OptionalText, Text, TextCheck, at_most, mapping, no_control_characters

_NO_CONTROL_CHARACTERS_BUT_LINES = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
# The part of `text_rules.has_invisible` that JSON Schema can state: the characters of the basic plane that are refused
# wherever they stand (a test compares the two). Not every validator knows Unicode's properties.
_NO_INVISIBLE_CHARACTERS = (
    r"^[^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb]*$"
)
# The part of `text_rules.is_web_url` that a pattern can state.
_WEB_URL = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\u0000-\u0020\u007f-\u009f]+$"
# In a JSON Merge Patch (RFC 7396), null removes a member.
_NOT_REMOVABLE = "must be a string: null would remove it, which cannot be"


def _not_blank(node: colander.SchemaNode, value: str) -> None:
    if text_rules.is_blank(value):
        raise colander.Invalid(node, "must not be empty")


def _no_invisible_characters(node: colander.SchemaNode, value: str) -> None:
    if text_rules.has_invisible(value):
        raise colander.Invalid(node, "must not contain invisible characters")


def _is_gtin(node: colander.SchemaNode, value: str) -> None:
    if normalize_gtin(value) is None:
        raise colander.Invalid(
            node, "must be a GTIN with a right check digit, and not a number that a shop assigned itself"
        )


def _is_web_url(node: colander.SchemaNode, value: str) -> None:
    if not text_rules.is_web_url(value):
        raise colander.Invalid(node, "must be an http or https URL without a user name and without white space")


def _tidy_name(value: Any) -> Any:
    return text_rules.normalize_name(value) if isinstance(value, str) else value


def _tidy_gtin(value: Any) -> Any:
    return normalize_gtin(value) or value if isinstance(value, str) else value


def _single_line(max_length: int) -> TextCheck:
    """The check of a text that people read on one line."""
    return colander.All(  # type: ignore[no-any-return]
        _not_blank, at_most(max_length), no_control_characters(), _no_invisible_characters
    )


def _name(null_message: str = NOT_TEXT, **options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(null_message, minLength=1, maxLength=NAME_MAX_LENGTH, pattern=_NO_INVISIBLE_CHARACTERS),
        name="name",
        description="Must be unique. Surrounding white space is removed. The name is normalized to the Unicode form "
        "NFC, and emoji selectors (U+FE0E, U+FE0F) that change nothing are removed. Invisible characters are refused, "
        "except in emoji sequences, as joiners, and in variants of ideographs and of Mongolian letters.",
        example="Brass desk lamp",
        preparer=_tidy_name,
        validator=_single_line(NAME_MAX_LENGTH),
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


def _fact(
    name: str, description: str, example: str, check: TextCheck, missing: Any, tidy: Callable[[Any], Any], **schema: Any
) -> colander.SchemaNode:
    """A member that may be null, which means that it is not known."""

    def validator(node: colander.SchemaNode, value: str | None) -> None:
        if value is not None:
            check(node, value)

    return colander.SchemaNode(
        OptionalText(**schema),
        name=name,
        description=f"{description} Null: not known.",
        example=example,
        preparer=tidy,
        validator=validator,
        missing=missing,
    )


def _name_like_fact(name: str, description: str, example: str, max_length: int, missing: Any) -> colander.SchemaNode:
    schema = {"minLength": 1, "maxLength": max_length, "pattern": _NO_INVISIBLE_CHARACTERS}
    description = f"{description} Normalized as the name is."
    return _fact(name, description, example, _single_line(max_length), missing, _tidy_name, **schema)


def _facts(missing: Any) -> tuple[colander.SchemaNode, ...]:
    """The members of `product_values.Facts`; `missing` is the value of those that are not given."""
    return (
        _fact(
            "gtin",
            "The number under the bar code (GTIN, EAN, UPC, ISBN-13), stored as 8, 13 or 14 digits. Spaces and hyphens "
            "are removed. The check digit must be right.",
            "4006381333931",
            _is_gtin,
            missing,
            _tidy_gtin,
        ),
        _name_like_fact("brand", "The brand.", "Halvorn", BRAND_MAX_LENGTH, missing),
        _name_like_fact(
            "category",
            "The category, for example the path of a category; it is just text.",
            "Lighting > Desk lamps",
            CATEGORY_MAX_LENGTH,
            missing,
        ),
        _fact(
            "image_url",
            "The http or https URL of an image, without a user name.",
            "https://images.example/brass-desk-lamp.jpg",
            colander.All(at_most(IMAGE_URL_MAX_LENGTH), _is_web_url),
            missing,
            lambda value: value,
            maxLength=IMAGE_URL_MAX_LENGTH,
            pattern=_WEB_URL,
        ),
    )


NEW_PRODUCT = mapping(_name(), _description(), *_facts(missing=None))
PRODUCT_CHANGE = mapping(
    _name(_NOT_REMOVABLE, missing=colander.drop),
    _description(_NOT_REMOVABLE, missing=colander.drop),
    *_facts(missing=colander.drop),
)
