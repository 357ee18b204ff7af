"""Finds what of one version of the contract the next one breaks: the changes that a client of the first would notice.

A request that was good must stay good, and an answer must be one that the client was told to expect. New operations,
parameters that may be left out, members of answers and error codes break nothing.
"""

from collections.abc import Iterator
from typing import Any

_METHODS = ("get", "head", "post", "put", "patch", "delete")
_AT_LEAST = ("minimum", "minLength", "minItems")
_AT_MOST = ("maximum", "maxLength", "maxItems")
_EXACT = ("pattern", "format")

Document = dict[str, Any]
_Parameters = dict[tuple[str, str], Document]


def breaking_changes(published: Document, current: Document) -> list[str]:
    """What breaks, in words; nothing if every client of the published contract can stay as it is."""
    old, new = _operations(published), _operations(current)
    found = [f"{name}: is gone" for name in old if name not in new]
    for name in old:
        if name in new:
            found += [f"{name}: {change}" for change in _operation(old[name], new[name])]
    return found


def _operations(document: Document) -> dict[str, Document]:
    whole = _resolved(document, document)
    return {
        f"{method.upper()} {path}": {
            **item[method],
            "parameters": {
                (each["in"], each["name"]): each
                for each in (*item.get("parameters", ()), *item[method].get("parameters", ()))
            },
        }
        for path, item in whole["paths"].items()
        for method in _METHODS
        if method in item
    }


def _resolved(value: Any, document: Document) -> Any:
    """With everything in the place of the references to it."""
    if isinstance(value, list):
        return [_resolved(each, document) for each in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        found: Any = document
        for key in value["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        return _resolved(found, document)
    return {key: _resolved(each, document) for key, each in value.items()}


def _operation(old: Document, new: Document) -> Iterator[str]:
    if old["operationId"] != new["operationId"]:
        yield f"its name is {new['operationId']}, and was {old['operationId']}"
    if new.get("security") and {} not in new["security"] and not (old.get("security") and {} not in old["security"]):
        yield "it needs a token"
    yield from _parameters(old["parameters"], new["parameters"])
    yield from _body(old.get("requestBody"), new.get("requestBody"))
    yield from _answers(old["responses"], new["responses"])


def _parameters(old: _Parameters, new: _Parameters) -> Iterator[str]:
    for key, parameter in old.items():
        where, name = key
        if key not in new:
            yield f"the {where} parameter {name} is gone"
        else:
            if new[key].get("required") and not parameter.get("required"):
                yield f"the {where} parameter {name} must be given"
            yield from _misfits(parameter["schema"], new[key]["schema"], f"the {where} parameter {name}")
    for (where, name), parameter in new.items():
        if (where, name) not in old and parameter.get("required"):
            yield f"the {where} parameter {name} is new, and must be given"


def _body(old: Document | None, new: Document | None) -> Iterator[str]:
    if old is None or new is None:
        if old is not None or (new is not None and new.get("required")):
            yield "it takes a body now, or none any more"
        return
    for media_type, content in old["content"].items():
        if media_type not in new["content"]:
            yield f"it takes no {media_type}"
        else:
            yield from _misfits(content["schema"], new["content"][media_type]["schema"], "the body")


def _answers(old: Document, new: Document) -> Iterator[str]:
    for status, answer in old.items():
        if status not in new:
            if status.startswith("2"):
                yield f"it never answers {status}"
            continue
        for name, header in answer.get("headers", {}).items():
            if header.get("required") and not new[status].get("headers", {}).get(name, {}).get("required"):
                yield f"{status} may lack the header {name}"
        for media_type, content in answer.get("content", {}).items():
            if media_type not in new[status].get("content", {}):
                yield f"{status} is no {media_type}"
            else:
                yield from _misfits(new[status]["content"][media_type]["schema"], content["schema"], f"{status}")
    for status in new.keys() - old.keys():
        if status.startswith("2"):
            yield f"it may answer {status}"


def _misfits(given: Document, expected: Document, where: str) -> Iterator[str]:
    """What fits the schema `given` and may not fit the schema `expected`."""
    if "oneOf" in given or "oneOf" in expected:
        for each in given.get("oneOf", [given]):
            if all(list(_misfits(each, one, where)) for one in expected.get("oneOf", [expected])):
                yield f"{where} may be of another kind"
        return
    types, allowed = _types(given), _types(expected)
    if allowed and (not types or types - allowed):
        yield f"{where} may be {', '.join(sorted(types - allowed)) or 'anything'}"
    values = [None] if given.get("type") == "null" else given.get("enum")
    if "enum" in expected and (values is None or not set(values) <= set(expected["enum"])):
        yield f"{where} may have other values"
    for key in (*_AT_LEAST, *_AT_MOST, *_EXACT):
        if key in expected and not _keeps(key, given.get(key), expected[key]):
            yield f"{where} may have another {key}"
    if "items" in expected:
        yield from _misfits(given.get("items", {}), expected["items"], f"{where}[]")
    yield from _members(given, expected, where)


def _types(schema: Document) -> set[str]:
    types = schema.get("type", [])
    found = {types} if isinstance(types, str) else set(types)
    return found | {"integer"} if "number" in found else found


def _keeps(key: str, given: Any, expected: Any) -> bool:
    if given is None:
        return False
    if key in _AT_LEAST:
        return bool(given >= expected)
    return bool(given <= expected) if key in _AT_MOST else bool(given == expected)


def _members(given: Document, expected: Document, where: str) -> Iterator[str]:
    members, known = given.get("properties", {}), expected.get("properties", {})
    for name in expected.get("required", ()):
        if name not in given.get("required", ()):
            yield f"{where}.{name} may be missing"
    for name, schema in members.items():
        if name in known:
            yield from _misfits(schema, known[name], f"{where}.{name}")
        elif expected.get("additionalProperties") is False:
            yield f"{where}.{name} is not known"
    if isinstance(expected.get("additionalProperties"), dict):
        others = given.get("additionalProperties")
        others = others if isinstance(others, dict) else {}
        yield from _misfits(others, expected["additionalProperties"], f"{where}.*")
