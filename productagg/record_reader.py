"""Files of records, CSV with a header or NDJSON, read one by one with their line numbers. Pure: no database.

For `productagg import` and `history import`, which know what the fields mean; this module only checks that the fields
are there.
"""

import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import IO, Any, Literal

from productagg import strict_json

Format = Literal["csv", "ndjson"]

_CHUNK = 1 << 20


class RecordError(ValueError):
    """Why a record is invalid."""


class FileError(RecordError):
    """Why the rest of the file cannot be read."""


Numbered = tuple[int, dict[str, Any] | RecordError]


@dataclass(frozen=True)
class FilePosition:
    """The end of a line: its number and its offset in bytes; `digest()` identifies the content before it."""

    number: int
    offset: int
    _hash: blake2b

    def digest(self) -> str:
        return self._hash.hexdigest()


class LineReader:
    """The lines of a file. `number` lines and `offset` bytes are read so far; `digest()` identifies their content."""

    def __init__(self, file: IO[bytes], max_length: int) -> None:
        self.number = 0
        self.offset = 0
        self.max_length = max_length
        self._file = file
        self._hash = blake2b(digest_size=16)
        # Lines that `look_ahead` has read, and how many of them were undecided.
        self._ahead: deque[bytes] = deque()
        self._ahead_bytes = 0
        self._undecided = 0

    def __iter__(self) -> Iterator[bytes | None]:
        """The lines with their ends; None for a line of more than `max_length` bytes, which is never held in memory."""
        while raw := self._read():
            self.number += 1
            if self._is_cut(raw):
                self._skip_rest_of_line()
                yield None
            else:
                yield raw.removeprefix(b"\xef\xbb\xbf") if self.number == 1 else raw

    def _is_cut(self, raw: bytes) -> bool:
        return len(raw) == self.max_length and not raw.endswith(b"\n")

    def _skip_rest_of_line(self) -> None:
        while self._is_cut(self._read()):
            pass

    def look_ahead(self, decide: Callable[[bytes], bool | None]) -> bool | None:
        """Call `decide`, always the same function, on the next lines until it decides; return its decision.

        The lines are still to be read afterwards. None if `decide` returns None within about the bytes of one record.
        """
        while line := self._first_undecided():
            decision = decide(line)
            if decision is not None:
                return decision
            self._undecided += 1
        return None

    def _first_undecided(self) -> bytes:
        """The first line ahead that is not known to be undecided; empty at the end, or if too much has been read."""
        if self._undecided < len(self._ahead):
            return self._ahead[self._undecided]
        if self._ahead_bytes > self.max_length:
            return b""
        line = self._file.readline(self.max_length)
        self._ahead.append(line)
        self._ahead_bytes += len(line)
        return line

    def position(self) -> FilePosition:
        """The end of the lines that are read."""
        return FilePosition(self.number, self.offset, self._hash.copy())

    def digest(self) -> str:
        return self.position().digest()

    def skip_to(self, number: int, offset: int) -> None:
        """Skip everything before this offset, which is the end of the line with this number."""
        while self.offset < offset and (raw := self._file.read(min(_CHUNK, offset - self.offset))):
            self._count(raw)
        self.number = max(number, self.number)

    def _read(self) -> bytes:
        if self._ahead:
            raw = self._ahead.popleft()
            self._ahead_bytes -= len(raw)
            self._undecided = max(0, self._undecided - 1)
        else:
            raw = self._file.readline(self.max_length)
        self._count(raw)
        return raw

    def _count(self, raw: bytes) -> None:
        self.offset += len(raw)
        self._hash.update(raw)


def read(
    lines: LineReader,
    form: Format,
    fields: Sequence[str],
    optional: Sequence[str] = (),
    *,
    multiline: bool = False,
    after: tuple[int, int] = (0, 0),
) -> Iterator[Numbered]:
    """The records with the numbers of their first lines, or the errors instead of records. A FileError comes last.

    A record has all `fields` that are not optional, and no unknown fields; in CSV, all values are texts. Empty lines
    are skipped. With `multiline`, quoted fields of CSV may contain line breaks. `after` is a pair of `lines.number` and
    `lines.offset` from an earlier reading: all records before it are skipped.
    """
    if form == "csv":
        return _read_csv(lines, fields, optional, multiline, after)
    return _read_json(lines, fields, optional, after)


