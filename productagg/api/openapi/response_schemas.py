"""The shape of an answer, told with Python's types: it becomes JSON Schema, and an example, in the document.

The domain rooms' dataclasses are shapes already. A member means the same wherever it stands; what, is in the glossary.
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from productagg.api.openapi.members import MEMBERS, Member

_SCALARS: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number", "format": "double"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    UUID: {"type": "string", "format": "uuid"},
}


@dataclass(frozen=True, eq=False)
class Shape:
    """An object: the type of each member, and which of them may be missing. An array of shapes is a list of one."""

    name: str
    members: Mapping[str, Any]
    optional: frozenset[str] = frozenset()

    def and_(self, name: str, optional: Sequence[str] = (), **more: Any) -> "Shape":
        """This shape with more members."""
        return Shape(name, {**self.members, **more}, self.optional | set(optional))


@dataclass(frozen=True, eq=False)
class Choice:
    """One of these strings, under a name."""

    name: str
    values: Sequence[str]


@dataclass(frozen=True, eq=False)
class Either:
    """One of these. A program can tell which by the value of a member or by the type."""

    shapes: Sequence[Any]


_SHOWN_AS = {"begin": "from", "end": "to"}


def shown_as(name: str) -> str:
    """What a dataclass's member is called in an answer: where a window begins and ends as in the question."""
    return _SHOWN_AS.get(name, name)


def of(kind: type, **first: Any) -> Shape:
    """A dataclass's shape, after some first members."""
    return Shape(kind.__name__, {**first, **{shown_as(name): hint for name, hint in get_type_hints(kind).items()}})


def schema(kind: Any, found: dict[str, Shape | Choice]) -> dict[str, Any]:
    """The JSON Schema of a type. What has a name in it goes into `found`, and is referred to by its name."""
    if isinstance(kind, list):
        return {"type": "array", "items": schema(kind[0], found)}
    if kind is Any:
        return {}
    if kind in _SCALARS:
        return dict(_SCALARS[kind])
    named = kind if isinstance(kind, Choice) else _shape(kind)
    if named is not None:
        found[named.name] = named
        return {"$ref": f"#/components/schemas/{named.name}"}
    if isinstance(kind, Either):
        return {"oneOf": [schema(each, found) for each in kind.shapes]}
    return _generic(get_origin(kind), get_args(kind), found)


def _shape(kind: Any) -> Shape | None:
    if isinstance(kind, type) and is_dataclass(kind):
        return of(kind)
    return kind if isinstance(kind, Shape) else None


def _generic(origin: Any, arguments: Sequence[Any], found: dict[str, Shape | Choice]) -> dict[str, Any]:
    if origin is Literal:
        return {"type": "integer" if isinstance(arguments[0], int) else "string", "enum": list(arguments)}
    if origin in (list, Sequence):
        return {"type": "array", "items": schema(arguments[0], found)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema(arguments[1], found)}
    if origin in (types.UnionType, Union):
        [kind] = (each for each in arguments if each is not types.NoneType)
        return _or_null(schema(kind, found))
    raise TypeError(f"no JSON Schema is known for {origin}")


def _or_null(one: dict[str, Any]) -> dict[str, Any]:
    # Generators make three enumerations of one that has null among its values.
    if "type" not in one or "enum" in one:
        return {"oneOf": [one, {"type": "null"}]}
    return {**one, "type": [one["type"], "null"]}


def named_schema(shape: Shape | Choice, found: dict[str, Shape | Choice]) -> dict[str, Any]:
    """The JSON Schema that the name of a shape refers to, with what its members mean and an example."""
    if isinstance(shape, Choice):
        return {"type": "string", "enum": list(shape.values)}
    properties = {}
    for name, kind in shape.members.items():
        member = _member(shape, name)
        one = schema(kind, found)
        if "format" in member.schema and member.schema["format"] is None:
            del one["format"]
        else:
            one = {**member.schema, **one}
        properties[name] = {**one, "description": member.description}
    return {
        "type": "object",
        "required": [name for name in shape.members if name not in shape.optional],
        "properties": properties,
        "examples": [example(shape)],
    }


def example(kind: Any) -> Any:
    """What such an answer may look like."""
    shape = _shape(kind)
    if shape is not None:
        return {name: _member_example(shape, name) for name in shape.members if name not in shape.optional}
    if isinstance(kind, Either):
        return example(kind.shapes[0])
    if isinstance(kind, list):
        return [example(kind[0])]
    if get_origin(kind) in (list, Sequence):
        return [example(get_args(kind)[0])]
    [kind] = (each for each in get_args(kind) if each is not types.NoneType)
    return example(kind)


def _member_example(shape: Shape, name: str) -> Any:
    member = _member(shape, name)
    return example(shape.members[name]) if member.example is ... else member.example


def _member(shape: Shape, name: str) -> Member:
    return MEMBERS.get(f"{shape.name}.{name}") or MEMBERS[name]
