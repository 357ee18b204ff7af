"""A feed's document: kept in a temporary file, unpacked, and read in blocks of bytes or lines of text.

The whole body is stored before it is read: only then is its digest known, which says whether there is anything to do.
It is on disk, so that its size does not matter to memory.
"""

import codecs
import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from xml.parsers import expat

from productagg.sources.web import WebResponse

MAX_BYTES = 4 * 2**30
"""Of a document, as it is sent and unpacked."""
_BLOCK = 2**16
_GZIP = b"\x1f\x8b"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WITHOUT_BOM = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]+)""")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9._-]+)""", re.IGNORECASE)
# Others that Python knows are slow on purpose-made input, or no encodings of documents (punycode, unicode_escape).
_ENCODINGS = re.compile(r"utf-(8|16|32)|ascii|iso8859|iso2022|cp\d|koi8|mac-|gb|big5|euc|shift_jis|tis-620|hz$|johab")


class DocumentError(Exception):
    """The document cannot be read, or no further. `code` is a word for statistics."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


def keep(response: WebResponse, file: BinaryIO) -> str:
    """Write a response's body to the file, rewind it, and return the body's digest. Raises WebError."""
    digest = hashlib.sha256()
    while block := response.read(_BLOCK):
        digest.update(block)
        file.write(block)
    file.seek(0)
    return digest.hexdigest()


def unpacked(file: BinaryIO) -> BinaryIO:
    """The file, or what is compressed in it: many shops serve a .gz without saying so."""
    magic = file.read(len(_GZIP))
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if magic == _GZIP else file  # type: ignore[return-value]


@contextmanager
def reading() -> Iterator[None]:
    """Turn what readers raise for a damaged document into DocumentError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DocumentError(f"The compressed document is damaged or cut: {error}.", "broken_gzip") from None
    except UnicodeError as error:
        raise DocumentError(
            f"The document is not in the encoding {getattr(error, 'encoding', '?')}: configure the right one.",
            "wrong_encoding",
        ) from None
    except expat.ExpatError as error:
        raise DocumentError(f"The XML is not well-formed: {error}.", "broken_xml") from None


def blocks(stream: BinaryIO, head: bytes) -> Iterator[bytes]:
    """The head, which was read before, and the rest. Raises DocumentError for more than MAX_BYTES."""
    size = 0
    block = head
    while block:
        size += len(block)
        if size > MAX_BYTES:
            raise DocumentError(f"The document has more than {MAX_BYTES} bytes.", "too_large")
        yield block
        block = stream.read(_BLOCK)


def read_head(stream: BinaryIO) -> bytes:
    """The first bytes, without the white space that some shops' software prints before the document."""
    return stream.read(_BLOCK).lstrip(b" \t\r\n")


def as_utf8(parts: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The same text in UTF-8. A document in UTF-8 is passed on as it is: the XML parser checks it."""
    if encoding in ("utf-8", "utf-8-sig", "ascii"):
        yield from parts
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    for part in parts:
        yield decoder.decode(part).encode()
    yield decoder.decode(b"", final=True).encode()


def find_encoding(head: bytes, content_type: str, configured: str | None) -> str:
    """The document's encoding: configured, by its byte order mark, declared in it, or by HTTP; else UTF-8.

    Raises DocumentError for the name of none.
    """
    if configured:
        name = known_encoding(configured)
        return "utf-8-sig" if name == "utf-8" else name
    for start, name in (*_BOMS, *_WITHOUT_BOM):
        if head.startswith(start):
            return name
    if declared := _DECLARED.match(head):
        name = known_encoding(declared[1].decode())
        # The declaration was readable as ASCII, so it is wrong: .NET declares its strings' UTF-16 in files of UTF-8.
        return "utf-8" if name.startswith(("utf-16", "utf-32")) else name
    if by_http := _CHARSET.search(content_type):
        return known_encoding(by_http[1])
    return "utf-8"


def known_encoding(name: str) -> str:
    """Python's name of an encoding. Raises DocumentError."""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        found = ""
    if not _ENCODINGS.match(found):
        raise DocumentError(f"{name[:40]!r} is not an encoding of documents.", "unknown_encoding")
    return found
