"""The lines of price histories that `productagg history export` writes and `import` reads. Pure: no database.

A line says how one offer was from a time on. Without an offer it is about the whole product: with nothing else, it was
not observed from then on; with 0 as items_in_stock it was (again), and no offer had changed.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import IO, Any, Literal, NamedTuple
from uuid import UUID

import orjson

from productagg.history.steps import microseconds, moment

Format = Literal["csv", "ndjson"]
FIELDS = ("product_id", "offer_id", "at", "price", "items_in_stock")

LARGEST = 2**63 - 1
_LONGEST = 10_000  # of a line, in bytes
_OLDEST = datetime(1970, 1, 1, tzinfo=UTC)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


class Line(NamedTuple):
    """`at` is in microseconds since the epoch. Without an offer there is no price; see above for the items then."""

    product_id: UUID
    offer_id: UUID | None
    at: int
    price: int | None
    items_in_stock: int | None

    @property
    def is_gap(self) -> bool:
        return self.offer_id is None and self.items_in_stock is None


class Bad(ValueError):
    """Why a line will not do."""


def parse_time(text: str) -> datetime:
    """A time as RFC 3339 has it. Raises Bad."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise Bad(f"{_shown(text)} is not a time like 2026-01-31T12:00:00Z, with at most 6 decimals")
    if found[2] is None:
        raise Bad(f"{_shown(text)} has no time zone, like the Z of 2026-01-31T12:00:00Z")
    try:
        time = datetime.fromisoformat(text.upper())
        time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Bad(f"{_shown(text)} is no time: {error}") from None
    if time < _OLDEST:
        raise Bad(f"{_shown(text)} is before 1970")
    return time


def write(lines: Sequence[Line], form: Format) -> bytes:
    """The lines as bytes. A CSV file also wants `header`."""
    return b"".join([_as_csv(each) if form == "csv" else _as_json(each) for each in lines])


def header(form: Format) -> bytes:
    """What a file begins with."""
    return f"{','.join(FIELDS)}\n".encode() if form == "csv" else b""


def read(file: IO[bytes], form: Format) -> Iterator[tuple[int, Line | Bad]]:
    """Each line with its number, or what is wrong with it. Empty lines are passed over."""
    texts = _texts(file)
    names: Sequence[str] = FIELDS
    if form == "csv":
        for number, text in texts:
            try:
                names = _columns(_accept(text))
            except Bad as bad:  # no other line means anything then
                yield number, bad
                return
            break
    for number, text in texts:
        try:
            values = _csv_values(_accept(text), names) if form == "csv" else _json_values(_accept(text))
            yield number, _line(values)
        except Bad as bad:
            yield number, bad


def _as_csv(line: Line) -> bytes:
    product_id, offer_id, at, price, items = line
    values = ("" if each is None else each for each in (offer_id, _time_text(at), price, items))
    return f"{product_id},{','.join(map(str, values))}\n".encode()


def _as_json(line: Line) -> bytes:
    return orjson.dumps({**line._asdict(), "at": _time_text(line.at)}, option=orjson.OPT_APPEND_NEWLINE)


def _time_text(at: int) -> str:
    return moment(at).isoformat().replace("+00:00", "Z")


def _texts(file: IO[bytes]) -> Iterator[tuple[int, str | Bad]]:
    """The lines that are not empty. None is held that is too long to be one: it might be the whole of another file."""
    number = 0
    while raw := file.readline(_LONGEST):
        number += 1
        if len(raw) == _LONGEST and not raw.endswith(b"\n"):
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(_LONGEST)
            yield number, Bad(f"it is longer than {_LONGEST} bytes")
            continue
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield number, Bad("it is not UTF-8")
            continue
        if text.strip():
            yield number, text


def _accept(text: str | Bad) -> str:
    if isinstance(text, Bad):
        raise text
    return text


def _columns(text: str) -> Sequence[str]:
    names = _csv_fields(text)
    problems = [f"there is no column {_shown(each)}: {', '.join(FIELDS)}" for each in names if each not in FIELDS]
    problems += [f"the column {each} is missing" for each in FIELDS if each not in names]
    problems += [f"the column {each} is there twice" for each in FIELDS if names.count(each) > 1]
    if problems:
        raise Bad(problems[0])
    return names


def _csv_fields(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise Bad(f"it is not CSV: {error}") from None


def _csv_values(text: str, names: Sequence[str]) -> dict[str, Any]:
    fields = _csv_fields(text)
    if len(fields) != len(names):
        raise Bad(f"it has {len(fields)} fields, not {len(names)}")
    values: dict[str, Any] = {name: field or None for name, field in zip(names, fields, strict=True)}
    for name in ("price", "items_in_stock"):
        digits = values[name]
        if digits is not None and digits.isascii() and digits.isdigit() and len(digits) < 20:
            values[name] = int(digits)
    return values


def _json_values(text: str) -> dict[str, Any]:
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Bad(f"it is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise Bad("it is not a JSON object")
    unknown = [each for each in values if each not in FIELDS]
    missing = [each for each in FIELDS if each not in values]
    if unknown:
        raise Bad(f"there is no field {_shown(unknown[0])}: {', '.join(FIELDS)}")
    if missing:
        raise Bad(f"the field {missing[0]} is missing")
    return values


def _line(values: Mapping[str, Any]) -> Line:
    if values["product_id"] is None:
        raise Bad("product_id is empty")
    if not isinstance(values["at"], str):
        raise Bad("at is not a time like 2026-01-31T12:00:00Z")
    product_id, at = _id("product_id", values["product_id"]), microseconds(parse_time(values["at"]))
    price, items = _whole("price", values["price"]), _whole("items_in_stock", values["items_in_stock"])
    if values["offer_id"] is None:
        if price is not None or items:
            raise Bad("without an offer_id, price is empty, and items_in_stock is empty (not observed) or 0 (observed)")
        return Line(product_id, None, at, None, items)
    offer_id = _id("offer_id", values["offer_id"])
    for name, value in (("price", price), ("items_in_stock", items)):
        if value is None:
            raise Bad(f"{name} is empty")
    return Line(product_id, offer_id, at, price, items)


@lru_cache(maxsize=10_000)  # the same ids come again and again
def _uuid(text: str) -> UUID | None:
    return UUID(text) if _UUID.fullmatch(text) else None


def _id(name: str, value: object) -> UUID:
    found = _uuid(value) if isinstance(value, str) else None
    if found is None:
        raise Bad(f"{name} {_shown(value)} is not a UUID")
    return found


def _whole(name: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise Bad(f"{name} {_shown(value)} is not a whole number from 0 to {LARGEST}")
    return value


def _shown(value: object) -> str:
    """As it stands in the file, more or less; a file may hold anything, of any length."""
    text = repr(value)
    return text if len(text) <= 50 else f"{text[:50]}…"
