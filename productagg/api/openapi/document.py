"""/openapi.json: the contract, made of what the services, their validators and their views declare."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import colander
from apispec import APISpec

from productagg.api.core.errors import ErrorCode
from productagg.api.core.idempotency import HEADER, REPLAYED
from productagg.api.core.service import PUBLIC, ContractService, Operation
from productagg.api.core.validators import Validator
from productagg.api.openapi import conventions
from productagg.api.openapi.answers import PROBLEM, Answer
from productagg.api.openapi.response_schemas import Choice, Shape, example, named_schema, schema

# What any operation may answer: refused by the server before the application sees it, or a fault of ours.
_ANYWHERE = (
    ErrorCode.MALFORMED_REQUEST,
    ErrorCode.REQUEST_TIMEOUT,
    ErrorCode.HEADERS_TOO_LARGE,
    ErrorCode.INTERNAL_ERROR,
    ErrorCode.UNAVAILABLE,
)

_Document = dict[str, Any]


def document(services: Sequence[ContractService]) -> _Document:
    """The OpenAPI 3.1 document of the services that have a tag."""
    return _Assembly([each for each in services if each.tag is not None]).document()


def write(path: str) -> None:
    """Write the document of this version to a file, for people and programs to compare. For `make openapi`."""
    from productagg.api import SERVICES  # which needs this module to put itself together

    text = json.dumps(document(SERVICES), ensure_ascii=False, indent=2)
    Path(path).write_text(f"{text}\n", "utf-8")


class _Assembly:
    """Puts the document together. Shapes and problems are collected on the way, and referred to by name."""

    def __init__(self, services: Sequence[ContractService]) -> None:
        self._services = services
        self._shapes: dict[str, Shape | Choice] = {}
        self._spec = APISpec(
            title="productagg",
            version=version("productagg"),
            openapi_version="3.1.0",
            info={"description": conventions.INTRODUCTION, "license": {"name": "MIT", "identifier": "MIT"}},
            security=[],
        )

    def document(self) -> _Document:
        tags = list(dict.fromkeys(service.tag for service in self._services if service.tag is not None))
        for tag in tags:
            self._spec.tag({"name": tag, "description": conventions.TAGS[tag]})
        self._spec.components.security_scheme("bearer", conventions.BEARER)
        for name, header in conventions.HEADERS.items():
            self._spec.components.header(name, header, lazy=True)
        for name, parameter in conventions.PARAMETERS.items():
            self._spec.components.parameter(name, "header", parameter, lazy=True)
        schema(PROBLEM, self._shapes)
        for service in self._services:
            self._add(service)
        self._add_shapes()
        return self._spec.to_dict()

    def _add(self, service: ContractService) -> None:
        parameters: list[Any] = ["X-Request-ID", *(_parameter(node, "path") for node in service.path_parameters)]
        operations = {method: self._operation(service, each) for method, each in service.operations.items()}
        for each in service.operations.values():
            if each.head is not None:
                operations["head"] = self._head(operations[each.method], *each.head)
        self._spec.path(service.path, parameters=parameters, operations=operations)

    def _operation(self, service: ContractService, operation: Operation) -> _Document:
        text = " ".join((operation.view.__doc__ or "").split())
        found: _Document = {
            "operationId": operation.view.__name__,
            "tags": [service.tag],
            "summary": _summary(text),
            "description": text + _who_may(operation),
            "parameters": _parameters(operation),
            "responses": self._responses(operation),
        }
        for each in operation.validators:
            if each.body is not None:
                found["requestBody"] = self._request_body(operation.view.__name__, each, each.body)
        if operation.permission != PUBLIC:
            found["security"] = [{"bearer": []}]
        return {name: value for name, value in found.items() if value != []}

    def _head(self, get: _Document, name: str, text: str) -> _Document:
        """The same without bodies, also of problems: no client must try to read one."""
        problems = self._spec.components.responses
        answers = {
            status: problems[answer] if isinstance(answer, str) else answer
            for status, answer in get["responses"].items()
        }
        without_bodies = {
            status: {key: value for key, value in answer.items() if key in ("description", "headers")}
            for status, answer in answers.items()
        }
        return {
            "operationId": name,
            "tags": get["tags"],
            "summary": _summary(text),
            "description": text,
            "responses": without_bodies,
        }

    def _request_body(self, operation_id: str, taken: Validator[Any], body: colander.SchemaNode) -> _Document:
        name = "".join(word.capitalize() for word in operation_id.split("_"))
        content: _Document = {"schema": name, "example": _body_example(body)}
        if taken.items is not None:
            # As in all references, but apispec does not look so deep.
            item = {"$ref": f"#/components/schemas/{name}Item"}
            array = {"type": "array", "items": item, "minItems": 1, "maxItems": taken.items}
            name, content = f"{name}Item", {"schema": array, "example": [_body_example(body)]}
        self._spec.components.schema(name, _body_schema(body))
        return {"required": True, "content": dict.fromkeys(taken.media_types, content)}

    def _responses(self, operation: Operation) -> _Document:
        found: _Document = {str(answer.status): self._success(operation, answer) for answer in operation.answers}
        by_status: dict[int, list[ErrorCode]] = {}
        for code in _codes(operation):
            by_status.setdefault(code.status, []).append(code)
        return found | {str(status): self._problem(status, codes) for status, codes in sorted(by_status.items())}

    def _success(self, operation: Operation, answer: Answer) -> _Document:
        replayed = (f"{REPLAYED}?",) if operation.idempotent else ()
        found: _Document = {
            "description": answer.description,
            "headers": {
                each.rstrip("?"): _header(each)
                for each in (*conventions.COMMON_HEADERS, "Vary?", *answer.headers, *replayed)
            },
        }
        if answer.kind is not None:
            json = {"schema": schema(answer.kind, self._shapes), "example": example(answer.kind)}
            found["content"] = {"application/json": json}
        elif answer.csv:
            found["content"] = {"text/csv": {"schema": {"type": "string"}, "example": answer.csv}}
        links = dict(self._links(operation, answer))
        return {**found, "links": links} if links else found

    def _links(self, operation: Operation, answer: Answer) -> Iterable[tuple[str, _Document]]:
        """To every operation whose path takes nothing but what the answer holds."""
        for node, expression in answer.links.items():
            for service in self._services:
                if service.path_parameters == (node,):
                    for each in service.operations.values():
                        name = each.view.__name__
                        yield name, {"operationId": name, "parameters": {node.name: expression}}

    def _problem(self, status: int, codes: Sequence[ErrorCode]) -> str:
        """The name of the answer that is one of these problems."""
        name = ".".join(codes)
        if name not in self._spec.components.responses:
            problems = [(code, code.problem_title, code.advice) for code in codes]
            examples = {str(code): {"summary": title, "value": _problem_example(code)} for code, title, _ in problems}
            content = {"application/problem+json": {"schema": schema(PROBLEM, self._shapes), "examples": examples}}
            more = [header for code in codes for header in conventions.CODE_HEADERS.get(code, ())]
            headers = (*conventions.COMMON_HEADERS, *conventions.PROBLEM_HEADERS.get(status, ()), *more)
            self._spec.components.response(
                name,
                {
                    "description": " ".join(f"`{code}`: {advice}" for code, _, advice in problems),
                    "headers": {each.rstrip("?"): _header(each) for each in headers},
                    "content": content,
                },
            )
        return name

    def _add_shapes(self) -> None:
        """Shapes hold others, which come up while they are described."""
        while waiting := self._shapes.keys() - self._spec.components.schemas.keys():
            for name in sorted(waiting):
                self._spec.components.schema(name, named_schema(self._shapes[name], self._shapes))


def _codes(operation: Operation) -> list[ErrorCode]:
    """The codes of what can go wrong, each once."""
    guarded = operation.permission != PUBLIC
    sources = [
        _ANYWHERE,
        (ErrorCode.AUTHENTICATION_REQUIRED, ErrorCode.INVALID_TOKEN, ErrorCode.FORBIDDEN) if guarded else (),
        *(each.errors for each in operation.validators),
        operation.errors,
        # Whatever is read may be asked for with If-Match.
        (ErrorCode.PRECONDITION_FAILED,) if operation.method == "get" else (),
    ]
    return list(dict.fromkeys(code for codes in sources for code in codes))


def _who_may(operation: Operation) -> str:
    return (
        "" if operation.permission == PUBLIC else f" Needs the permission `{operation.permission}`, which admins have."
    )


def _summary(text: str) -> str:
    """Up to where the first sentence pauses."""
    return re.split(r"[.;:](?:\s|$)", text, maxsplit=1)[0].replace("`", "")


def _parameters(operation: Operation) -> list[Any]:
    headers = [name for each in operation.validators for name in each.headers]
    if operation.method == "get" and any("ETag" in answer.headers for answer in operation.answers):
        headers += ["If-Match", "If-None-Match"]
    if any("Last-Modified?" in answer.headers for answer in operation.answers):
        headers += ["If-Modified-Since", "If-Unmodified-Since"]
    if operation.idempotent:
        headers.append(HEADER)
    return [*(_parameter(node, "query") for each in operation.validators for node in each.query), *headers]


def _parameter(node: colander.SchemaNode, where: str) -> _Document:
    found = {
        "name": node.name,
        "in": where,
        "description": node.description,
        "required": node.required,
        "schema": {**node.typ.schema, **({"default": node.missing} if _has_default(node) else {})},
    }
    if node.typ.schema["type"] == "array":
        found |= {"style": "form", "explode": False}
    shown = getattr(node, "example", None)
    return found if shown is None else {**found, "example": shown}


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


def _header(name: str) -> _Document | str:
    """Headers are always there, but for those with a question mark."""
    if name.endswith("?"):
        return {key: value for key, value in conventions.HEADERS[name[:-1]].items() if key != "required"}
    return name


def _problem_example(code: ErrorCode) -> _Document:
    title, advice = code.problem_title, code.advice
    found = {"type": f"/problems/{code}", "title": title, "status": code.status, "detail": advice, "code": code}
    return found | {"errors": conventions.FAULTS} if code == "invalid-data" else found
