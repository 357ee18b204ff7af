"""What requests must look like: a validator reads one part of a request and raises a Problem if it is not valid.

Services declare their validators, the OpenAPI document describes what they take, and views ask them for the values.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar, get_type_hints, is_typeddict
from uuid import UUID

import colander
import pyramid.request

from productagg import strict_json
from productagg.api.core import request_body
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import NO_PARAMETERS
from productagg.api.core.preconditions import Preconditions, read_preconditions
from productagg.api.core.request import Request
from productagg.api.core.responses import JSON
from productagg.catalog import products as catalog
from productagg.schema_types import uuid, validate

T = TypeVar("T")
Fault = Mapping[str, str]

MERGE_PATCH = "application/merge-patch+json"
MAX_BODY_BYTES = 256 * 1024
# How many faults of one request are listed, and how many of these the detail names.
_MAX_ERRORS, _MAX_NAMED = 50, 10
# How many faults of an item of an array are listed; how many tokens (strict_json.items) items may have on average.
_MAX_ERRORS_OF_ITEM, _MAX_TOKENS_OF_ITEM = 5, 40
_MAX_SHOWN_LENGTH = 100
# How many query strings of each kind are cached with their values, and of which length.
_MAX_CACHED_QUERIES, _MAX_CACHED_LENGTH = 256, 200
# The query string of our links to further pages: nothing to decode, and the only cursor last.
_PAGE_LINK = re.compile(r"((?:(?!cursor)[\w=&.:,-])+)&cursor=([\w.-]+)", re.ASCII)

_BODY_ERRORS = (
    ErrorCode.MALFORMED_JSON,
    ErrorCode.BODY_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.INVALID_DATA,
    ErrorCode.NOT_IMPLEMENTED,
)


@dataclass(frozen=True, eq=False)
class Validator(Generic[T]):
    """Reads a value of a request. The other fields declare what it takes and which errors it raises.

    `items`, if not None: the body is an array of at most this many objects that fit the schema `body`.
    """

    read: Callable[[Request], T]
    errors: Sequence[ErrorCode]
    body: colander.SchemaNode | None = None
    media_types: Sequence[str] = (JSON,)
    items: int | None = None
    max_bytes: int = 0  # of the body; the server refuses a larger one before it reads it (server/body_limits.py)
    query: colander.SchemaNode = NO_PARAMETERS
    headers: Sequence[str] = ()

    def __call__(self, request: Request, **_: Any) -> None:
        """Cornice calls this before the view."""
        request.validated[self] = self.read(request)

    def value(self, request: Request) -> T:
        """The value, for the view. Its service must declare this validator."""
        value: T = request.validated[self]
        return value


class CheckedItem(NamedTuple, Generic[T]):
    """An item of an array: its values, or None and its faults."""

    values: T | None
    faults: Sequence[Fault]


def json_body(schema: colander.SchemaNode, kind: type[T], *media_types: str) -> Validator[T]:
    """The body is a JSON object that fits the schema. `media_types` are accepted besides JSON's own."""
    _check_members(schema, kind)
    accepted = (JSON, *media_types)

    def read(request: Request) -> T:
        data = _parse_json(_read_body(request, accepted, MAX_BODY_BYTES))
        if not isinstance(data, dict):
            raise _invalid([{"pointer": "", "detail": "must be an object"}])
        values, faults = validate(schema, data)
        if faults:
            raise _invalid(_with_pointers(faults))
        return values  # type: ignore[return-value]  # the schema has the members of `kind`

    return Validator(read, _BODY_ERRORS, body=schema, media_types=accepted, max_bytes=MAX_BODY_BYTES)