def excerpt(value: object) -> str:
    """The beginning of a value for a message: a file can contain anything, of any length."""
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}…"


# How files in the other encodings of Unicode begin: with a byte order mark, or with an ASCII character.
_OTHER_ENCODINGS = {
    "UTF-32": re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff|[^\0]\0\0\0|\0\0\0[^\0]"),
    "UTF-16": re.compile(rb"\xff\xfe|\xfe\xff|[^\0]\0|\0[^\0]"),
}


def _check_encoding(lines: LineReader, raw: bytes | None) -> None:
    """Raises FileError if this is the first line of a file in another encoding of Unicode than UTF-8."""
    if lines.number > 1 or raw is None:
        return
    for name, beginning in _OTHER_ENCODINGS.items():
        if beginning.match(raw):
            raise FileError(f"the file is {name}; save it as UTF-8")


def _read_csv(
    lines: LineReader, fields: Sequence[str], optional: Sequence[str], multiline: bool, after: tuple[int, int]
) -> Iterator[Numbered]:
    raw_lines = iter(lines)
    following = raw_lines if multiline else ()
    number, columns = _header(lines, raw_lines, following, fields, optional)
    if isinstance(columns, FileError):
        yield number, columns
        return
    lines.skip_to(*after)
    for raw in raw_lines:
        number = lines.number
        try:
            row = _row(raw, following, lines.max_length)
            if row:
                yield number, _by_name(columns, row)
        except _WrongContent as error:
            yield number, error
        except RecordError as error:
            if multiline and not _ends_on_first_line(raw, lines, number, len(columns)):
                yield number, FileError(f"{error}; it is unclear where the next record begins")
                return
            yield number, error


def _header(
    lines: LineReader,
    raw_lines: Iterable[bytes | None],
    following: Iterable[bytes | None],
    fields: Sequence[str],
    optional: Sequence[str],
) -> tuple[int, Sequence[str] | FileError]:
    """The number of the header's line, and the columns or the reason why nothing can be read."""
    for raw in raw_lines:
        number = lines.number
        try:
            _check_encoding(lines, raw)
            row = _row(raw, following, lines.max_length)
            if row:
                return number, _columns(row, fields, optional)
        except RecordError as error:
            return number, FileError(str(error))
    return 1, FileError("there are no lines in the file")


class _WrongContent(RecordError):
    """The record is CSV, but is not UTF-8 or has the wrong number of fields."""


def _row(first: bytes | None, following: Iterable[bytes | None], max_length: int) -> list[str]:
    """The values of a record; empty for an empty line."""
    try:
        row = next(csv.reader(_texts(chain((first,), following), max_length), strict=True))
    except csv.Error as error:
        raise RecordError(f"it is not CSV: {error}") from None
    text = "".join(row)
    _check_utf8(text)
    return row if len(row) > 1 or text.strip() else []


def _texts(lines: Iterable[bytes | None], max_length: int) -> Iterator[str]:
    """The lines of one record. Invalid UTF-8 is reported later, when the end of the record has been found."""
    length = 0
    for raw in lines:
        if raw is None:
            raise RecordError(_too_long(max_length))
        length += len(raw)
        if length > max_length:
            raise RecordError(_too_long(max_length))
        yield raw.decode("utf-8", "surrogateescape")


def _check_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _WrongContent("it is not UTF-8") from None


def _ends_on_first_line(first: bytes | None, lines: LineReader, number: int, fields: int) -> bool:
    """Whether a record with wrong quotes ends with its first line: lines of its description must not become products.

    It can end there if its quotes pair up, or if it is a whole record by a writer that does not double quotes. It then
    does end there, unless the next lines may be inside a quoted field: that is so if a quote that may close a field
    comes before a quote that can only open a field.
    """
    if first is None or lines.number > number:
        return False
    if first.count(b'"') % 2 == 1 and not _has_undoubled_quotes(first, fields):
        return False
    return lines.look_ahead(lambda line: _is_outside_quotes(line, fields)) is not False


