"""How every resource is built: Cornice services, strict validators, JSON answers with a validator (ETag).

A validator here raises a Problem; a view receives values that are fit to use in `request.validated`. What a service, a
validator and a view declare is what the document at /openapi.json is made of.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import colander
import orjson
from cornice import Service
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from productagg import catalog
from productagg.api import bodies, idempotency
from productagg.api.contract import Answer
from productagg.api.errors import Problem
from productagg.api.schemas import NO_PARAMETERS, uuid, validate
from productagg.history.known import Known, known
from productagg.history.reading import Part
from productagg.schedule import Schedule

MAX_BODY_BYTES = 256 * 1024
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

# What public views declare, instead of a permission.
PUBLIC = NO_PERMISSION_REQUIRED


@dataclass(frozen=True)
class Validator:
    """Checks a request, and says what it takes: a body, a query, headers, and the codes of what it raises.

    `items`, if there are any, is how many such bodies an array of them has at most.
    """

    check: Callable[[Any], None]
    errors: Sequence[str]
    body: colander.SchemaNode | None = None
    media_types: Sequence[str] = (JSON,)
    items: int | None = None
    query: colander.SchemaNode = NO_PARAMETERS
    headers: Sequence[str] = ()

    def __call__(self, request: Any, **_: Any) -> None:
        self.check(request)


@dataclass(frozen=True)
class Operation:
    """One method of a service: its view, who may use it, what it takes and what it answers."""

    view: Callable[[Any], Any]
    permission: str
    validators: Sequence[Validator]
    answers: Sequence[Answer]
    errors: Sequence[str]
    optional_token: bool
    idempotent: bool


class ContractService(Service):
    """A Cornice service whose views declare what they answer, beside what Cornice wants to know.

    Every POST that needs a permission takes an Idempotency-Key.
    `tag` is its heading in the document; None: it is no part of that. `path_parameters` are those of its path.
    """

    def __init__(self, name: str, path: str, tag: str | None, path_parameters: Sequence[colander.SchemaNode]) -> None:
        super().__init__(name=name, path=path, renderer="json")
        self.tag = tag
        self.path_parameters = path_parameters
        self.operations: dict[str, Operation] = {}

    def add_view(self, method: str, view: Any, **options: Any) -> None:
        """`answers`: each success; `errors`: the codes that the view raises; `optional_token`: it shows some more."""
        answers, errors = options.pop("answers", ()), options.pop("errors", ())
        optional_token = options.pop("optional_token", False)
        # Of a public one (POST /login) nobody knows whose key it is, and its answer is not to be kept.
        idempotent = method.lower() == "post" and options["permission"] != PUBLIC
        if idempotent:
            options["decorator"] = idempotency.once
            errors = (*errors, *idempotency.ERRORS)
        self.operations[method.lower()] = Operation(
            view, options["permission"], options["validators"], answers, errors, optional_token, idempotent
        )
        super().add_view(method, view, **options)


def json_body(schema: colander.SchemaNode, *media_types: str) -> Validator:
    """A validator: the body is a JSON object that fits the schema. `media_types` are those besides JSON's own."""
    accepted = (JSON, *media_types)

    def check(request: Any) -> None:
        data = _json(request, accepted, MAX_BODY_BYTES)
        if not isinstance(data, dict):
            raise _invalid([{"pointer": "", "detail": "must be an object"}])
        values, faults = validate(schema, data)
        if faults:
            raise _invalid(_pointed(faults))
        request.validated.update(values)

    return Validator(check, _BODY_ERRORS, body=schema, media_types=accepted)


def json_array(schema: colander.SchemaNode, most: int, most_bytes: int) -> Validator:
    """A validator: the body is a JSON array of 1 to `most` items. `items` are each one's values, and its faults.

    Whether the faults of some items are those of the request, the view decides.
    """

    def check(request: Any) -> None:
        data = _json(request, (JSON,), most_bytes)
        if not isinstance(data, list) or not 1 <= len(data) <= most:
            raise _invalid([{"pointer": "", "detail": f"must be an array of 1 to {most} items"}])
        request.validated["items"] = [_item(schema, item, f"/{number}") for number, item in enumerate(data)]

    return Validator(check, _BODY_ERRORS, body=schema, items=most)


