"""What is offered now: the pure difference of stored and fetched offers, its application, and reading them.

The sync applies, the API reads. Nothing here commits or knows where a list came from; a list that arrives here is whole
and valid, so what is absent from it is sold out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Executable,
    FromClause,
    Integer,
    Uuid,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from productagg.catalog.change_feed import Event, record
from productagg.db import clock
from productagg.db.engines import dialect_name
from productagg.db.json_rows import Rows, aggregate
from productagg.db.models import Base, Offer, OfferPrice, ProductPrice, ProductPriceDay, ProductSummary
from productagg.offers.summary import NOTHING, Summary, summarise


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

    `first`: there was none before, so even an empty list is news. `unobserved_from`: the one before is too long ago to
    say what was offered in between; from then on nobody knew.
    """

    product_id: UUID
    offers: Mapping[UUID, State]
    at: datetime
    first: bool
    unobserved_from: datetime | None = None


@dataclass(frozen=True)
class Change:
    """What an observation changes: the offers that differ, and the product's summary if that is news.

    `before` is the summary so far.
    """

    observation: Observation
    difference: Difference
    before: Summary
    summary: Summary | None


class Stored(NamedTuple):
    """The open `offers` of some products, by product (none of one that has none), and the time of the transaction."""

    now: datetime
    offers: Mapping[UUID, Mapping[UUID, State]]


def stored(session: Session, product_ids: Sequence[UUID]) -> Stored:
    """What is stored of some products. It stays true for as long as the caller holds the products' leases.

    One statement, however many products.
    """
    dialect = dialect_name(session)
    aggregated = aggregate(dialect, Offer.id, Offer.price, Offer.items_in_stock)
    offers = (
        select(Offer.product_id, aggregated.label("offers"))
        .where(Offer.product_id.in_(product_ids), Offer.closed_at.is_(None))
        .group_by(Offer.product_id)
        .subquery()
    )
    # A row of the clock's at least, so that the time costs no statement of its own.
    now = select(clock.expression(dialect).label("now")).subquery()
    query = select(now.c.now, offers.c.product_id, offers.c.offers).select_from(now.outerjoin(offers, true()))
    rows = session.execute(query, {"now": clock.given(dialect)}).all()
    found = {
        product_id: {UUID(id_): State(price, items) for id_, price, items in orjson.loads(text)}
        for _, product_id, text in rows
        if product_id is not None
    }
    return Stored(rows[0].now, found)


def compare(stored: Stored, observations: Iterable[Observation]) -> dict[UUID, Change]:
    """What is to be written so that stored equals observed, by product; nothing for a product that has not changed."""
    changes = {}
    for each in observations:
        before = stored.offers.get(each.product_id, {})
        difference = diff(before, each.offers)
        new = each.first or each.unobserved_from is not None
        if difference or new:
            known, summary = summarise(before.values()), summarise(each.offers.values())
            news = new or summary != known
            changes[each.product_id] = Change(each, difference, known, summary if news else None)
    return changes


def apply(session: Session, changes: Iterable[Change]) -> None:
    """Write the changed offers, and append what changed to both histories; a gap's beginning once, however often asked.

    As many statements for many changes as for one.
    """
    offers, summaries, events = [], [], []
    for change in changes:
        common = {"product_id": change.observation.product_id, "at": change.observation.at}
        if change.summary is not None:
            summaries.append({**common, **change.summary._asdict(), "observed": True})
        gap_from = change.observation.unobserved_from
        if gap_from is not None:
            summaries.append({**common, **NOTHING._asdict(), "at": gap_from, "observed": False})
        lowest, _, _, items_in_stock = change.before
        events.append(
            Event(change.observation.product_id, "offers", change.observation.at, None, None, lowest, items_in_stock)
        )
        for id_, (price, items) in change.difference.changed.items():
            offers.append({**common, "id": id_, "price": price, "items_in_stock": items, "closed": False})
        for id_, (price, items) in change.difference.closed.items():
            offers.append({**common, "id": id_, "price": price, "items_in_stock": items, "closed": True})
    dialect = session.get_bind().dialect.name
    if offers:
        rows = Rows.parameter(dialect, offers)
        for statement in _WRITE_OFFERS[dialect]:
            session.execute(statement, rows)
    if summaries:
        rows = Rows.parameter(dialect, summaries)
        for statement in _APPEND_PRODUCT_PRICES[dialect]:
            session.execute(statement, rows)
    record(session, events)


@dataclass(frozen=True)
class Purchase:
    """So many units of one offer, `price` each in the upstream's unit."""

    offer_id: UUID
    price: int
    quantity: int


