"""Makes the stored offers equal to the observed ones: first the pure difference, then its application.

The sync calls it, in a transaction of its own. Nothing here commits. A list is valid when it arrives here. It says
something about the offers of its own source only: if it is complete, an offer of that source that is absent from it is
sold out. A product's summary is of the offers of all its sources, as far as they are in the catalogue's currency.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import NamedTuple, TypeAlias
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
from productagg.db.models import (
    OFFERS_SOURCE,
    Base,
    Catalogue,
    Offer,
    OfferPrice,
    ProductPrice,
    ProductPriceDay,
    ProductSummary,
)
from productagg.offers.offer_state import OfferState as OfferState
from productagg.offers.quarantine import held_back
from productagg.offers.summary import NOTHING_IN_STOCK, Summary, storable, summarise


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

    @property
    def holds_back(self) -> bool:
        """Whether a price waits for its source to list it again."""
        return any(state.is_waiting for state in self.changed.values())


@dataclass(frozen=True)
class Observation:
    """A valid list for one product from one source, as of `at`, which is later than the product's previous observation.

    `first`: this is the product's first list, which is written even if it is empty. `unobserved_from`: the previous
    list is too old, so the offers from that time on until `at` are unknown. Both are about lists of any source.
    """

    product_id: UUID
    offers: Mapping[UUID, OfferState]
    at: datetime
    first: bool
    unobserved_from: datetime | None = None
    source_id: UUID = OFFERS_SOURCE
    is_complete: bool = True

    @property
    def starts_history(self) -> bool:
        """Whether the summary is written even if no offer differs: the history begins, or continues after a gap."""
        return self.first or self.unobserved_from is not None


@dataclass(frozen=True)
class OffersUpdate:
    """A product's changes at `at`: by source the offers that differ, and its summary if that must be written.

    `before` is the summary so far. `unobserved_from`: see Observation.
    """

    product_id: UUID
    at: datetime
    unobserved_from: datetime | None
    differences: Mapping[UUID, Difference]
    before: Summary
    summary: Summary | None

    @property
    def difference(self) -> Difference:
        """The offers of all sources that differ."""
        differences = list(self.differences.values())
        if len(differences) == 1:
            return differences[0]
        changed = chain.from_iterable(difference.changed.items() for difference in differences)
        closed = chain.from_iterable(difference.closed.items() for difference in differences)
        same_steps = chain.from_iterable(difference.same_steps for difference in differences)
        return Difference(dict(changed), dict(closed), set(same_steps))


class StoredOffers(NamedTuple):
    """The open offers of some products by product and source, as of `now`, the time of the transaction.

    Products and sources without any are absent. `currency` is the catalogue's.
    """

    now: datetime
    currency: str
    by_product: Mapping[UUID, Mapping[UUID, Mapping[UUID, OfferState]]]


def diff(
    stored: Mapping[UUID, OfferState], fetched: Mapping[UUID, OfferState], *, is_complete: bool = True
) -> Difference:
    """Compare a product's stored open offers of one source with a list of that source.

    `closed` holds their last prices. A list that is not complete closes nothing.
    """
    changed = {offer_id: state for offer_id, state in fetched.items() if stored.get(offer_id) != state}
    absent = [offer_id for offer_id in stored if offer_id not in fetched] if is_complete else []
    return Difference(
        changed,
        closed={offer_id: stored[offer_id].closed() for offer_id in absent},
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
        select(Offer.product_id, Offer.source_id, aggregated.label("offers"))
        .where(Offer.product_id.in_(product_ids), Offer.closed_at.is_(None))
        .group_by(Offer.product_id, Offer.source_id)
        .subquery()
    )
    # The clock's row is always there, so reading the time needs no statement of its own.
    currency = select(Catalogue.currency).scalar_subquery().label("currency")
    now = select(clock.now_expression(dialect).label("now"), currency).subquery()
    query = select(now, *offers.c).select_from(now.outerjoin(offers, true()))
    rows = session.execute(query, {"now": clock.now_parameter(dialect)}).all()
    by_product: dict[UUID, dict[UUID, Mapping[UUID, OfferState]]] = {}
    for _, _, product_id, source_id, text in rows:
        if product_id is not None:
            states = {UUID(offer_id): OfferState._make(facts) for offer_id, *facts in orjson.loads(text)}
            by_product.setdefault(product_id, {})[source_id] = states
    return StoredOffers(rows[0].now, rows[0].currency, by_product)


def plan_updates(
    stored: StoredOffers, observations: Iterable[Observation], quarantine_factor: float = 0
) -> dict[UUID, OffersUpdate]:
    """Return, by product, the updates that make the stored offers equal to the observed ones.

    Unchanged products are absent. A product may have observations from several sources, but only one from each. Prices
    that are glitches by `quarantine_factor` are held back (see quarantine.held_back); by 0, all are taken.
    """
    by_product: dict[UUID, list[Observation]] = {}
    for observation in observations:
        by_product.setdefault(observation.product_id, []).append(observation)
    updates = {}
    for product_id, observed in by_product.items():
        update = _plan_update(stored.by_product.get(product_id, {}), observed, stored.currency, quarantine_factor)
        if update is not None:
            updates[product_id] = update
    return updates


def _plan_update(
    stored: Mapping[UUID, Mapping[UUID, OfferState]],
    observations: Sequence[Observation],
    currency: str,
    quarantine_factor: float,
) -> OffersUpdate | None:
    """Plan a product's update from its stored offers by source and from lists of some of its sources."""
    differences, after_all = {}, dict(stored)
    for each in observations:
        mine = stored.get(each.source_id, {})
        listed = each.offers
        difference = diff(mine, listed, is_complete=each.is_complete)
        if quarantine_factor and (glitches := held_back(mine, difference.changed, each.at, quarantine_factor)):
            listed = {**listed, **glitches}
            difference = diff(mine, listed, is_complete=each.is_complete)
        differences[each.source_id] = difference
        after_all[each.source_id] = listed if each.is_complete else {**mine, **listed}
    starts_history = any(each.starts_history for each in observations)
    if not starts_history and not any(differences.values()):
        return None
    before, after = _summary(stored.values(), currency), _summary(after_all.values(), currency)
    gaps = [each.unobserved_from for each in observations if each.unobserved_from is not None]
    return OffersUpdate(
        observations[0].product_id,
        at=max(each.at for each in observations),
        unobserved_from=min(gaps, default=None),
        differences=differences,
        before=before,
        summary=after if starts_history or after != before else None,
    )


