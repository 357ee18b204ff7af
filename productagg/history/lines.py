"""The lines of price histories that `productagg history export` writes and `import` reads. Pure: no database.

A line is an offer's state from a time on: 0 as items_in_stock says that it is sold out, nothing that it is in stock and
the number is not told. A line without an offer concerns the product: with nothing else, it was not observed from then
on; with 0 as items_in_stock it was observed (again), and no offer had changed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import IO, Any, NamedTuple
from uuid import UUID

import orjson

from productagg import record_reader
from productagg.currencies import EXPONENTS
from productagg.history.timeline import microseconds, moment
from productagg.record_reader import Format, RecordError, excerpt
from productagg.times import format_time, parse_record_time

FIELDS = ("product_id", "offer_id", "at", "price", "items_in_stock")
# A file that is imported may leave these out.
OPTIONAL_FIELDS = ("currency",)
_ALL_FIELDS = FIELDS + OPTIONAL_FIELDS

LARGEST = 2**63 - 1
_LONGEST = 10_000  # of a line, in bytes
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


class Line(NamedTuple):
    """`at` is in microseconds since the epoch. Without an offer there is no price; for its items see above.

    `currency` is that of the offer's price, None for the catalogue's.
    """

    product_id: UUID
    offer_id: UUID | None
    at: int
    price: int | None
    items_in_stock: int | None
    currency: str | None = None

    @property
    def is_gap(self) -> bool:
        return self.offer_id is None and self.items_in_stock is None


def write(lines: Sequence[Line], form: Format) -> bytes:
    """The lines as bytes. A CSV file begins with `header`."""
    return b"".join([_as_csv(line) if form == "csv" else _as_json(line) for line in lines])


def header(form: Format) -> bytes:
    """The first line of a CSV file; nothing for other forms."""
    return f"{','.join(_ALL_FIELDS)}\n".encode() if form == "csv" else b""


def read(file: IO[bytes], form: Format) -> Iterator[tuple[int, Line | RecordError]]:
    """Every line with its number, or what is wrong with it. Empty lines are skipped."""
    for number, values in record_reader.read(
        record_reader.LineReader(file, _LONGEST), form, _ALL_FIELDS, OPTIONAL_FIELDS
    ):
        if isinstance(values, RecordError):
            yield number, values
            continue
        try:
            yield number, _line(_typed(values) if form == "csv" else values)
        except RecordError as bad:
            yield number, bad


def _as_csv(line: Line) -> bytes:
    product_id, offer_id, at, price, items, currency = line
    values = ("" if value is None else value for value in (offer_id, format_time(moment(at)), price, items, currency))
    return f"{product_id},{','.join(map(str, values))}\n".encode()


def _as_json(line: Line) -> bytes:
    return orjson.dumps({**line._asdict(), "at": format_time(moment(line.at))}, option=orjson.OPT_APPEND_NEWLINE)


def _typed(texts: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {name: text or None for name, text in texts.items()}
    for name in ("price", "items_in_stock"):
        if _DIGITS.fullmatch(texts[name]):
            values[name] = int(texts[name])
    return values


def _line(values: Mapping[str, Any]) -> Line:
    if values["product_id"] is None:
        raise RecordError("product_id is empty")
    if not isinstance(values["at"], str):
        raise RecordError("at is not a time like 2026-01-31T12:00:00Z")
    product_id, at = _id("product_id", values["product_id"]), microseconds(parse_record_time(values["at"]))
    price, items = _whole("price", values["price"]), _whole("items_in_stock", values["items_in_stock"])
    if values["offer_id"] is None:
        return _product_line(product_id, at, price, items)
    offer_id = _id("offer_id", values["offer_id"])
    if price is None:
        raise RecordError("price is empty")
    return Line(product_id, offer_id, at, price, items, _currency(values.get("currency")))


def _product_line(product_id: UUID, at: int, price: int | None, items: int | None) -> Line:
    if price is not None or items:
        raise RecordError(
            "without an offer_id, price is empty, and items_in_stock is empty (not observed) or 0 (observed)"
        )
    return Line(product_id, None, at, None, items)


@lru_cache(maxsize=10_000)  # the same ids come again and again
def _uuid(text: str) -> UUID | None:
    return UUID(text) if _UUID.fullmatch(text) else None


def _id(name: str, value: object) -> UUID:
    found = _uuid(value) if isinstance(value, str) else None
    if found is None:
        raise RecordError(f"{name} {excerpt(value)} is not a UUID")
    return found


def _currency(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value in EXPONENTS):
        return value
    raise RecordError(f"currency {excerpt(value)} is not a code of ISO 4217")


def _whole(name: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise RecordError(f"{name} {excerpt(value)} is not a whole number from 0 to {LARGEST}")
    return value