# A field whose quotes are not doubled: it is quoted from separator to separator.
_UNDOUBLED = rb'(?:"(?:[^"]|"(?![,\r\n]|\Z))*"|[^",\r\n][^,\r\n]*)?'
_QUOTES = re.compile(rb'"+')


def _has_undoubled_quotes(line: bytes, fields: int) -> bool:
    return re.fullmatch(rb"%b(?:,%b){%d}\s*" % (_UNDOUBLED, _UNDOUBLED, fields - 1), line) is not None


def _is_outside_quotes(line: bytes, fields: int) -> bool | None:
    """Whether this line is outside of a quoted field that an earlier line may have opened; None if it may be either."""
    text = line.rstrip(b"\r\n")
    for quotes in _QUOTES.finditer(text):
        begin, end = quotes.span()
        if (end - begin) % 2 == 0:  # doubled quotes, or an empty field
            continue
        if text[end : end + 1] in (b"", b","):  # it may close the field
            return False
        if text[begin - 1 : begin] in (b"", b","):  # it would open a field
            return _opens_field_outside_quotes(line, fields)
    return None


def _opens_field_outside_quotes(line: bytes, fields: int) -> bool | None:
    """The answer of `_is_outside_quotes` for a line whose first single quote would open a field."""
    if _begins_record(line, fields):
        return True
    return None if _has_undoubled_quotes(line, fields) else False


def _begins_record(line: bytes, fields: int) -> bool:
    """Whether the line is a record, or the beginning of a record whose last field continues on the next line."""
    for closing in (b"", b'"'):
        try:
            [row] = csv.reader([(line + closing).decode("utf-8", "surrogateescape")], strict=True)
        except csv.Error:
            continue
        return len(row) == fields
    return False


def _by_name(columns: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    if len(row) != len(columns):
        raise _WrongContent(f"it has {len(row)} fields, not {len(columns)}")
    return dict(zip(columns, row, strict=True))


def _columns(names: Sequence[str], fields: Sequence[str], optional: Sequence[str]) -> Sequence[str]:
    _check_names("column", names, fields, optional)
    if len(set(names)) < len(names):
        [(duplicate, _)] = Counter(names).most_common(1)
        raise RecordError(f"the column {duplicate} occurs more than once")
    return names


def _check_names(what: str, names: Collection[str], fields: Sequence[str], optional: Sequence[str]) -> None:
    """Raises RecordError if a name is unknown, or a field that is not optional is missing."""
    if unknown := set(names).difference(fields):
        raise RecordError(f"unknown {what} {excerpt(min(unknown))}; the {what}s are {', '.join(fields)}")
    if missing := set(fields).difference(names, optional):
        raise RecordError(f"the {what} {min(missing, key=fields.index)} is missing")


def _read_json(
    lines: LineReader, fields: Sequence[str], optional: Sequence[str], after: tuple[int, int]
) -> Iterator[Numbered]:
    lines.skip_to(*after)
    for raw in lines:
        try:
            _check_encoding(lines, raw)
            values = _object(raw, lines.max_length)
            if values is not None:
                _check_names("field", values, fields, optional)
                yield lines.number, values
        except RecordError as error:
            yield lines.number, error
            if isinstance(error, FileError):
                return


def _object(raw: bytes | None, max_length: int) -> dict[str, Any] | None:
    """The object on a line; None for an empty line."""
    if raw is None:
        raise RecordError(_too_long(max_length))
    if not raw.strip():
        return None
    values = _json(raw)
    if not isinstance(values, dict):
        raise RecordError("it is not a JSON object")
    return values


def _json(raw: bytes) -> Any:
    try:
        return strict_json.loads(raw)
    except ValueError as error:
        raise RecordError(f"it is not JSON: {error}") from None


def _too_long(max_length: int) -> str:
    return f"it is longer than {max_length} bytes"