def json_array(
    schema: colander.SchemaNode, kind: type[T], max_items: int, max_bytes: int
) -> Validator[list[CheckedItem[T]]]:
    """The body is a JSON array of 1 to `max_items` objects. The view decides what becomes of items with faults."""
    _check_members(schema, kind)

    def read(request: Request) -> list[CheckedItem[T]]:
        items = _check_items(schema, _read_body(request, (JSON,), max_bytes), max_items)
        if not 1 <= len(items) <= max_items:
            raise _invalid([{"pointer": "", "detail": f"must be an array of 1 to {max_items} items"}])
        return items

    return Validator(read, _BODY_ERRORS, body=schema, items=max_items, max_bytes=max_bytes)


def _check_items(schema: colander.SchemaNode, body: bytes, max_items: int) -> list[CheckedItem[Any]]:
    """The items of an array, at most `max_items` and one more; none if it is not an array."""
    # One after another: as a whole, the parsed array would need far more memory than its text.
    written = islice(strict_json.items(body, max_items * _MAX_TOKENS_OF_ITEM), max_items + 1)
    try:
        return [_check_item(schema, item, f"/{number}") for number, item in enumerate(written)]
    except strict_json.TooManyTokens:
        raise _invalid([{"pointer": "", "detail": "has too many items and members"}]) from None
    except strict_json.NotAnArray:
        if len(body) <= MAX_BODY_BYTES:
            _parse_json(body)  # which raises the Problem of a body that is not JSON at all
        return []
    except ValueError as error:
        raise _malformed_json(error) from None


def _check_item(schema: colander.SchemaNode, written: bytes, pointer: str) -> CheckedItem[Any]:
    if len(written) > MAX_BODY_BYTES:
        return CheckedItem(None, [{"pointer": pointer, "detail": f"must have at most {MAX_BODY_BYTES} bytes"}])
    item = _parse_json(written)
    if not isinstance(item, dict):
        return CheckedItem(None, [{"pointer": pointer, "detail": "must be an object"}])
    values, faults = validate(schema, item)
    return CheckedItem(None if faults else values, _with_pointers(faults, pointer)[:_MAX_ERRORS_OF_ITEM])


def _read_body(request: Request, media_types: Sequence[str], max_bytes: int) -> bytes:
    if request.content_type.lower() not in media_types:
        raise _unsupported_media_type(request, ", ".join(media_types))
    if (request.content_length or 0) > max_bytes:
        raise Problem(ErrorCode.BODY_TOO_LARGE, f"The body may have at most {max_bytes} bytes.")
    return request_body.read(request)


def _unsupported_media_type(request: Request, accepted: str) -> Problem:
    headers = {"Accept": accepted}
    if request.method == "PATCH":
        headers["Accept-Patch"] = accepted
    detail = f"The body is {request.content_type or 'of no declared type'}: send {accepted}."
    return Problem(ErrorCode.UNSUPPORTED_MEDIA_TYPE, detail, headers=headers)


def _parse_json(text: bytes) -> Any:
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise _malformed_json(error) from None


def _malformed_json(error: ValueError) -> Problem:
    return Problem(ErrorCode.MALFORMED_JSON, f"The body is not JSON: {error}.")


def query(schema: colander.SchemaNode, kind: type[T]) -> Validator[T]:
    """The query string has the schema's parameters and no others, each at most once.

    An array may be given as several parameters of the same name, as many clients write it; an array of texts that may
    contain commas must.
    """
    _check_members(schema, kind)

    # Clients repeat a few query strings, for different products, or with only the cursor changed.
    @lru_cache(maxsize=_MAX_CACHED_QUERIES)
    def parse(text: str) -> Mapping[str, Any]:
        return _parse_query(schema, text)

    has_cursor = "cursor" in schema

    def read(request: Request) -> T:
        text = request.environ.get("QUERY_STRING", "")
        link = _PAGE_LINK.fullmatch(text) if has_cursor else None
        if link:
            text = link[1]
        values = dict(parse(text) if len(text) <= _MAX_CACHED_LENGTH else parse.__wrapped__(text))
        if link:
            values["cursor"] = link[2]
        return values  # type: ignore[return-value]  # the schema has the parameters of `kind`

    return Validator(read, (ErrorCode.MALFORMED_REQUEST, ErrorCode.INVALID_DATA), query=schema)


