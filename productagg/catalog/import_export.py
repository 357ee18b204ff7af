"""Serializes products as CSV or NDJSON, and imports batches of products.

The import takes a session and products whose values are valid; the caller's transaction holds one batch.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from io import StringIO
from typing import Any, Literal, cast
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.orm import Session

from productagg.catalog import products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.matching import ExistingMatch, existing_matches
from productagg.catalog.product_values import FACTS, Facts
from productagg.record_reader import Format, RecordError, excerpt
from productagg.times import format_time

# New fields come last: readers of files may know the others by their places.
FIELDS = ("id", "name", "description", "created_at", "updated_at", *FACTS)
OPTIONAL = ("id", "created_at", "updated_at", *FACTS)

Outcome = Literal["created", "existing", "different", "changed"]
Imported = tuple[Outcome, UUID]


def header(form: Format) -> bytes:
    """The first line of a file."""
    return _csv([FIELDS]) if form == "csv" else b""


def serialize(rows: Iterable[Row[Any]], form: Format) -> bytes:
    """Rows of `products.all_products` as records."""
    if form == "csv":
        return _csv([*row[:3], format_time(row.created_at), format_time(row.updated_at), *row[5:]] for row in rows)
    option = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(dict(zip(FIELDS, row, strict=True)), option=option) for row in rows)


def import_batch(
    session: Session, batch: Sequence[NewProduct], now: datetime, *, update: bool = False
) -> list[Imported | RecordError]:
    """Create the products that do not exist yet. Returns the outcome and the id of every product, or why it is refused.

    No name may be in the batch twice. A product exists if its name does, and its id if it has one. It is then
    'existing' or, with other values, 'different', and is left alone; with `update`, different values are 'changed'.
    Facts of the batch that are not known differ from nothing and change nothing. A product is refused if its name and
    its id belong to two products, or only one of them exists.
    """
    ids = create_many(session, batch, now)
    rest = [new for new, id_ in zip(batch, ids, strict=True) if id_ is None]
    compared = iter(_compare_all(session, rest, now, update=update))
    return [("created", id_) if id_ is not None else next(compared) for id_ in ids]


def _compare_all(
    session: Session, batch: Sequence[NewProduct], now: datetime, *, update: bool
) -> list[Imported | RecordError]:
    """The outcomes of products that were not created."""
    if not batch:
        return []
    results = list(map(_compare, batch, existing_matches(session, batch)))
    if update:
        _update(session, batch, results, now)
    return results


def _compare(new: NewProduct, match: ExistingMatch) -> Imported | RecordError:
    if match.id is None:
        return RecordError(_reason_without_match(match))
    if new.id not in (None, match.id):
        return RecordError(f"the product with this name has the id {match.id}")
    return "existing" if match.same_values else "different", match.id


def _reason_without_match(match: ExistingMatch) -> str:
    """Why a product was not created although no product has its name."""
    return _REMOVED if match.name is None else f"the product {excerpt(match.name)} has this id"


def _update(
    session: Session, batch: Sequence[NewProduct], results: list[Imported | RecordError], now: datetime
) -> None:
    """Change the values that are different."""
    for id_, number in sorted(_different(results)):  # by id, or two imports might deadlock
        results[number] = _change_values(session, id_, batch[number], now)


def _different(results: Iterable[Imported | RecordError]) -> Iterator[tuple[UUID, int]]:
    for number, result in enumerate(results):
        if not isinstance(result, RecordError) and result[0] == "different":
            yield result[1], number


def _change_values(session: Session, id_: UUID, new: NewProduct, now: datetime) -> Imported | RecordError:
    known = cast(Facts, {fact: value for fact in FACTS if (value := getattr(new, fact)) is not None})
    try:
        products.change(session, id_, now, description=new.description, **known)
    except products.NotFound:
        return RecordError(_REMOVED)
    return "changed", id_


_REMOVED = "the product was removed during the import"


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    # With the line ends of RFC 4180, the writer quotes every value that contains a line break of either kind.
    text = StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
