"""Files of records, CSV with a header or NDJSON, read one by one with the numbers of their lines. Pure: no database.

For `productagg import` and `history import`. What the fields mean is told elsewhere; here, whether they are there.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
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

    def digest(self) -> str:
        return self._hash.hexdigest()

    def skip_to(self, number: int, offset: int) -> None:
        """Pass over what lies before this offset, which is the end of the line with this number."""
        while self.offset < offset and (raw := self._file.read(min(_CHUNK, offset - self.offset))):
            self._count(raw)
        self.number = max(number, self.number)

    def _read(self) -> bytes:
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


def _read_csv(
    lines: Lines, fields: Sequence[str], optional: Sequence[str], over_lines: bool, after: tuple[int, int]
) -> Iterator[tuple[int, dict[str, Any] | Bad]]:
    names: Sequence[str] = ()
    each = iter(lines)
    for raw in each:
        number = lines.number
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
            if over_lines and not isinstance(bad, _Misfit) and (lines.number > number or _may_go_on(raw)):
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


def _may_go_on(line: bytes | None) -> bool:
    """Whether a record that begins here may go on on the next line: a part of it must not be taken for another."""
    return line is None or line.count(b'"') % 2 == 1


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