def _parse_query(schema: colander.SchemaNode, text: str) -> Mapping[str, Any]:
    arrays = {node.name: node.typ for node in schema if node.typ.schema["type"] == "array"}
    try:
        parameters = pyramid.request.Request({"QUERY_STRING": text}).GET
    except UnicodeDecodeError:
        raise Problem(ErrorCode.MALFORMED_REQUEST, "The query string is not UTF-8.") from None
    lists = {name: parameters.getall(name) for name in arrays if name in parameters}
    joined = {name: texts if arrays[name].repeated else ",".join(texts) for name, texts in lists.items()}
    # Not {**parameters}: that searches all of them for each.
    values, faults = validate(schema, {**dict(parameters.items()), **joined})
    counts = Counter(iter(parameters))
    faults.update(
        (name, "is given more than once") for name, count in counts.items() if count > 1 and name not in arrays
    )
    if faults:
        raise invalid_query(faults)
    return values


def _check_members(schema: colander.SchemaNode, kind: type[Any]) -> None:
    """The type that views see and the schema that clients see must have the same names. Raises TypeError."""
    if not is_typeddict(kind) or set(get_type_hints(kind)) != {node.name for node in schema}:
        raise TypeError(f"{kind.__name__} and its schema differ")


def path_uuid(name: str, missing: Callable[[str], Exception], code: ErrorCode) -> Validator[UUID]:
    """The path parameter is a UUID; `missing` makes the exception for any other text."""

    def read(request: Request) -> UUID:
        text = request.matchdict[name]
        try:
            return uuid(text)
        except ValueError:
            raise missing(text) from None

    return Validator(read, (code,))


def _no_parameters(request: Request) -> None:
    text = request.environ.get("QUERY_STRING", "")
    if text:
        _parse_query(NO_PARAMETERS, text)


no_query = Validator(_no_parameters, (ErrorCode.MALFORMED_REQUEST, ErrorCode.INVALID_DATA))

product_in_path = path_uuid("id", catalog.NotFound, ErrorCode.PRODUCT_NOT_FOUND)

# The conditional headers of a write. See docs/decisions/0002-if-match.md.
preconditions: Validator[Preconditions] = Validator(
    lambda request: read_preconditions(request.environ),
    (ErrorCode.STALE_VERSION, ErrorCode.PRECONDITION_FAILED),
    headers=("If-Match", "If-None-Match", "If-Unmodified-Since"),
)


def invalid_query(faults: Mapping[str, str]) -> Problem:
    """The Problem of a query string with these faults, by parameter."""
    return _invalid([{"parameter": name, "detail": detail} for name, detail in faults.items()])


def invalid_members(faults: Mapping[str, str], parent: str = "") -> Problem:
    """The Problem of a body with these faults, by the dotted path of the member within `parent`, a JSON Pointer."""
    errors = [
        {"pointer": parent + _shortened("".join(map(_pointer, filter(None, path.split("."))))), "detail": detail}
        for path, detail in faults.items()
    ]
    return _invalid(errors)


def _invalid(errors: Sequence[Fault]) -> Problem:
    fields = ", ".join(repr(_shortened(_field(error))) for error in errors[:_MAX_NAMED])
    more = f", and {len(errors) - _MAX_NAMED} more" if len(errors) > _MAX_NAMED else ""
    return Problem(ErrorCode.INVALID_DATA, f"Not valid: {fields}{more}.", errors=errors[:_MAX_ERRORS])


def _field(error: Fault) -> str:
    return error.get("parameter") or error.get("pointer") or "the body"


def _with_pointers(faults: Mapping[str, str], parent: str = "") -> list[Fault]:
    """Faults by member, as faults with a JSON Pointer (RFC 6901). `parent` is the pointer to the object."""
    return [{"pointer": parent + _shortened(_pointer(key)), "detail": detail} for key, detail in faults.items()]


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[:_MAX_SHOWN_LENGTH]}…"
