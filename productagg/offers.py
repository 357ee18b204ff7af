"""What is offered now: the pure difference of stored and fetched offers, its application, and reading them.

The sync applies, the API reads. Nothing here commits or knows where a list came from; a list that arrives here is whole
and valid, so what is absent from it is sold out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Executable,
    FromClause,
    Integer,
    RowMapping,
    Uuid,
    bindparam,
    case,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.bulk import Rows, aggregate
from productagg.models import Base, Offer, OfferPrice, ProductPrice, UtcDateTime
from productagg.prices import summarise


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
    """A whole, valid list for one product. `first`: there was none before, so even an empty list is news."""

    product_id: UUID
    offers: Mapping[UUID, State]
    first: bool


def reconcile(session: Session, observations: Sequence[Observation], at: datetime) -> dict[UUID, Difference]:
    """Make the stored offers equal to what was observed, and append what changed to both histories, as of `at`.

    Four statements, however many observations; only what changed is written. Returns the differences of the products
    that changed. The caller holds the products' leases, so nobody else writes their offers meanwhile, and sees to it
    that `at` is later than any earlier observation of them.
    """
    dialect = session.get_bind().dialect.name
    stored = _open_offers(session, dialect, [each.product_id for each in observations])
    offers, summaries = [], []
    differences = {}
    for each in observations:
        before = stored.get(each.product_id, {})
        difference = diff(before, each.offers)
        if not difference and not each.first:
            continue
        summary = summarise(each.offers.values())
        if each.first or summary != summarise(before.values()):
            summaries.append({"product_id": each.product_id, **summary._asdict()})
        if not difference:
            continue
        differences[each.product_id] = difference
        for states, closed in ((difference.changed, False), (difference.closed, True)):
            for id_, (price, items_in_stock) in states.items():
                offers.append(
                    {
                        "product_id": each.product_id,
                        "id": id_,
                        "price": price,
                        "items_in_stock": items_in_stock,
                        "closed": closed,
                    }
                )
    if offers:
        parameters = {**Rows.parameter(dialect, offers), "at": at}
        session.execute(_WRITE_OFFERS[dialect], parameters)
        session.execute(_APPEND_OFFER_PRICES[dialect], parameters)
    if summaries:
        session.execute(_APPEND_PRODUCT_PRICES[dialect], {**Rows.parameter(dialect, summaries), "at": at})
    return differences


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


def _open_offers(session: Session, dialect: str, product_ids: Sequence[UUID]) -> dict[UUID, dict[UUID, State]]:
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
_CHANGED = Rows(product_id=Uuid, id=Uuid, price=BigInteger, items_in_stock=BigInteger, closed=Boolean)
_SUMMARIES = Rows(product_id=Uuid, lowest=BigInteger, average=BigInteger, offers=Integer, items_in_stock=BigInteger)
_AT = bindparam("at", type_=UtcDateTime)


def _write_offers(statement: postgresql.Insert | sqlite.Insert, data: FromClause) -> Executable:
    """Insert offers or overwrite what they say. `first_seen_at` stays: an offer that comes back is the same offer."""
    values = {
        "product_id": data.c.product_id,
        "id": data.c.id,
        "price": data.c.price,
        "items_in_stock": data.c.items_in_stock,
        "first_seen_at": _AT,
        "changed_at": _AT,
        "closed_at": case((data.c.closed, _AT)),
    }
    written = ("price", "items_in_stock", "changed_at", "closed_at")
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for a join's ON.
    statement = statement.from_select(list(values), select(*values.values()).where(data.c.id.is_not(None)))
    return statement.on_conflict_do_update(
        index_elements=["product_id", "id"], set_={name: statement.excluded[name] for name in written}
    )


def _append_offer_prices(data: FromClause) -> Executable:
    return insert(_OFFER_PRICES).from_select(
        ["product_id", "offer_id", "price", "items_in_stock", "observed_at"],
        select(data.c.product_id, data.c.id, data.c.price, data.c.items_in_stock, _AT),
    )


def _append_product_prices(data: FromClause) -> Executable:
    return insert(_PRODUCT_PRICES).from_select([*data.c.keys(), "observed_at"], select(*data.c, _AT))


_WRITE_OFFERS = {
    "postgresql": _write_offers(postgresql.insert(_OFFERS), _CHANGED.table("postgresql")),
    "sqlite": _write_offers(sqlite.insert(_OFFERS), _CHANGED.table("sqlite")),
}
_APPEND_OFFER_PRICES = {dialect: _append_offer_prices(_CHANGED.table(dialect)) for dialect in _WRITE_OFFERS}
_APPEND_PRODUCT_PRICES = {dialect: _append_product_prices(_SUMMARIES.table(dialect)) for dialect in _WRITE_OFFERS}
