"""An admin corrects recorded prices of an offer; what was corrected, by whom and why, is recorded. For the API.

The product's own steps, its summary and, if the newest step was wrong, the offer itself follow. Only steps that are
kept as they were recorded can be corrected: of summarised days, nobody knows which part of them was the wrong price.
Nothing here commits.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from productagg.catalog.change_feed import Event, record
from productagg.db import clock
from productagg.db.models import (
    Base,
    Catalogue,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDay,
    PriceCorrection,
    ProductPrice,
    ProductPriceDay,
    ProductSummary,
)
from productagg.history import UnknownOffer
from productagg.history.corrected_steps import OfferPriceStep, ProductPriceStep, corrected, recomputed
from productagg.history.row_writer import insert_rows
from productagg.offers.summary import Summary
from productagg.times import format_time

# Of one correction, so that it is done within a request.
MOST_STEPS = 1000

_OFFERS, _STEPS, _PRODUCT_STEPS, _SUMMARIES, _CORRECTIONS = (
    Base.metadata.tables[model.__tablename__]
    for model in (Offer, OfferPrice, ProductPrice, ProductSummary, PriceCorrection)
)


class CannotCorrect(Exception):
    """Why there is nothing that can be corrected, as a sentence."""


class Wrong(NamedTuple):
    """What is wrong: the prices recorded from `begin` until before `until`. `price` is the right one.

    None: the price before them stayed in force.
    """

    product_id: UUID
    offer_id: UUID
    begin: datetime
    until: datetime
    price: int | None


def correct(session: Session, wrong: Wrong, reason: str, username: str) -> UUID:
    """Correct the steps; returns the correction's id. The caller has locked the product against all other writers.

    Raises UnknownOffer, CannotCorrect.
    """
    offer = _offer(session, wrong)
    _check_kept(session, wrong.begin)
    times = _wrong_times(session, wrong)
    following = _following(session, wrong)
    before = _last_before(session, wrong.product_id, wrong.begin, Offer.id == wrong.offer_id).get(wrong.offer_id)
    if before is None and wrong.price is None:
        raise CannotCorrect("The offer has no price before these: say which one is right.")
    end = following.at if following is not None else None
    old = [step for step in _steps_in(session, wrong.product_id, wrong.begin, end) if step.offer_id == wrong.offer_id]
    new = corrected([before, *old] if before is not None else old, times, wrong.price)
    kept = new[1:] if before is not None else new
    _replace_offer_steps(session, wrong, end, kept)
    now = clock.now(session)
    if end is None:
        _set_price(session, wrong, new[-1].price, now)
    lowest, items_in_stock = session.execute(
        select(ProductSummary.lowest, ProductSummary.items_in_stock).filter_by(product_id=wrong.product_id)
    ).one()
    if offer.currency == offer.catalogue_currency:
        _recompute_product(session, wrong, end, [step.at for step in old])
        _refresh_summary(session, wrong.product_id, now)
    record(session, [Event(wrong.product_id, "offers", now, lowest=lowest, items_in_stock=items_in_stock)])
    return _record_correction(session, wrong, reason, username, _changes(old, times, new), now)


def corrections(connection: Connection, product_id: UUID, offer_id: UUID, limit: int) -> Sequence[Any]:
    """The newest corrections of an offer's prices, the last one first: rows of price_corrections, and `currency`."""
    offer = and_(_OFFERS.c.product_id == _CORRECTIONS.c.product_id, _OFFERS.c.id == _CORRECTIONS.c.offer_id)
    mine = (_CORRECTIONS.c.product_id == product_id, _CORRECTIONS.c.offer_id == offer_id)
    query = select(_CORRECTIONS, _OFFERS.c.currency).join(_OFFERS, offer).where(*mine)
    return connection.execute(query.order_by(_CORRECTIONS.c.id.desc()).limit(limit)).all()


