"""Items of an XML document, by expat: no tree, so that memory does not depend on the document's size.

expat is told not to process namespaces: real feeds use Google's prefix without declaring it. Prefixes are resolved
here, by their declarations. A document that declares entities is refused, so that none is expanded or fetched.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn
from xml.parsers import expat

from productagg.sources.feed.documents import DocumentError
from productagg.sources.feed.items import Fields

Take = Callable[[Fields, list[Fields], list[tuple[str, str]]], None]
MAX_DEPTH = 100
MAX_TEXT = 2**20
MAX_TOKEN = 2**21
"""Bytes of a tag or comment. Before 2.6, expat scans an unfinished one again with each block."""
MAX_PARTS = 10_000


@dataclass(frozen=True)
class Names:
    """Where a format has its items and what is read of them."""

    item: str
    item_depth: int
    """The depth of an item's element; the root's is 1."""
    fields: frozenset[str]
    part: str
    part_fields: frozenset[str]
    namespace: str | None = None
    default_prefix: str | None = None
    """The prefix that stands for the namespace where it is not declared."""


Begin = Callable[[str, Mapping[str, str]], tuple[Names, Take]]
"""Given the root's local name and its namespaces by prefix ('' for none): the names, and what takes the items."""


def read_items(parts: Iterable[bytes], begin: Begin, take_title: Callable[[str], None]) -> None:
    """Read a document in UTF-8 to its end.

    Raises DocumentError and ExpatError; the items until then were taken.
    """
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.EntityDeclHandler = _refuse_entities
    # With an external DTD, expat skips unknown entities in silence.
    parser.SkippedEntityHandler = _refuse_entities
    handlers = _Handlers(parser, begin, take_title)
    fed = 0
    for part in parts:
        parser.Parse(part, False)
        fed += len(part)
        handlers.check_limits(fed)
    parser.Parse(b"", True)


def _refuse_entities(*_: object) -> NoReturn:
    raise DocumentError("The XML declares entities or uses undeclared ones, which a feed has no need of.", "entities")


class _Handlers:
    """What expat calls. Its three handlers are closures: they are called 80 times for each item."""

    def __init__(self, parser: expat.XMLParserType, begin: Begin, take_title: Callable[[str], None]) -> None:
        self._parser = parser
        self._begin = begin
        self._take_title = take_title
        self._size: Callable[[], tuple[int, int, int]] = lambda: (0, 0, 0)
        parser.StartElementHandler = self._start_root

    def check_limits(self, fed: int) -> None:
        """Refuse what no feed has, before it needs much memory or time. `fed` is the number of bytes until now."""
        depth, text, parts = self._size()
        at = self._parser.CurrentByteIndex
        if depth > MAX_DEPTH or text > MAX_TEXT or parts > MAX_PARTS or fed - at > MAX_TOKEN:
            raise DocumentError("An element of the XML is larger or deeper than those of any feed.", "too_large")

    def _start_root(self, name: str, attributes: Sequence[str]) -> None:
        namespaces = declarations(attributes)
        names, take = self._begin(name.rpartition(":")[2], namespaces)
        wanted = _Wanted(names)
        wanted.declare(namespaces)
        self._read_items(names, wanted, take)

    def _read_items(self, names: Names, wanted: "_Wanted", take: Take) -> None:
        parser = self._parser
        depth, text = 1, ""
        item_depth, field_depth = names.item_depth, names.item_depth + 1
        fields: Fields = {}
        plain: Fields = {}
        parts: list[Fields] = []
        part: Fields = {}
        repeated: list[tuple[str, str]] = []
        strong, part_strong, part_names, plain_names = wanted.fields, wanted.part_fields, wanted.parts, wanted.plain

        def start(name: str, attributes: Sequence[str]) -> None:
            nonlocal depth, text
            depth += 1
            text = ""
            parser.CharacterDataHandler = characters
            if attributes:
                wanted.declare(declarations(attributes))
                if depth == field_depth and name.rpartition(":")[2] == "link":
                    plain.update(_atom_link(attributes))

        def characters(data: str) -> None:
            nonlocal text
            text += data

        def end(name: str) -> None:
            nonlocal depth, text
            # Most text is white space between elements: not asking for it saves a tenth of the time.
            parser.CharacterDataHandler = None
            if depth == field_depth:
                key = strong.get(name)
                if key is None:
                    end_other(name)
                elif key in fields:
                    repeated.append((key, text))
                else:
                    fields[key] = text
            elif depth > field_depth:
                if depth == field_depth + 1 and name in part_strong:
                    part[part_strong[name]] = text
                text = ""
            elif depth == item_depth:
                end_of_channel_member(name)
            depth -= 1

        def end_other(name: str) -> None:
            nonlocal part
            if name in part_names:
                parts.append(part)
            elif text and name in plain_names:
                plain[name] = text
            if part:
                part = {}

        def end_of_channel_member(name: str) -> None:
            nonlocal fields, plain, parts, repeated
            local = name.rpartition(":")[2]
            if local == names.item:
                take({**plain, **fields} if plain else fields, parts, repeated)
            elif local == "title":
                self._take_title(text)
            fields, plain, parts, repeated = {}, {}, [], []

        parser.StartElementHandler, parser.EndElementHandler = start, end
        self._size = lambda: (depth, len(text), len(parts) + len(repeated))


class _Wanted:
    """The names, as they stand in the document, of what is read."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._prefixes: set[str] = set()
        self.fields: dict[str, str] = {}
        self.parts: set[str] = set()
        self.part_fields: dict[str, str] = {}
        self.plain: frozenset[str] = frozenset()
        """Names without a prefix, in a format whose own names have one: used where its own are missing."""
        if names.namespace is None:
            self._add("")
        else:
            self.plain = names.fields
            if names.default_prefix is not None:
                self._add(names.default_prefix)
                self.parts.add(names.part)
                self.part_fields |= {name: name for name in names.part_fields}

    def declare(self, namespaces: Mapping[str, str]) -> None:
        """Take note of the prefixes of the format's namespace."""
        for prefix, uri in namespaces.items():
            if uri == self._names.namespace:
                self._add(prefix)

    def _add(self, prefix: str) -> None:
        if prefix in self._prefixes:
            return
        self._prefixes.add(prefix)
        start = f"{prefix}:" if prefix else ""
        self.fields |= {start + name: name for name in self._names.fields}
        self.parts.add(start + self._names.part)
        self.part_fields |= {start + name: name for name in self._names.part_fields}


def declarations(attributes: Sequence[str]) -> dict[str, str]:
    """The namespaces that an element declares, by prefix; '' is the default namespace."""
    return {
        name[6:]: uri.strip()
        for name, uri in zip(attributes[::2], attributes[1::2], strict=True)
        if name == "xmlns" or name.startswith("xmlns:")
    }


def _atom_link(attributes: Sequence[str]) -> Fields:
    values = dict(zip(attributes[::2], attributes[1::2], strict=True))
    if "href" in values and values.get("rel", "alternate") == "alternate":
        return {"link": values["href"]}
    return {}
