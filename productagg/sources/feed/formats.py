"""Which format a document has, told by its start: the root element and its namespaces, or that it is a table."""

import re
from collections.abc import Mapping

from productagg.sources.feed import heureka, merchant
from productagg.sources.feed.documents import DocumentError
from productagg.sources.feed.xml_items import Names

GOOGLE_NAMESPACE = "http://base.google.com/ns/1.0"
ZBOZI_NAMESPACE = "http://www.zbozi.cz/ns/offer/1.0"
EXPECTED = {
    "merchant": "a Google Merchant feed (root rss or feed, or a table)",
    "heureka": "Heureka's product feed (root SHOP without a namespace)",
    "zbozi": f"Zboží's product feed (root SHOP in the namespace {ZBOZI_NAMESPACE})",
    "csv": "a table",
    "auto": "a feed of a known format (root rss, feed or SHOP, or a table)",
}
_ITEM_DEPTHS = {"rss": ("item", 3), "RDF": ("item", 2), "feed": ("entry", 2)}
_HTML = re.compile(rb"(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
# Other documents of the same vocabularies, which are put in the feed's place by mistake.
_OTHER_ROOTS = {"item_list": "Heureka's availability feed", "offers": "Ceneo's feed"}


def is_xml(head: bytes, expected: str) -> bool:
    """Whether the document, whose first bytes (in UTF-8) these are, is XML; otherwise it is to be read as a table.

    Raises DocumentError for what is neither, or not what is expected.
    """
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        raise DocumentError(f"Expected {EXPECTED[expected]}; the document is empty.", "no_items")
    if _HTML.match(head):
        raise unexpected(expected, "an HTML page", "html")
    if head[:1] in b"{[":
        raise unexpected(expected, "JSON")
    if head.startswith(b"PK\x03\x04"):
        raise unexpected(expected, "a zip archive")
    found = head.startswith(b"<")
    if found and expected == "csv":
        raise unexpected(expected, "XML")
    if not found and expected in ("heureka", "zbozi"):
        raise unexpected(expected, "no XML")
    return found


def format_of(root: str, namespaces: Mapping[str, str], expected: str) -> str:
    """The format of an XML document: merchant, heureka or zbozi.

    Raises DocumentError if it is none, or not the expected one.
    """
    found = ""
    if root in _ITEM_DEPTHS:
        found = "merchant"
    elif root == "SHOP" and ZBOZI_NAMESPACE in namespaces.values():
        found = "zbozi"
    elif root == "SHOP" and not namespaces.get(""):
        found = "heureka"
    wrong_prefix = found == "merchant" and namespaces.get("g", GOOGLE_NAMESPACE) != GOOGLE_NAMESPACE
    if not found or expected not in ("auto", found) or wrong_prefix:
        raise unexpected(expected, _described(root, namespaces))
    return found


def names_of(found: str, root: str) -> Names:
    """Where a format has its items."""
    if found == "merchant":
        item, depth = _ITEM_DEPTHS[root]
        return Names(item, depth, merchant.FIELDS, merchant.SHIPPING, merchant.SHIPPING_FIELDS, GOOGLE_NAMESPACE, "g")
    namespace = ZBOZI_NAMESPACE if found == "zbozi" else None
    return Names("SHOPITEM", 2, heureka.FIELDS, heureka.DELIVERY, heureka.DELIVERY_FIELDS, namespace)


def unexpected(expected: str, found: str, code: str = "not_a_feed") -> DocumentError:
    """The error that says what was expected and what was found."""
    return DocumentError(f"Expected {EXPECTED[expected]}; found {found}.", code)


def _described(root: str, namespaces: Mapping[str, str]) -> str:
    known = f" ({_OTHER_ROOTS[root]})" if root in _OTHER_ROOTS else ""
    uris = ", ".join(uri[:80] for uri in list(namespaces.values())[:5])
    return f"the root {root[:40]}{known} {f'with the namespace {uris}' if uris else 'without a namespace'}"