def _summary(of_sources: Iterable[Mapping[UUID, OfferState]], currency: str) -> Summary:
    """The summary of the offers of some sources, as far as they are in the catalogue's currency."""
    states = chain.from_iterable(offers.values() for offers in of_sources)
    return storable(summarise((state.price, state.stock) for state in states if state.currency == currency))


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
    rows: list[dict[str, object]] = []
    for source_id, difference in update.differences.items():
        common = {"product_id": update.product_id, "source_id": source_id, "at": update.at}
        for states, is_closed in ((difference.changed, False), (difference.closed, True)):
            rows += (
                {
                    **common,
                    # An absent member is NULL as well, and costs nothing to write and to read.
                    **{name: value for name, value in state._asdict().items() if value is not None},
                    "id": offer_id,
                    "stock": state.stock,
                    "is_step": offer_id not in difference.same_steps,
                    "closed": is_closed,
                }
                for offer_id, state in states.items()
            )
    return rows


def _summary_rows(update: OffersUpdate) -> list[dict[str, object]]:
    rows = []
    if update.summary is not None:
        rows.append(_summary_row(update.product_id, update.at, update.summary, observed=True))
    if update.unobserved_from is not None:
        rows.append(_summary_row(update.product_id, update.unobserved_from, NOTHING_IN_STOCK, observed=False))
    return rows


def _summary_row(product_id: UUID, at: datetime, summary: Summary, *, observed: bool) -> dict[str, object]:
    return {"product_id": product_id, "at": at, **summary._asdict(), "observed": observed}


def _event(update: OffersUpdate) -> Event:
    before = update.before
    return Event(update.product_id, "offers", update.at, None, None, before.lowest, before.items_in_stock)


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
    source_id=Uuid,
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
        "source_id": data.c.source_id,
        **state,
        "first_seen_at": data.c.at,
        "changed_at": data.c.at,
        "closed_at": case((data.c.closed, data.c.at)),
    }
    # The source as well: an offer of an imported history belongs to the first source that lists it.
    overwritten = ("source_id", *state, "changed_at", "closed_at")
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
