"""What is offered now: the pure difference of stored and fetched offers, its application, and reading them.

The sync applies, the API reads. Nothing here commits or knows where a list came from; a list that arrives here is whole
and valid, so what is absent from it is sold out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, RowMapping, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.models import Base, Offer, OfferPrice, ProductPrice
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


def reconcile(session: Session, observations: Sequence[Observation], now: datetime) -> dict[UUID, Difference]:
    """Make the stored offers equal to what was observed, and append what changed to both histories.

    A constant number of statements, however many observations. Returns the differences of the products that changed.
    The caller holds the products' leases, so nobody else writes their offers meanwhile.
    """
    stored = _open_offers(session, [each.product_id for each in observations])
    offers, offer_prices, product_prices = [], [], []
    differences = {}
    for each in observations:
        before = stored.get(each.product_id, {})
        difference = diff(before, each.offers)
        summary = summarise(each.offers.values())
        if each.first or summary != summarise(before.values()):
            product_prices.append({"product_id": each.product_id, "observed_at": now, **asdict(summary)})
        if not difference:
            continue
        differences[each.product_id] = difference
        for states, closed_at in ((difference.changed, None), (difference.closed, now)):
            for id_, state in states.items():
                values = {"product_id": each.product_id, **state._asdict()}
                offers.append({**values, "id": id_, "first_seen_at": now, "changed_at": now, "closed_at": closed_at})
                offer_prices.append({**values, "offer_id": id_, "observed_at": now})
    if offers:
        session.execute(_UPSERTS[session.get_bind().dialect.name], offers)
        session.execute(insert(OfferPrice), offer_prices)
    if product_prices:
        session.execute(insert(ProductPrice), product_prices)
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


def _open_offers(session: Session, product_ids: Sequence[UUID]) -> dict[UUID, dict[UUID, State]]:
    query = select(Offer.product_id, Offer.id, Offer.price, Offer.items_in_stock).where(
        Offer.product_id.in_(product_ids), Offer.closed_at.is_(None)
    )
    found: dict[UUID, dict[UUID, State]] = {}
    for product_id, id_, price, items_in_stock in session.execute(query):
        found.setdefault(product_id, {})[id_] = State(price, items_in_stock)
    return found


def _upsert(statement: postgresql.Insert | sqlite.Insert) -> postgresql.Insert | sqlite.Insert:
    """Insert an offer or overwrite what it says. `first_seen_at` stays: an offer that comes back is the same offer."""
    written = ("price", "items_in_stock", "changed_at", "closed_at")
    return statement.on_conflict_do_update(
        index_elements=["product_id", "id"], set_={name: statement.excluded[name] for name in written}
    )


# The table, not the class: for a class, SQLAlchemy would send one upsert per row.
_OFFERS = Base.metadata.tables[Offer.__tablename__]
_UPSERTS = {
    "postgresql": _upsert(postgresql.insert(_OFFERS)),
    "sqlite": _upsert(sqlite.insert(_OFFERS)),
}
