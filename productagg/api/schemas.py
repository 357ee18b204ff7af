"""What clients may send: colander schemas that are as strict as they look, and where in the input each fault is.

colander's own String and Integer take 3, true and "3" for what they are not, and unknown keys vanish; these do not.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import colander

from productagg.api.times import PERIOD, TIME, period, time
from productagg.history.movers import PERIODS
from productagg.history.series import RESOLUTIONS
from productagg.models import DESCRIPTION_MAX_LENGTH, NAME_MAX_LENGTH

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_QUANTITY = 2**31 - 1


class Text(colander.SchemaType):
    """A JSON string, and nothing that merely looks like one."""

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null:
            return colander.null
        if not isinstance(cstruct, str):
            raise colander.Invalid(node, "must be a string")
        return cstruct


class FromQuery(colander.SchemaType):
    """A value that stands in a query string as text; `read` turns it into the value or raises ValueError."""

    def __init__(self, read: Callable[[str], Any], what: str) -> None:
        self._read = read
        self._what = what

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null:
            return colander.null
        try:
            return self._read(cstruct)
        except ValueError:
            raise colander.Invalid(node, f"must be {self._what}") from None


def _strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _not_empty(node: colander.SchemaNode, value: str) -> None:
    # Separators and format characters (a zero-width space, say) show nothing.
    if all(unicodedata.category(char)[0] in "ZC" for char in value):
        raise colander.Invalid(node, "must not be empty")


def _no_control_characters(allowed: str = "") -> Callable[[colander.SchemaNode, str], None]:
    def validate(node: colander.SchemaNode, value: str) -> None:
        # NUL among them, which PostgreSQL does not store; and lone surrogates, which UTF-8 does not have.
        if any(unicodedata.category(char) in ("Cc", "Cs") and char not in allowed for char in value):
            raise colander.Invalid(node, "must not contain control characters")

    return validate


def _at_most(length: int) -> Callable[[colander.SchemaNode, str], None]:
    return colander.Length(max=length, max_err=f"must have at most {length} characters")  # type: ignore[no-any-return]


def _name(**options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(),
        name="name",
        preparer=_strip,
        validator=colander.All(_not_empty, _at_most(NAME_MAX_LENGTH), _no_control_characters()),
        missing_msg="is required",
        **options,
    )


def _description(**options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(),
        name="description",
        validator=colander.All(_at_most(DESCRIPTION_MAX_LENGTH), _no_control_characters(allowed="\n\r\t")),
        missing_msg="is required",
        **options,
    )


def _credential(name: str, *validators: Callable[[colander.SchemaNode, str], None]) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(), name=name, validator=colander.All(_at_most(1000), *validators), missing_msg="is required"
    )


def _parameter(name: str, read: Callable[[str], Any], what: str, **options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(FromQuery(read, what), name=name, missing_msg="is required", **options)


def _number(name: str, maximum: int, **options: Any) -> colander.SchemaNode:
    def read(text: str) -> int:
        # isdecimal alone would take other scripts' digits, int alone ' 5', '+5' and '1_0'.
        if not (text.isascii() and text.isdecimal() and len(text) <= len(str(maximum)) and 1 <= int(text) <= maximum):
            raise ValueError
        return int(text)

    return _parameter(name, read, f"a whole number from 1 to {maximum}", **options)


def _limited() -> colander.SchemaNode:
    return _number("limit", MAX_LIMIT, missing=DEFAULT_LIMIT)


def _choice(name: str, *choices: str, **options: Any) -> colander.SchemaNode:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    *others, last = (f"'{choice}'" for choice in choices)
    return _parameter(name, read, f"{', '.join(others)} or {last}", **options)


def _time(name: str) -> colander.SchemaNode:
    return _parameter(name, time, TIME, missing=None)


def uuid(text: str) -> UUID:
    """Read a UUID in its usual form only: UUID() also takes braces, 'urn:uuid:' and misplaced hyphens."""
    found = UUID(text)
    if str(found) != text.lower():
        raise ValueError
    return found


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _mapping(*nodes: colander.SchemaNode) -> colander.SchemaNode:
    return colander.SchemaNode(colander.Mapping(), *nodes)


LOGIN = _mapping(_credential("username", _no_control_characters()), _credential("password"))
NEW_PRODUCT = _mapping(_name(), _description())
PRODUCT_CHANGE = _mapping(_name(missing=colander.drop), _description(missing=colander.drop))
PAGE = _mapping(
    _limited(),
    _parameter("after", uuid, "a product's id, a UUID", missing=None),
)
RUNS = _mapping(
    _limited(),
    _parameter("before", uuid, "a sync run's id, a UUID", missing=None),
)
OFFERS = _mapping(_parameter("closed", _boolean, "'true' or 'false'", missing=None), _time("at"))
COST = _mapping(_number("quantity", MAX_QUANTITY))
_WINDOW = (_time("from"), _time("to"), _parameter("period", period, PERIOD, missing=None))
PRICES = _mapping(
    *_WINDOW,
    _choice("resolution", *RESOLUTIONS, "auto", missing="auto"),
    _choice("format", "json", "csv", missing=None),
)
TREND = _mapping(
    *_WINDOW,
    _choice("metric", "lowest", "average", missing="lowest"),
)
MOVERS = _mapping(
    _choice("period", *PERIODS, missing="24h"),
    _choice("direction", "down", "up", missing="down"),
    _limited(),
)
NO_PARAMETERS = _mapping()


def validate(schema: colander.SchemaNode, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values, and the faults by key: all of them, unknown keys included. Valid means that there are no faults."""
    known = {node.name for node in schema}
    faults = {key: "is not known" for key in data if key not in known}
    values: dict[str, Any] = {}
    try:
        values = schema.deserialize({key: value for key, value in data.items() if key in known})
    except colander.Invalid as invalid:
        faults.update(_by_key(invalid))
    return values, faults


def _by_key(invalid: colander.Invalid) -> Iterator[tuple[str, str]]:
    for child in invalid.children:
        yield child.node.name, "; ".join(message for message in child.messages() if message)
