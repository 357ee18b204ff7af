"""Holds every answer that WebTest gets against the contract, /openapi.json, taken more strictly than clients need to.

Members that a schema does not name are refused here, and so are codes that an operation does not list.
"""

import copy
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from jsonschema import FormatChecker  # type: ignore[import-untyped]
from jsonschema_path import SchemaPath
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from pyramid.exceptions import URLDecodeError
from webtest import TestApp
from werkzeug.datastructures import Headers, ImmutableMultiDict

from productagg.api import SERVICES
from productagg.api.openapi.document import document

# All headers of an answer together: less than what any proxy or client takes (nginx 4 KB, Node 16 KB).
MOST_HEADER_BYTES = 4000

# openapi-core copies it for each schema that it looks at, in case somebody adds to the copy.
FormatChecker.__deepcopy__ = lambda checker, _memo: checker

_DESERIALIZERS: dict[str, Callable[[bytes], Any]] = {"application/problem+json": json.loads, "text/csv": bytes.decode}


class ContractApp(TestApp):  # type: ignore[misc]  # WebTest is untyped
    """WebTest, where an answer outside the contract is an AssertionError."""

    def do_request(self, req, status=None, expect_errors=None):
        answer = super().do_request(req, status, expect_errors)
        check(req, answer, self.app)
        head = sum(len(name) + len(value) + len(": \r\n") for name, value in answer.headerlist)
        assert head <= MOST_HEADER_BYTES, f"{head} bytes of headers: {answer.headers}"
        return answer


def check(request, answer, app):
    """The answer is as the contract has it; where that has nothing, it is a problem, a page or a test's own view."""
    try:
        route = app.routes_mapper(request)["route"]
    except URLDecodeError:
        route = None
    if route is None:
        _check_problem(request, answer, "not-found", "malformed-request")
    elif route.pattern in paths():
        _check_operation(request, answer, route.pattern)
        if route.pattern == "/products/partial" and answer.status_int == 200 and request.method == "GET":
            picked = {"id", *",".join(request.GET.getall("fields")).split(",")}
            assert all(each.keys() == picked for each in answer.json), f"not the fields that were asked for: {picked}"


def _check_operation(request, answer, path):
    if request.method == "OPTIONS":  # the same everywhere, and said once, in the introduction
        assert (answer.status_int, answer.body) == (204, b"") and answer.headers["Allow"], answer
        return
    methods = paths()[path]
    if request.method.lower() not in methods and not (request.method == "HEAD" and "get" in methods):
        _check_problem(request, answer, "method-not-allowed")
        return
    try:
        strict().validate_response(_Request(request, path), _Answer(answer))
    except OpenAPIError as error:
        causes = getattr(error.__cause__, "schema_errors", None) or [error.__cause__ or error]
        details = "; ".join(str(getattr(each, "message", each)) for each in causes)
        raise AssertionError(f"{request.method} {path} → {answer.status} is outside the contract: {details}") from error


def _check_problem(request, answer, *codes):
    assert answer.content_type == "application/problem+json", answer
    assert request.method == "HEAD" or answer.json["code"] in codes


@cache
def paths():
    return document(SERVICES)["paths"]


def in_full():
    """The contract with what it says only once, in its introduction: every 304, and that HEAD answers as GET does."""
    contract = copy.deepcopy(document(SERVICES))
    for path in contract["paths"].values():
        if "get" in path:
            success = path["get"]["responses"].get("200", {})
            if "ETag" in success.get("headers", {}):
                headers = {name: each for name, each in success["headers"].items() if name != "Content-Disposition"}
                path["get"]["responses"]["304"] = {"description": "It is unchanged.", "headers": headers}
            path["head"] = {**path["get"], "operationId": f"head_{path['get']['operationId']}"}
            path["head"]["responses"] = {
                status: _without_body(contract, response) for status, response in path["get"]["responses"].items()
            }
    return contract


@cache
def strict():
    """The contract, as strict as it can be taken."""
    contract = in_full()
    for schema in contract["components"]["schemas"].values():
        schema["additionalProperties"] = False
    for response in contract["components"]["responses"].values():
        content = response["content"]["application/problem+json"]
        codes = {"properties": {"code": {"enum": list(content["examples"])}}}
        content["schema"] = {"allOf": [content["schema"], codes]}
    # Without a cache, looking up what the answer refers to takes longer than the answer.
    found = SchemaPath.from_dict(contract, resolved_cache_maxsize=100_000)
    return OpenAPI(found, Config(extra_media_type_deserializers=_DESERIALIZERS))


def _without_body(contract, response):
    if "$ref" in response:
        response = contract["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return {key: value for key, value in response.items() if key not in ("content", "links")}


class _Request:
    """A WebTest request as openapi-core wants it. What it asks for does not matter: only the answer is checked."""

    def __init__(self, request, path):
        self.host_url = request.host_url
        self.path = path
        self.method = request.method.lower()
        self.content_type = ""
        self.body = None
        self.parameters = RequestParameters(query=ImmutableMultiDict(), header=Headers(), cookie=ImmutableMultiDict())


class _Answer:
    def __init__(self, answer):
        self.status_code = answer.status_int
        self.headers = Headers(answer.headerlist)
        self.content_type = answer.content_type or ""
        self.data = answer.body
