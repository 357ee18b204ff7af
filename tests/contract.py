"""Checks every response that WebTest gets against the contract, /openapi.json, more strictly than clients need to.

A member that a schema does not name is refused here, and so is an error code that an operation does not list.
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

# All headers of a response together: less than any proxy or client accepts (nginx 4 KB, Node 16 KB).
MAX_HEADER_BYTES = 4000

# openapi-core copies the checker for each schema that it looks at, in case the copy is changed.
FormatChecker.__deepcopy__ = lambda checker, _memo: checker

_DESERIALIZERS: dict[str, Callable[[bytes], Any]] = {"application/problem+json": json.loads, "text/csv": bytes.decode}


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
    elif route.pattern in paths():
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
        assert all(product.keys() == chosen for product in response.json), f"not the chosen fields: {chosen}"


def _check_operation(request, response, path):
    if request.method == "OPTIONS":  # the same at every path, so only the introduction describes it
        assert (response.status_int, response.body) == (204, b"") and response.headers["Allow"], response
        return
    methods = paths()[path]
    if request.method.lower() not in methods and not (request.method == "HEAD" and "get" in methods):
        _check_problem(request, response, "method-not-allowed")
        return
    try:
        strict().validate_response(_Request(request, path), _Response(response))
    except OpenAPIError as error:
        raise AssertionError(
            f"{request.method} {path} → {response.status} is outside the contract: {_details(error)}"
        ) from error


def _details(error):
    causes = getattr(error.__cause__, "schema_errors", None) or [error.__cause__ or error]
    return "; ".join(str(getattr(cause, "message", cause)) for cause in causes)


def _check_problem(request, response, *codes):
    assert response.content_type == "application/problem+json", response
    assert request.method == "HEAD" or response.json["code"] in codes


@cache
def paths():
    return document(SERVICES)["paths"]


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
    for response in contract["components"]["responses"].values():
        content = response["content"]["application/problem+json"]
        codes = {"properties": {"code": {"enum": list(content["examples"])}}}
        content["schema"] = {"allOf": [content["schema"], codes]}
    # Without a cache, resolving the references takes longer than the request.
    schema_path = SchemaPath.from_dict(contract, resolved_cache_maxsize=100_000)
    return OpenAPI(schema_path, Config(extra_media_type_deserializers=_DESERIALIZERS))


def _without_body(contract, response):
    if "$ref" in response:
        response = contract["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return {key: value for key, value in response.items() if key not in ("content", "links")}


class _Request:
    """A WebTest request in the form that openapi-core expects. Only responses are checked, so it has no content."""

    def __init__(self, request, path):
        self.host_url = request.host_url
        self.path = path
        self.method = request.method.lower()
        self.content_type = ""
        self.body = None
        self.parameters = RequestParameters(query=ImmutableMultiDict(), header=Headers(), cookie=ImmutableMultiDict())


class _Response:
    """A WebTest response in the form that openapi-core expects."""

    def __init__(self, response):
        self.status_code = response.status_int
        self.headers = Headers(response.headerlist)
        self.content_type = response.content_type or ""
        self.data = response.body
