"""Builds the document at /openapi.json, an OpenAPI 3.1 description of the API, from the services' declarations.

Services declare their paths, validators their parameters and bodies, views their responses (`answers.py`) and error
codes. `conventions.py` adds the parts that belong to no single view.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import colander
from apispec import APISpec

from productagg.api.core.answers import Answer
from productagg.api.core.errors import ErrorCode
from productagg.api.core.idempotency import HEADER, REPLAYED
from productagg.api.core.service import PUBLIC, ContractService, Operation
from productagg.api.core.validators import Validator
from productagg.api.openapi import conventions
from productagg.api.openapi.response_schemas import NamedSchemas, component_schema, example, json_schema
from productagg.api.openapi.schemas import PROBLEM

# Any operation can fail with these: the server refuses the request before the application sees it, or the service
# fails.
_COMMON_CODES = (
    ErrorCode.MALFORMED_REQUEST,
    ErrorCode.REQUEST_TIMEOUT,
    ErrorCode.HEADERS_TOO_LARGE,
    ErrorCode.INTERNAL_ERROR,
    ErrorCode.UNAVAILABLE,
)

_Document = dict[str, Any]


def document(services: Iterable[ContractService]) -> _Document:
    """Return the OpenAPI document of the services that have a tag."""
    return _DocumentBuilder([service for service in services if service.tag is not None]).build()


class _DocumentBuilder:
    """Collects named schemas and problem responses while it describes the operations, which refer to them by name."""

    def __init__(self, services: Sequence[ContractService]) -> None:
        self._services = services
        self._named_schemas: NamedSchemas = {}
        self._spec = APISpec(
            title="productagg",
            version=version("productagg"),
            openapi_version="3.1.0",
            info={"description": conventions.INTRODUCTION, "license": {"name": "MIT", "identifier": "MIT"}},
            security=[],
        )

    def build(self) -> _Document:
        self._add_conventions()
        json_schema(PROBLEM, self._named_schemas)
        for service in self._services:
            self._add_service(service)
        self._add_named_schemas()
        return self._spec.to_dict()

    def _add_conventions(self) -> None:
        self._add_tags()
        components = self._spec.components
        components.security_scheme("bearer", conventions.BEARER)
        for name, header in conventions.HEADERS.items():
            components.header(name, header, lazy=True)
        for name, parameter in conventions.PARAMETERS.items():
            components.parameter(name, "header", parameter, lazy=True)

    def _add_tags(self) -> None:
        tags = dict.fromkeys(service.tag for service in self._services if service.tag is not None)
        for tag in tags:
            self._spec.tag({"name": tag, "description": conventions.TAGS[tag]})

    def _add_service(self, service: ContractService) -> None:
        parameters: list[Any] = ["X-Request-ID", *(_parameter(node, "path") for node in service.path_parameters)]
        described: _Document = {}
        for method, operation in service.operations.items():
            described[method] = self._operation(service, operation)
            if operation.head is not None:
                described["head"] = self._head(described[method], *operation.head)
        self._spec.path(service.path, parameters=parameters, operations=described)

    def _operation(self, service: ContractService, operation: Operation) -> _Document:
        name = operation.view.__name__
        text = " ".join((operation.view.__doc__ or "").split())
        return _without_empty(
            {
                "operationId": name,
                "tags": [service.tag],
                "summary": _summary(text),
                "description": text + _permission_text(operation),
                "parameters": _parameters(operation),
                "responses": self._responses(operation),
                "requestBody": self._request_body(name, operation),
                "security": [] if operation.permission == PUBLIC else [{"bearer": []}],
            }
        )

    def _head(self, get: _Document, name: str, text: str) -> _Document:
        """Describe HEAD as GET without bodies, even for problems: clients must not try to read a body."""
        return {
            "operationId": name,
            "tags": get["tags"],
            "summary": _summary(text),
            "description": text,
            "responses": {status: self._without_body(response) for status, response in get["responses"].items()},
        }

    def _without_body(self, response: _Document | str) -> _Document:
        """Return the description and the headers of a response, which may be the name of a problem response."""
        described = self._spec.components.responses[response] if isinstance(response, str) else response
        return {key: described[key] for key in ("description", "headers") if key in described}

    def _request_body(self, operation_id: str, operation: Operation) -> _Document:
        """Describe the body of the operation's requests; return an empty description if they have none."""
        for validator in operation.validators:
            if validator.body is not None:
                return self._validated_body(operation_id, validator, validator.body)
        return {}

    def _validated_body(self, operation_id: str, validator: Validator[Any], body: colander.SchemaNode) -> _Document:
        name = "".join(word.capitalize() for word in operation_id.split("_"))
        content: _Document = {"schema": name, "example": _body_example(body)}
        if validator.items is not None:
            # A full reference: apispec resolves a name in this place only, not within an array.
            item = {"$ref": f"#/components/schemas/{name}Item"}
            array = {"type": "array", "items": item, "minItems": 1, "maxItems": validator.items}
            name, content = f"{name}Item", {"schema": array, "example": [_body_example(body)]}
        self._spec.components.schema(name, _body_schema(body))
        return {"required": True, "content": dict.fromkeys(validator.media_types, content)}

    def _responses(self, operation: Operation) -> _Document:
        successes = {str(answer.status): self._success(operation, answer) for answer in operation.answers}
        codes_by_status: dict[int, list[ErrorCode]] = {}
        for code in _codes(operation):
            codes_by_status.setdefault(code.status, []).append(code)
        problems = {str(status): self._problem(status, codes) for status, codes in sorted(codes_by_status.items())}
        return successes | problems

    def _success(self, operation: Operation, answer: Answer) -> _Document:
        replayed = (f"{REPLAYED}?",) if operation.idempotent else ()
        return _without_empty(
            {
                "description": answer.description,
                "headers": _headers(*conventions.COMMON_HEADERS, "Vary?", *answer.headers, *replayed),
                "content": self._content(answer),
                "links": dict(self._links(answer)),
            }
        )

    def _content(self, answer: Answer) -> _Document:
        if answer.body is not None:
            json = {"schema": json_schema(answer.body, self._named_schemas), "example": example(answer.body)}
            return {"application/json": json}
        if answer.csv:
            return {"text/csv": {"schema": {"type": "string"}, "example": answer.csv}}
        return {}

    def _links(self, answer: Answer) -> Iterator[tuple[str, _Document]]:
        """Yield a link to every operation whose only path parameter is in the response."""
        for node, expression in answer.links.items():
            for operation in self._operations_with(node):
                name = operation.view.__name__
                yield name, {"operationId": name, "parameters": {node.name: expression}}

    def _operations_with(self, node: colander.SchemaNode) -> Iterator[Operation]:
        """Yield the operations whose path has this parameter and no other."""
        for service in self._services:
            if service.path_parameters == (node,):
                yield from service.operations.values()

    def _problem(self, status: int, codes: Sequence[ErrorCode]) -> str:
        """Return the name of the response for problems with these codes. Adds the response at its first use."""
        name = ".".join(codes)
        if name not in self._spec.components.responses:
            self._spec.components.response(name, self._problem_response(status, codes))
        return name

    def _problem_response(self, status: int, codes: Sequence[ErrorCode]) -> _Document:
        return {
            "description": " ".join(f"`{code}`: {code.advice}" for code in codes),
            "headers": _headers(
                *conventions.COMMON_HEADERS,
                *conventions.PROBLEM_HEADERS.get(status, ()),
                *(header for code in codes for header in conventions.CODE_HEADERS.get(code, ())),
            ),
            "content": {
                "application/problem+json": {
                    "schema": json_schema(PROBLEM, self._named_schemas),
                    "examples": {str(code): _problem_example(code) for code in codes},
                }
            },
        }

    def _add_named_schemas(self) -> None:
        """Add the named schemas, and the schemas that they refer to in turn."""
        while missing := self._named_schemas.keys() - self._spec.components.schemas.keys():
            for name in sorted(missing):
                schema = component_schema(self._named_schemas[name], self._named_schemas)
                self._spec.components.schema(name, schema)