@dataclass(frozen=True)
class Cost:
    """What `quantity` units cost: `cost` is the exact sum of `lines`, which hold `available_quantity` units.

    Those are all that were asked for if it is `complete`, else all that are in stock. None in stock: no cost.
    """

    product_id: UUID
    quantity: int
    available_quantity: int
    complete: bool
    cost: int | None
    lines: Sequence[Purchase]


def cost(product_id: UUID, current: Iterable[Mapping[str, Any]], quantity: int) -> Cost:
    """What so many units cost of the `current` offers, cheapest first: of each all it has, until there are enough."""
    lines = []
    wanted = quantity
    for offer in current:
        units = min(offer["items_in_stock"], wanted)
        if units:
            lines.append(Purchase(UUID(offer["id"]), offer["price"], units))
            wanted -= units
    total = sum(line.price * line.quantity for line in lines) if lines else None
    return Cost(product_id, quantity, quantity - wanted, not wanted, total, lines)


# Tables, not classes: for a class, SQLAlchemy's insert does more than these want.
_OFFERS, _OFFER_PRICES, _PRODUCT_PRICES, _PRODUCT_DAYS, _PRODUCT_SUMMARIES = (
    Base.metadata.tables[model.__tablename__]
    for model in (Offer, OfferPrice, ProductPrice, ProductPriceDay, ProductSummary)
)
_TIME = DateTime(timezone=True)
_CHANGED = Rows(product_id=Uuid, at=_TIME, id=Uuid, price=BigInteger, items_in_stock=BigInteger, closed=Boolean)
_SUMMARIES = Rows(
    product_id=Uuid,
    at=_TIME,
    lowest=BigInteger,
    average=BigInteger,
    offers=Integer,
    items_in_stock=BigInteger,
    observed=Boolean,
)


def _write_offers(make_insert: Any, data: FromClause) -> tuple[Executable, ...]:
    """Insert offers or overwrite what they say, and append it to their histories.

    `first_seen_at` stays: an offer that comes back is the same offer.
    """
    says = {"price": data.c.price, "items_in_stock": data.c.items_in_stock}
    values = {
        "product_id": data.c.product_id,
        "id": data.c.id,
        **says,
        "first_seen_at": data.c.at,
        "changed_at": data.c.at,
        "closed_at": case((data.c.closed, data.c.at)),
    }
    written = (*says, "changed_at", "closed_at")
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for a join's ON.
    write = make_insert(_OFFERS).from_select(list(values), select(*values.values()).where(data.c.id.is_not(None)))
    write = write.on_conflict_do_update(
        index_elements=["product_id", "id"], set_={name: write.excluded[name] for name in written}
    )
    steps = {"product_id": data.c.product_id, "offer_id": data.c.id, "observed_at": data.c.at, **says}
    append = insert(_OFFER_PRICES).from_select(list(steps), select(*steps.values()))
    if make_insert is sqlite.insert:
        return write, append
    return (write.add_cte(append.cte("appended")),)  # one round trip


def _append_product_prices(make_insert: Any, data: FromClause) -> tuple[Executable, ...]:
    """Append the rows to the products' histories, and overwrite the products' summaries with those observed."""
    names = ("lowest", "average", "offers", "items_in_stock")
    values = {"product_id": data.c.product_id, "observed_at": data.c.at, **{name: data.c[name] for name in names}}
    # A compaction may have recorded the gap meanwhile, and moved it.
    moved = exists().where(_PRODUCT_DAYS.c.product_id == data.c.product_id, _PRODUCT_DAYS.c.observed_at == data.c.at)
    append = make_insert(_PRODUCT_PRICES).from_select(
        [*values, "observed"], select(*values.values(), data.c.observed).where(or_(data.c.observed, ~moved))
    )
    append = append.on_conflict_do_nothing()
    summarise = make_insert(_PRODUCT_SUMMARIES).from_select(
        [*values, "compare_at"], select(*values.values(), data.c.at).where(data.c.observed)
    )
    summarise = summarise.on_conflict_do_update(
        index_elements=["product_id"],
        set_={
            **{name: summarise.excluded[name] for name in ("observed_at", *names)},
            "compare_at": func.coalesce(_PRODUCT_SUMMARIES.c.compare_at, summarise.excluded.compare_at),
        },
    )
    if make_insert is sqlite.insert:
        return append, summarise
    return (summarise.add_cte(append.cte("appended")),)  # one round trip


_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_WRITE_OFFERS = {name: _write_offers(make, _CHANGED.table(name)) for name, make in _INSERTS.items()}
_APPEND_PRODUCT_PRICES = {name: _append_product_prices(make, _SUMMARIES.table(name)) for name, make in _INSERTS.items()}
