"""The adapters that are installed, by the kind of source that each is for.

A kind is the name of an entry point in the group `productagg.sources`. Its module is imported when it is asked for.
"""

from importlib.metadata import entry_points

from productagg.sources.base import Adapter

GROUP = "productagg.sources"


class AdapterError(Exception):
    """There is no usable adapter for a kind. The message says why, for operators."""


def load(kind: str) -> Adapter:
    """The adapter for sources of this kind. Raises AdapterError."""
    for entry_point in entry_points(group=GROUP, name=kind):
        made: Adapter = entry_point.load()()
        return made
    raise AdapterError(f"there is no adapter of the kind {kind!r}")
