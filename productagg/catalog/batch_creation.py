"""Creates products, one or many, with the same small number of statements.

Called by `products.create`, by the API's batch and by imports. The caller commits.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Insert,
    Integer,
    Table,
    Text,
    Uuid,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session
from uuid_utils.compat import uuid7

from productagg.catalog.change_feed import Event, record
from productagg.catalog.product_values import FACTS
from productagg.catalog.search_text import search_columns
from productagg.db import clock, prepared_statements
from productagg.db.engines import dialect_name
from productagg.db.json_rows import Rows, as_text
from productagg.db.models import (
    OFFERS_SOURCE_LITERAL,
    Base,
    Product,
    ProductSource,
    ProductSummary,
    UtcDateTime,
)

# The most characters of products' texts in one statement: the database copies its parameter repeatedly.
MAX_CHARACTERS = 256 * 1024


class NewProduct(NamedTuple):
    """A product to create. A product from another catalogue brings its id and its times."""

    name: str
    description: str
    id: UUID | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    gtin: str | None = None
    brand: str | None = None
    category: str | None = None
    image_url: str | None = None


def create_many(session: Session, products: Sequence[NewProduct], now: datetime | None = None) -> list[UUID | None]:
    """Add products, due for registration at once; `now` None is the time of the database's clock.

    Returns their ids in the same order; None for a product whose name or id exists already, or occurs earlier in the
    list.
    Many products need as many statements as one, unless their texts are longer than MAX_CHARACTERS.
    """
    now = now or clock.now_parameter(dialect_name(session))
    identified = list(map(_with_id, products))
    ids = _in_order(identified, _insert(session, identified, now))
    _record_created(session, [id_ for id_ in ids if id_ is not None], now)
    return ids


def _with_id(new: NewProduct) -> NewProduct:
    return new if new.id is not None else new._replace(id=uuid7())


def _insert(session: Session, products: Iterable[NewProduct], now: datetime | None) -> set[tuple[UUID, str]]:
    """Insert the products whose ids and names are free; return their ids and names."""
    dialect = dialect_name(session)
    created: set[tuple[UUID, str]] = set()
    # Sorted by name, or two transactions that add the same names might deadlock.
    for chunk in _chunks(sorted(products, key=attrgetter("name"))):
        parameters = {**Rows.parameter(dialect, list(map(_row, chunk))), "now": now}
        inserted = prepared_statements.rows(session, _INSERT_PRODUCTS[dialect], parameters)
        created.update((UUID(id_), name) for id_, name in inserted)
    return created


def _row(new: NewProduct) -> dict[str, Any]:
    return {**new._asdict(), **search_columns(new.name, new.description, new.gtin, new.brand, new.category)}


def _record_created(session: Session, product_ids: Sequence[UUID], now: datetime | None) -> None:
    if dialect_name(session) == "sqlite":
        _insert_companions(session, product_ids, now)
    record(session, [Event(id_, "created", now) for id_ in product_ids])


def _insert_companions(session: Session, product_ids: Iterable[UUID], now: datetime | None) -> None:
    """Used on SQLite, whose INSERT cannot be part of another statement as on PostgreSQL."""
    parameters = {**Rows.parameter("sqlite", [{"id": id_} for id_ in product_ids]), "now": now}
    for statement in _INSERT_COMPANIONS:
        session.execute(statement, parameters)


def _chunks(products: Iterable[NewProduct]) -> Iterator[list[NewProduct]]:
    """The products in their order, with at most MAX_CHARACTERS of text in a chunk unless one product has more."""
    chunk: list[NewProduct] = []
    characters = 0
    for new in products:
        length = sum(len(value) for value in new if isinstance(value, str))
        if chunk and characters + length > MAX_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
        chunk.append(new)
        characters += length
    if chunk:
        yield chunk


def _in_order(products: Iterable[NewProduct], created: set[tuple[UUID, str]]) -> list[UUID | None]:
    ids: list[UUID | None] = []
    for new in products:
        ids.append(new.id if (new.id, new.name) in created else None)
        created.discard((new.id, new.name))  # a product that is in the list twice is created once
    return ids


_TEXTS = ("name", "description", *FACTS, "search_text", "sort_name", "brand_key", "category_key")
_TIME = UtcDateTime().impl
_NEW = Rows(id=Uuid, **dict.fromkeys(_TEXTS, Text), created_at=_TIME, updated_at=_TIME)
_ADDED = Rows(id=Uuid)
_PRODUCTS = Base.metadata.tables[Product.__tablename__]


def _insert_products(make_insert: Callable[[Table], postgresql.Insert | sqlite.Insert], dialect: str) -> Executable:
    """The statement that inserts the rows whose names and ids are free, and returns them.

    On PostgreSQL, it also inserts the rows of `_companions`.
    """
    new = _NEW.table(dialect).c
    values: dict[str, Any] = {
        "id": new.id,
        **{name: new[name] for name in _TEXTS},
        "version": literal(1, Integer),
        "created_at": func.coalesce(new.created_at, clock.now_expression(dialect)),
        "updated_at": func.coalesce(new.updated_at, new.created_at, clock.now_expression(dialect)),
    }
    # Without a WHERE, SQLite's grammar takes ON CONFLICT for the ON of a join.
    rows = select(*values.values()).where(new.id.is_not(None))
    statement = make_insert(_PRODUCTS).from_select(list(values), rows).on_conflict_do_nothing()
    if dialect == "sqlite":
        return statement.returning(as_text(dialect, _PRODUCTS.c.id), _PRODUCTS.c.name)
    created = statement.returning(_PRODUCTS.c.id, _PRODUCTS.c.name).cte("created")
    companions = (
        companion.cte(f"companions_{number}") for number, companion in enumerate(_companions(created.c.id, dialect))
    )
    return select(as_text(dialect, created.c.id), created.c.name).add_cte(*companions)


def _companions(product_id: ColumnElement[UUID] | InstrumentedAttribute[UUID], dialect: str) -> tuple[Insert, ...]:
    """Statements for the rows that every product has from the beginning in tables that change more often."""
    zero = literal(0, BigInteger)
    due_at = clock.now_expression(dialect)
    source = {
        "product_id": product_id,
        "source_id": OFFERS_SOURCE_LITERAL,
        "registration": literal("pending"),
        "next_sync_at": due_at,
        "failures": zero,
    }
    summary = {"product_id": product_id, "offers": zero, "items_in_stock": zero}
    return tuple(
        insert(Base.metadata.tables[model.__tablename__]).from_select(list(values), select(*values.values()))
        for model, values in ((ProductSource, source), (ProductSummary, summary))
    )


_INSERT_PRODUCTS = {
    "postgresql": _insert_products(postgresql.insert, "postgresql"),
    "sqlite": _insert_products(sqlite.insert, "sqlite"),
}
_INSERT_COMPANIONS = _companions(_ADDED.table("sqlite").c.id, "sqlite")
