"""Files of records, CSV with a header or NDJSON, read one by one with the numbers of their lines. Pure: no database.

For `productagg import` and `history import`. What the fields mean is told elsewhere; here, whether they are there.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import IO, Any, Literal

from productagg import strict_json

Format = Literal["csv", "ndjson"]

_CHUNK = 1 << 20


class Bad(ValueError):
    """Why a record will not do."""


class Broken(Bad):
    """Why nothing after it can be read."""


@dataclass(frozen=True)
class Place:
    """The end of a line: its number, and how many bytes there are before; `digest()` says which."""

    number: int
    offset: int
    _hash: blake2b

    def digest(self) -> str:
        return self._hash.hexdigest()


class Lines:
    """The lines of a file, none of which is to be longer than `longest` bytes.

    Also says where in the file one is: `number` lines and `offset` bytes are read, and `digest()` tells which.
    """

    def __init__(self, file: IO[bytes], longest: int) -> None:
        self.number = 0
        self.offset = 0
        self.longest = longest
        self._file = file
        self._hash = blake2b(digest_size=16)
        # Lines that were looked at before their turn, and how many of them tell nothing.
        self._ahead: deque[bytes] = deque()
        self._ahead_bytes = 0
        self._silent = 0

    def __iter__(self) -> Iterator[bytes | None]:
        """Each line with its end. None is held that is too long (None): it might be the whole of another file."""
        while raw := self._read():
            self.number += 1
            too_long = False
            while len(raw) == self.longest and not raw.endswith(b"\n"):
                too_long = True
                raw = self._read()
            if too_long:
                yield None
            else:
                yield raw.removeprefix(b"\xef\xbb\xbf") if self.number == 1 else raw

    def ask_ahead(self, judge: Callable[[bytes], bool | None]) -> bool | None:
        """What `judge`, always the same one, says of the next line of which it does not say None; without reading on.

        None if there is no such line within about as many bytes as a record may have.
        """
        while True:
            if self._silent == len(self._ahead):
                if self._ahead_bytes > self.longest:
                    return None
                self._ahead.append(self._file.readline(self.longest))
                self._ahead_bytes += len(self._ahead[-1])
            line = self._ahead[self._silent]
            if not line or (answer := judge(line)) is not None:
                return answer if line else None
            self._silent += 1

    def place(self) -> Place:
        """Where the lines that are read end."""
        return Place(self.number, self.offset, self._hash.copy())

    def digest(self) -> str:
        return self.place().digest()

    def skip_to(self, number: int, offset: int) -> None:
        """Pass over what lies before this offset, which is the end of the line with this number."""
        while self.offset < offset and (raw := self._file.read(min(_CHUNK, offset - self.offset))):
            self._count(raw)
        self.number = max(number, self.number)

    def _read(self) -> bytes:
        if self._ahead:
            raw = self._ahead.popleft()
            self._ahead_bytes -= len(raw)
            self._silent = max(0, self._silent - 1)
        else:
            raw = self._file.readline(self.longest)
        self._count(raw)
        return raw

    def _count(self, raw: bytes) -> None:
        self.offset += len(raw)
        self._hash.update(raw)


def read(
    lines: Lines,
    form: Format,
    fields: Sequence[str],
    optional: Sequence[str] = (),
    *,
    over_lines: bool = False,
    after: tuple[int, int] = (0, 0),
) -> Iterator[tuple[int, dict[str, Any] | Bad]]:
    """Each record with the number of the line on which it begins, or what is wrong with it; nothing after Broken.

    A record has all `fields` but for optional ones, and no others; those of CSV are texts. Empty lines are passed over.
    With `over_lines`, quoted fields of CSV may have line breaks. `after` is what `lines.number` and `lines.offset` were
    after a record: those before are passed over.
    """
    if form == "csv":
        return _read_csv(lines, fields, optional, over_lines, after)
    return _read_json(lines, fields, optional, after)


def shown(value: object) -> str:
    """As it stands in the file, more or less; a file may hold anything, of any length."""
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}…"


# How files begin in the other encodings of Unicode: with a byte order mark, or with a character that is ASCII.
_OTHER_ENCODINGS = {
    "UTF-32": re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff|[^\0]\0\0\0|\0\0\0[^\0]"),
    "UTF-16": re.compile(rb"\xff\xfe|\xfe\xff|[^\0]\0|\0[^\0]"),
}


def _other_encoding(first: bytes | None) -> str | None:
    """What is wrong with a file that begins with this line, if it is not in UTF-8."""
    found = [name for name, begin in _OTHER_ENCODINGS.items() if begin.match(first or b"")]
    return f"the file is {found[0]}; save it as UTF-8" if found else None


def _read_csv(
    lines: Lines, fields: Sequence[str], optional: Sequence[str], over_lines: bool, after: tuple[int, int]
) -> Iterator[tuple[int, dict[str, Any] | Bad]]:
    names: Sequence[str] = ()
    each = iter(lines)
    for raw in each:
        number = lines.number
        if number == 1 and (encoding := _other_encoding(raw)):
            yield 1, Broken(encoding)
            return
        try:
            row = _row(raw, each if over_lines else (), lines.longest)
            if not row:
                continue
            if names:
                yield number, _by_name(names, row)
            else:
                names = _columns(row, fields, optional)
                lines.skip_to(*after)
        except Bad as bad:
            if not names:  # no other line means anything then
                yield number, Broken(bad)
                return
            if over_lines and not isinstance(bad, _Misfit) and not _ends_here(raw, lines, number, len(names)):
                yield number, Broken(f"{bad}; it cannot be told where the next record begins")
                return
            yield number, bad
    if not names:
        yield 1, Broken("there are no lines in the file")


class _Misfit(Bad):
    """The record is CSV, but of other columns."""


def _row(first: bytes | None, more: Iterable[bytes | None], longest: int) -> list[str]:
    """The values of a record; nothing for an empty line."""
    try:
        row = next(csv.reader(_texts(chain((first,), more), longest), strict=True))
    except csv.Error as error:
        raise Bad(f"it is not CSV: {error}") from None
    for text in row:
        if not text.isascii():
            _refuse_other_bytes(text)
    return row if len(row) > 1 or any(text.strip() for text in row) else []


def _texts(lines: Iterable[bytes | None], longest: int) -> Iterator[str]:
    """As many lines as a record has. What is not UTF-8 is told later: here, nobody would know where the record ends."""
    length = 0
    for raw in lines:
        length += longest + 1 if raw is None else len(raw)
        if raw is None or length > longest:
            raise Bad(f"it is longer than {longest} bytes")
        yield raw.decode("utf-8", "surrogateescape")


def _refuse_other_bytes(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Misfit("it is not UTF-8") from None


def _ends_here(first: bytes | None, lines: Lines, number: int, fields: int) -> bool:
    """Whether a record with wrong quotes ends with its first line: lines of its description must not become products.

    It can if its quotes pair up, or if it is a whole record of a writer that does not double quotes. It does unless the
    next lines may be in a quoted field: unless a quote that may end one comes before one that can only begin one.
    """
    if first is None or lines.number > number:
        return False
    if first.count(b'"') % 2 == 1 and not _is_undoubled(first, fields):
        return False
    return lines.ask_ahead(lambda line: _is_outside(line, fields)) is not False


# A field whose quotes are not doubled: it is quoted from a separator to a separator.
_UNDOUBLED = rb'(?:"(?:[^"]|"(?![,\r\n]|\Z))*"|[^",\r\n][^,\r\n]*)?'
_QUOTES = re.compile(rb'"+')


def _is_undoubled(line: bytes, fields: int) -> bool:
    return re.fullmatch(rb"%b(?:,%b){%d}\s*" % (_UNDOUBLED, _UNDOUBLED, fields - 1), line) is not None


def _is_outside(line: bytes, fields: int) -> bool | None:
    """Whether this line is outside of a quoted field that may have been opened before; None if it does not tell."""
    text = line.rstrip(b"\r\n")
    for quotes in _QUOTES.finditer(text):
        begin, end = quotes.span()
        if (end - begin) % 2 == 0:  # quotes that are doubled, or an empty field
            continue
        if text[end : end + 1] in (b"", b","):  # it may end the field
            return False
        if text[begin - 1 : begin] in (b"", b","):  # it would begin one
            return _begins_record(line, fields) or (None if _is_undoubled(line, fields) else False)
    return None


def _begins_record(line: bytes, fields: int) -> bool:
    """Whether the line is a record, or the begin of one whose last field goes on on the next line."""
    for more in (b"", b'"'):
        try:
            [row] = csv.reader([(line + more).decode("utf-8", "surrogateescape")], strict=True)
        except csv.Error:
            continue
        return len(row) == fields
    return False


def _by_name(names: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    if len(row) != len(names):
        raise _Misfit(f"it has {len(row)} fields, not {len(names)}")
    return dict(zip(names, row, strict=True))


def _columns(names: Sequence[str], fields: Sequence[str], optional: Sequence[str]) -> Sequence[str]:
    problems = [f"there is no column {shown(each)}: {', '.join(fields)}" for each in names if each not in fields]
    problems += [f"the column {each} is missing" for each in fields if each not in names and each not in optional]
    problems += [f"the column {each} is there twice" for each in fields if names.count(each) > 1]
    if problems:
        raise Bad(problems[0])
    return names


def _read_json(
    lines: Lines, fields: Sequence[str], optional: Sequence[str], after: tuple[int, int]
) -> Iterator[tuple[int, dict[str, Any] | Bad]]:
    lines.skip_to(*after)
    for raw in lines:
        if lines.number == 1 and (encoding := _other_encoding(raw)):
            yield 1, Broken(encoding)
            return
        if raw is None:
            yield lines.number, Bad(f"it is longer than {lines.longest} bytes")
        elif raw.strip():
            try:
                yield lines.number, _object(raw, fields, optional)
            except Bad as bad:
                yield lines.number, bad


def _object(raw: bytes, fields: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    try:
        values = strict_json.loads(raw)
    except ValueError as error:
        raise Bad(f"it is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise Bad("it is not a JSON object")
    unknown = [each for each in values if each not in fields]
    if unknown:
        raise Bad(f"there is no field {shown(unknown[0])}: {', '.join(fields)}")
    missing = [each for each in fields if each not in values and each not in optional]
    if missing:
        raise Bad(f"the field {missing[0]} is missing")
    return values
