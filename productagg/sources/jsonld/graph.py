"""Nodes of schema.org as shops write them, of JSON-LD, microdata and OpenGraph alike.

A property may have one value or a list, be spelled 'Offers' or 'schema:offers', and refer to a node elsewhere by its
`@id`. Things hide all of that.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from html import unescape
from typing import Any

Node = dict[str, Any]

MAX_TEXT = 10_000
# Without a semicolon, it may be a parameter of an address: `&currency=` is not ¤cy.
_REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Control characters, of which PostgreSQL stores no NUL, and lone surrogates, which UTF-8 cannot encode.
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_NO_NODE = frozenset({"@value", "@list", "@set"})
_ONLY_REFERS = {"@id", "@type", "@context"}


@lru_cache(maxsize=4096)
def short_name(name: str) -> str:
    """A property or type without its vocabulary, in lower case: 'offers' of 'http://schema.org/Offers'."""
    return name.strip().rstrip("/").rpartition("/")[2].rpartition("#")[2].rpartition(":")[2].lower()


@lru_cache(maxsize=4096)
def _types(*names: str) -> frozenset[str]:
    return frozenset(map(short_name, names))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def clean_text(text: str) -> str:
    """The text on one line, its entity references replaced once."""
    text = text[:MAX_TEXT]
    if "&" in text:
        text = _REFERENCE.sub(lambda match: unescape(match[0]), text)
    if not text.isprintable() or "  " in text:
        text = _SPACE.sub(" ", text)
    return text.strip()


class Thing:
    """A node: its types and properties, by their short names."""

    __slots__ = ("_fields", "_graph", "id", "types")

    def __init__(self, node: Node, graph: "Graph") -> None:
        self._graph = graph
        fields: dict[str, Any] = {}
        for key, value in node.items():
            name = short_name(key)
            # 'price' and 'Price' are two values of the same property.
            fields[name] = [*_flat(fields[name]), *_flat(value)] if name in fields else value
        self._fields = fields
        type_ = fields.get("@type")
        self.types = _types(type_) if type(type_) is str else _types(*filter(_is_text, _flat(type_)))
        id_ = fields.get("@id")
        self.id = clean_text(id_) if isinstance(id_, str) else ""

    def all_texts(self, names: frozenset[str]) -> list[str]:
        """The texts of all of these properties."""
        return [text for name in names & self._fields.keys() for text in self.texts(name)]

    # Most values are plain texts, and a page may have thousands: hence the short ways below.

    def values(self, *names: str) -> list[Any]:
        """The values of the first of these properties that has any. Empty texts and nulls are none."""
        for name in names:
            value = self._fields.get(name)
            if value is not None and (found := [value] if value and type(value) is str else _flat(value)):
                return found
        return []

    def texts(self, *names: str) -> list[str]:
        """The texts and numbers, and the names (else addresses) of nodes, of the first property that has any."""
        for name in names:
            value = self._fields.get(name)
            if value is None:
                continue
            found = [clean_text(value)] if type(value) is str else [self._text(item) for item in _flat(value)]
            if any(found):
                return found if all(found) else [text for text in found if text]
        return []

    def text(self, *names: str) -> str:
        """The first text, or ''."""
        for name in names:
            value = self._fields.get(name)
            if type(value) is str:
                if text := clean_text(value):
                    return text
            elif value is not None and (texts := self.texts(name)):
                return texts[0]
        return ""

    def things(self, *names: str) -> list["Thing"]:
        """The values that are nodes, with references resolved; of the first property that has any."""
        found = []
        for name in names:
            value = self._fields.get(name)
            if type(value) is dict and _NO_NODE.isdisjoint(value):
                found = [self._graph.thing(value)]
            elif value is not None and type(value) is not str:
                found = [self._graph.thing(item) for item in _flat(value) if isinstance(item, dict)]
            if found:
                break
        return found

    def nodes(self) -> Iterator[tuple[str, Node]]:
        """The nodes among the values of all properties, with the property's name."""
        for name, value in self._fields.items():
            if isinstance(value, list | dict):
                yield from ((name, item) for item in _flat(value) if isinstance(item, dict))

    def _text(self, value: Any) -> str:
        if isinstance(value, str):
            return clean_text(value)
        if isinstance(value, dict):
            thing = self._graph.thing(value)
            return next((text for name in ("name", "url", "@id") for text in thing.scalars(name)), "")
        return str(value)

    def scalars(self, name: str) -> list[str]:
        """The values of a property that are not nodes."""
        return [self._text(value) for value in self.values(name) if not isinstance(value, dict)]


class Graph:
    """All nodes of a page. A node that is visited twice is the same Thing."""

    def __init__(self, roots: Iterable[Any]) -> None:
        self.roots = list(roots)
        self._things: dict[int, Thing] = {}

    def thing(self, node: Node) -> Thing:
        """The thing of a node; of the node that defines it, if this one only refers to it."""
        node = self._definition(node)
        found = self._things.get(id(node))
        if found is None:
            found = self._things[id(node)] = Thing(node, self)
        return found

    def forget(self) -> None:
        """Let go of all things, so that they are freed now and not by the garbage collector: it is half of the time."""
        self._things.clear()

    def _definition(self, node: Node) -> Node:
        id_ = node.get("@id")
        if not isinstance(id_, str) or not node.keys() <= _ONLY_REFERS:
            return node
        return self._definitions.get(id_.strip(), node)

    @cached_property
    def _definitions(self) -> dict[str, Node]:
        """Nodes by their @id. If several have the same, the one with the most properties."""
        found: dict[str, Node] = {}
        seen: set[int] = set()
        unvisited = list(self.roots)
        while unvisited:
            value = unvisited.pop()
            if not isinstance(value, dict | list) or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, list):
                unvisited.extend(value)
                continue
            unvisited.extend(value.values())
            id_ = value.get("@id")
            if isinstance(id_, str) and not value.keys() <= _ONLY_REFERS:
                id_ = id_.strip()
                if id_ not in found or len(found[id_]) < len(value):
                    found[id_] = value
        return found


def _flat(value: Any) -> list[Any]:
    """The values of a property: lists in lists, and the wrappers of JSON-LD, opened. Nulls and '' are none."""
    found: list[Any] = []
    unopened = [value]
    while unopened:
        item = unopened.pop()
        if type(item) is dict and not _NO_NODE.isdisjoint(item):
            item = item.get("@value", item.get("@list", item.get("@set")))
        if isinstance(item, list):
            unopened.extend(reversed(item))
        elif item is not None and item != "":
            found.append(item)
    return found
