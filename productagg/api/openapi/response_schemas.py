"""Describes the JSON of responses with Python types, and turns these into JSON Schemas and examples for the document.

Domain dataclasses describe their JSON already; `ObjectSchema` describes an object that has no dataclass. What a member
means, with an example, is in `members.py`.
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

from productagg.api.openapi.members import MEMBERS, Member

JsonSchema = dict[str, Any]

_SCALARS: dict[Any, JsonSchema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number", "format": "double"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    UUID: {"type": "string", "format": "uuid"},
    Any: {},
}
# A window's members have the names of the query parameters `from` and `to`. Python reserves `from`.
_JSON_NAMES = {"begin": "from", "end": "to"}


@dataclass(frozen=True, eq=False)
class ObjectSchema:
    """A JSON object: the type of each member, and the members that may be missing.

    A type is a Python type or a schema of this module. For an array, it is a list that holds the type of the items.
    """

    name: str
    members: Mapping[str, Any]
    optional: frozenset[str] = frozenset()

    @property
    def required(self) -> list[str]:
        return [name for name in self.members if name not in self.optional]

    def extended(self, name: str, **more: Any) -> "ObjectSchema":
        """Return a schema with more members."""
        return ObjectSchema(name, {**self.members, **more}, self.optional)


@dataclass(frozen=True, eq=False)
class StringEnum:
    """A string with one of these values. The document refers to the schema by its name."""

    name: str
    values: Sequence[str]


@dataclass(frozen=True, eq=False)
class OneOf:
    """A value of one of these types. Programs tell them apart by the value of a member or by the JSON type."""

    types: Sequence[Any]


NamedSchemas = dict[str, ObjectSchema | StringEnum]


def json_name(name: str) -> str:
    """Return the name that a dataclass's member has in JSON."""
    return _JSON_NAMES.get(name, name)


def dataclass_schema(class_: type, **first: Any) -> ObjectSchema:
    """Return the schema of a dataclass or of a TypedDict, with further members before its own."""
    hints = get_type_hints(class_)
    return ObjectSchema(class_.__name__, {**first, **{json_name(name): hint for name, hint in hints.items()}})


def json_schema(type_: Any, named: NamedSchemas) -> JsonSchema:
    """Return the JSON Schema of a type. For a schema with a name, that is a reference; the schema goes into `named`."""
    schema = type_ if isinstance(type_, StringEnum) else _object_schema(type_)
    if schema is None:
        return _unnamed_schema(type_, named)
    named[schema.name] = schema
    return {"$ref": f"#/components/schemas/{schema.name}"}


def _unnamed_schema(type_: Any, named: NamedSchemas) -> JsonSchema:
    item_type = _item_type(type_)
    if item_type is not None:
        return {"type": "array", "items": json_schema(item_type, named)}
    if type_ in _SCALARS:
        return dict(_SCALARS[type_])
    if isinstance(type_, OneOf):
        return {"oneOf": [json_schema(alternative, named) for alternative in type_.types]}
    return _generic_schema(get_origin(type_), get_args(type_), named)


def component_schema(schema: ObjectSchema | StringEnum, named: NamedSchemas) -> JsonSchema:
    """Return the JSON Schema that a name refers to, with descriptions and an example."""
    if isinstance(schema, StringEnum):
        return {"type": "string", "enum": list(schema.values)}
    return {
        "type": "object",
        "required": schema.required,
        "properties": {name: _member_schema(schema, name, named) for name in schema.members},
        "examples": [_object_example(schema)],
    }


def example(type_: Any) -> Any:
    """Return an example of a type's JSON, made from the examples of its members."""
    schema = _object_schema(type_)
    if schema is not None:
        return _object_example(schema)
    if isinstance(type_, OneOf):
        return example(type_.types[0])
    item_type = _item_type(type_)
    if item_type is not None:
        return [example(item_type)]
    return example(_without_none(get_args(type_)))


def _object_example(schema: ObjectSchema) -> dict[str, Any]:
    return {name: _member_example(schema, name) for name in schema.required}


def _item_type(type_: Any) -> Any:
    """Return the type of an array's items, None if the type is not an array."""
    if isinstance(type_, list):
        return type_[0]
    return get_args(type_)[0] if get_origin(type_) in (list, Sequence) else None


def _object_schema(type_: Any) -> ObjectSchema | None:
    if isinstance(type_, type) and (is_dataclass(type_) or is_typeddict(type_)):
        return dataclass_schema(type_)
    return type_ if isinstance(type_, ObjectSchema) else None


def _generic_schema(origin: Any, arguments: Sequence[Any], named: NamedSchemas) -> JsonSchema:
    if origin is Literal:
        return {"type": "integer" if isinstance(arguments[0], int) else "string", "enum": list(arguments)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": json_schema(arguments[1], named)}
    if origin in (types.UnionType, Union):
        return _nullable(json_schema(_without_none(arguments), named))
    raise TypeError(f"no JSON Schema is known for {origin}")


def _without_none(alternatives: Sequence[Any]) -> Any:
    [type_] = (alternative for alternative in alternatives if alternative is not types.NoneType)
    return type_


def _nullable(schema: JsonSchema) -> JsonSchema:
    # An enumeration with null among its values becomes three classes in some generated clients.
    if "type" not in schema or "enum" in schema:
        return {"oneOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def _member_schema(owner: ObjectSchema, name: str, named: NamedSchemas) -> JsonSchema:
    member = _member(owner, name)
    schema = json_schema(owner.members[name], named)
    if "format" in member.schema and member.schema["format"] is None:
        del schema["format"]
    else:
        schema = {**member.schema, **schema}
    return {**schema, "description": member.description}


def _member_example(owner: ObjectSchema, name: str) -> Any:
    member = _member(owner, name)
    return example(owner.members[name]) if member.example is ... else member.example


def _member(owner: ObjectSchema, name: str) -> Member:
    return MEMBERS.get(f"{owner.name}.{name}") or MEMBERS[name]
