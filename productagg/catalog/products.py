"""Products: create, change, remove, get. Takes a session (or a connection, to read) and plain values.

Called by the API and the command line. It never commits, never sees a request and never speaks HTTP. Where a function
takes the time as `now`, None is the time by the database's clock.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Unpack, cast
from uuid import UUID

from sqlalchemy import Connection, Row, Select, Uuid, bindparam, func, select, true
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.change_feed import Event, record
from productagg.catalog.product_members import (
    MEMBERS,
    OFFER_ORDERS,
    OfferOrder,
    current_offers,
    joins,
    member_columns,
    members_json,
    sync_times,
)
from productagg.catalog.product_values import FACTS, Facts, ProductValues
from productagg.catalog.search_text import search_columns
from productagg.db import clock, prepared_statements
from productagg.db.engines import dialect_name
from productagg.db.models import OFFERS_SOURCE, Product, ProductSource, ProductSummary, UtcDateTime


class NotFound(Exception):
    """There is no such product."""


class DuplicateName(Exception):
    """Another product has this name."""


class StaleVersion(Exception):
    """The product has changed since the version, or the time, that the caller knows."""


class UnwantedVersion(Exception):
    """The product is at a version that the caller does not want to overwrite."""


class ProductDetails(NamedTuple):
    """A product as of `now`, with its version, when its next sync is due, and when any of its members last changed.

    `json_members` is the inside of a JSON object; `offers`, which are among the members, are JSON as well.
    """

    json_members: str
    offers: str
    version: int
    next_sync_at: datetime
    modified_at: datetime
    now: datetime


def create(session: Session, name: str, description: str, now: datetime | None = None, **facts: Unpack[Facts]) -> UUID:
    """Add a product, due for registration at once. Raises DuplicateName; the session stays usable."""
    (created,) = create_many(session, [NewProduct(name, description, **facts)], now)
    if created is None:
        raise DuplicateName(name)
    return created


def change(
    session: Session,
    product_id: UUID,
    now: datetime | None = None,
    *,
    versions: Container[int] | None = None,
    other_than: Container[int] = (),
    unmodified_since: datetime | None = None,
    **values: Unpack[ProductValues],
) -> None:
    """Set the given values. If the product has them already, nothing changes.

    The product must be at one of `versions`, at none of `other_than`, and unchanged since `unmodified_since`. Raises
    NotFound, DuplicateName, StaleVersion, UnwantedVersion. If the Offers service refused to register the product, the
    change makes it due for another attempt.
    """
    product, time = _locked(session, product_id, versions, other_than, unmodified_since)
    now = now or time
    old = cast(ProductValues, {member: getattr(product, member) for member in ("name", "description", *FACTS)})
    new: ProductValues = {**old, **values}
    if new == old:
        return
    event = Event(product_id, "changed", now, product.sort_name, product.updated_at, search_text=product.search_text)
    with _unique_name(session, new["name"]):
        searched = search_columns(new["name"], new["description"], new["gtin"], new["brand"], new["category"])
        _set_columns(product, {**new, **searched}, now)
    _retry_registration(session, product_id, now)
    record(session, [event])


def _set_columns(product: Product, values: Mapping[str, object], now: datetime) -> None:
    for column, value in values.items():
        setattr(product, column, value)
    product.version += 1
    # A transaction that waited for the lock may have begun before the one that held it.
    product.updated_at = max(now, product.updated_at + timedelta(microseconds=1))


def _retry_registration(session: Session, product_id: UUID, now: datetime) -> None:
    sync = session.get(ProductSource, (product_id, OFFERS_SOURCE))
    if sync is not None and sync.registration == "failed":
        sync.registration, sync.failures, sync.next_sync_at = "pending", 0, now


def remove(
    session: Session,
    product_id: UUID,
    now: datetime | None = None,
    *,
    versions: Container[int] | None = None,
    other_than: Container[int] = (),
    unmodified_since: datetime | None = None,
) -> None:
    """Delete a product with its offers and history, on the same conditions as `change`.

    Raises NotFound, StaleVersion, UnwantedVersion.
    """
    product, _ = _locked(session, product_id, versions, other_than, unmodified_since)
    session.delete(product)
    record(session, [Event(product_id, "deleted", now)])


def get(connection: Connection | Session, product_id: UUID, by: OfferOrder = "price") -> ProductDetails:
    """A product with all MEMBERS and its current `offers`, cheapest first, as of one moment. Raises NotFound."""
    dialect = dialect_name(connection)
    parameters = {"product_id": product_id, "now": clock.now_parameter(dialect)}
    row = prepared_statements.row(connection, _DETAILS[dialect, by], parameters)
    if row is None:
        raise NotFound(product_id)
    *members, offers, version, next_sync_at, modified_at, now = row
    json_members = f'{members_json(members, MEMBERS)},"offers":{offers}'
    return ProductDetails(json_members, offers, version, next_sync_at, modified_at, now)


def all_products(connection: Connection) -> Iterator[Row[Any]]:
    """All products (id, name, description, created_at, updated_at, then FACTS) by id.

    They are read in batches, within `engines.snapshot`.
    """
    return iter(connection.execute(_ALL_PRODUCTS, execution_options={"yield_per": 1000}))


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(Product)).scalar_one()


def missing_ids(connection: Connection | Session, product_ids: Sequence[UUID]) -> list[UUID]:
    """The ids that no product has, in the order given."""
    existing = set(connection.scalars(select(Product.id).where(Product.id.in_(product_ids))))
    return [product_id for product_id in product_ids if product_id not in existing]


def is_empty(session: Session) -> bool:
    return session.execute(select(Product.id).limit(1)).first() is None


def _locked(
    session: Session,
    product_id: UUID,
    versions: Container[int] | None,
    other_than: Container[int],
    unmodified_since: datetime | None,
) -> tuple[Product, datetime]:
    """The product, locked, and the time of the transaction."""
    dialect = dialect_name(session)
    query = select(Product, clock.now_expression(dialect)).where(Product.id == product_id)
    # The session may hold a state of the product from before the lock.
    locked = query.with_for_update(of=Product).execution_options(populate_existing=True)
    row = session.execute(locked, {"now": clock.now_parameter(dialect)}).one_or_none()
    if row is None:
        raise NotFound(product_id)
    product, now = row
    if _is_stale(product, versions, unmodified_since):
        raise StaleVersion(product_id)
    if product.version in other_than:
        raise UnwantedVersion(product_id)
    return product, now


def _is_stale(product: Product, versions: Container[int] | None, unmodified_since: datetime | None) -> bool:
    if versions is not None and product.version not in versions:
        return True
    return unmodified_since is not None and product.updated_at > unmodified_since


@contextmanager
def _unique_name(session: Session, name: str) -> Iterator[None]:
    """Write the changes of the block in a savepoint. The constraint finds a duplicate: an earlier check would race."""
    try:
        with session.begin_nested():
            yield
    except IntegrityError as error:
        if _NAME_CONSTRAINT.search(str(error.orig)):
            raise DuplicateName(name) from None
        raise


# How PostgreSQL and SQLite name the constraint.
_NAME_CONSTRAINT = re.compile(r"uq_products_name|products\.name")


def _details(dialect: str, by: OfferOrder) -> Select[Any]:
    product_id = bindparam("product_id", type_=Uuid)
    newest = func.max if dialect == "sqlite" else func.greatest
    sync = sync_times(product_id).c
    # A failed registration changes only the time of the request.
    modified = (sync.last_synced_at, sync.last_changed_at, sync.registered_at, sync.last_asked_at)
    times = (func.coalesce(time, Product.updated_at) for time in (*modified, ProductSummary.compared_at))
    now = clock.now_expression(dialect)
    return (
        select(
            *member_columns(dialect, MEMBERS),
            current_offers(dialect, product_id, by),
            Product.version,
            func.coalesce(sync.next_sync_at, now),
            newest(Product.updated_at, *times, type_=UtcDateTime()),
            now,
        )
        .outerjoin_from(Product, ProductSource, joins(Product, ProductSource))
        .join(ProductSummary, joins(Product, ProductSummary))
        .join(sync.last_synced_at.table, true())
        .where(Product.id == product_id)
    )


_DETAILS = {(dialect, by): _details(dialect, by) for dialect in ("postgresql", "sqlite") for by in OFFER_ORDERS}
_ALL_PRODUCTS = select(
    Product.id,
    Product.name,
    Product.description,
    Product.created_at,
    Product.updated_at,
    *(getattr(Product, fact) for fact in FACTS),
).order_by(Product.id)