def _offer(session: Session, wrong: Wrong) -> Any:
    catalogue = select(Catalogue.currency).scalar_subquery().label("catalogue_currency")
    query = select(Offer.currency, catalogue).where(Offer.product_id == wrong.product_id, Offer.id == wrong.offer_id)
    row = session.execute(query).one_or_none()
    if row is None:
        raise UnknownOffer(wrong.offer_id)
    return row


def _check_kept(session: Session, begin: datetime) -> None:
    raw_from = session.scalar(select(HistoryProgress.raw_from))
    if raw_from is not None and begin < raw_from:
        raise CannotCorrect(f"Only days are kept of prices before {format_time(raw_from)}: these are final.")


def _mine(wrong: Wrong) -> tuple[Any, Any]:
    return _STEPS.c.product_id == wrong.product_id, _STEPS.c.offer_id == wrong.offer_id


def _wrong_times(session: Session, wrong: Wrong) -> set[datetime]:
    at = _STEPS.c.observed_at
    query = select(at).where(*_mine(wrong), at >= wrong.begin, at < wrong.until).limit(MOST_STEPS + 1)
    times = set(session.scalars(query))
    if not times:
        raise CannotCorrect("No price was recorded in this time.")
    if len(times) > MOST_STEPS:
        raise CannotCorrect(f"More than {MOST_STEPS} prices were recorded in this time: correct a shorter one first.")
    return times


def _following(session: Session, wrong: Wrong) -> OfferPriceStep | None:
    """The offer's first step that is right again."""
    query = _select_steps().where(*_mine(wrong), _STEPS.c.observed_at >= wrong.until)
    row = session.execute(query.order_by(_STEPS.c.observed_at).limit(1)).one_or_none()
    return None if row is None else OfferPriceStep._make(row)


def _select_steps() -> Select[Any]:
    return select(_STEPS.c.offer_id, _STEPS.c.observed_at, _STEPS.c.price, _STEPS.c.items_in_stock)


def _steps_in(session: Session, product_id: UUID, begin: datetime, end: datetime | None) -> list[OfferPriceStep]:
    """The steps of all of a product's offers from `begin` to `end`, both included; None: to the newest."""
    at = _STEPS.c.observed_at
    query = _select_steps().where(_STEPS.c.product_id == product_id, at >= begin)
    if end is not None:
        query = query.where(at <= end)
    return [OfferPriceStep._make(row) for row in session.execute(query.order_by(at))]


def _last_before(session: Session, product_id: UUID, before: datetime, *which: Any) -> dict[UUID, OfferPriceStep]:
    """The last step of each of these offers before a time. It probes the index once per offer."""
    found: dict[UUID, OfferPriceStep] = {}
    # Steps that are kept as they were recorded are newer than those of days.
    for model in (OfferPriceDay, OfferPrice):
        table = model.__table__
        step, earlier = table.alias(), table.alias()
        of_offer = [
            (steps.c.product_id == Offer.product_id) & (steps.c.offer_id == Offer.id) for steps in (step, earlier)
        ]
        last = select(func.max(earlier.c.observed_at)).where(of_offer[1], earlier.c.observed_at < before)
        query = select(Offer.id, step.c.observed_at, step.c.price, step.c.items_in_stock).join(
            step, and_(of_offer[0], step.c.observed_at == last.correlate(Offer).scalar_subquery())
        )
        rows = session.execute(query.where(Offer.product_id == product_id, *which))
        found |= {row[0]: OfferPriceStep._make(row) for row in rows}
    return found


def _replace_offer_steps(session: Session, wrong: Wrong, end: datetime | None, steps: Iterable[OfferPriceStep]) -> None:
    at = _STEPS.c.observed_at
    removal = delete(_STEPS).where(*_mine(wrong), at >= wrong.begin)
    session.execute(removal if end is None else removal.where(at <= end))
    rows = [
        {
            "product_id": wrong.product_id,
            "offer_id": wrong.offer_id,
            "observed_at": step.at,
            "price": step.price,
            "items_in_stock": step.items_in_stock,
        }
        for step in steps
    ]
    insert_rows(session, OfferPrice, rows)


