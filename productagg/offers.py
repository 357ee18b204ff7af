"""What is offered now: the pure difference of stored and fetched offers, its application, and reading them.

The sync applies, the API reads. Nothing here commits or knows where a list came from; a list that arrives here is whole
and valid, so what is absent from it is sold out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    DateTime,
    Executable,
    FromClause,
    Integer,
    RowMapping,
    Table,
    Uuid,
    case,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.bulk import Rows, aggregate
from productagg.models import Base, Offer, OfferPrice, ProductPrice
from productagg.prices import Summary, summarise


class State(NamedTuple):
    """What an offer says: price in the upstream's unit, items in stock."""

    price: int
    items_in_stock: int


@dataclass(frozen=True)
class Difference:
    """What must be written so that stored equals fetched. `changed` holds new, changed and reopened offers."""

    changed: Mapping[UUID, State]
    closed: Mapping[UUID, State]

    def __bool__(self) -> bool:
        return bool(self.changed or self.closed)


def diff(stored: Mapping[UUID, State], fetched: Mapping[UUID, State]) -> Difference:
    """Compare the open offers that we have with the whole list that upstream gave. `closed` holds their last prices."""
    return Difference(
        changed={id_: state for id_, state in fetched.items() if stored.get(id_) != state},
        closed={id_: State(state.price, 0) for id_, state in stored.items() if id_ not in fetched},
    )


@dataclass(frozen=True)
class Observation:
    """A whole, valid list for one product, as of `at`: later than any earlier one of that product.

    `first`: there was none before, so even an empty list is news.
    """

    product_id: UUID
    offers: Mapping[UUID, State]
    at: datetime
    first: bool


@dataclass(frozen=True)
class Change:
    """What an observation changes: the offers that differ, and the product's summary if that is another one now."""

    observation: Observation
    difference: Difference
    summary: Summary | None


def compare(session: Session, observations: Sequence[Observation]) -> dict[UUID, Change]:
    """What is to be written so that stored equals observed, by product; nothing for a product that has not changed.

    One statement, however many observations. It stays true for as long as the caller holds the products' leases.
    """
    stored = _open_offers(session, [each.product_id for each in observations])
    changes = {}
    for each in observations:
        before = stored.get(each.product_id, {})
        difference = diff(before, each.offers)
        if difference or each.first:
            summary = summarise(each.offers.values())
            news = each.first or summary != summarise(before.values())
            changes[each.product_id] = Change(each, difference, summary if news else None)
    return changes


def apply(session: Session, changes: Iterable[Change]) -> None:
    """Write the changed offers, and append what changed to both histories. Three statements, however many changes."""
    offers, summaries = [], []
    for change in changes:
        common = {"product_id": change.observation.product_id, "at": change.observation.at}
        if change.summary is not None:
            summaries.append({**common, **change.summary._asdict()})
        for id_, (price, items) in change.difference.changed.items():
            offers.append({**common, "id": id_, "price": price, "items_in_stock": items, "closed": False})
        for id_, (price, items) in change.difference.closed.items():
            offers.append({**common, "id": id_, "price": price, "items_in_stock": items, "closed": True})
    dialect = session.get_bind().dialect.name
    if offers:
        rows = Rows.parameter(dialect, offers)
        session.execute(_WRITE_OFFERS[dialect], rows)
        session.execute(_APPEND_OFFER_PRICES[dialect], rows)
    if summaries:
        session.execute(_APPEND_PRODUCT_PRICES[dialect], Rows.parameter(dialect, summaries))


def listing(connection: Connection | Session, product_id: UUID, *, closed: bool = False) -> Sequence[RowMapping]:
    """A product's offers, cheapest first: the current ones, with `closed` the sold-out ones after them as well."""
    query = (
        select(Offer.id, Offer.price, Offer.items_in_stock, Offer.first_seen_at, Offer.changed_at, Offer.closed_at)
        .where(Offer.product_id == product_id)
        .order_by(Offer.closed_at.is_not(None), Offer.price, Offer.id)
    )
    if not closed:
        query = query.where(Offer.closed_at.is_(None))
    return connection.execute(query).mappings().all()


def _open_offers(session: Session, product_ids: Sequence[UUID]) -> dict[UUID, dict[UUID, State]]:
    dialect = session.get_bind().dialect.name
    query = (
        select(Offer.product_id, aggregate(dialect, Offer.id, Offer.price, Offer.items_in_stock))
        .where(Offer.product_id.in_(product_ids), Offer.closed_at.is_(None))
        .group_by(Offer.product_id)
    )
    return {
        product_id: {UUID(id_): State(price, items) for id_, price, items in orjson.loads(offers)}
        for product_id, offers in session.execute(query)
    }


# Tables, not classes: for a class, SQLAlchemy's insert does more than these want.
_OFFERS, _OFFER_PRICES, _PRODUCT_PRICES = (
    Base.metadata.tables[model.__tablename__] for model in (Offer, OfferPrice, ProductPrice)
)
_TIME = DateTime(timezone=True)
_CHANGED = Rows(product_id=Uuid, at=_TIME, id=Uuid, price=BigInteger, items_in_stock=BigInteger, closed=Boolean)
_SUMMARIES = Rows(
    product_id=Uuid, at=_TIME, lowest=BigInteger, average=BigInteger, offers=Integer, items_in_stock=BigInteger
)


def _write_offers(statement: postgresql.Insert | sqlite.Insert, data: FromClause) -> Executable:
    """Insert offers or overwrite what they say. `first_seen_at` stays: an offer that comes back is the same offer."""
    values = {
        "product_id": data.c.product_id,
        "id": data.c.id,
        "price": data.c.price,
        "items_in_stock": data.c.items_in_stock,
        "first_seen_at": data.c.at,
        "changed_at": data.c.at,
        "closed_at": case((data.c.closed, data.c.at)),
    }
    written = ("price", "items_in_stock", "changed_at", "closed_at")
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for a join's ON.
    statement = statement.from_select(list(values), select(*values.values()).where(data.c.id.is_not(None)))
    return statement.on_conflict_do_update(
        index_elements=["product_id", "id"], set_={name: statement.excluded[name] for name in written}
    )


def _append(table: Table, data: FromClause, **columns: str) -> Executable:
    """Insert all rows of the data: into the columns of the same names, but for those named otherwise."""
    names = {each.key: columns.get(each.key, each.key) for each in table.c}
    return insert(table).from_select(list(names), select(*(data.c[name] for name in names.values())))


_WRITE_OFFERS = {
    "postgresql": _write_offers(postgresql.insert(_OFFERS), _CHANGED.table("postgresql")),
    "sqlite": _write_offers(sqlite.insert(_OFFERS), _CHANGED.table("sqlite")),
}
_APPEND_OFFER_PRICES = {
    dialect: _append(_OFFER_PRICES, _CHANGED.table(dialect), offer_id="id", observed_at="at")
    for dialect in _WRITE_OFFERS
}
_APPEND_PRODUCT_PRICES = {
    dialect: _append(_PRODUCT_PRICES, _SUMMARIES.table(dialect), observed_at="at") for dialect in _WRITE_OFFERS
}
