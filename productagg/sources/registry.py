"""The adapters that are installed, by the kind of source that each is for.

A kind is the name of an entry point in the group `productagg.sources`. Its module is imported when it is asked for, not
before: the command line must not load an XML parser to show a status.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

import colander

from productagg.sources.base import Adapter

GROUP = "productagg.sources"
_MEMBERS = ("title", "whole_document", "configuration_schema", "locator", "check_locator", "fetch")


class AdapterError(Exception):
    """There is no usable adapter for a kind. The message says why, for operators."""


class InvalidConfiguration(ValueError):
    """A source's configuration is not what its adapter needs."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{place or 'configuration'}: {fault}" for place, fault in faults.items()))
        self.faults = faults
        """What is wrong, by where: 'fields.price', or '' for the whole."""


@cache
def installed() -> EntryPoints:
    """What is installed, as of the first call: looking for it reads the metadata of every installed package."""
    return entry_points(group=GROUP)


def kinds() -> list[str]:
    """The kinds of which an adapter is installed, by name. No adapter is imported."""
    return sorted({entry_point.name for entry_point in installed()})


def load(kind: str) -> Adapter:
    """The adapter for sources of this kind. Raises AdapterError."""
    entry_point = _entry_point(kind)
    try:
        made: Adapter = entry_point.load()()
    except Exception as error:
        # Whatever a foreign module does when it is imported.
        where = f"{entry_point.value} of {_distribution(entry_point)}"
        raise AdapterError(
            f"the adapter of the kind {kind!r} ({where}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    missing = [name for name in _MEMBERS if not hasattr(made, name)]
    if missing:
        raise AdapterError(f"the adapter of the kind {kind!r} ({entry_point.value}) lacks {', '.join(missing)}")
    return made


def validate(adapter: Adapter, configuration: object) -> Mapping[str, Any]:
    """The configuration as the adapter's schema deserializes it. Raises InvalidConfiguration with all faults."""
    if not isinstance(configuration, dict):
        raise InvalidConfiguration({"": "must be an object"})
    schema = adapter.configuration_schema()
    faults = dict.fromkeys(_unknown(schema, configuration, ""), "is not known")
    try:
        values: Mapping[str, Any] = schema.deserialize(configuration)
    except colander.Invalid as invalid:
        raise InvalidConfiguration(faults | invalid.asdict()) from None
    if faults:
        raise InvalidConfiguration(faults)
    return values


def _entry_point(kind: str) -> EntryPoint:
    found = [entry_point for entry_point in installed() if entry_point.name == kind]
    if not found:
        raise AdapterError(f"there is no adapter of the kind {kind!r}; installed are: {', '.join(kinds()) or 'none'}")
    if len(found) > 1:
        packages = " and ".join(sorted(_distribution(entry_point) for entry_point in found))
        raise AdapterError(f"the kind {kind!r} is defined more than once, by {packages}: uninstall one of them")
    return found[0]


def _distribution(entry_point: EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist else "an unknown package"


def _unknown(schema: colander.SchemaNode, data: object, prefix: str) -> Iterator[str]:
    """The keys that the schema does not know: colander drops them, and with them what somebody misspelt."""
    if not (isinstance(data, dict) and isinstance(schema.typ, colander.Mapping) and schema.typ.unknown == "ignore"):
        return
    nodes = {node.name: node for node in schema}
    for key, value in data.items():
        if key in nodes:
            yield from _unknown(nodes[key], value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
