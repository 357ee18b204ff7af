"""One product's rows, of several tables and windows in one statement: what a question needs costs one round trip.

For `known`. Rows come as JSON, a list for each column (see json_rows). Statements are made once: making one takes as
long as running it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    Subquery,
    Uuid,
    bindparam,
    cast,
    extract,
    func,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from productagg.db import prepared_statements
from productagg.db.json_rows import aggregate_columns, zip_columns
from productagg.db.models import Base, UtcDateTime
from productagg.history.steps import SECOND, moment

PRODUCT = bindparam("product_id", type_=Uuid)

Row = tuple[Any, ...]
_Shape = tuple[type[Base], tuple[str, ...], bool, bool, bool]


@dataclass(frozen=True)
class Part:
    """Some columns of a product's rows in one table, or of one offer's: in a window, and the newest row before it.

    Of a history the row at `begin` counts as the one before, and the one at `end` as within; of a roll-up it is the
    other way round. `limit` is for the rows within: no more than so many. Not `with_before`: only those within.
    """

    model: type[Base]
    columns: tuple[str, ...]
    begin: int
    end: int
    offer_id: UUID | None = None
    limit: int | None = None
    with_before: bool = True

    @property
    def shape(self) -> _Shape:
        return self.model, self.columns, self.offer_id is not None, self.limit is not None, self.with_before

    def parameters(self, number: int) -> dict[str, Any]:
        values = {"begin": moment(self.begin), "end": moment(self.end), "offer_id": self.offer_id, "limit": self.limit}
        return {f"{name}_{number}": value for name, value in values.items() if value is not None}


def read(connection: Connection, product_id: UUID, parts: Sequence[Part]) -> list[list[Row]]:
    """The rows of each part in order; each begins with its time in microseconds since the epoch."""
    statement = _statement(connection.dialect.name, tuple(part.shape for part in parts))
    row = prepared_statements.row(connection, statement, parameters(product_id, parts))
    assert row is not None
    return unpack(row, parts)


def parameters(product_id: UUID, parts: Iterable[Part]) -> dict[str, Any]:
    """Those of a statement with such `lists`."""
    found: dict[str, Any] = {"product_id": product_id}
    for number, part in enumerate(parts):
        found.update(part.parameters(number))
    return found


def unpack(row: Sequence[Any], parts: Iterable[Part]) -> list[list[Row]]:
    """The rows of each part, from a row of their `lists`."""
    lists = iter(row)
    return [
        sorted(zip_columns([next(lists) for _ in range(1 + len(part.columns))]), key=itemgetter(0)) for part in parts
    ]


def lists(dialect: str, shapes: Iterable[_Shape]) -> Iterator[Subquery]:
    """For each part a subquery of one row, with a JSON list for each column, the time first."""
    for number, shape in enumerate(shapes):
        at, *others = _rows(number, *shape).c
        yield select(*aggregate_columns(dialect, as_microseconds(dialect, at), *others)).subquery()


def as_microseconds(dialect: str, time: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """A time's microseconds since the epoch, exactly."""
    if dialect == "sqlite":  # where it is the text that SQLAlchemy keeps: YYYY-MM-DD HH:MM:SS.ffffff
        # Without the fraction: strftime would round it.
        seconds = cast(func.strftime("%s", func.substr(time, 1, 19)), Integer)
        return seconds * SECOND + cast(func.substr(time, 21, 6), Integer)
    return cast(extract("epoch", time) * SECOND, BigInteger)


@cache
def _statement(dialect: str, shapes: tuple[_Shape, ...]) -> Select[*tuple[Any, ...]]:
    return side_by_side(lists(dialect, shapes))


def side_by_side(rows: Iterable[FromClause]) -> Select[*tuple[Any, ...]]:
    """All columns of what has a row each."""
    first, *others = rows
    found = reduce(lambda all_, each: all_.join(each, true()), others, first)
    return select(first, *others).select_from(found)


def _rows(
    number: int, model: type[Base], columns: tuple[str, ...], of_offer: bool, limited: bool, with_before: bool
) -> Subquery:
    table = model.__table__.c
    begin, end = (bindparam(f"{name}_{number}", type_=UtcDateTime) for name in ("begin", "end"))
    which = [table.product_id == PRODUCT]
    if of_offer:
        which.append(table.offer_id == bindparam(f"offer_id_{number}", type_=Uuid))
    if "observed_at" in table:
        time = table.observed_at
        earlier, within = time <= begin, (time > begin, time <= end)
    else:
        time = table.at
        earlier, within = time < begin, (time >= begin, time < end)
    wanted = (time, *(table[name] for name in columns))
    later = select(*wanted).where(*which, *within)
    if limited:
        later = later.order_by(time).limit(bindparam(f"limit_{number}", type_=Integer))
    if not with_before:
        return later.subquery()
    before = select(*wanted).where(*which, earlier).order_by(time.desc()).limit(1)
    # Each in a subquery of its own: SQLite's grammar has ORDER BY and LIMIT only at the end of a UNION.
    return union_all(select(before.subquery()), select(later.subquery())).subquery()
