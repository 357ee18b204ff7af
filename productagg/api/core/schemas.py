"""What clients may send: colander schemas that are as strict as they look, and where in the input each fault is.

colander's own String and Integer take 3, true and "3" for what they are not, and unknown keys vanish; these do not.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import colander

from productagg import text_rules
from productagg.api.core.errors import PROBLEMS
from productagg.api.core.times import PERIOD, PERIOD_PATTERN, TIME, period, time
from productagg.catalog.listing import COUNT_LIMIT
from productagg.catalog.product_members import MEMBERS
from productagg.catalog.product_query import RELEVANCE, SORTS
from productagg.catalog.search_text import search_words
from productagg.db.models import DESCRIPTION_MAX_LENGTH, NAME_MAX_LENGTH, REGISTRATIONS
from productagg.history.movers import PERIODS
from productagg.history.series import RESOLUTIONS

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
DEFAULT_CHANGES, MAX_CHANGES = 100, 1000
MAX_SEQUENCE = 2**63 - 1
MAX_QUANTITY = 2**31 - 1
MAX_PRICE = 2**63 - 1
MAX_SEARCH_LENGTH = 200
MAX_WORDS = 10

# What JSON Schema can say of control characters: surrogates have no place in a pattern.
_NO_CONTROL_CHARACTERS = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_CONTROL_CHARACTER = re.compile(r"[\u0000-\u001f\u007f-\u009f]")
# What it can say of `texts.has_invisible`: the characters of the basic plane that are refused wherever they stand (a
# test compares them). Not every validator knows Unicode's properties.
_ALL_SHOWS = (
    r"^[^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb]*$"
)
_NO_CONTROL_CHARACTERS_BUT_LINES = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"

_NOT_TEXT = "must be a string"
# Of a JSON Merge Patch (RFC 7396), in which null removes.
_NOT_REMOVABLE = "must be a string: null would remove it, which cannot be"


class Text(colander.SchemaType):
    """A JSON string, and nothing that merely looks like one. `schema` is what JSON Schema can say of it.

    `null` is what is wrong with a null.
    """

    def __init__(self, null: str = _NOT_TEXT, **schema: Any) -> None:
        self._null = null
        self.schema: dict[str, Any] = {"type": "string", **schema}

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null:
            return colander.null
        if not isinstance(cstruct, str):
            raise colander.Invalid(node, _NOT_TEXT if cstruct is not None else self._null)
        return cstruct


class FromQuery(colander.SchemaType):
    """A value that stands in a URL as text; `read` turns it into the value or raises ValueError.

    `schema` is what JSON Schema can say of it.
    """

    def __init__(self, read: Callable[[str], Any], what: str, **schema: Any) -> None:
        self._read = read
        self._what = what
        self.schema = schema

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null:
            return colander.null
        try:
            return self._read(cstruct)
        except ValueError:
            raise colander.Invalid(node, f"must be {self._what}") from None


def _tidied(value: Any) -> Any:
    return text_rules.normalize_name(value) if isinstance(value, str) else value


def _not_empty(node: colander.SchemaNode, value: str) -> None:
    if text_rules.is_blank(value):
        raise colander.Invalid(node, "must not be empty")


def _no_control_characters(*, but_lines: bool = False) -> Callable[[colander.SchemaNode, str], None]:
    # NUL among them, which PostgreSQL does not store; and lone surrogates, which UTF-8 does not have.
    more = "" if but_lines else r"\t\n\r"
    refused = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{more}]")

    def validate(node: colander.SchemaNode, value: str) -> None:
        if refused.search(value):
            raise colander.Invalid(node, "must not contain control characters")

    return validate


def _shows(node: colander.SchemaNode, value: str) -> None:
    if text_rules.has_invisible(value):
        raise colander.Invalid(node, "must not contain invisible characters")


def _at_most(length: int) -> Callable[[colander.SchemaNode, str], None]:
    return colander.Length(max=length, max_err=f"must have at most {length} characters")  # type: ignore[no-any-return]


def _name(null: str = _NOT_TEXT, **options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(null, minLength=1, maxLength=NAME_MAX_LENGTH, pattern=_ALL_SHOWS),
        name="name",
        description="Unique. White space around it is cut off. It is brought into the Unicode form NFC, and emoji "
        "selectors (U+FE0E, U+FE0F) that change nothing are removed. Characters that do not show are refused, but for "
        "emoji sequences, joiners, and variants of ideographs and of Mongolian letters.",
        example="Brass desk lamp",
        preparer=_tidied,
        validator=colander.All(_not_empty, _at_most(NAME_MAX_LENGTH), _no_control_characters(), _shows),
        missing_msg="is required",
        **options,
    )


def _description(null: str = _NOT_TEXT, **options: Any) -> colander.SchemaNode:
    return colander.SchemaNode(
        Text(null, maxLength=DESCRIPTION_MAX_LENGTH, pattern=_NO_CONTROL_CHARACTERS_BUT_LINES),
        name="description",
        description="May be empty, and may have line breaks and tabs.",
        example="Shines on the desk, not in the eyes.",
        validator=colander.All(_at_most(DESCRIPTION_MAX_LENGTH), _no_control_characters(but_lines=True)),
        missing_msg="is required",
        **options,
    )


def _credential(name: str, *validators: Callable[[colander.SchemaNode, str], None], **options: Any) -> Any:
    return colander.SchemaNode(
        Text(maxLength=1000, **options.pop("schema", {})),
        name=name,
        description=f"The user's {name}.",
        validator=colander.All(_at_most(1000), *validators),
        missing_msg="is required",
        **options,
    )


def _parameter(
    name: str, read: Callable[[str], Any], what: str, schema: Mapping[str, Any], description: str, **options: Any
) -> colander.SchemaNode:
    return colander.SchemaNode(
        FromQuery(read, what, **schema), name=name, description=description, missing_msg="is required", **options
    )


def _number(name: str, maximum: int, description: str, minimum: int = 1, **options: Any) -> colander.SchemaNode:
    def read(text: str) -> int:
        # isdecimal alone would take other scripts' digits, int alone ' 5', '+5' and '1_0'.
        if not (
            text.isascii() and text.isdecimal() and len(text) <= len(str(maximum)) and minimum <= int(text) <= maximum
        ):
            raise ValueError
        return int(text)

    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return _parameter(name, read, f"a whole number from {minimum} to {maximum}", schema, description, **options)


def _limited() -> colander.SchemaNode:
    return _number("limit", MAX_LIMIT, "How many at most.", missing=DEFAULT_LIMIT, example=2)


def _choice(name: str, choices: Sequence[str], description: str, **options: Any) -> colander.SchemaNode:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    *others, last = (f"'{choice}'" for choice in choices)
    schema = {"type": "string", "enum": list(choices)}
    return _parameter(name, read, f"{', '.join(others)} or {last}", schema, description, **options)


def _id(name: str, whose: str, description: str, **options: Any) -> colander.SchemaNode:
    return _parameter(name, uuid, f"{whose} id, a UUID", {"type": "string", "format": "uuid"}, description, **options)


def _cursor(lifetime: str) -> colander.SchemaNode:
    description = f"`Next-Cursor` or `Prev-Cursor` of another page; all other parameters stay the same. {lifetime}"
    return _parameter("cursor", str, "a cursor", {"type": "string"}, description, missing=None)


def _time(name: str, description: str) -> colander.SchemaNode:
    # No `example`: Swagger UI would send it, and it does not go with everything.
    schema = {"type": "string", "format": "date-time"}
    return _parameter(name, time, TIME, schema, f"{description} For example `{_A_TIME}`.", missing=None)


def uuid(text: str) -> UUID:
    """Read a UUID in its usual form only: UUID() also takes braces, 'urn:uuid:' and misplaced hyphens."""
    if not re.fullmatch(_UUID, text):
        raise ValueError
    return UUID(text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _flag(name: str, description: str, missing: bool | None = None, **options: Any) -> colander.SchemaNode:
    schema = {"type": "boolean"}
    return _parameter(name, _boolean, "'true' or 'false'", schema, description, missing=missing, **options)


def _words(text: str) -> tuple[str, ...]:
    found = search_words(text)
    if len(text) > MAX_SEARCH_LENGTH or not 1 <= len(found) <= MAX_WORDS or _CONTROL_CHARACTER.search(text):
        raise ValueError
    return found


def _ids(text: str) -> list[UUID]:
    if text.count(",") >= MAX_LIMIT:
        raise ValueError
    return [uuid(each) for each in text.split(",")]


def _fields(text: str) -> tuple[str, ...]:
    chosen = text.split(",")
    if not set(chosen) <= set(MEMBERS):
        raise ValueError
    # The id always.
    return tuple(name for name in MEMBERS if name == "id" or name in chosen)


def _mapping(*nodes: colander.SchemaNode) -> colander.SchemaNode:
    return colander.SchemaNode(colander.Mapping(), *nodes)


_A_TIME = "2026-11-23T10:00:00Z"
_A_PRODUCT, _AN_OFFER = "019aa3f2-6c1e-7d43-9a51-0c6f2d9b7e10", "5f1c2b7a-3f0e-4d8e-9d2b-6a7f0c1e2d3b"

PRODUCT_ID = _id("id", "a product's", "The product's id.", example=_A_PRODUCT)
OFFER_ID = _id("offer_id", "an offer's", "The offer's id, as the Offers service gave it.", example=_AN_OFFER)
PROBLEM_CODE = _parameter(
    "code", str, "a code", {"type": "string", "enum": list(PROBLEMS)}, "The code of an error.", example="not-found"
)
RUN_ID = _id("id", "a sync run's", "The pass's id.", example="019aa3f8-1b2c-7a90-8f3d-4e5a6b7c8d90")

LOGIN = _mapping(
    _credential("username", _no_control_characters(), schema={"pattern": _NO_CONTROL_CHARACTERS}, example="admin"),
    _credential("password", schema={"format": "password"}, example="admin"),
)
NEW_PRODUCT = _mapping(_name(), _description())
BATCH = _mapping(_flag("atomic", "Create all of them, or none if any cannot be created.", missing=False))
PRODUCT_CHANGE = _mapping(
    _name(_NOT_REMOVABLE, missing=colander.drop), _description(_NOT_REMOVABLE, missing=colander.drop)
)
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_BROWSING = (
    _parameter(
        "q",
        _words,
        f"1 to {MAX_WORDS} words in at most {MAX_SEARCH_LENGTH} characters, none of which is a control character",
        {"type": "string", "minLength": 1, "maxLength": MAX_SEARCH_LENGTH, "pattern": _NO_CONTROL_CHARACTERS},
        "Words or parts of words, each of which is in the name or the description; case and accents do not matter. "
        "For example `desk lamp`.",
        missing=None,
    ),
    *(
        _number(name, MAX_PRICE, f"With a lowest in-stock price of {what}.", minimum=0, missing=None)
        for name, what in (("min_price", "so much or more"), ("max_price", "so much or less"))
    ),
    _flag("in_stock", "Only products that are in stock, or only those that are not."),
    _choice("registration", REGISTRATIONS, "Only products in this state.", missing=None),
    _time("updated_since", "Only products whose name or description changed at this time or later, or were created."),
    _parameter(
        "ids",
        _ids,
        f"1 to {MAX_LIMIT} UUIDs, comma separated",
        {
            "type": "array",
            "items": {"type": "string", "format": "uuid"},
            "minItems": 1,
            "maxItems": MAX_LIMIT,
        },
        f"Only products with one of these ids, {MAX_LIMIT} at most; there need not be such products.",
        missing=None,
    ),
    _choice(
        "sort",
        SORTS,
        f"By what they are sorted; with `-` the other way round. `{RELEVANCE}` needs `q`, and is the default then: "
        "whole words first, then beginnings of words, then other parts, each in names before descriptions. Without `q` "
        "the default is `created_at`. Products without a price come last by `lowest_price` either way; `name` ignores "
        "case and accents.",
        missing=None,
    ),
    _limited(),
    _flag(
        "total",
        f"`Total-Count` is there up to {COUNT_LIMIT}, unless told; `true`: however long that takes; `false`: never.",
    ),
    _cursor("It is good until a day after the first page."),
)
BROWSING = _mapping(*_BROWSING)
PARTIAL = _mapping(
    _parameter(
        "fields",
        _fields,
        f"some of {', '.join(MEMBERS)}, comma separated",
        {"type": "array", "items": {"type": "string", "enum": list(MEMBERS)}, "minItems": 1},
        "The members that each product has, besides `id`.",
        example=["name", "lowest_price"],
    ),
    *_BROWSING,
)
RUNS = _mapping(_limited(), _cursor("It does not expire."))
OFFERS = _mapping(
    _flag(
        "closed",
        "The sold-out offers as well, in pages, the last sold out first. The first page begins with all current "
        "offers. It does not go with `at`.",
        example=True,
    ),
    _time("at", "The offers as they stood at this time, which is not in the future."),
    _number(
        "limit",
        MAX_LIMIT,
        f"With `closed=true`: how many sold-out offers at most; {DEFAULT_LIMIT} unless told.",
        missing=None,
    ),
    _cursor("Only with `closed=true`; it is good until a day after the first page."),
)
COST = _mapping(_number("quantity", MAX_QUANTITY, "How many units.", example=100))
_WINDOW = (
    _time("from", "Where the window begins; 30 days before its end unless told."),
    _time("to", "Where the window ends; now unless told, and at the latest."),
    _parameter(
        "period",
        period,
        PERIOD,
        {"type": "string", "pattern": PERIOD_PATTERN},
        f"Instead of `from` and `to`, the window that ends now: {PERIOD}.",
        missing=None,
        example="P7D",
    ),
)
PRICES = _mapping(
    *_WINDOW,
    _choice(
        "resolution",
        (*RESOLUTIONS, "auto"),
        "Every step (`raw`), or a point for each hour, UTC day or ISO week; `auto` is the finest that fits.",
        missing="auto",
    ),
)
TREND = _mapping(
    *_WINDOW,
    _choice(
        "metric", ("lowest", "average"), "Of the lowest in-stock price, or of the in-stock average.", missing="lowest"
    ),
)
MOVERS = _mapping(
    _choice("period", tuple(PERIODS), "How far back the price then lies.", missing="24h"),
    _choice("direction", ("down", "up"), "Whose price fell, or whose rose.", missing="down"),
    _limited(),
)
CHANGES = _mapping(
    _number(
        "since", MAX_SEQUENCE, "The number of the last change that you know; 0: none.", minimum=0, missing=0, example=0
    ),
    _number("limit", MAX_CHANGES, "How many at most.", missing=DEFAULT_CHANGES, example=2),
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
