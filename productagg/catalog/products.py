"""Products: create, change, remove, find. Takes a session (or a connection, to read) and plain values.

Called by the API and the command line. It never commits, never sees a request and never speaks HTTP.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Executable,
    Insert,
    Integer,
    Row,
    ScalarSelect,
    Select,
    Text,
    Uuid,
    bindparam,
    func,
    insert,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from productagg.catalog import search_text
from productagg.catalog.change_feed import Event, record
from productagg.catalog.listing import MEMBERS, columns, shown
from productagg.db import clock, prepared_statements
from productagg.db.engines import dialect_name
from productagg.db.json_rows import Rows, aggregate_objects, as_text
from productagg.db.models import Base, Offer, Product, ProductSummary, ProductSync, UtcDateTime

# How long the names and descriptions are that one statement takes, in all.
_CHARACTERS_AT_ONCE = 256 * 1024


class NotFound(Exception):
    """There is no such product."""


class DuplicateName(Exception):
    """Another product has this name."""


class StaleVersion(Exception):
    """The product has changed since the version, or the time, that the caller knows."""


class UnwantedVersion(Exception):
    """The product is at a version that the caller does not want to write over."""


class NewProduct(NamedTuple):
    """What a product is made of. One that comes from elsewhere brings its id and its times along."""

    name: str
    description: str
    id: UUID | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Standing(NamedTuple):
    """What there is of a product that somebody has: the id of its name, the name of its id, if it is described so."""

    id: UUID | None
    name: str | None
    same_description: bool | None


class Found(NamedTuple):
    """A product: what it says, its version, when it is asked for next, and when anything that it says changed.

    What it `says` is the inside of a JSON object, its `offers`, which are part of that, are JSON. All is as of `now`.
    """

    says: str
    offers: str
    version: int
    next_sync_at: datetime
    modified_at: datetime
    now: datetime


class ClosedPlace(NamedTuple):
    """Where a page of closed offers begins: beyond the offer with this id, which was closed then (RFC 3339)."""

    closed_at: str
    id: UUID


class OffersPage(NamedTuple):
    """`offers` as JSON, the place of the next page if there is one, and when the product is asked for next.

    `now` is the time, by the database's clock.
    """

    offers: str
    following: ClosedPlace | None
    next_sync_at: datetime
    now: datetime


def create(session: Session, name: str, description: str, now: datetime | None = None) -> UUID:
    """Add a product, due for registration at once. Raises DuplicateName; the session stays usable.

    `now` is when it is created, in this function and those below; None: now, by the database's clock.
    """
    (created,) = create_many(session, [NewProduct(name, description)], now)
    if created is None:
        raise DuplicateName(name)
    return created


def create_many(session: Session, products: Sequence[NewProduct], now: datetime | None = None) -> list[UUID | None]:
    """Add products, due for registration at once. None for each whose name or id exists, if only earlier among them.

    As many statements for many as for one, unless their texts are long: then a statement takes some of them.
    """
    dialect = dialect_name(session)
    now = now or clock.now_parameter(dialect)
    numbered = [new._replace(id=new.id or uuid7()) for new in products]
    created: set[tuple[UUID, str]] = set()
    # In the order of names, or two that add the same ones might wait for each other.
    for some in _slices(sorted(numbered, key=attrgetter("name"))):
        rows = [{**new._asdict(), **_made_of(new.name, new.description)} for new in some]
        found = prepared_statements.rows(
            session, _INSERT_PRODUCTS[dialect], {**Rows.parameter(dialect, rows), "now": now}
        )
        created.update((UUID(id_), name) for id_, name in found)
    ids: list[UUID | None] = []
    for new in numbered:
        assert new.id is not None
        key = (new.id, new.name)
        ids.append(new.id if key in created else None)
        created.discard(key)
    added = [id_ for id_ in ids if id_ is not None]
    if dialect == "sqlite":  # where the products' own statement cannot
        parameters = {**Rows.parameter(dialect, [{"id": id_} for id_ in added]), "now": now}
        for statement in _INSERT_COMPANIONS:
            session.execute(statement, parameters)
    record(session, [Event(id_, "created", now) for id_ in added])
    return ids


def _slices(products: Iterable[NewProduct]) -> Iterator[list[NewProduct]]:
    """The products in their order, so many together that their texts are not long: a statement copies them often."""
    some: list[NewProduct] = []
    characters = 0
    for new in products:
        length = len(new.name) + len(new.description)
        if some and characters + length > _CHARACTERS_AT_ONCE:
            yield some
            some, characters = [], 0
        some.append(new)
        characters += length
    if some:
        yield some


def standings(session: Session, products: Sequence[NewProduct]) -> list[Standing]:
    """What there is already of each of these products."""
    dialect = session.get_bind().dialect.name
    rows = [
        {"number": number, "id": new.id, "name": new.name, "description": new.description}
        for number, new in enumerate(products)
    ]
    return [Standing(*row) for row in session.execute(_STANDINGS[dialect], Rows.parameter(dialect, rows))]


def change(
    session: Session,
    product_id: UUID,
    now: datetime | None = None,
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
    product, time = _locked(session, product_id, versions, other_than, unmodified_since)
    now = now or time
    wanted = (product.name if name is None else name, product.description if description is None else description)
    if wanted == (product.name, product.description):
        return
    event = Event(product_id, "changed", now, product.sort_name, product.updated_at, search_text=product.search_text)
    with _unique_name(session, wanted[0]):
        product.name, product.description = wanted
        for column, value in _made_of(*wanted).items():
            setattr(product, column, value)
        product.version += 1
        # Whoever had to wait for the lock may have begun before the one who had it.
        product.updated_at = max(now, product.updated_at + timedelta(microseconds=1))
    sync = session.get_one(ProductSync, product_id)
    if sync.registration == "failed":
        sync.registration, sync.failures, sync.next_sync_at = "pending", 0, now
    record(session, [event])


def remove(
    session: Session,
    product_id: UUID,
    now: datetime | None = None,
    versions: Container[int] | None = None,
    other_than: Container[int] = (),
    unmodified_since: datetime | None = None,
) -> None:
    """Delete a product with its offers and history, on the conditions of `change`.

    Raises NotFound, StaleVersion, UnwantedVersion.
    """
    product, _ = _locked(session, product_id, versions, other_than, unmodified_since)
    session.delete(product)
    record(session, [Event(product_id, "deleted", now)])


def get(connection: Connection | Session, product_id: UUID) -> Found:
    """One product: browsing.MEMBERS and its current `offers`, cheapest first, as of one moment. Raises NotFound."""
    dialect = dialect_name(connection)
    values = {"product_id": product_id, "now": clock.now_parameter(dialect)}
    row = prepared_statements.row(connection, _ONE[dialect], values)
    if row is None:
        raise NotFound(product_id)
    *says, offers, version, next_sync_at, modified_at, now = row
    return Found(f'{shown(says, MEMBERS)},"offers":{offers}', offers, version, next_sync_at, modified_at, now)


def offers_page(connection: Connection, product_id: UUID, limit: int, place: ClosedPlace | None = None) -> OffersPage:
    """Up to `limit` closed offers from a place on, the last closed first. Raises NotFound.

    Without a place, from the beginning, and before them all current offers, cheapest first; all as of one moment. An
    offer that stays closed comes exactly once, whatever is closed, opened or removed meanwhile.
    """
    dialect = connection.dialect.name
    values: dict[str, Any] = {"product_id": product_id, "limit": limit + 1, "now": clock.now_parameter(dialect)}
    if place is not None:
        values |= {"closed_at": datetime.fromisoformat(place.closed_at), "id": place.id}
    row = connection.execute(_OFFERS_PAGE[dialect][place is not None], values).one_or_none()
    if row is None:
        raise NotFound(product_id)
    closed = orjson.loads(row.closed)
    following = None
    if len(closed) > limit:
        last = closed[limit - 1]
        following = ClosedPlace(last["closed_at"], UUID(last["id"]))
    offers = [row.current[1:-1], *(orjson.dumps(each).decode() for each in closed[:limit])]
    return OffersPage(f"[{','.join(filter(None, offers))}]", following, row.next_sync_at, row.now)


def everything(connection: Connection) -> Iterator[Row[Any]]:
    """All products (id, name, description, created_at, updated_at) by id, some at a time; within `db.snapshot`."""
    return iter(connection.execute(_EVERYTHING, execution_options={"yield_per": 1000}))


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(Product)).scalar_one()


def unknown(connection: Connection | Session, product_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the ids that no product has, in the order given."""
    known = set(connection.scalars(select(Product.id).where(Product.id.in_(product_ids))))
    return [each for each in product_ids if each not in known]


