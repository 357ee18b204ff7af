"""A product's offers, page by page: current offers, then closed offers. For the API; it only reads."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, Integer, Select, Uuid, bindparam, func, literal, select, tuple_

from productagg.catalog.product_members import OFFER_COLUMNS, current_offers, sync_times
from productagg.catalog.products import NotFound
from productagg.db import clock
from productagg.db.json_rows import aggregate_objects
from productagg.db.models import Offer, Product, UtcDateTime


class ClosedOffersCursor(NamedTuple):
    """Where a page of closed offers begins: after the offer with this id and this closing time (RFC 3339)."""

    closed_at: str
    id: UUID


class OffersPage(NamedTuple):
    """`offers` as JSON, the cursor of the next page if there is one, and when the product's next sync is due.

    `now` is the time by the database's clock.
    """

    offers: str
    following: ClosedOffersCursor | None
    next_sync_at: datetime
    now: datetime


def offers_page(
    connection: Connection, product_id: UUID, limit: int, cursor: ClosedOffersCursor | None = None
) -> OffersPage:
    """Up to `limit` closed offers from the cursor on, the last closed first. Raises NotFound.

    The first page, which has no cursor, begins with all current offers, cheapest first. A page shows one moment. An
    offer that stays closed is on exactly one page, even if other offers are closed, opened or removed meanwhile.
    """
    dialect = connection.dialect.name
    values = {"product_id": product_id, "limit": limit + 1, "now": clock.now_parameter(dialect)}
    values |= _cursor_parameters(cursor)
    row = connection.execute(_PAGE[dialect, cursor is not None], values).one_or_none()
    if row is None:
        raise NotFound(product_id)
    closed = orjson.loads(row.closed)
    following = _cursor_after(closed[limit - 1]) if len(closed) > limit else None
    offers = [row.current[1:-1], *(orjson.dumps(offer).decode() for offer in closed[:limit])]
    return OffersPage(f"[{','.join(filter(None, offers))}]", following, row.next_sync_at, row.now)


def _cursor_parameters(cursor: ClosedOffersCursor | None) -> dict[str, Any]:
    return {} if cursor is None else {"closed_at": datetime.fromisoformat(cursor.closed_at), "id": cursor.id}


def _cursor_after(offer: dict[str, Any]) -> ClosedOffersCursor:
    return ClosedOffersCursor(offer["closed_at"], UUID(offer["id"]))


def _page(dialect: str, *, with_cursor: bool) -> Select[*tuple[Any, ...]]:
    product_id = bindparam("product_id", type_=Uuid)
    closed = select(*OFFER_COLUMNS).where(Offer.product_id == product_id, Offer.closed_at.is_not(None))
    if with_cursor:
        cursor = (bindparam("closed_at", type_=UtcDateTime), bindparam("id", type_=Uuid))
        closed = closed.where(tuple_(Offer.closed_at, Offer.id) < tuple_(*cursor))
    closed = closed.order_by(Offer.closed_at.desc(), Offer.id.desc()).limit(bindparam("limit", type_=Integer))
    offers = closed.subquery().c
    current: ColumnElement[str] = literal("[]") if with_cursor else current_offers(dialect, product_id)
    now = clock.now_expression(dialect)
    next_sync_at = select(sync_times(product_id).c.next_sync_at).scalar_subquery()
    return select(
        current.label("current"),
        aggregate_objects(dialect, list(offers), [offers.closed_at.desc(), offers.id.desc()]).label("closed"),
        func.coalesce(next_sync_at, now).label("next_sync_at"),
        now.label("now"),
    ).where(Product.id == product_id)


_PAGE = {
    (dialect, with_cursor): _page(dialect, with_cursor=with_cursor)
    for dialect in ("postgresql", "sqlite")
    for with_cursor in (False, True)
}
