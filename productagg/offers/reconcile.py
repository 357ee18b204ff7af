"""Makes the stored offers equal to the observed ones: first the pure difference, then its application.

The sync calls it, in a transaction of its own. Nothing here commits or knows which source a list came from. A list is
complete and valid when it arrives here, so an offer that is absent from it is sold out. A product's summary is of its
offers in the catalogue's currency.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self, TypeAlias
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Executable,
    FromClause,
    Integer,
    Table,
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
from productagg.db.json_rows import Rows, aggregate_rows
from productagg.db.models import Base, Catalogue, Offer, OfferPrice, ProductPrice, ProductPriceDay, ProductSummary
from productagg.offers.stock import stock_of
from productagg.offers.summary import NOTHING_IN_STOCK, Summary, summarise
from productagg.sources.vocabulary import Availability, Condition


class OfferState(NamedTuple):
    """An offer as its source lists it; the columns of Offer that a source decides.

    `price` and `shipping` are in minor units of `currency`. None: the source does not tell; as `external_id`: the
    offer's own id is that of its source.
    """

    price: int
    items_in_stock: int | None
    currency: str
    availability: Availability = "unknown"
    condition: Condition = "unknown"
    seller: str | None = None
    url: str | None = None
    shipping: int | None = None
    external_id: str | None = None

    @property
    def stock(self) -> int | None:
        """The items in stock as a step of the history states them."""
        return stock_of(self.availability, self.items_in_stock)

    def has_same_step(self, other: Self) -> bool:
        """Whether the history has the same of both: the price and the stock."""
        return self.price == other.price and self.stock == other.stock

    def closed(self) -> Self:
        return self._replace(items_in_stock=0, availability="out_of_stock")


@dataclass(frozen=True)
class Difference:
    """The changes that make the stored offers equal to the fetched ones. `changed` includes new and reopened offers.

    `same_steps` are those of `changed` whose price and stock stay: only other facts differ.
    """

    changed: Mapping[UUID, OfferState]
    closed: Mapping[UUID, OfferState]
    same_steps: AbstractSet[UUID] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.changed or self.closed)


@dataclass(frozen=True)
class Observation:
    """A complete, valid list for one product, as of `at`, which is later than the product's previous observation.

    `first`: this is the product's first list, which is written even if it is empty. `unobserved_from`: the previous
    list is too old, so the offers from that time on until `at` are unknown.
    """

    product_id: UUID
    offers: Mapping[UUID, OfferState]
    at: datetime
    first: bool
    unobserved_from: datetime | None = None

    @property
    def starts_history(self) -> bool:
        """Whether the summary is written even if no offer differs: the history begins, or continues after a gap."""
        return self.first or self.unobserved_from is not None


@dataclass(frozen=True)
class OffersUpdate:
    """The changes after an observation: the offers that differ, and the product's summary if it must be written.

    `before` is the summary so far.
    """

    observation: Observation
    difference: Difference
    before: Summary
    summary: Summary | None


class StoredOffers(NamedTuple):
    """The open offers of some products, as of `now`, the time of the transaction. Products without any are absent.

    `currency` is the catalogue's.
    """

    now: datetime
    currency: str
    by_product: Mapping[UUID, Mapping[UUID, OfferState]]


def diff(stored: Mapping[UUID, OfferState], fetched: Mapping[UUID, OfferState]) -> Difference:
    """Compare a product's stored open offers with a complete fetched list. `closed` holds their last prices."""
    changed = {offer_id: state for offer_id, state in fetched.items() if stored.get(offer_id) != state}
    return Difference(
        changed,
        closed={offer_id: state.closed() for offer_id, state in stored.items() if offer_id not in fetched},
        same_steps={
            offer_id
            for offer_id, state in changed.items()
            if offer_id in stored and stored[offer_id].has_same_step(state)
        },
    )


def read_stored(session: Session, product_ids: Sequence[UUID]) -> StoredOffers:
    """Read the open offers, in one statement. They stay as they are while the caller holds the products' leases."""
    dialect = dialect_name(session)
    aggregated = aggregate_rows(dialect, Offer.id, *(getattr(Offer, name) for name in OfferState._fields))
    offers = (
        select(Offer.product_id, aggregated.label("offers"))
        .where(Offer.product_id.in_(product_ids), Offer.closed_at.is_(None))
        .group_by(Offer.product_id)
        .subquery()
    )
    # The clock's row is always there, so reading the time needs no statement of its own.
    currency = select(Catalogue.currency).scalar_subquery().label("currency")
    now = select(clock.now_expression(dialect).label("now"), currency).subquery()
    query = select(now, offers.c.product_id, offers.c.offers).select_from(now.outerjoin(offers, true()))
    rows = session.execute(query, {"now": clock.now_parameter(dialect)}).all()
    by_product = {
        product_id: {UUID(offer_id): OfferState._make(facts) for offer_id, *facts in orjson.loads(text)}
        for _, _, product_id, text in rows
        if product_id is not None
    }
    return StoredOffers(rows[0].now, rows[0].currency, by_product)


def plan_updates(stored: StoredOffers, observations: Iterable[Observation]) -> dict[UUID, OffersUpdate]:
    """Return, by product, the updates that make the stored offers equal to the observed ones.

    Unchanged products are absent.
    """
    updates = {}
    for observation in observations:
        update = _plan_update(stored.by_product.get(observation.product_id, {}), observation, stored.currency)
        if update is not None:
            updates[observation.product_id] = update
    return updates


def _plan_update(stored: Mapping[UUID, OfferState], observation: Observation, currency: str) -> OffersUpdate | None:
    difference = diff(stored, observation.offers)
    if not difference and not observation.starts_history:
        return None
    before, after = (
        summarise((state.price, state.stock) for state in states.values() if state.currency == currency)
        for states in (stored, observation.offers)
    )
    is_written = observation.starts_history or after != before
    return OffersUpdate(observation, difference, before, after if is_written else None)


