"""How incoming products match the existing ones: by name, and by id. For imports."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Executable, Integer, Text, Uuid, and_, func, select
from sqlalchemy.orm import Session

from productagg.catalog.batch_creation import NewProduct
from productagg.catalog.product_values import FACTS
from productagg.db.engines import dialect_name
from productagg.db.json_rows import Rows
from productagg.db.models import Base, Product


class ExistingMatch(NamedTuple):
    """How an incoming product matches existing ones.

    `id` is the id of the product that has its name, `name` the name of the product that has its id; None if there is no
    product with that name or id. `same_values` says whether the product of its name has its description and all of its
    known facts; without a match it means nothing.
    """

    id: UUID | None
    name: str | None
    same_values: bool | None


def existing_matches(session: Session, products: Sequence[NewProduct]) -> list[ExistingMatch]:
    """The matches of the products, in the same order."""
    dialect = dialect_name(session)
    rows = [
        {"number": number, **{name: getattr(new, name) for name in ("id", "name", "description", *FACTS)}}
        for number, new in enumerate(products)
    ]
    return [ExistingMatch(*row) for row in session.execute(_MATCHES[dialect], Rows.parameter(dialect, rows))]


_INCOMING = Rows(number=Integer, id=Uuid, **dict.fromkeys(("name", "description", *FACTS), Text))


def _matches(dialect: str) -> Executable:
    products = Base.metadata.tables[Product.__tablename__]
    incoming = _INCOMING.table(dialect).c
    # Two outer joins, so that every row is looked up by a unique key.
    by_name, by_id = products.alias(), products.alias()
    # An unknown fact equals every other; a known fact does not equal an unknown one.
    same_facts = (func.coalesce(by_name.c[fact] == incoming[fact], incoming[fact].is_(None)) for fact in FACTS)
    same_values = and_(by_name.c.description == incoming.description, *same_facts)
    query = select(by_name.c.id, by_id.c.name, same_values)
    source = incoming.number.table.outerjoin(by_name, by_name.c.name == incoming.name)
    return query.select_from(source.outerjoin(by_id, by_id.c.id == incoming.id)).order_by(incoming.number)


_MATCHES = {dialect: _matches(dialect) for dialect in ("postgresql", "sqlite")}
