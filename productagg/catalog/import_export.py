"""Products as the records of a file, which `productagg export` writes, and what an import does with a batch of them.

It takes a session and products whose values are valid; the caller's transaction holds one batch.
"""

import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Literal
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.orm import Session

from productagg.catalog import products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.matching import ExistingMatch, existing_matches
from productagg.record_reader import Format, RecordError, excerpt

FIELDS = ("id", "name", "description", "created_at", "updated_at")
OPTIONAL = ("id", "created_at", "updated_at")

Outcome = Literal["created", "existing", "different", "changed"]
Imported = tuple[Outcome, UUID]


def header(form: Format) -> bytes:
    """The first line of a file."""
    return _csv([FIELDS]) if form == "csv" else b""


def serialize(rows: Iterable[Row[Any]], form: Format) -> bytes:
    """Rows of `products.all_products` as records."""
    if form == "csv":
        return _csv([*row[:3], _time(row.created_at), _time(row.updated_at)] for row in rows)
    option = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(dict(zip(FIELDS, row, strict=True)), option=option) for row in rows)


def import_batch(
    session: Session, batch: Sequence[NewProduct], now: datetime, *, update: bool = False
) -> list[Imported | RecordError]:
    """Create the products that do not exist yet. Returns the outcome and the id of every product, or why it is refused.

    No name may be in the batch twice. A product exists if its name does, and its id if it has one. It is then
    'existing' or, with another description, 'different', and is left alone; with `update`, a different description is
    'changed'. A product is refused if its name and its id belong to two products, or only one of them exists.
    """
    ids = create_many(session, batch, now)
    results: list[Imported | RecordError] = [("created", id_) if id_ else RecordError(_REMOVED) for id_ in ids]
    rest = [number for number, id_ in enumerate(ids) if id_ is None]
    if rest:
        matches = existing_matches(session, [batch[number] for number in rest])
        for number, match in zip(rest, matches, strict=True):
            results[number] = _compare(batch[number], match)
        if update:
            _update(session, batch, results, now)
    return results


def _compare(new: NewProduct, match: ExistingMatch) -> Imported | RecordError:
    if match.id is None:
        return RecordError(f"the product {excerpt(match.name)} has this id" if match.name is not None else _REMOVED)
    if new.id not in (None, match.id):
        return RecordError(f"the product with this name has the id {match.id}")
    return "existing" if match.same_description else "different", match.id


def _update(
    session: Session, batch: Sequence[NewProduct], results: list[Imported | RecordError], now: datetime
) -> None:
    """Change the descriptions that are different."""
    different = [
        (result[1], number)
        for number, result in enumerate(results)
        if not isinstance(result, RecordError) and result[0] == "different"
    ]
    for id_, number in sorted(different):  # by id, or two imports might deadlock
        try:
            products.change(session, id_, now, description=batch[number].description)
            results[number] = ("changed", id_)
        except products.NotFound:
            results[number] = RecordError(_REMOVED)


_REMOVED = "the product was removed during the import"


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    # With the line ends of RFC 4180, the writer quotes every value that contains a line break of either kind.
    text = StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
