"""How every resource is built: Cornice services, strict validators, JSON answers with a validator (ETag).

A validator here raises a Problem; a view receives values that are fit to use in `request.validated`. What a service, a
validator and a view declare is what the document at /openapi.json is made of.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any
from wsgiref.handlers import format_date_time

import colander
import orjson
from cornice import Service
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from productagg import strict_json
from productagg.api.core import idempotency, request_body
from productagg.api.core.compression import Unchanging
from productagg.api.core.errors import Problem
from productagg.api.core.preconditions import demands
from productagg.api.core.schemas import NO_PARAMETERS, uuid, validate
from productagg.api.openapi.answers import Answer
from productagg.catalog import products as catalog
from productagg.sync.schedule import Schedule

MAX_BODY_BYTES = 256 * 1024
# How many faults of one request are listed, and how many of them in the sentence before.
_MOST_ERRORS, _MOST_NAMED = 50, 10
# The same of an item of an array; and how many tokens (see strict_json.items) an item may have on average.
_MOST_ERRORS_OF_ITEM, _MOST_TOKENS = 5, 40
# How many query strings of each kind are remembered with what they say, and of how many characters.
_KEPT_QUERIES, _LONGEST_KEPT = 256, 200
# What our links to further pages look like: nothing that has to be decoded, and the only cursor last.
_WALK = re.compile(r"((?:(?!cursor)[\w=&.:,-])+)&cursor=([\w.-]+)", re.ASCII)
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

# What public views declare, instead of a permission.
PUBLIC = NO_PERMISSION_REQUIRED

# The Cache-Control of what only its reader may keep, and not use without asking whether it still is so.
PRIVATE = "private, no-cache"
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1, 60
_SETTLED = timedelta(seconds=2)


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

    method: str
    view: Callable[[Any], Any]
    permission: str
    validators: Sequence[Validator]
    answers: Sequence[Answer]
    errors: Sequence[str]
    idempotent: bool
    head: tuple[str, str] | None


class ContractService(Service):
    """A Cornice service whose views declare what they answer, beside what Cornice wants to know.

    Every POST that needs a permission takes an Idempotency-Key.
    `tag` is its heading in the document; None: it is no part of that. `path_parameters` are those of its path.
    """

    def __init__(self, name: str, path: str, tag: str | None, path_parameters: Sequence[colander.SchemaNode]) -> None:
        super().__init__(name=name, path=path, renderer="json")
        declared = [node.name for node in path_parameters]
        if tag is not None and declared != re.findall(r"{(\w+)}", path):
            raise ValueError(f"{path} declares the path parameters {declared}")
        self.tag = tag
        self.path_parameters = path_parameters
        self.operations: dict[str, Operation] = {}
        # Cornice's own: it is the same everywhere, and no operation of the contract.
        super().add_view("OPTIONS", self._say_what_is_allowed, permission=PUBLIC)

    def add_view(self, method: str, view: Any, **options: Any) -> None:
        """`answers`: each success; `errors`: the codes that the view raises.

        `head`: HEAD is an operation of its own, with this name and text; elsewhere it goes without saying.
        """
        answers, errors, head = options.pop("answers", ()), options.pop("errors", ()), options.pop("head", None)
        if self.tag is not None and not answers:
            raise ValueError(f"{view.__name__} declares no answers")
        # Of a public one (POST /login) nobody knows whose key it is, and its answer is not to be kept.
        idempotent = method.lower() == "post" and options["permission"] != PUBLIC
        if idempotent:
            options["decorator"] = idempotency.once
            errors = (*errors, *idempotency.ERRORS)
        self.operations[method.lower()] = Operation(
            method.lower(),
            view,
            options["permission"],
            options["validators"],
            answers,
            errors,
            idempotent,
            head,
        )
        super().add_view(method, view, **options)
        # Pyramid tries views in the order in which they were added: what nearly nobody asks for comes last.
        self.definitions.sort(key=lambda definition: definition[0] == "OPTIONS")

    def _say_what_is_allowed(self, _request: Any) -> Response:
        response = Response(status=204, allow=self.defined_methods)
        if "patch" in self.operations:
            taken = [
                each
                for validator in self.operations["patch"].validators
                if validator.body
                for each in validator.media_types
            ]
            response.headers["Accept-Patch"] = ", ".join(taken)
        return response


def json_body(schema: colander.SchemaNode, *media_types: str) -> Validator:
    """A validator: the body is a JSON object that fits the schema. `media_types` are those besides JSON's own."""
    accepted = (JSON, *media_types)

    def check(request: Any) -> None:
        data = _loads(_body(request, accepted, MAX_BODY_BYTES))
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
        body = _body(request, (JSON,), most_bytes)
        written = strict_json.items(body, most * _MOST_TOKENS)
        try:
            # One more, to see whether there are too many.
            read = [_item(schema, each, f"/{number}") for number, each in enumerate(islice(written, most + 1))]
        except strict_json.TooManyParts:
            raise _invalid([{"pointer": "", "detail": "has too many items and members"}]) from None
        except strict_json.NotAnArray:
            if len(body) <= MAX_BODY_BYTES:
                _loads(body)
            read = []
        except ValueError as error:
            raise _malformed(error) from None
        if not 1 <= len(read) <= most:
            raise _invalid([{"pointer": "", "detail": f"must be an array of 1 to {most} items"}])
        request.validated["items"] = read

    return Validator(check, _BODY_ERRORS, body=schema, items=most)