def is_empty(session: Session) -> bool:
    return session.execute(select(Product.id).limit(1)).first() is None


def _made_of(name: str, description: str) -> dict[str, str]:
    """The columns that follow from the others."""
    return {"search_text": search_text.search_text(name, description), "sort_name": search_text.sort_name(name)}


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
    # What the session knows of it already may be older than the lock.
    locked = query.with_for_update(of=Product).execution_options(populate_existing=True)
    found = session.execute(locked, {"now": clock.now_parameter(dialect)}).one_or_none()
    if found is None:
        raise NotFound(product_id)
    product, now = found
    if versions is not None and product.version not in versions:
        raise StaleVersion(product_id)
    if unmodified_since is not None and product.updated_at > unmodified_since:
        raise StaleVersion(product_id)
    if product.version in other_than:
        raise UnwantedVersion(product_id)
    return product, now


_TEXTS = ("name", "description", "search_text", "sort_name")
_TIME = UtcDateTime().impl
_NEW = Rows(id=Uuid, **dict.fromkeys(_TEXTS, Text), created_at=_TIME, updated_at=_TIME)
_ADDED = Rows(id=Uuid)
_KNOWN = Rows(number=Integer, id=Uuid, name=Text, description=Text)
_ID = bindparam("product_id", type_=Uuid)


