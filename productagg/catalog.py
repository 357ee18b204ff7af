"""Products: create, change, remove, find, page through. Takes a session (or a connection, to read) and plain values.

Called by the API and the command line. It never commits, never sees a request and never speaks HTTP.
"""

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from productagg.models import Product, ProductSync


class NotFound(Exception):
    """There is no such product."""


class DuplicateName(Exception):
    """Another product has this name."""


class StaleVersion(Exception):
    """The product has changed since the version, or the time, that the caller knows."""


class UnwantedVersion(Exception):
    """The product is at a version that the caller does not want to write over."""


@dataclass(frozen=True)
class Page:
    """`products` in creation order; `following` is the id to ask for the next page after, None on the last one."""

    products: Sequence[RowMapping]
    following: UUID | None
    total: int


_SUMMARY = select(
    Product.id,
    Product.name,
    Product.description,
    Product.created_at,
    Product.updated_at,
    ProductSync.registration,
    ProductSync.last_synced_at,
    ProductSync.last_changed_at,
).join(ProductSync, ProductSync.product_id == Product.id)

_ONE = _SUMMARY.add_columns(
    Product.version, ProductSync.next_sync_at, ProductSync.registered_at, ProductSync.last_asked_at
)


def create(session: Session, name: str, description: str, now: datetime) -> UUID:
    """Add a product, due for registration at once. Raises DuplicateName; the session stays usable."""
    product = Product(id=uuid7(), name=name, description=description, version=1, created_at=now, updated_at=now)
    with _unique_name(session, name):
        session.add(product)
    session.add(ProductSync(product_id=product.id, registration="pending", next_sync_at=now, failures=0))
    return product.id


def change(
    session: Session,
    product_id: UUID,
    now: datetime,
    *,
    name: str | None = None,
    description: str | None = None,
    versions: Container[int] | None = None,
    other_than: Container[int] = (),
    unmodified_since: datetime | None = None,
) -> None:
    """Set what is given. Values that it has already change nothing.

    The product must be at one of `versions`, at none of `other_than`, and unchanged since `unmodified_since`. Raises
    NotFound, DuplicateName, StaleVersion, UnwantedVersion. A product that the Offers service refused is due for another
    try.
    """
    product = _locked(session, product_id, versions, other_than, unmodified_since)
    wanted = (product.name if name is None else name, product.description if description is None else description)
    if wanted == (product.name, product.description):
        return
    with _unique_name(session, wanted[0]):
        product.name, product.description = wanted
        product.version += 1
        product.updated_at = now
    sync = session.get_one(ProductSync, product_id)
    if sync.registration == "failed":
        sync.registration, sync.failures, sync.next_sync_at = "pending", 0, now


def remove(
    session: Session,
    product_id: UUID,
    versions: Container[int] | None = None,
    other_than: Container[int] = (),
    unmodified_since: datetime | None = None,
) -> None:
    """Delete a product with its offers and history, on the conditions of `change`.

    Raises NotFound, StaleVersion, UnwantedVersion.
    """
    session.delete(_locked(session, product_id, versions, other_than, unmodified_since))
    session.flush()


def get(connection: Connection | Session, product_id: UUID) -> RowMapping:
    """One product as plain values. Raises NotFound."""
    row = connection.execute(_ONE.where(Product.id == product_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(product_id)
    return row


def page(connection: Connection, limit: int, after: UUID | None = None) -> Page:
    """The `limit` oldest products after the one with the id `after` (which need not exist any more)."""
    query = _SUMMARY.order_by(Product.id).limit(limit + 1)
    if after is not None:
        query = query.where(Product.id > after)
    rows = connection.execute(query).mappings().all()
    total = connection.execute(select(func.count()).select_from(Product)).scalar_one()
    products = rows[:limit]
    return Page(products, products[-1]["id"] if len(rows) > limit else None, total)


def unknown(connection: Connection | Session, product_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the ids that no product has, in the order given."""
    known = set(connection.scalars(select(Product.id).where(Product.id.in_(product_ids))))
    return [each for each in product_ids if each not in known]


def is_empty(session: Session) -> bool:
    return session.execute(select(Product.id).limit(1)).first() is None


def _locked(
    session: Session,
    product_id: UUID,
    versions: Container[int] | None,
    other_than: Container[int],
    unmodified_since: datetime | None,
) -> Product:
    product = session.get(Product, product_id, with_for_update=True)
    if product is None:
        raise NotFound(product_id)
    if versions is not None and product.version not in versions:
        raise StaleVersion(product_id)
    if unmodified_since is not None and product.updated_at > unmodified_since:
        raise StaleVersion(product_id)
    if product.version in other_than:
        raise UnwantedVersion(product_id)
    return product


@contextmanager
def _unique_name(session: Session, name: str) -> Iterator[None]:
    """Write what the block sets in a savepoint. Not a check before it but the constraint says that a name exists."""
    try:
        with session.begin_nested():
            yield
    except IntegrityError as error:
        if "uq_products_name" in str(error.orig) or "products.name" in str(error.orig):
            raise DuplicateName(name) from None
        raise
