"""A page's bytes: its encoding, and the few elements that matter, found without building a tree of the document.

A tree of a page of 500 kB takes ten times as long as this scan (benchmarks/jsonld.py). The scan knows what hides
markup: comments, and the elements whose content is text.
"""

import codecs
import re
from dataclasses import dataclass, field
from html import unescape

# `meta` and `link` have no content; the others' content is text up to their end tag.
_OPENING = re.compile(rb"<(?:!--|(script|style|textarea|title|meta|link|base)(?=[\s/>]))")
_TAG_REST = re.compile(rb"""(?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")
_ATTRIBUTE = re.compile(rb"""([^\s"'>/=]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""")
# ASP.NET writes the plus as a reference.
_JSON_LD = re.compile(rb"""type\s*=\s*["']?\s*application/ld(?:\+|&#x2b;|&#43;|&plus;)json\b""")
_PROPERTIES = (b"og:", b"product:")

_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9._:-]+)""", re.IGNORECASE)
_ENCODINGS = re.compile(
    r"utf-?(?:8|16|16le|16be|16-le|16-be)|(?:iso-?8859-?|windows-|cp)\d{1,4}|latin-?\d|us-ascii|ascii|koi8-[ru]|big5"
    r"|gb2312|gbk|gb18030|euc-(?:jp|kr)|iso-2022-jp|shift[_-]jis|tis-620|macintosh"
)
# Browsers read these labels as the larger encoding (encoding.spec.whatwg.org, 4.2).
_READ_AS = {
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso-8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "euc-kr": "cp949",
    "tis-620": "cp874",
}
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Browsers look for a meta element in as many bytes.
_PRESCANNED = 1024


@dataclass(slots=True)
class Elements:
    """What a scan found."""

    blocks: list[bytes] = field(default_factory=list)
    """The content of the script elements with JSON-LD, in the order of the document."""
    unfinished_blocks: int = 0
    """Script elements with JSON-LD that have no end tag: the page was cut."""
    properties: dict[str, list[str]] = field(default_factory=dict)
    """OpenGraph: the values of the meta elements, by property."""
    canonical: str | None = None
    base: str | None = None


def to_utf8(body: bytes, content_type: str) -> bytes:
    """The page in UTF-8, whatever its encoding: told by a byte order mark, the header, a meta element, in this order.

    Bytes that are not valid in UTF-8 stay as they are; blocks with such bytes replace them.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            body = body[len(mark) :]
            return body if encoding == "utf-8" else body.decode(encoding, "replace").encode()
    declared = _declared(content_type) or _declared(body[:_PRESCANNED].decode("ascii", "replace"), in_page=True)
    if declared == "utf-8":
        return body
    if declared is None:
        try:
            body.decode()
        except UnicodeDecodeError:
            declared = "cp1252"
        else:
            return body
    return body.decode(declared, "replace").encode("utf-8", "replace")


def _declared(text: str, *, in_page: bool = False) -> str | None:
    match = _CHARSET.search(text)
    label = match[1].lower() if match else ""
    # Python has codecs that no page is written in, some of which are slow.
    if not _ENCODINGS.fullmatch(label):
        return None
    try:
        name = codecs.lookup(_READ_AS.get(label, label)).name
    except LookupError:
        return None
    # A meta element that could be read was not in UTF-16.
    return "utf-8" if in_page and name.startswith("utf-16") else name


def scan(page: bytes) -> Elements:
    """Find the elements that matter in a page in UTF-8. Never raises."""
    found = Elements()
    lower = page.lower()
    position = 0
    while match := _OPENING.search(lower, position):
        kind = match[1]
        if kind is None:
            # From the third character on, because `<!-->` is a whole comment.
            position = lower.find(b"-->", match.start() + 2)
            if position < 0:
                break
            continue
        end = _end_of_tag(lower, match.end())
        if kind in (b"meta", b"link", b"base"):
            _take_element(found, kind, page[match.end() : end], lower[match.end() : end])
            position = end
            continue
        position = lower.find(b"</" + kind, end)
        if kind == b"script" and _JSON_LD.search(lower, match.end(), end):
            _take_block(found, page[end:position] if position >= 0 else None)
        if position < 0:
            break
    return found


def _end_of_tag(lower: bytes, start: int) -> int:
    if match := _TAG_REST.match(lower, start):
        return match.end()
    # A quotation mark without its pair.
    end = lower.find(b">", start)
    return end + 1 if end >= 0 else len(lower)


def _take_block(found: Elements, content: bytes | None) -> None:
    if content is None:
        found.unfinished_blocks += 1
    else:
        found.blocks.append(content)


def _take_element(found: Elements, kind: bytes, tag: bytes, lower: bytes) -> None:
    """Keep what matters of a meta, link or base element. The first canonical link and the first base count."""
    if kind == b"meta" and any(prefix in lower for prefix in _PROPERTIES):
        attributes = _attributes(tag)
        name = attributes.get("property") or attributes.get("name") or ""
        if content := attributes.get("content", "").strip():
            found.properties.setdefault(name.strip().lower(), []).append(content)
    elif kind == b"link" and found.canonical is None and b"canonical" in lower:
        attributes = _attributes(tag)
        if "canonical" in attributes.get("rel", "").lower().split():
            found.canonical = attributes.get("href", "").strip() or None
    elif kind == b"base" and found.base is None:
        found.base = _attributes(tag).get("href", "").strip() or None


def _attributes(tag: bytes) -> dict[str, str]:
    return {
        name.decode("utf-8", "replace").lower(): unescape((double or single or bare).decode("utf-8", "replace"))
        for name, double, single, bare in _ATTRIBUTE.findall(tag)
    }
