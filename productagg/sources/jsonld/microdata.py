"""Microdata as nodes like those of JSON-LD (html.spec.whatwg.org, 5).

It needs a tree of the document, so it is read only if there is no usable JSON-LD.
"""

from collections.abc import Iterator
from typing import Any

from lxml import etree

from productagg.sources.jsonld.graph import Node

_ADDRESS_OF = {
    "a": "href",
    "area": "href",
    "link": "href",
    "img": "src",
    "audio": "src",
    "video": "src",
    "source": "src",
    "iframe": "src",
    "embed": "src",
    "track": "src",
    "object": "data",
    "data": "value",
    "meter": "value",
    "time": "datetime",
}
_MAX_PROPERTIES = 20_000


def items(page: bytes) -> list[Node]:
    """The items of a page in UTF-8 that are not values of other items. Never raises."""
    if b"itemscope" not in page.lower():
        return []
    try:
        tree = etree.HTML(page, etree.HTMLParser(encoding="utf-8", remove_comments=True, no_network=True))
    except (etree.LxmlError, ValueError):
        return []
    return [] if tree is None else _items(tree)


def _items(tree: Any) -> list[Node]:
    nodes = {element: _node(element) for element in tree.xpath("//*[@itemscope]")}
    referring: dict[str, list[Node]] = {}
    for element, node in nodes.items():
        for id_ in element.get("itemref", "").split():
            referring.setdefault(id_, []).append(node)
    for element in tree.xpath("//*[@itemprop]")[:_MAX_PROPERTIES]:
        value = nodes.get(element) or _value(element)
        for owner in _owners(element, nodes, referring):
            for name in element.get("itemprop").split():
                owner.setdefault(name, []).append(value)
    return [node for element, node in nodes.items() if element.get("itemprop") is None]


def _node(element: Any) -> Node:
    node: Node = {"@type": element.get("itemtype", "").split()}
    if id_ := element.get("itemid"):
        node["@id"] = id_
    return node


def _owners(element: Any, nodes: dict[Any, Node], referring: dict[str, list[Node]]) -> Iterator[Node]:
    """The items that the property is of: the one it stands in, and those that refer to an element it stands in."""
    if referring:
        yield from referring.get(element.get("id", ""), ())
    for ancestor in element.iterancestors():
        if ancestor in nodes:
            yield nodes[ancestor]
            return
        if referring:
            yield from referring.get(ancestor.get("id", ""), ())


def _value(element: Any) -> str:
    """`content` counts on every element: shops write the price for machines there."""
    content = element.get("content")
    if content is not None:
        return str(content)
    attribute = _ADDRESS_OF.get(element.tag)
    if attribute is not None and element.get(attribute) is not None:
        return str(element.get(attribute))
    return "".join(element.itertext()).strip()
