"""Finds the changes between two versions of the contract that would break a client of the first.

A request that was valid must stay valid, and a response must be one that the client was told to expect. New operations,
optional parameters, new members of responses and new error codes break nothing.
"""

from collections.abc import Iterator
from typing import Any

_METHODS = ("get", "head", "post", "put", "patch", "delete")
_LOWER_BOUNDS = ("minimum", "minLength", "minItems")
_UPPER_BOUNDS = ("maximum", "maxLength", "maxItems")
_EXACT = ("pattern", "format")

Document = dict[str, Any]
_Parameters = dict[tuple[str, str], Document]


def breaking_changes(published: Document, current: Document) -> list[str]:
    """Describe what breaks. An empty list means that no client of the published contract has to change."""
    old, new = _operations(published), _operations(current)
    changes = [f"{name}: is gone" for name in old if name not in new]
    for name in old:
        if name in new:
            changes += [f"{name}: {change}" for change in _operation(old[name], new[name])]
    return changes


def _operations(document: Document) -> dict[str, Document]:
    paths = _resolved(document["paths"], document)
    return {
        f"{method.upper()} {path}": {
            **item[method],
            "parameters": {
                (parameter["in"], parameter["name"]): parameter
                for parameter in (*item.get("parameters", ()), *item[method].get("parameters", ()))
            },
        }
        for path, item in paths.items()
        for method in _METHODS
        if method in item
    }


def _resolved(value: Any, document: Document) -> Any:
    """Replace every reference by what it refers to."""
    if isinstance(value, list):
        return [_resolved(item, document) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        target: Any = document
        for key in value["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        return _resolved(target, document)
    return {key: _resolved(member, document) for key, member in value.items()}


def _operation(old: Document, new: Document) -> Iterator[str]:
    if old["operationId"] != new["operationId"]:
        yield f"its name is {new['operationId']}, and was {old['operationId']}"
    if _needs_token(new) and not _needs_token(old):
        yield "it needs a token"
    yield from _parameters(old["parameters"], new["parameters"])
    yield from _request_body(old.get("requestBody"), new.get("requestBody"))
    yield from _responses(old["responses"], new["responses"])


def _needs_token(operation: Document) -> bool:
    security = operation.get("security", [])
    return bool(security) and {} not in security


def _parameters(old: _Parameters, new: _Parameters) -> Iterator[str]:
    for key, parameter in old.items():
        where = _parameter_name(key)
        if key not in new:
            yield f"{where} is gone"
            continue
        if new[key].get("required") and not parameter.get("required"):
            yield f"{where} is now required"
        yield from _mismatches(parameter["schema"], new[key]["schema"], where)
    for key in new.keys() - old.keys():
        if new[key].get("required"):
            yield f"{_parameter_name(key)} is new and required"


def _parameter_name(key: tuple[str, str]) -> str:
    return "the {} parameter {}".format(*key)


def _request_body(old: Document | None, new: Document | None) -> Iterator[str]:
    if old is None:
        if new is not None and new.get("required"):
            yield "it now requires a body"
    elif new is None:
        yield "it no longer accepts a body"
    else:
        for media_type, content in old["content"].items():
            if media_type not in new["content"]:
                yield f"it no longer accepts {media_type}"
            else:
                yield from _mismatches(content["schema"], new["content"][media_type]["schema"], "the body")


def _responses(old: Document, new: Document) -> Iterator[str]:
    """Compare successes by status, and problems where both versions have the status."""
    for status in new.keys() - old.keys():
        if status.startswith("2"):
            yield f"it may answer {status}"
    for status, response in old.items():
        if status in new:
            yield from _response(response, new[status], status)
        elif status.startswith("2"):
            yield f"it never answers {status}"


def _response(old: Document, new: Document, status: str) -> Iterator[str]:
    for name, header in old.get("headers", {}).items():
        if header.get("required") and not new.get("headers", {}).get(name, {}).get("required"):
            yield f"{status} may lack the header {name}"
    for media_type, content in old.get("content", {}).items():
        if media_type not in new.get("content", {}):
            yield f"{status} is no longer {media_type}"
        else:
            yield from _mismatches(new["content"][media_type]["schema"], content["schema"], status)


def _mismatches(given: Document, expected: Document, where: str) -> Iterator[str]:
    """Describe the values that fit the schema `given` but may not fit the schema `expected`."""
    if "oneOf" in given or "oneOf" in expected:
        yield from _alternatives(given, expected, where)
        return
    yield from _types_and_values(given, expected, where)
    for key in (*_LOWER_BOUNDS, *_UPPER_BOUNDS, *_EXACT):
        if key in expected and not _satisfies(key, given.get(key), expected[key]):
            yield f"{where} may have another {key}"
    if "items" in expected:
        yield from _mismatches(given.get("items", {}), expected["items"], f"{where}[]")
    yield from _members(given, expected, where)


def _alternatives(given: Document, expected: Document, where: str) -> Iterator[str]:
    """Every alternative that is given must fit one that is expected."""
    for alternative in given.get("oneOf", [given]):
        if all(list(_mismatches(alternative, one, where)) for one in expected.get("oneOf", [expected])):
            yield f"{where} may be of another kind"


def _types_and_values(given: Document, expected: Document, where: str) -> Iterator[str]:
    types, allowed = _types(given), _types(expected)
    if allowed and (not types or types - allowed):
        yield f"{where} may be {', '.join(sorted(types - allowed)) or 'anything'}"
    values = [None] if given.get("type") == "null" else given.get("enum")
    if "enum" in expected and (values is None or not set(values) <= set(expected["enum"])):
        yield f"{where} may have other values"


def _types(schema: Document) -> set[str]:
    type_ = schema.get("type", [])
    types = {type_} if isinstance(type_, str) else set(type_)
    return types | {"integer"} if "number" in types else types


def _satisfies(key: str, given: Any, expected: Any) -> bool:
    if given is None:
        return False
    if key in _LOWER_BOUNDS:
        return bool(given >= expected)
    return bool(given <= expected) if key in _UPPER_BOUNDS else bool(given == expected)


def _members(given: Document, expected: Document, where: str) -> Iterator[str]:
    members, expected_members = given.get("properties", {}), expected.get("properties", {})
    for name in expected.get("required", ()):
        if name not in given.get("required", ()):
            yield f"{where}.{name} may be missing"
    for name, schema in members.items():
        if name in expected_members:
            yield from _mismatches(schema, expected_members[name], f"{where}.{name}")
        elif expected.get("additionalProperties") is False:
            yield f"{where}.{name} is not accepted"
    if isinstance(expected.get("additionalProperties"), dict):
        others = given.get("additionalProperties")
        yield from _mismatches(
            others if isinstance(others, dict) else {}, expected["additionalProperties"], f"{where}.*"
        )
