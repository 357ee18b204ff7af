"""Whether the roll-ups are what the raw rows say: recomputes them from raw rows and compares.

For `productagg history verify`, and for compaction before it drops raw rows. Only reads, some products and days at a
time, and passes may write meanwhile. What a compaction is rolling up at that moment may show as a difference.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Executable, Text, Uuid, bindparam, cast, select, union
from sqlalchemy.sql.selectable import FromClause

from productagg.db.json_rows import Rows, aggregate_rows
from productagg.db.models import (
    Base,
    HistoryLate,
    HistoryProgress,
    Offer,
    Product,
    ProductPriceDaily,
    ProductPriceWeekly,
    UtcDateTime,
)
from productagg.history.reading import as_microseconds
from productagg.history.rolling import Batch, batches, first_day, rollups_of, weeks
from productagg.history.steps import WEEK, bucket_start, microseconds, moment
from productagg.history.weekly import weekly_rows

_Values = dict[str, Any]
_Stored = dict[tuple[Any, ...], _Values]


class Difference(NamedTuple):
    """A row that is not what the raw rows say: what it is and what it should be; None: it is not, or should not be."""

    table: str
    product_id: str
    offer_id: str | None
    at: int
    stored: _Values | None
    expected: _Values | None

    def __str__(self) -> str:
        offer = f", offer {self.offer_id}" if self.offer_id else ""
        which = f"{self.table}, product {self.product_id}{offer}, {moment(self.at):%Y-%m-%d %H:%M}"
        if self.stored is None or self.expected is None:
            return f"{which}: {'the row is missing' if self.stored is None else 'there should be no row'}"
        wrong = (
            f"{name} is {value}, should be {self.expected[name]}"
            for name, value in self.stored.items()
            if value != self.expected[name]
        )
        return f"{which}: {'; '.join(wrong)}"


def rolled_up_days(connection: Connection) -> tuple[int, int]:
    """The days that are rolled up and still have their raw rows, as [begin, end); empty if there are none.

    Where none were dropped, roll-ups that are older than the first one are among them: there should be none.
    """
    until, raw_from = connection.execute(select(HistoryProgress.rolled_until, HistoryProgress.raw_from)).one()
    if until is None:
        return 0, 0
    end = microseconds(until)
    if raw_from is not None:
        return microseconds(raw_from), end
    return min(first_day(connection) or end, first_day(connection, ProductPriceDaily.at) or end, end), end


def differences(
    connection: Connection, begin: int, end: int, progress: Callable[[int], None] | None = None
) -> Iterator[Difference]:
    """What differs in whole days, which are rolled up; `progress` is told the products done, once for each week.

    Not that of late products: whoever wrote into their past said so, and they are rolled up again.
    """
    for first, last in weeks(begin, end):
        late = _late(connection)
        for batch in batches(connection, first, last):
            expected = rollups_of(batch.pasts, first)
            dialect = connection.dialect.name
            expected[ProductPriceWeekly] = list(weekly_rows(connection, dialect, batch.product_ids, first, last))
            found = [
                difference
                for model, rows in expected.items()
                for difference in _compare(model, _stored(connection, model, batch, first, last), rows)
            ]
            if found:
                late |= _late(connection)
            yield from (each for each in found if each.product_id not in late)
            if progress is not None:
                progress(len(batch.product_ids))


def _late(connection: Connection) -> set[str]:
    return set(connection.scalars(select(cast(HistoryLate.product_id, Text))))


def _compare(model: type[Base], stored: _Stored, rows: Sequence[dict[str, Any]]) -> Iterator[Difference]:
    keys = _keys(model)
    expected = {
        (*(row[name] for name in keys[:-1]), microseconds(row["at"])): {
            name: value for name, value in row.items() if name not in keys
        }
        for row in rows
    }
    for key in sorted(stored.keys() | expected.keys()):
        if stored.get(key) != expected.get(key):
            product_id, *offer_id, at = key
            of = offer_id[0] if offer_id else None
            yield Difference(model.__tablename__, product_id, of, at, stored.get(key), expected.get(key))


def _stored(connection: Connection, model: type[Base], batch: Batch, begin: int, end: int) -> _Stored:
    """The rows of the batch's products and of all their offers, by key."""
    dialect = connection.dialect.name
    if model is ProductPriceWeekly:
        begin, end = bucket_start(begin, WEEK), bucket_start(end - 1, WEEK) + WEEK
    offers = [{"product_id": past.product_id, "offer_id": id_} for past in batch.pasts for id_ in past.offers]
    parameters = {
        "first": batch.product_ids[0],
        "last": batch.product_ids[-1],
        "begin": moment(begin),
        "end": moment(end),
        **(Rows.parameter(dialect, offers) if "offer_id" in _keys(model) else {}),
    }
    text = connection.execute(_rows(dialect, model), parameters).scalar_one()
    keys = _keys(model)
    names = [*keys, *_values(model)]
    rows = (dict(zip(names, row, strict=True)) for row in orjson.loads(text or "[]"))
    return {tuple(row.pop(name) for name in keys): row for row in rows}


def _keys(model: type[Base]) -> tuple[str, ...]:
    return tuple(each.name for each in model.__table__.primary_key)


def _values(model: type[Base]) -> list[str]:
    return [each.name for each in model.__table__.columns if not each.primary_key]


@cache
def _rows(dialect: str, model: type[Base]) -> Executable:
    table = model.__table__
    first, last = (bindparam(name, type_=Uuid) for name in ("first", "last"))
    begin, end = (bindparam(name, type_=UtcDateTime) for name in ("begin", "end"))
    which: FromClause
    # By key, not by range: a range of products is years of rows.
    if "offer_id" in _keys(model):
        data = Rows(product_id=Uuid, offer_id=Uuid).table(dialect)
        offers = select(Offer.product_id, Offer.id.label("offer_id")).where(Offer.product_id.between(first, last))
        which = union(offers, select(data.c.product_id, data.c.offer_id)).subquery()
    else:
        which = select(Product.id.label("product_id")).where(Product.id.between(first, last)).subquery()
    ids = [cast(each, Text) for each in table.primary_key if each.name != "at"]
    text = aggregate_rows(
        dialect, *ids, as_microseconds(dialect, table.c.at), *(table.c[name] for name in _values(model))
    )
    same = [table.c[each.key] == each for each in which.c]
    within = (table.c.at >= begin, table.c.at < end)
    return select(text).select_from(which).join(table, same[0] if len(same) == 1 else same[0] & same[1]).where(*within)