def _set_price(session: Session, wrong: Wrong, price: int, now: datetime) -> None:
    """The offer has this price. What its source lists is judged anew."""
    mine = (_OFFERS.c.product_id == wrong.product_id, _OFFERS.c.id == wrong.offer_id)
    session.execute(update(_OFFERS).where(*mine).values(price=price, quarantined=None, changed_at=now))


def _recompute_product(session: Session, wrong: Wrong, end: datetime | None, times: Iterable[datetime]) -> None:
    product_id, begin = wrong.product_id, wrong.begin
    counts = Offer.currency == select(Catalogue.currency).scalar_subquery()
    comparable = set(session.scalars(select(Offer.id).where(Offer.product_id == product_id, counts)))
    may_be_open = or_(Offer.closed_at.is_(None), Offer.closed_at >= begin)
    in_force = _last_before(session, product_id, begin, counts, may_be_open)
    offers = [step for step in _steps_in(session, product_id, begin, end) if step.offer_id in comparable]
    at = _PRODUCT_STEPS.c.observed_at
    window = [_PRODUCT_STEPS.c.product_id == product_id, at >= begin, *([at <= end] if end is not None else [])]
    recorded = [_product_step(row) for row in session.execute(select(*_product_columns(ProductPrice)).where(*window))]
    before = _newest_product_step(session, product_id, before=begin)
    steps = recomputed(before, in_force, offers, recorded, times)
    session.execute(delete(_PRODUCT_STEPS).where(*window))
    rows = [
        {"product_id": product_id, "observed_at": step.at, **step.summary._asdict(), "observed": step.observed}
        for step in steps
    ]
    insert_rows(session, ProductPrice, rows)


def _product_columns(model: type[Base]) -> list[Any]:
    return [model.__table__.c[name] for name in ("observed_at", *Summary._fields, "observed")]


def _product_step(row: Sequence[Any]) -> ProductPriceStep:
    at, *summary, observed = row
    return ProductPriceStep(at, Summary(*summary), bool(observed))


def _newest_product_step(
    session: Session, product_id: UUID, *, before: datetime | None = None, observed: bool | None = None
) -> ProductPriceStep | None:
    for model in (ProductPrice, ProductPriceDay):
        table = model.__table__
        query = select(*_product_columns(model)).where(table.c.product_id == product_id)
        if before is not None:
            query = query.where(table.c.observed_at < before)
        if observed is not None:
            query = query.where(table.c.observed == observed)
        row = session.execute(query.order_by(table.c.observed_at.desc()).limit(1)).one_or_none()
        if row is not None:
            return _product_step(row)
    return None


def _refresh_summary(session: Session, product_id: UUID, now: datetime) -> None:
    """The summary is the newest price's again, and what it compares with is due to be looked up."""
    newest = _newest_product_step(session, product_id, observed=True)
    values = {} if newest is None else {"observed_at": newest.at, **newest.summary._asdict()}
    mine = _SUMMARIES.c.product_id == product_id
    session.execute(update(_SUMMARIES).where(mine).values(compare_at=now, **values))


def _changes(
    old: Iterable[OfferPriceStep], times: set[datetime], new: Sequence[OfferPriceStep]
) -> list[dict[str, object]]:
    """The old and the new price at each of the times."""
    changes: list[dict[str, object]] = []
    for step in old:
        if step.at in times:
            in_force = next(each for each in reversed(new) if each.at <= step.at)
            changes.append({"at": format_time(step.at), "old_price": step.price, "new_price": in_force.price})
    return changes


def _record_correction(
    session: Session, wrong: Wrong, reason: str, username: str, changes: list[dict[str, object]], now: datetime
) -> UUID:
    values = {
        "product_id": wrong.product_id,
        "offer_id": wrong.offer_id,
        "wrong_from": wrong.begin,
        "wrong_until": wrong.until,
        "price": wrong.price,
        "reason": reason,
        "username": username,
        "changes": changes,
        "at": now,
    }
    returned = session.execute(insert(PriceCorrection).values(values).returning(PriceCorrection.id))
    return returned.scalar_one()
