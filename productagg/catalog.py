"""Products: create, change, remove, find, page through. Takes a session (or a connection, to read) and plain values.

Called by the API and the command line. It never commits, never sees a request and never speaks HTTP.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Connection,
    Executable,
    Integer,
    RowMapping,
    Text,
    Uuid,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from productagg.bulk import Rows
from productagg.models import Base, Product, ProductSummary, ProductSync, UtcDateTime


class NotFound(Exception):
    """There is no such product."""


class DuplicateName(Exception):
    """Another product has this name."""


class StaleVersion(Exception):
    """The product has changed since the version that the caller knows."""


class NewProduct(NamedTuple):
    """What a product is made of."""

    name: str
    description: str


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

_ONE = _SUMMARY.add_columns(Product.version)


def create(session: Session, name: str, description: str, now: datetime) -> UUID:
    """Add a product, due for registration at once. Raises DuplicateName; the session stays usable."""
    (created,) = create_many(session, [NewProduct(name, description)], now)
    if created is None:
        raise DuplicateName(name)
    return created


def create_many(session: Session, products: Sequence[NewProduct], now: datetime) -> list[UUID | None]:
    """Add products, due for registration at once. None for each whose name exists, if only earlier among them.

    As many statements for many as for one.
    """
    dialect = session.get_bind().dialect.name
    ids = [uuid7() for _ in products]
    rows = [{"id": id_, **new._asdict(), "now": now} for id_, new in zip(ids, products, strict=True)]
    # Two that add the same names wait for one another at the same name, instead of each for the other.
    rows.sort(key=itemgetter("name"))
    created = set(session.scalars(_INSERT_PRODUCTS[dialect], Rows.parameter(dialect, rows)))
    added = Rows.parameter(dialect, [{"id": id_, "now": now} for id_ in ids if id_ in created])
    for statement in _INSERT_COMPANIONS[dialect]:
        session.execute(statement, added)
    return [id_ if id_ in created else None for id_ in ids]


def change(
    session: Session,
    product_id: UUID,
    now: datetime,
    *,
    name: str | None = None,
    description: str | None = None,
    versions: Sequence[int] | None = None,
) -> None:
    """Set what is given. `versions`: the product must be at one of them. Values that it has already change nothing.

    Raises NotFound, DuplicateName, StaleVersion. A product that the Offers service refused is due for another try.
    """
    product = _locked(session, product_id, versions)
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


def remove(session: Session, product_id: UUID, versions: Sequence[int] | None = None) -> None:
    """Delete a product with its offers and history. Raises NotFound, StaleVersion."""
    session.delete(_locked(session, product_id, versions))
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


def _locked(session: Session, product_id: UUID, versions: Sequence[int] | None) -> Product:
    product = session.get(Product, product_id, with_for_update=True)
    if product is None:
        raise NotFound(product_id)
    if versions is not None and product.version not in versions:
        raise StaleVersion(product_id)
    return product


_NEW = Rows(id=Uuid, name=Text, description=Text, now=UtcDateTime().impl)


def _insert_products(make_insert: Any, dialect: str) -> Executable:
    """Insert the rows whose names are free; their ids."""
    new = _NEW.table(dialect).c
    values = {"id": new.id, "name": new.name, "description": new.description, "version": literal(1, Integer)}
    values |= {"created_at": new.now, "updated_at": new.now}
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for a join's ON.
    rows = select(*values.values()).where(new.id.is_not(None))
    statement = make_insert(_PRODUCTS).from_select(list(values), rows)
    return statement.on_conflict_do_nothing(index_elements=["name"]).returning(_PRODUCTS.c.id)  # type: ignore[no-any-return]


def _insert_companions(dialect: str) -> tuple[Executable, ...]:
    """What each product has a row of from the beginning."""
    new = _NEW.table(dialect).c
    none = literal(0, BigInteger)
    sync = {"product_id": new.id, "registration": literal("pending"), "next_sync_at": new.now, "failures": none}
    summary = {"product_id": new.id, "offers": none, "items_in_stock": none}
    return tuple(
        insert(Base.metadata.tables[model.__tablename__]).from_select(list(values), select(*values.values()))
        for model, values in ((ProductSync, sync), (ProductSummary, summary))
    )


_PRODUCTS = Base.metadata.tables[Product.__tablename__]
_INSERT_PRODUCTS = {
    "postgresql": _insert_products(postgresql.insert, "postgresql"),
    "sqlite": _insert_products(sqlite.insert, "sqlite"),
}
_INSERT_COMPANIONS = {dialect: _insert_companions(dialect) for dialect in _INSERT_PRODUCTS}


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
