"""Products as records of a file that `productagg export` writes and `import` takes, and what an import does with them.

Takes a session and products whose values are valid already; the caller's transaction holds a batch of them.
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

from productagg.catalog import products as catalog
from productagg.catalog.products import NewProduct
from productagg.record_reader import Bad, Format, shown

FIELDS = ("id", "name", "description", "created_at", "updated_at")
OPTIONAL = ("id", "created_at", "updated_at")

Outcome = Literal["created", "there", "different", "changed"]


def header(form: Format) -> bytes:
    """What a file begins with."""
    return _csv([FIELDS]) if form == "csv" else b""


def write(products: Iterable[Row[Any]], form: Format) -> bytes:
    """Records of `catalog.everything`."""
    if form == "csv":
        return _csv([*product[:3], _time(product.created_at), _time(product.updated_at)] for product in products)
    option = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(dict(zip(FIELDS, product, strict=True)), option=option) for product in products)


def bring_in(
    session: Session, products: Sequence[NewProduct], now: datetime, *, update: bool = False
) -> list[tuple[Outcome, UUID] | Bad]:
    """Create those that are not there, and tell what became of each, with its id. None is there twice among them.

    One whose name, and id if it brings one, is there, is left alone, 'different' if its description is another one;
    `update` changes that. One of whose name and id only one is there, or each at another product, is Bad.
    """
    ids = catalog.create_many(session, products, now)
    outcomes: list[tuple[Outcome, UUID] | Bad] = [("created", id_) if id_ else Bad(_GONE) for id_ in ids]
    others = [number for number, id_ in enumerate(ids) if id_ is None]
    if not others:
        return outcomes
    changes = []
    for number, there in zip(others, catalog.standings(session, [products[each] for each in others]), strict=True):
        new = products[number]
        if there.id is None:
            outcomes[number] = Bad(f"its id is that of {shown(there.name)}" if there.name is not None else _GONE)
        elif new.id not in (None, there.id):
            outcomes[number] = Bad(f"the product of this name has the id {there.id}")
        elif there.same_description:
            outcomes[number] = ("there", there.id)
        elif update:
            changes.append((there.id, number))
        else:
            outcomes[number] = ("different", there.id)
    for id_, number in sorted(changes):  # in this order, or two imports might wait for each other
        try:
            catalog.change(session, id_, now, description=products[number].description)
            outcomes[number] = ("changed", id_)
        except catalog.NotFound:
            outcomes[number] = Bad(_GONE)
    return outcomes


_GONE = "somebody has removed the product at this very moment"


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    # Lines end as RFC 4180 has it. Then all that has a line break of either kind in it is quoted.
    text = StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
