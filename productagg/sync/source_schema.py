"""The rules for a source's values, as colander schemas: for the API and for `source_admin`.

What the configuration has to be is for the adapter's own schema to say.
"""

import re
from collections.abc import Callable
from typing import Any

import colander

from productagg import text_rules
from productagg.schema_types import OptionalText, Text, at_most, mapping, no_control_characters
from productagg.settings import OPTIONS

NAME_MAX_LENGTH, KIND_MAX_LENGTH, VARIABLE_MAX_LENGTH, LOCATOR_MAX_LENGTH = 200, 100, 200, 2000
LONGEST_INTERVAL_SECONDS = 366 * 24 * 3600
MOST_REQUESTS_PER_SECOND = 1000
_VARIABLE = r"^[A-Z_][A-Z0-9_]*$"
_OWN_VARIABLES = {option.variable for option in OPTIONS}
_LIBPQ_PREFIX = "PG"


class Value(colander.SchemaType):  # type: ignore[misc]  # colander is untyped
    """A JSON value for which `is_valid` holds. `expected` completes the message 'must be …'."""

    def __init__(self, expected: str, is_valid: Callable[[Any], bool], **schema: Any) -> None:
        self._expected = expected
        self._is_valid = is_valid
        self.schema = schema

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null or self._is_valid(cstruct):
            return cstruct
        raise colander.Invalid(node, f"must be {self._expected}")


def _is_interval(value: object) -> bool:
    return value is None or (type(value) is int and 0 < value <= LONGEST_INTERVAL_SECONDS)


def _is_rate(value: object) -> bool:
    return value is None or (type(value) in (int, float) and 0.001 <= value <= MOST_REQUESTS_PER_SECOND)  # type: ignore[operator]


def _is_variable(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, str) and len(value) <= VARIABLE_MAX_LENGTH and bool(re.fullmatch(_VARIABLE, value))


def _check_variable(node: colander.SchemaNode, value: str | None) -> None:
    """Whoever configures a source chooses where its secret is sent. Our own secrets must not go there."""
    if value is not None and (value in _OWN_VARIABLES or value.startswith(_LIBPQ_PREFIX)):
        raise colander.Invalid(node, "must not name a setting of productagg or of PostgreSQL's client")


def _check_name(node: colander.SchemaNode, value: str) -> None:
    if text_rules.is_blank(value):
        raise colander.Invalid(node, "must not be empty")
    if text_rules.has_invisible(value):
        raise colander.Invalid(node, "must not contain invisible characters")


def _name(**options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(minLength=1, maxLength=NAME_MAX_LENGTH),
        name="name",
        description="Must be unique. It stands beside the source's offers, in the log and in the status.",
        example="Lumen shop",
        preparer=lambda value: text_rules.normalize_name(value) if isinstance(value, str) else value,
        validator=colander.All(at_most(NAME_MAX_LENGTH), no_control_characters(), _check_name),
        missing_msg="is required",
        **options,
    )


def _configuration(**options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Value("an object", lambda value: isinstance(value, dict), type="object", additionalProperties=True),
        name="configuration",
        description="What the adapter needs to know, without secrets. Each kind has members of its own.",
        example={"currency": "EUR"},
        missing_msg="is required",
        **options,
    )


def _options(missing: Any) -> tuple[colander.SchemaNode, ...]:
    return (
        colander.SchemaNode(
            Value(
                "the name of an environment variable, in capital letters, digits and underscores, or null",
                _is_variable,
                type=["string", "null"],
                pattern=_VARIABLE,
                maxLength=VARIABLE_MAX_LENGTH,
            ),
            name="secret_variable",
            description="The name of the environment variable that holds the source's secret; never the secret itself.",
            example="LUMEN_TOKEN",
            validator=_check_variable,
            missing=missing,
        ),
        colander.SchemaNode(
            Value(
                f"a whole number from 1 to {LONGEST_INTERVAL_SECONDS}, or null",
                _is_interval,
                type=["integer", "null"],
                minimum=1,
                maximum=LONGEST_INTERVAL_SECONDS,
            ),
            name="interval_seconds",
            description="How often to fetch, in seconds. Null: as the setting SYNC_INTERVAL_SECONDS says.",
            example=3600,
            missing=missing,
        ),
        colander.SchemaNode(
            Value(
                f"a number from 0.001 to {MOST_REQUESTS_PER_SECOND}, or null",
                _is_rate,
                type=["number", "null"],
                minimum=0.001,
                maximum=MOST_REQUESTS_PER_SECOND,
            ),
            name="requests_per_second",
            description="The most requests a second to the source. Null: no limit of its own.",
            example=2,
            missing=missing,
        ),
    )


def _flag(name: str, description: str, **options: Any) -> colander.SchemaNode:
    is_flag = Value("true or false", lambda value: isinstance(value, bool), type="boolean")
    return colander.SchemaNode(is_flag, name=name, description=description, **options)


def _enabled(missing: Any) -> colander.SchemaNode:
    description = "Whether the sync asks the source. The offers of a disabled source stay as they are."
    return _flag("enabled", description, example=True, missing=missing)


def _creates_products(missing: Any) -> colander.SchemaNode:
    description = (
        "Whether items that belong to no product become products, if they have a name. Only for whole documents."
    )
    return _flag("creates_products", description, example=False, missing=missing)


NEW_SOURCE = mapping(
    colander.SchemaNode(
        Text(minLength=1, maxLength=KIND_MAX_LENGTH),
        name="kind",
        description="Which adapter reads the source: `jsonld`, `feed`, `json_api`, `json_list`, or one that is "
        "installed besides. It cannot be changed.",
        example="jsonld",
        validator=colander.All(at_most(KIND_MAX_LENGTH), no_control_characters()),
        missing_msg="is required",
    ),
    _name(),
    _configuration(),
    *_options(missing=None),
    _enabled(missing=True),
    _creates_products(missing=False),
)
LINK = mapping(
    colander.SchemaNode(
        Text(minLength=1, maxLength=LOCATOR_MAX_LENGTH),
        name="locator",
        description="Which of the source's products it is: for a page its URL, for a feed the item's id. The source's "
        "adapter checks it.",
        example="https://lumen.example/brass-desk-lamp",
        validator=at_most(LOCATOR_MAX_LENGTH),
        missing_msg="is required",
    ),
)
SOURCE_TEST = mapping(
    colander.SchemaNode(
        OptionalText(maxLength=LOCATOR_MAX_LENGTH),
        name="locator",
        description="The product to ask for. Optional for a whole document, of which it chooses one product's offers.",
        example="https://lumen.example/brass-desk-lamp",
        validator=colander.Function(lambda value: value is None or len(value) <= LOCATOR_MAX_LENGTH, "is too long"),
        missing=None,
    ),
)
SOURCE_CHANGE = mapping(
    _name(missing=colander.drop),
    _configuration(missing=colander.drop),
    *_options(missing=colander.drop),
    _enabled(missing=colander.drop),
    _creates_products(missing=colander.drop),
)