def apply_updates(session: Session, updates: Iterable[OffersUpdate]) -> None:
    """Write the changed offers and append to both histories. The number of statements is constant.

    The start of a gap is written once, even if several observations name it.
    """
    offers: list[dict[str, object]] = []
    summaries: list[dict[str, object]] = []
    events: list[Event] = []
    for update in updates:
        offers += _offer_rows(update)
        summaries += _summary_rows(update)
        events.append(_event(update))
    dialect = dialect_name(session)
    _write(session, _WRITE_OFFERS[dialect], offers)
    _write(session, _WRITE_SUMMARIES[dialect], summaries)
    record(session, events)


def _offer_rows(update: OffersUpdate) -> list[dict[str, object]]:
    common = {"product_id": update.observation.product_id, "at": update.observation.at}
    difference = update.difference
    return [
        {
            **common,
            # An absent member is NULL as well, and costs nothing to write and to read.
            **{name: value for name, value in state._asdict().items() if value is not None},
            "id": offer_id,
            "stock": state.stock,
            "is_step": offer_id not in difference.same_steps,
            "closed": is_closed,
        }
        for states, is_closed in ((difference.changed, False), (difference.closed, True))
        for offer_id, state in states.items()
    ]


def _summary_rows(update: OffersUpdate) -> list[dict[str, object]]:
    observation, rows = update.observation, []
    if update.summary is not None:
        rows.append(_summary_row(observation.product_id, observation.at, update.summary, observed=True))
    if observation.unobserved_from is not None:
        gap_from = observation.unobserved_from
        rows.append(_summary_row(observation.product_id, gap_from, NOTHING_IN_STOCK, observed=False))
    return rows


def _summary_row(product_id: UUID, at: datetime, summary: Summary, *, observed: bool) -> dict[str, object]:
    return {"product_id": product_id, "at": at, **summary._asdict(), "observed": observed}


def _event(update: OffersUpdate) -> Event:
    observation, before = update.observation, update.before
    return Event(observation.product_id, "offers", observation.at, None, None, before.lowest, before.items_in_stock)


def _write(session: Session, statements: Iterable[Executable], rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        parameters = Rows.parameter(dialect_name(session), rows)
        for statement in statements:
            session.execute(statement, parameters)


_MakeInsert: TypeAlias = Callable[[Table], postgresql.Insert] | Callable[[Table], sqlite.Insert]

# Tables, not classes: SQLAlchemy's insert into a class adds ORM work that these statements do not need.
_OFFERS, _OFFER_PRICES, _PRODUCT_PRICES, _PRODUCT_DAYS, _PRODUCT_SUMMARIES = (
    Base.metadata.tables[model.__tablename__]
    for model in (Offer, OfferPrice, ProductPrice, ProductPriceDay, ProductSummary)
)
_TIME = DateTime(timezone=True)
_CHANGED = Rows(
    product_id=Uuid,
    at=_TIME,
    id=Uuid,
    stock=BigInteger,
    is_step=Boolean,
    closed=Boolean,
    **{name: _OFFERS.c[name].type for name in OfferState._fields},
)
_SUMMARIES = Rows(
    product_id=Uuid,
    at=_TIME,
    lowest=BigInteger,
    average=BigInteger,
    offers=Integer,
    items_in_stock=BigInteger,
    observed=Boolean,
)


def _offers_statements(make_insert: _MakeInsert, data: FromClause) -> tuple[Executable, ...]:
    """Insert offers or overwrite their state, and append the price and the stock to their histories.

    `first_seen_at` stays: an offer that comes back is the same offer.
    """
    state = {name: data.c[name] for name in OfferState._fields}
    values = {
        "product_id": data.c.product_id,
        "id": data.c.id,
        **state,
        "first_seen_at": data.c.at,
        "changed_at": data.c.at,
        "closed_at": case((data.c.closed, data.c.at)),
    }
    overwritten = (*state, "changed_at", "closed_at")
    # Without a WHERE, SQLite's parser reads ON CONFLICT as the ON of a join.
    write = make_insert(_OFFERS).from_select(list(values), select(*values.values()).where(data.c.id.is_not(None)))
    write = write.on_conflict_do_update(
        index_elements=["product_id", "id"], set_={name: write.excluded[name] for name in overwritten}
    )
    steps = {
        "product_id": data.c.product_id,
        "offer_id": data.c.id,
        "observed_at": data.c.at,
        "price": data.c.price,
        "items_in_stock": data.c.stock,
    }
    append = insert(_OFFER_PRICES).from_select(list(steps), select(*steps.values()).where(data.c.is_step))
    if make_insert is sqlite.insert:
        return write, append
    return (write.add_cte(append.cte("appended")),)  # one round trip


def _summaries_statements(make_insert: _MakeInsert, data: FromClause) -> tuple[Executable, ...]:
    """Append the rows to the products' histories, and overwrite the products' summaries with the observed rows."""
    names = ("lowest", "average", "offers", "items_in_stock")
    values = {"product_id": data.c.product_id, "observed_at": data.c.at, **{name: data.c[name] for name in names}}
    # A compaction may have recorded the gap in the meantime, and moved it to the compacted days.
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


_INSERTS: dict[str, _MakeInsert] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_WRITE_OFFERS = {name: _offers_statements(make, _CHANGED.table(name)) for name, make in _INSERTS.items()}
_WRITE_SUMMARIES = {name: _summaries_statements(make, _SUMMARIES.table(name)) for name, make in _INSERTS.items()}