def _item(schema: colander.SchemaNode, written: bytes, where: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    if len(written) > MAX_BODY_BYTES:
        return {}, [{"pointer": where, "detail": f"must have at most {MAX_BODY_BYTES} bytes"}]
    item = _loads(written)
    if not isinstance(item, dict):
        return {}, [{"pointer": where, "detail": "must be an object"}]
    values, faults = validate(schema, item)
    return values, _pointed(faults, where)[:_MOST_ERRORS_OF_ITEM]


_BODY_ERRORS = ("malformed-json", "body-too-large", "unsupported-media-type", "invalid-data", "not-implemented")


def _body(request: Any, media_types: Sequence[str], most_bytes: int) -> bytes:
    if request.content_type.lower() not in media_types:
        accepted = ", ".join(media_types)
        raise Problem(
            "unsupported-media-type",
            f"The body is {request.content_type or 'of no declared type'}: send {accepted}.",
            headers={"Accept": accepted, **({"Accept-Patch": accepted} if request.method == "PATCH" else {})},
        )
    if (request.content_length or 0) > most_bytes:
        raise Problem("body-too-large", f"The body may have at most {most_bytes} bytes.")
    return request_body.read(request)


def _loads(text: bytes) -> Any:
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise _malformed(error) from None


def _malformed(error: ValueError) -> Problem:
    return Problem("malformed-json", f"The body is not JSON: {error}.")


def query(schema: colander.SchemaNode) -> Validator:
    """A validator: the query string has the schema's parameters and no others, each at most once.

    An array may also be given as several parameters of the same name, as many clients write it.
    """
    arrays = {node.name for node in schema if node.typ.schema["type"] == "array"}

    @lru_cache(maxsize=_KEPT_QUERIES)
    def read(text: str) -> Mapping[str, Any]:
        try:
            parameters = Request({"QUERY_STRING": text}).GET
        except UnicodeDecodeError:
            raise Problem("malformed-request", "The query string is not UTF-8.") from None
        given = {name: ",".join(parameters.getall(name)) for name in arrays & set(parameters)}
        values, faults = validate(schema, {**parameters, **given})
        times = Counter(iter(parameters))
        faults.update((name, "is given more than once") for name in times if times[name] > 1 and name not in arrays)
        if faults:
            raise invalid_query(faults)
        return values

    may_walk = "cursor" in schema

    def check(request: Any) -> None:
        text = request.environ.get("QUERY_STRING", "")
        if text or schema is not NO_PARAMETERS:
            # The same few are asked again and again, of different products, or but for the cursor.
            walk = _WALK.fullmatch(text) if may_walk else None
            if walk:
                text = walk[1]
            request.validated.update((read if len(text) <= _LONGEST_KEPT else read.__wrapped__)(text))
            if walk:
                request.validated["cursor"] = walk[2]

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


# A validator: what the conditional headers demand of the product. See docs/decisions/0002-if-match.md.
if_match = Validator(
    lambda request: request.validated.update(demands(request.environ)),
    ("stale-version", "precondition-failed"),
    headers=("If-Match", "If-None-Match", "If-Unmodified-Since"),
)


def observed_for(request: Any) -> timedelta:
    """How long a product counts as observed after a whole, valid list."""
    return Schedule.of(request.registry["settings"]).observed_for


def tagged_json(value: object, version: int) -> Response:
    """A JSON answer with a strong ETag, `"<version>-<digest of the body>"`.

    The digest makes the tag change with anything that the body says; `if_match` reads the version back.
    """
    body = dumps(value)
    return _tagged(body, "application/json", f"{version}-{_digest(body)}")


def public_json(
    request: Any,
    value: object,
    headers: Mapping[str, str] | None = None,
    seconds: int | None = None,
    tagged_by: Sequence[str] | None = None,
) -> Response:
    """What anyone may read, as JSON. `headers` that are part of what it says (Link) are part of its ETag.

    If they are not all, what is of them goes into `tagged_by`.
    """
    body = dumps(value)
    headers = headers or {}
    response = _tagged(body, "application/json", _digest(body, *(tagged_by or headers.values())))
    response.headers.update(headers)
    keep(request, response, seconds)
    return response


def private_json(value: object, headers: Mapping[str, str] | None = None) -> Response:
    """The same of what needs a token: only its reader may keep it, and has to ask each time whether it still is so."""
    body = dumps(value)
    response = _tagged(body, "application/json", _digest(body, *(headers or {}).values()))
    response.headers.update({**(headers or {}), "Cache-Control": PRIVATE, "Vary": "Authorization"})
    return response


def public(request: Any, body: bytes, content_type: str) -> Response:
    """An answer that anyone may read. Its ETag is the digest."""
    response = _tagged(body, content_type, _digest(body))
    keep(request, response)
    return response


def unchanging(request: Any, body: bytes, content_type: str) -> Response:
    """The same of one that this version of productagg never changes, and that is worth working on only once."""
    response = Unchanging(body, content_type=content_type, charset=None)
    response.etag = _digest_once(body)
    keep(request, response)
    return response


def keep(request: Any, response: Response, seconds: int | None = None) -> None:
    """Let anyone keep the answer for so long; unless told, until its products are asked for again, an interval.

    A minute at most: what an editor changes is to be seen even where it does not make a cache forget (RFC 9111, 4.4).
    """
    longest: int = min(request.registry["settings"].sync_interval_seconds, _LONGEST_SECONDS)
    seconds = longest if seconds is None else max(_SHORTEST_SECONDS, min(seconds, longest))
    response.headerlist.append(("Cache-Control", f"public, max-age={seconds}"))


def seconds_until(time: datetime, now: datetime) -> int:
    """Whole seconds, rounded down: for `keep`."""
    return int((time - now).total_seconds())


def say_when_modified(response: Response, newest: datetime, now: datetime) -> None:
    """Last-Modified, the full second after the newest change; not before that has been over for a while.

    Else a second change in that second, or one that is still being committed, would hide behind a 304.
    """
    second = newest.replace(microsecond=0)
    second += timedelta(seconds=1) if second < newest else timedelta(0)
    if now - second >= _SETTLED:
        response.headerlist.append(("Last-Modified", _http_date(second.timestamp())))


def dumps(value: object) -> bytes:
    """JSON as this service writes it: UTF-8, times in RFC 3339 with Z, UUIDs as text, and a line's end at the end."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def service(name: str, path: str, tag: str | None, *path_parameters: colander.SchemaNode) -> ContractService:
    return ContractService(name, path, tag, path_parameters)


def invalid_query(faults: Mapping[str, str]) -> Problem:
    """What is wrong with the query string, by parameter."""
    return _invalid([{"parameter": key, "detail": detail} for key, detail in faults.items()])


def _digest(body: bytes, *others: str) -> str:
    found = hashlib.blake2b(body, digest_size=9)
    for each in others:
        found.update(b"\0" + each.encode())
    return found.hexdigest()


_digest_once = lru_cache(maxsize=16)(_digest)
# Many products change in the same pass.
_http_date = lru_cache(maxsize=256)(format_date_time)


def _tagged(body: bytes, content_type: str, tag: str) -> Response:
    # Given as they are, WebOb does not look through them for each.
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("ETag", f'"{tag}"')]
    return Response(app_iter=[body], headerlist=headers)


def _invalid(errors: list[dict[str, str]]) -> Problem:
    named = [error.get("parameter") or error.get("pointer") or "the body" for error in errors[:_MOST_NAMED]]
    where = ", ".join(repr(_shortened(each)) for each in named)
    more = f", and {len(errors) - _MOST_NAMED} more" if len(errors) > _MOST_NAMED else ""
    return Problem("invalid-data", f"Not valid: {where}{more}.", errors=errors[:_MOST_ERRORS])


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


def _pointed(faults: Mapping[str, str], where: str = "") -> list[dict[str, str]]:
    """Faults by member as those of the body, each with a JSON Pointer (RFC 6901). `where` is that of the object."""
    return [{"pointer": where + _shortened(_pointer(key)), "detail": detail} for key, detail in faults.items()]


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")
