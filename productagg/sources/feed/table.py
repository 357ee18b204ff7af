"""Rows of a table: tab-separated or CSV, with Google Merchant's columns or by a mapping from columns to fields."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, TextIO

from productagg.sources.feed import merchant
from productagg.sources.feed.collector import Collector
from productagg.sources.feed.documents import MAX_BYTES, DocumentError

MAPPED_FIELDS = {
    "id": "id",
    "name": "title",
    "description": "description",
    "url": "link",
    "image_url": "image_link",
    "price": "price",
    "sale_price": "sale_price",
    "currency": "currency",
    "availability": "availability",
    "items_in_stock": "quantity",
    "condition": "condition",
    "gtin": "gtin",
    "brand": "brand",
    "category": "product_type",
    "seller": "seller",
    "shipping": "shipping",
}
"""What a column can be mapped to, and its name among Google Merchant's attributes."""
_MERCHANT_COLUMNS = {name: name for name in (*merchant.FIELDS, merchant.SHIPPING)}
_NOT_TO_BE_CUT = frozenset(("id", "price", "sale_price", "currency", "shipping"))
_DELIMITERS = "\t;,|"
MAX_LINE = 2**20


class _Lines:
    """The lines of a text, and whether the last one ended."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.is_terminated = True

    def __iter__(self) -> Iterator[str]:
        size = 0
        while line := self._text.readline(MAX_LINE):
            size += len(line)
            self.is_terminated = line[-1] in "\r\n"
            if "\0" in line:
                raise DocumentError("The document is not text.", "not_a_feed")
            if size > MAX_BYTES or (len(line) >= MAX_LINE and not self.is_terminated):
                raise DocumentError("The document, or a line of it, is larger than that of any feed.", "too_large")
            yield line


def read_table(
    stream: BinaryIO, encoding: str, delimiter: str | None, mapping: Mapping[str, str] | None, collector: Collector
) -> str | None:
    """Read a table to its end. Returns why it may not be everything, or None.

    Raises DocumentError and UnicodeError; the rows until then were taken.
    """
    text = io.TextIOWrapper(stream, encoding=encoding, newline="")
    try:
        return _read_lines(_Lines(text), delimiter, mapping, collector)
    finally:
        # Otherwise it closes the stream, which is not its own.
        text.detach()


def _read_lines(
    lines: _Lines, delimiter: str | None, mapping: Mapping[str, str] | None, collector: Collector
) -> str | None:
    text = iter(lines)
    first = next((line for line in text if line.strip()), "")
    header = next(csv.reader([first], delimiter=delimiter or _most_frequent(first)), [])
    columns = _columns(header, mapping)
    rows = csv.reader(text, delimiter=delimiter or _most_frequent(first))
    try:
        misshapen = _read_rows(rows, len(header), columns, collector, lambda: lines.is_terminated)
    except csv.Error as error:
        raise DocumentError(f"Line {rows.line_num + 1} cannot be read: {error}.", "broken_table") from None
    if misshapen:
        return f"{misshapen} rows have another number of cells than the header."
    if not lines.is_terminated:
        return "The last line has no line break: the document may have been cut."
    return None


def _read_rows(
    rows: Iterator[list[str]],
    width: int,
    columns: Mapping[int, str],
    collector: Collector,
    is_terminated: Callable[[], bool],
) -> int:
    """Take all rows; returns how many have the wrong number of cells."""
    misshapen = 0
    shipping = next((at for at, name in columns.items() if name == merchant.SHIPPING), None)
    for cells in rows:
        if not any(cells):
            continue
        # Some exports end each row with a delimiter.
        if len(cells) != width and (len(cells) < width or any(cells[width:])):
            misshapen += 1
            collector.skip(f"it has {len(cells)} cells instead of {width}")
        elif not is_terminated() and columns.get(width - 1) in _NOT_TO_BE_CUT:
            collector.skip("the document may have been cut within its last cell")
        else:
            fields = {name: cells[at] for at, name in columns.items() if cells[at]}
            parts = merchant.shipping_parts(cells[shipping]) if shipping is not None and cells[shipping] else []
            collector.take(fields, parts, [])
    return misshapen


def _columns(header: list[str], mapping: Mapping[str, str] | None) -> dict[int, str]:
    """The name of each column that is read. Raises DocumentError if there is no id, no price, or two of the same."""
    if mapping:
        names = {column.strip(): MAPPED_FIELDS[field] for column, field in mapping.items()}
        columns = {at: names[title.strip()] for at, title in enumerate(header) if title.strip() in names}
    else:
        titles = [title.strip().lower().removeprefix("g:").replace(" ", "_") for title in header]
        columns = {at: _MERCHANT_COLUMNS[title] for at, title in enumerate(titles) if title in _MERCHANT_COLUMNS}
    found = list(columns.values())
    for needed in ("id", "price"):
        if found.count(needed) != 1:
            raise DocumentError(_wrong_header(needed, found.count(needed), header), _code(needed, found))
    return columns


def _wrong_header(needed: str, count: int, header: list[str]) -> str:
    titles = ", ".join(title.strip()[:40] for title in header[:20])
    few = "more than one" if count else "no"
    hint = ": a supplemental feed has none" if needed == "price" and not count else ""
    return f"The table has {few} column for the {needed}{hint}. Its columns: {titles or 'none'}."


def _code(needed: str, found: list[str]) -> str:
    if needed in found:
        return "repeated_column"
    return f"no_{needed}_column" if found else "not_a_feed"


def _most_frequent(line: str) -> str:
    return max(_DELIMITERS, key=line.count)