def _without_empty(described: _Document) -> _Document:
    return {key: value for key, value in described.items() if value}


def _codes(operation: Operation) -> list[ErrorCode]:
    """Return the error codes of an operation, without repetition."""
    codes = [*_COMMON_CODES]
    if operation.permission != PUBLIC:
        codes += (ErrorCode.AUTHENTICATION_REQUIRED, ErrorCode.INVALID_TOKEN, ErrorCode.FORBIDDEN)
    for validator in operation.validators:
        codes += validator.errors
    codes += operation.errors
    if operation.method == "get":  # every GET accepts If-Match
        codes.append(ErrorCode.PRECONDITION_FAILED)
    return list(dict.fromkeys(codes))


def _permission_text(operation: Operation) -> str:
    if operation.permission == PUBLIC:
        return ""
    return f" Needs the permission `{operation.permission}`, which admins have."


def _summary(text: str) -> str:
    """Return the text up to the first pause of its first sentence."""
    return re.split(r"[.;:](?:\s|$)", text, maxsplit=1)[0].replace("`", "")


def _parameters(operation: Operation) -> list[Any]:
    query = [_parameter(node, "query") for validator in operation.validators for node in validator.query]
    return [*query, *_header_parameters(operation)]


def _header_parameters(operation: Operation) -> list[str]:
    declared = [header for validator in operation.validators for header in validator.headers]
    return [*declared, *_condition_headers(operation), *([HEADER] if operation.idempotent else [])]