def _insert_products(make_insert: Any, dialect: str) -> Executable:
    """Insert the rows whose names and ids are free; their ids and names. On PostgreSQL, their companions with them."""
    new = _NEW.table(dialect).c
    values: dict[str, Any] = {"id": new.id, **{name: new[name] for name in _TEXTS}, "version": literal(1, Integer)}
    values |= {
        "created_at": func.coalesce(new.created_at, clock.now_expression(dialect)),
        "updated_at": func.coalesce(new.updated_at, new.created_at, clock.now_expression(dialect)),
    }
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for a join's ON.
    rows = select(*values.values()).where(new.id.is_not(None))
    statement = make_insert(_PRODUCTS).from_select(list(values), rows).on_conflict_do_nothing()
    if dialect == "sqlite":
        returned: Executable = statement.returning(as_text(dialect, _PRODUCTS.c.id), _PRODUCTS.c.name)
        return returned
    created = statement.returning(_PRODUCTS.c.id, _PRODUCTS.c.name).cte("created")
    inserts = enumerate(_insert_companions(created.c.id, dialect))
    companions = (each.cte(f"companions_{number}") for number, each in inserts)
    return select(as_text(dialect, created.c.id), created.c.name).add_cte(*companions)


def _insert_companions(added: ColumnElement[Any], dialect: str) -> tuple[Insert, ...]:
    """What each product has a row of from the beginning."""
    none = literal(0, BigInteger)
    due_at = clock.now_expression(dialect)
    sync = {"product_id": added, "registration": literal("pending"), "next_sync_at": due_at, "failures": none}
    summary = {"product_id": added, "offers": none, "items_in_stock": none}
    return tuple(
        insert(Base.metadata.tables[model.__tablename__]).from_select(list(values), select(*values.values()))
        for model, values in ((ProductSync, sync), (ProductSummary, summary))
    )