def _item(schema: colander.SchemaNode, item: object, where: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    if not isinstance(item, dict):
        return {}, [{"pointer": where, "detail": "must be an object"}]
    values, faults = validate(schema, item)
    return values, _pointed(faults, where)


_BODY_ERRORS = ("malformed-json", "body-too-large", "unsupported-media-type", "invalid-data", "not-implemented")


def _json(request: Any, media_types: Sequence[str], most_bytes: int) -> Any:
    if request.content_type.lower() not in media_types:
        accepted = ", ".join(media_types)
        raise Problem(
            "unsupported-media-type",
            f"The body is {request.content_type or 'of no declared type'}.",
            headers={"Accept": accepted, **({"Accept-Patch": accepted} if request.method == "PATCH" else {})},
        )
    if (request.content_length or 0) > most_bytes:
        raise Problem("body-too-large", f"The body may have at most {most_bytes} bytes.")
    try:
        return orjson.loads(bodies.read(request))
    except orjson.JSONDecodeError as error:
        raise Problem("malformed-json", f"The body is not JSON: {error}.") from None


def query(schema: colander.SchemaNode) -> Validator:
    """A validator: the query string has the schema's parameters, each at most once, and no others."""

    def check(request: Any) -> None:
        try:
            parameters = request.GET
        except UnicodeDecodeError:
            raise Problem("malformed-request", "The query string is not UTF-8.") from None
        values, faults = validate(schema, parameters)
        faults.update((key, "is given more than once") for key in parameters if len(parameters.getall(key)) > 1)
        if faults:
            raise invalid_query(faults)
        request.validated.update(values)

    return Validator(check, ("malformed-request", "invalid-data"), query=schema)


no_query = query(NO_PARAMETERS)


def _product_id(request: Any) -> None:
    text = request.matchdict["id"]
    try:
        request.validated["product_id"] = uuid(text)
    except ValueError:
        raise catalog.NotFound(text) from None


# A validator: the path's id is a UUID. Anything else names no product.
product_id = Validator(_product_id, ("product-not-found",))


def _if_match(request: Any) -> None:
    request.validated["versions"] = _versions(request.headers.get("If-Match", "*"))


# A validator: the product versions that If-Match accepts become `versions`. See docs/decisions/0002-if-match.md.
if_match = Validator(_if_match, ("stale-version",), headers=("If-Match",))


def observed_for(request: Any) -> timedelta:
    """How long a product counts as observed after a whole, valid list."""
    return Schedule.of(request.registry["settings"]).observed_for


def known_product(request: Any, wanted: UUID, now: datetime, bring: Part | None = None) -> Known:
    """What is known of a product's past. `bring` is what will be asked for if its raw steps are there."""
    found = known(request.reader, wanted, observed_for(request), now, bring)
    if found is None:
        raise catalog.NotFound(wanted)
    return found


def tagged_json(request: Any, value: object, version: int) -> Response:
    """A JSON answer with a strong ETag, `"<version>-<digest of the body>"`, which also answers If-None-Match.

    The digest makes the tag change with anything that the body says; `if_match` reads the version back.
    """
    body = dumps(value)
    return _tagged(request, body, "application/json", f"{version}-{_digest(body)}")


def public_json(request: Any, value: object) -> Response:
    return public(request, dumps(value), "application/json")


def public(request: Any, body: bytes, content_type: str) -> Response:
    """An answer that anyone may keep until its products are asked for again, an interval. Its ETag is the digest."""
    response = _tagged(request, body, content_type, _digest(body))
    response.cache_control = f"public, max-age={request.registry['settings'].sync_interval_seconds}"
    return response


def _versions(given: str) -> list[int] | None:
    if given.strip() == "*":
        return None
    found = []
    # WebOb's request.if_match overlooks tags after a comma without a space and takes what is not quoted for a tag.
    for weak, tag in re.findall(r'(W/)?"([^"]*)"', given):
        version, dash, _ = tag.partition("-")
        if not weak and dash and version.isascii() and version.isdecimal():
            found.append(int(version[:18]))
    return found


def dumps(value: object) -> bytes:
    """JSON as this service writes it: UTF-8, times in RFC 3339 with Z, UUIDs as text, and a line's end at the end."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def service(name: str, path: str, tag: str | None, *path_parameters: colander.SchemaNode) -> ContractService:
    return ContractService(name, path, tag, path_parameters)


def invalid_query(faults: Mapping[str, str]) -> Problem:
    """What is wrong with the query string, by parameter."""
    return _invalid([{"parameter": key, "detail": detail} for key, detail in faults.items()])


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=9).hexdigest()


def _tagged(request: Any, body: bytes, content_type: str, tag: str) -> Response:
    response = Response(body, content_type=content_type, charset=None)
    response.etag = tag
    # WebOb would answer a Range together with If-None-Match, with an error format of its own; a server may ignore it.
    request.environ.pop("HTTP_RANGE", None)
    response.conditional_response = request.method in ("GET", "HEAD")
    return response


def _invalid(errors: list[dict[str, str]]) -> Problem:
    where = ", ".join(repr(error.get("parameter") or error.get("pointer") or "the body") for error in errors)
    return Problem("invalid-data", f"Not valid: {where}.", errors=errors)


def _pointed(faults: Mapping[str, str], where: str = "") -> list[dict[str, str]]:
    """Faults by member as those of the body, each with a JSON Pointer (RFC 6901). `where` is that of the object."""
    return [{"pointer": where + _pointer(key), "detail": detail} for key, detail in faults.items()]


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")