def _condition_headers(operation: Operation) -> Iterator[str]:
    """Yield the request headers that compare with the ETag or the Last-Modified of the operation's responses."""
    headers = {header for answer in operation.answers for header in answer.headers}
    if operation.method == "get" and "ETag" in headers:
        yield from ("If-Match", "If-None-Match")
    if "Last-Modified?" in headers:
        yield from ("If-Modified-Since", "If-Unmodified-Since")


def _parameter(node: colander.SchemaNode, where: str) -> _Document:
    described = {
        "name": node.name,
        "in": where,
        "description": node.description,
        "required": node.required,
        "schema": {**node.typ.schema, **({"default": node.missing} if _has_default(node) else {})},
    }
    if node.typ.schema["type"] == "array":
        described |= {"style": "form", "explode": node.typ.repeated}
    shown = getattr(node, "example", None)
    return described if shown is None else {**described, "example": shown}


def _has_default(node: colander.SchemaNode) -> bool:
    return not node.required and node.missing not in (None, colander.drop)


def _body_schema(body: colander.SchemaNode) -> _Document:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [node.name for node in body if node.required],
        "properties": {
            node.name: {**node.typ.schema, "description": node.description, "examples": [node.example]} for node in body
        },
    }


def _body_example(body: colander.SchemaNode) -> Mapping[str, Any]:
    return {node.name: node.example for node in body}


def _headers(*names: str) -> _Document:
    """Refer to headers by name. A question mark after a name says that the header may be missing."""
    return {name.rstrip("?"): _header(name) for name in names}


def _header(name: str) -> _Document | str:
    if not name.endswith("?"):
        return name
    return {key: value for key, value in conventions.HEADERS[name[:-1]].items() if key != "required"}


def _problem_example(code: ErrorCode) -> _Document:
    title = code.problem_title
    value = {"type": f"/problems/{code}", "title": title, "status": code.status, "detail": code.advice, "code": code}
    faults = {"errors": conventions.FAULTS_EXAMPLE} if code == ErrorCode.INVALID_DATA else {}
    return {"summary": title, "value": {**value, **faults}}