def _find_standings(dialect: str) -> Executable:
    known = _KNOWN.table(dialect).c
    named, other = _PRODUCTS.alias(), _PRODUCTS.alias()
    # Each row is looked up by itself, by a unique key.
    query = select(named.c.id, other.c.name, named.c.description == known.description)
    source = known.number.table.outerjoin(named, named.c.name == known.name).outerjoin(other, other.c.id == known.id)
    return query.select_from(source).order_by(known.number)


_PRODUCTS = Base.metadata.tables[Product.__tablename__]
_INSERT_PRODUCTS = {
    "postgresql": _insert_products(postgresql.insert, "postgresql"),
    "sqlite": _insert_products(sqlite.insert, "sqlite"),
}
_INSERT_COMPANIONS = _insert_companions(_ADDED.table("sqlite").c.id, "sqlite")
_STANDINGS = {dialect: _find_standings(dialect) for dialect in _INSERT_PRODUCTS}
# Of a registration that failed it is known when it was asked for.
_WHEN = (
    ProductSync.last_synced_at,
    ProductSync.last_changed_at,
    ProductSync.registered_at,
    ProductSync.last_asked_at,
    ProductSummary.compared_at,
)


_SAYS = (Offer.id, Offer.price, Offer.items_in_stock, Offer.first_seen_at, Offer.changed_at, Offer.closed_at)


def _current_offers(dialect: str) -> ScalarSelect[str]:
    """A product's current offers as JSON, cheapest first."""
    found = select(*_SAYS).where(Offer.product_id == _ID, Offer.closed_at.is_(None)).subquery().c
    return aggregate_objects(dialect, list(found), [found.price, found.id])


def _find_offers_page(dialect: str, *, from_place: bool) -> Select[*tuple[Any, ...]]:
    closed = select(*_SAYS).where(Offer.product_id == _ID, Offer.closed_at.is_not(None))
    if from_place:
        place = (bindparam("closed_at", type_=UtcDateTime), bindparam("id", type_=Uuid))
        closed = closed.where(tuple_(Offer.closed_at, Offer.id) < tuple_(*place))
    closed = closed.order_by(Offer.closed_at.desc(), Offer.id.desc()).limit(bindparam("limit", type_=Integer))
    found = closed.subquery().c
    current: ColumnElement[str] = literal("[]") if from_place else _current_offers(dialect)
    return select(
        current.label("current"),
        aggregate_objects(dialect, list(found), [found.closed_at.desc(), found.id.desc()]).label("closed"),
        ProductSync.next_sync_at,
        clock.now_expression(dialect).label("now"),
    ).where(ProductSync.product_id == _ID)


def _find_one(dialect: str) -> Select[Any]:
    newest = func.max if dialect == "sqlite" else func.greatest
    return (
        select(
            *columns(dialect, MEMBERS),
            _current_offers(dialect),
            Product.version,
            ProductSync.next_sync_at,
            newest(
                Product.updated_at, *(func.coalesce(each, Product.updated_at) for each in _WHEN), type_=UtcDateTime()
            ),
            clock.now_expression(dialect),
        )
        .join_from(Product, ProductSync, ProductSync.product_id == Product.id)
        .join(ProductSummary, ProductSummary.product_id == Product.id)
        .where(Product.id == _ID)
    )


_ONE = {dialect: _find_one(dialect) for dialect in _INSERT_PRODUCTS}
_OFFERS_PAGE = {
    dialect: tuple(_find_offers_page(dialect, from_place=from_place) for from_place in (False, True))
    for dialect in _INSERT_PRODUCTS
}
_EVERYTHING = select(Product.id, Product.name, Product.description, Product.created_at, Product.updated_at).order_by(
    Product.id
)


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
