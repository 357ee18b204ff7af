"""Checks every response that WebTest gets against the contract, /openapi.json, more strictly than clients need to.

A member that a schema does not name is refused here, and so is an error code that an operation does not list.
"""

import copy
import json
import re
from functools import cache
from typing import Any

import jsonschema_rs
from pyramid.exceptions import URLDecodeError
from webtest import TestApp

from productagg.api import SERVICES
from productagg.api.openapi.document import document

# All headers of a response together: less than any proxy or client accepts (nginx 4 KB, Node 16 KB).
MAX_HEADER_BYTES = 4000


class ContractApp(TestApp):  # type: ignore[misc]  # WebTest is untyped
    """WebTest, where a response outside the contract is an AssertionError."""

    def do_request(self, req, status=None, expect_errors=None):
        response = super().do_request(req, status, expect_errors)
        check(req, response, self.app)
        head = sum(len(name) + len(value) + len(": \r\n") for name, value in response.headerlist)
        assert head <= MAX_HEADER_BYTES, f"{head} bytes of headers: {response.headers}"
        return response


def check(request, response, app):
    """Check a response against the contract. An unknown path must give a problem; pages are not in the contract."""
    route = _route(request, app)
    if route is None:
        _check_problem(request, response, "not-found", "malformed-request")
    elif route.pattern in strict()["paths"]:
        _check_operation(request, response, route.pattern)
        if route.pattern == "/products/partial":
            _check_partial_products(request, response)


def _route(request, app):
    try:
        return app.routes_mapper(request)["route"]
    except URLDecodeError:
        return None


def _check_partial_products(request, response):
    if request.method == "GET" and response.status_int == 200:
        chosen = {"id", *",".join(request.GET.getall("fields")).split(",")}
        if chosen & {"lowest_price", "change_24h"}:
            chosen.add("currency")
        assert all(product.keys() == chosen for product in response.json), f"not the chosen fields: {chosen}"


def _check_operation(request, response, path):
    method = request.method.lower()
    if method == "options":  # the same at every path, so only the introduction describes it
        assert (response.status_int, response.body) == (204, b"") and response.headers["Allow"], response
    elif method not in strict()["paths"][path]:
        _check_problem(request, response, "method-not-allowed")
    else:
        faults = list(_faults(response, path, method))
        assert not faults, f"{request.method} {path} → {response.status} is outside the contract: {'; '.join(faults)}"


def _check_problem(request, response, *codes):
    assert response.content_type == "application/problem+json", response
    assert request.method == "HEAD" or response.json["code"] in codes


def _faults(response, path, method):
    """What is wrong with a response of a documented operation, as texts."""
    documented = _resolved(strict()["paths"][path][method]["responses"].get(str(response.status_int)))
    if documented is None:
        yield "this status is not documented"
        return
    for name, header in documented.get("headers", {}).items():
        yield from _header_faults(name, _resolved(header), response.headers.get(name))
    content = documented.get("content")
    if content is None:
        if response.body:
            yield "no body is documented"
    elif response.content_type not in content:
        yield f"the media type {response.content_type} is not documented"
    else:
        is_json = response.content_type.endswith("json")
        body = json.loads(response.body) if is_json else response.body.decode()
        validator = _body_validator(path, method, response.status_int, response.content_type)
        yield from (error.message for error in validator.iter_errors(body))


def _header_faults(name, header, text):
    if text is None:
        if header.get("required"):
            yield f"the header {name} is missing"
        return
    schema = header["schema"]
    value = int(text) if schema.get("type") == "integer" and re.fullmatch(r"-?\d+", text) else text
    yield from (f"{name}: {error.message}" for error in jsonschema_rs.validator_for(schema).iter_errors(value))


@cache
def _body_validator(path, method, status, media_type):
    """A compiled schema. Compiling takes far longer than checking one response."""
    documented = _resolved(strict()["paths"][path][method]["responses"][str(status)])
    schema = {**documented["content"][media_type]["schema"], "components": strict()["components"]}
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def _resolved(part):
    """The part of the contract that a reference leads to."""
    while part is not None and "$ref" in part:
        target: Any = strict()
        for name in part["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        part = target
    return part


def in_full():
    """The contract with what only its introduction says: every 304, and that HEAD responds as GET does."""
    contract = copy.deepcopy(document(SERVICES))
    for path in contract["paths"].values():
        if "get" in path:
            _add_not_modified(path["get"])
            path["head"] = {**path["get"], "operationId": f"head_{path['get']['operationId']}"}
            path["head"]["responses"] = {
                status: _without_body(contract, response) for status, response in path["get"]["responses"].items()
            }
    return contract


def _add_not_modified(get):
    headers = get["responses"].get("200", {}).get("headers", {})
    if "ETag" in headers:
        headers = {name: header for name, header in headers.items() if name != "Content-Disposition"}
        get["responses"]["304"] = {"description": "It is unchanged.", "headers": headers}


@cache
def strict():
    """The contract, as strict as it can be read."""
    contract = in_full()
    for schema in contract["components"]["schemas"].values():
        schema["additionalProperties"] = False
        _limit_integers(schema)
    for response in contract["components"]["responses"].values():
        content = response["content"]["application/problem+json"]
        codes = {"properties": {"code": {"enum": list(content["examples"])}}}
        content["schema"] = {"allOf": [content["schema"], codes]}
    return contract


def _limit_integers(part):
    """State the bounds of the format int64, which JSON Schema takes for a comment."""
    if isinstance(part, dict):
        if part.get("format") == "int64":
            part.setdefault("minimum", -(2**63))
            part.setdefault("maximum", 2**63 - 1)
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            _limit_integers(inner)


def _without_body(contract, response):
    if "$ref" in response:
        response = contract["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return {key: value for key, value in response.items() if key not in ("content", "links")}
